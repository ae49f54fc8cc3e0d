use std::fmt;

/// How urgent a key is: of the keys that are ready, those of a higher priority go first.
///
/// A live key has the highest priority it was added with, until it is absent.
///
/// ```
/// use tollgate::{Priority, WorkQueue};
///
/// let queue = WorkQueue::new(8)?;
/// queue.try_add_with("resync", Priority::LOW).unwrap();
/// queue.try_add("event").unwrap();
/// assert_eq!(*queue.try_get().unwrap(), "event");
/// assert!(Priority::LOW < Priority::DEFAULT && Priority::DEFAULT < Priority::HIGH);
/// assert_eq!(Priority::LOW.to_string(), "-16");
/// # Ok::<(), tollgate::QueueError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(u8);

impl Priority {
    /// How many there are: a bit each in a word.
    pub(crate) const COUNT: usize = 64;
    const OFFSET: i32 = 32;

    /// The lowest: -32.
    ///
    /// ```
    /// assert_eq!(tollgate::Priority::MIN.value(), -32);
    /// ```
    pub const MIN: Self = Self(0);
    /// For what can wait, such as a periodic resync: -16.
    ///
    /// ```
    /// assert_eq!(tollgate::Priority::LOW.value(), -16);
    /// ```
    pub const LOW: Self = Self(16);
    /// Of keys added without a priority: 0.
    ///
    /// ```
    /// assert_eq!(tollgate::Priority::DEFAULT.value(), 0);
    /// ```
    pub const DEFAULT: Self = Self(32);
    /// For what should not wait: 16.
    ///
    /// ```
    /// assert_eq!(tollgate::Priority::HIGH.value(), 16);
    /// ```
    pub const HIGH: Self = Self(48);
    /// The highest: 31.
    ///
    /// ```
    /// assert_eq!(tollgate::Priority::MAX.value(), 31);
    /// ```
    pub const MAX: Self = Self(63);

    /// The priority of this value; the higher, the sooner.
    ///
    /// # Errors
    /// [`PriorityError::OutOfRange`] if it is not in -32..=31.
    ///
    /// ```
    /// use tollgate::{Priority, PriorityError};
    ///
    /// assert_eq!(Priority::new(0), Ok(Priority::DEFAULT));
    /// assert_eq!(Priority::new(31), Ok(Priority::MAX));
    /// assert_eq!(Priority::new(-100), Err(PriorityError::OutOfRange(-100)));
    /// ```
    pub const fn new(value: i32) -> Result<Self, PriorityError> {
        if value < Self::MIN.value() || value > Self::MAX.value() {
            return Err(PriorityError::OutOfRange(value));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "0..64, by the line above"
        )]
        Ok(Self((value + Self::OFFSET) as u8))
    }

    /// Its value.
    ///
    /// ```
    /// assert_eq!(tollgate::Priority::HIGH.value(), 16);
    /// ```
    pub const fn value(self) -> i32 {
        self.0 as i32 - Self::OFFSET
    }

    /// Its place among all: 0 is the lowest.
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

/// Why a number is no [`Priority`].
///
/// ```
/// use tollgate::{Priority, PriorityError};
///
/// let error = Priority::new(32).unwrap_err();
/// assert_eq!(error, PriorityError::OutOfRange(32));
/// assert_eq!(error.to_string(), "the priority 32 is not in -32..=31");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PriorityError {
    /// Priorities are -32..=31.
    OutOfRange(i32),
}

impl fmt::Display for PriorityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::OutOfRange(value) = self;
        write!(f, "the priority {value} is not in -32..=31")
    }
}

impl std::error::Error for PriorityError {}
