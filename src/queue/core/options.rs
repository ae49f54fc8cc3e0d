use std::time::Duration;

use crate::queue::core::priority::Priority;

/// How a key is added: how urgent it is, when it is due, and how long to wait for room.
///
/// Wherever options are asked for, a [`Priority`] alone will do, or a delay.
///
/// ```
/// use std::time::Duration;
/// use tollgate::{AddOptions, ManualClock, Merge, Priority, WorkQueue};
///
/// let queue = WorkQueue::builder(8).clock(ManualClock::new()).build()?;
/// queue.try_add_with("now", Priority::HIGH)?;
/// queue.try_add_with("later", Duration::from_secs(60))?;
/// let options = AddOptions::new()
///     .priority(Priority::LOW)
///     .after(Duration::from_secs(3600))
///     .merge(Merge::Keep);
/// queue.try_add_with("later", options)?; // in a minute still
/// assert_eq!(queue.snapshot()[1].due_in, Some(Duration::from_secs(60)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddOptions {
    pub(crate) priority: Priority,
    pub(crate) delay: Duration,
    pub(crate) merge: Merge,
    pub(crate) timeout: Option<Duration>,
    /// As the queue does, unless set.
    pub(crate) holds_backoff: Option<bool>,
}

impl AddOptions {
    /// At once, with the default priority.
    ///
    /// ```
    /// let queue = tollgate::WorkQueue::new(8)?;
    /// queue.try_add_with("key", tollgate::AddOptions::new()).unwrap(); // as `try_add`
    /// assert_eq!(queue.stats().ready, 1);
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub const fn new() -> Self {
        Self {
            priority: Priority::DEFAULT,
            delay: Duration::ZERO,
            merge: Merge::Earlier,
            timeout: None,
            holds_backoff: None,
        }
    }

    /// With this priority; a live key has the highest it was added with.
    ///
    /// ```
    /// use tollgate::{AddOptions, Priority, WorkQueue};
    ///
    /// let queue = WorkQueue::new(8)?;
    /// queue.try_add_with("key", AddOptions::new().priority(Priority::HIGH)).unwrap();
    /// queue.try_add("key").unwrap();
    /// assert_eq!(queue.try_get().unwrap().priority(), Priority::HIGH);
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub const fn priority(self, priority: Priority) -> Self {
        Self { priority, ..self }
    }

    /// Not before `delay` has passed. Zero is no delay; no delay is too long.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{AddOptions, WorkQueue};
    ///
    /// let queue = WorkQueue::new(8)?;
    /// queue.try_add_with("key", AddOptions::new().after(Duration::MAX)).unwrap();
    /// assert_eq!(queue.stats().delayed, 1);
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub const fn after(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    /// Which of two delays counts; [`Merge::Earlier`] unless set.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{AddOptions, ManualClock, Merge, WorkQueue};
    ///
    /// let clock = ManualClock::new();
    /// let queue = WorkQueue::builder(8).clock(clock.clone()).build()?;
    /// queue.try_add_after("key", Duration::from_secs(9)).unwrap();
    /// let sooner = AddOptions::new().after(Duration::from_secs(1)).merge(Merge::Keep);
    /// queue.try_add_with("key", sooner).unwrap();
    /// clock.advance(Duration::from_secs(1));
    /// assert!(queue.try_get().is_none());
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub const fn merge(self, merge: Merge) -> Self {
        Self { merge, ..self }
    }

    /// Lets the key wait until its backoff is over, whatever the
    /// [queue's rule](crate::queue::QueueBuilder::hold_backoff): an event that the failing key brings about
    /// itself does not hurry it. (An add with a delay, of a key that is being processed, goes by the
    /// queue's rule.)
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{AddOptions, FixedBackoff, ManualClock, WorkQueue};
    ///
    /// let (clock, minute) = (ManualClock::new(), Duration::from_secs(60));
    /// let queue = WorkQueue::builder(8).clock(clock.clone()).backoff(FixedBackoff::new(minute)).build()?;
    /// queue.try_add("key").unwrap();
    /// let given_up = queue.try_get().unwrap().retry();
    /// assert!(given_up.is_none());
    /// queue.try_add_with("key", AddOptions::new().hold_backoff()).unwrap();
    /// assert!(queue.try_get().is_none());
    /// clock.advance(minute);
    /// assert!(queue.try_get().is_some());
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub const fn hold_backoff(self) -> Self {
        Self {
            holds_backoff: Some(true),
            ..self
        }
    }

    /// Ends the backoff of the key, whatever the [queue's rule](crate::queue::QueueBuilder::hold_backoff): for
    /// a user's change, which may have mended what failed.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{AddOptions, FixedBackoff, WorkQueue};
    ///
    /// let backoff = FixedBackoff::new(Duration::from_secs(60));
    /// let queue = WorkQueue::builder(8).backoff(backoff).hold_backoff().build()?;
    /// queue.try_add("key").unwrap();
    /// let given_up = queue.try_get().unwrap().retry();
    /// assert!(given_up.is_none());
    /// queue.try_add("key").unwrap();
    /// assert!(queue.try_get().is_none());
    /// queue.try_add_with("key", AddOptions::new().cut_backoff()).unwrap();
    /// assert!(queue.try_get().is_some());
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub const fn cut_backoff(self) -> Self {
        Self {
            holds_backoff: Some(false),
            ..self
        }
    }

    /// Waits for room no longer than this, and then fails with
    /// [`AddError::Full`](crate::AddError::Full). What does not wait anyway takes no notice.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{AddError, AddOptions, WorkQueue};
    ///
    /// let queue = WorkQueue::new(1)?;
    /// queue.try_add("first").unwrap();
    /// let options = AddOptions::new().timeout(Duration::from_millis(1));
    /// assert_eq!(queue.add_with("second", options).wait(), Err(AddError::Full("second")));
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub const fn timeout(self, timeout: Duration) -> Self {
        Self {
            timeout: Some(timeout),
            ..self
        }
    }
}

impl From<Priority> for AddOptions {
    fn from(priority: Priority) -> Self {
        Self::new().priority(priority)
    }
}

impl From<Duration> for AddOptions {
    fn from(delay: Duration) -> Self {
        Self::new().after(delay)
    }
}

/// Which delay counts if a key is added with one that has one already. A key that is ready, or
/// dirty, stays so, whatever is asked.
///
/// ```
/// assert_eq!(tollgate::Merge::default(), tollgate::Merge::Earlier);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Merge {
    /// The one that ends first.
    #[default]
    Earlier,
    /// The one it has.
    Keep,
}
