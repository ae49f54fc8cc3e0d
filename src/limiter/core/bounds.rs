//! Bounds on waiting: how many callers may wait for a limiter, and for how long.

use std::time::Duration;

use crate::limiter::core::denied::Denied;

/// Bounds on the waiters of a limiter, or of a key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) max_waiters: usize,
    pub(crate) max_wait: Duration,
}

impl Bounds {
    pub(crate) const NONE: Self = Self {
        max_waiters: usize::MAX,
        max_wait: Duration::MAX,
    };

    /// Checks that one more may wait beside `waiting` others.
    pub(crate) const fn check_room(&self, waiting: usize) -> Result<(), Denied> {
        if waiting < self.max_waiters {
            Ok(())
        } else {
            Err(Denied::TooManyWaiters)
        }
    }
}
