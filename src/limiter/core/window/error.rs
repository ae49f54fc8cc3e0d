//! The bounds of a sliding window, and the error that says which was broken.

use std::fmt;

/// The largest limit: its log takes 24 MiB.
pub(crate) const MAX_LIMIT: u64 = 1 << 20;

/// Why a [`SlidingWindow`](crate::SlidingWindow) cannot have a limit.
///
/// ```
/// use std::time::Duration;
/// use tollgate::{SlidingWindow, WindowError};
///
/// let limit = SlidingWindow::<()>::MAX_LIMIT + 1;
/// let refused = SlidingWindow::new(limit, Duration::from_secs(60)).unwrap_err();
/// assert_eq!(refused, WindowError::LimitTooLarge);
/// assert_eq!(refused.to_string(), "the limit of a window must be at most 1048576");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WindowError {
    /// The limit is zero: no take could ever pass.
    ZeroLimit,
    /// The limit is over [`SlidingWindow::MAX_LIMIT`](crate::SlidingWindow::MAX_LIMIT).
    LimitTooLarge,
    /// The period is zero.
    ZeroPeriod,
}

impl fmt::Display for WindowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ZeroLimit => f.write_str("the limit of a window must be at least 1"),
            Self::LimitTooLarge => write!(f, "the limit of a window must be at most {MAX_LIMIT}"),
            Self::ZeroPeriod => f.write_str("the period of a window must be at least 1 ns"),
        }
    }
}

impl std::error::Error for WindowError {}

/// Checks the bounds of a limit and its period.
pub(crate) const fn check_limit(limit: u64, period: u64) -> Result<(), WindowError> {
    if limit == 0 {
        Err(WindowError::ZeroLimit)
    } else if limit > MAX_LIMIT {
        Err(WindowError::LimitTooLarge)
    } else if period == 0 {
        Err(WindowError::ZeroPeriod)
    } else {
        Ok(())
    }
}
