//! How many may wait, and how long.

use std::time::Duration;

use super::Denied;

/// Bounds on those who wait for a limiter; none unless set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) most: usize,
    pub(super) longest: Duration,
}

impl Bounds {
    pub(super) const NONE: Self = Self {
        most: usize::MAX,
        longest: Duration::MAX,
    };

    /// Whether one more may wait beside so many.
    pub(super) const fn check_room(&self, waiting: usize) -> Result<(), Denied> {
        if waiting < self.most {
            Ok(())
        } else {
            Err(Denied::TooManyWaiters)
        }
    }
}
