//! Priorities of keys, in 64 bands.

use std::fmt;

/// The priority of a key: ready keys of a higher priority are handed out first, apart from
/// [aging](crate::queue::QueueBuilder::aging).
///
/// A live key keeps the highest priority that it was added with, through retries and requeues.
///
/// ```
/// use tollgate::{Priority, WorkQueue};
///
/// let queue = WorkQueue::new(8)?;
/// queue.try_add_with("resync", Priority::LOW).unwrap();
/// queue.try_add("event").unwrap();
/// assert_eq!(*queue.try_get().unwrap(), "event");
/// # Ok::<(), tollgate::QueueError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(u8);

impl Priority {
    /// The number of priorities: one bit for each in a word.
    pub(crate) const COUNT: usize = 64;
    const OFFSET: i32 = 32;

    /// -32, the lowest.
    pub const MIN: Self = Self(0);
    /// -16, for keys that can wait, such as those of a periodic resync.
    pub const LOW: Self = Self(16);
    /// 0, for keys that are added without a priority.
    pub const DEFAULT: Self = Self(32);
    /// 16, for keys that should not wait.
    pub const HIGH: Self = Self(48);
    /// 31, the highest.
    pub const MAX: Self = Self(63);

    /// Creates the priority of a value; the highest is served first.
    ///
    /// # Errors
    /// [`PriorityError::OutOfRange`] if the value is not in -32..=31.
    pub const fn new(value: i32) -> Result<Self, PriorityError> {
        if value < Self::MIN.value() || value > Self::MAX.value() {
            return Err(PriorityError::OutOfRange(value));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "0..64, by the check above"
        )]
        Ok(Self((value + Self::OFFSET) as u8))
    }

    /// Returns the value.
    pub const fn value(self) -> i32 {
        self.0 as i32 - Self::OFFSET
    }

    /// Returns the number of its band; 0 is the lowest.
    pub(crate) const fn band(self) -> usize {
        self.0 as usize
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl fmt::Debug for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Priority").field(&self.value()).finish()
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value().fmt(f)
    }
}

/// Why a value is not a [`Priority`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PriorityError {
    /// The value is not in -32..=31.
    OutOfRange(i32),
}

impl fmt::Display for PriorityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::OutOfRange(value) = self;
        write!(f, "the priority {value} is not in -32..=31")
    }
}

impl std::error::Error for PriorityError {}

#[cfg(all(test, not(tollgate_loom)))]
mod tests {
    use super::*;

    #[test]
    fn values_out_of_range_are_refused() {
        assert_eq!(Priority::new(-32), Ok(Priority::MIN));
        assert_eq!(Priority::new(0), Ok(Priority::DEFAULT));
        assert_eq!(Priority::new(31), Ok(Priority::MAX));
        for value in [-33, 32, i32::MIN, i32::MAX] {
            let error = PriorityError::OutOfRange(value);
            assert_eq!(Priority::new(value), Err(error));
            let text = format!("the priority {value} is not in -32..=31");
            assert_eq!(error.to_string(), text);
        }
    }

    #[test]
    fn a_priority_is_shown_as_its_value() {
        assert_eq!(Priority::LOW.to_string(), "-16");
        assert_eq!(format!("{:?}", Priority::HIGH), "Priority(16)");
    }
}
