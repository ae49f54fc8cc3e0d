//! The errors of building a queue.

use std::fmt;

/// Why a queue could not be built.
///
/// ```
/// use tollgate::{QueueError, WorkQueue};
///
/// let error = WorkQueue::<u8>::new(0).unwrap_err();
/// assert_eq!(error, QueueError::ZeroCapacity);
/// assert_eq!(error.to_string(), "the capacity of a queue must be at least 1");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueueError {
    /// The capacity is 0: no key could ever be added.
    ZeroCapacity,
    /// The capacity exceeds what 32 bits can number.
    CapacityTooLarge {
        /// The largest capacity.
        max: usize,
    },
    /// The [reserve](crate::queue::QueueBuilder::reserve) leaves producers no room.
    NothingButReserve,
    /// The maximum of the [debounce](crate::queue::QueueBuilder::debounce) is zero: no add would be
    /// put off.
    ZeroDebounceMaximum,
    /// [`max_attempts`](crate::queue::QueueBuilder::max_attempts) is 0, but every key runs at least
    /// once.
    ZeroAttempts,
    /// [`Groups::max_processing`](crate::queue::Groups::max_processing) or
    /// [`Groups::max_live`](crate::queue::Groups::max_live) is 0: no key of any group could run.
    ZeroGroupBound,
}

impl fmt::Display for QueueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ZeroCapacity => "the capacity of a queue must be at least 1",
            Self::CapacityTooLarge { max } => {
                return write!(f, "the capacity of a queue must be at most {max}");
            }
            Self::NothingButReserve => "the reserve of a queue must be less than its capacity",
            Self::ZeroDebounceMaximum => "the maximum of a debounce must be more than zero",
            Self::ZeroAttempts => "the maximum of attempts of a queue must be at least 1",
            Self::ZeroGroupBound => "a bound of a group must be at least 1",
        })
    }
}

impl std::error::Error for QueueError {}
