//! How many may wait, and how long.

use std::time::Duration;

use crate::limiter::core::denied::Denied;

/// Bounds on those who wait for a limiter; none unless set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) most: usize,
    pub(crate) longest: Duration,
}

impl Bounds {
    pub(crate) const NONE: Self = Self {
        most: usize::MAX,
        longest: Duration::MAX,
    };

    /// Whether one more may wait beside so many.
    pub(crate) const fn check_room(&self, waiting: usize) -> Result<(), Denied> {
        if waiting < self.most {
            Ok(())
        } else {
            Err(Denied::TooManyWaiters)
        }
    }
}

/// What is left of a burst when `n` tokens are carved out of it.
pub(crate) fn carved(burst: u64, n: u64) -> Result<u64, Denied> {
    let left = burst.checked_sub(n).filter(|left| *left > 0);
    left.ok_or(Denied::ExceedsBurst {
        burst: burst.saturating_sub(1),
    })
}
