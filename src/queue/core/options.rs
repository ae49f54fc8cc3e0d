//! The options of an add.

use std::time::Duration;

use crate::queue::core::priority::Priority;

/// The options of an add: priority, delay, backoff, and how long to wait for room.
///
/// A [`Priority`] or a [`Duration`], as a delay, converts into options.
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
/// queue.try_add_with("later", options)?; // keeps its delay of a minute
/// assert_eq!(queue.snapshot()[1].due_in, Some(Duration::from_secs(60)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddOptions {
    pub(crate) priority: Priority,
    pub(crate) delay: Duration,
    pub(crate) merge: Merge,
    pub(crate) timeout: Option<Duration>,
    /// The queue's setting decides if `None`.
    pub(crate) holds_backoff: Option<bool>,
}

impl AddOptions {
    /// Creates options without a delay or a timeout, with the default priority.
    pub const fn new() -> Self {
        Self {
            priority: Priority::DEFAULT,
            delay: Duration::ZERO,
            merge: Merge::Earlier,
            timeout: None,
            holds_backoff: None,
        }
    }

    /// Sets the priority. A live key keeps the highest that it was added with.
    pub const fn priority(self, priority: Priority) -> Self {
        Self { priority, ..self }
    }

    /// Sets a delay: the key is not handed out before it has passed. Zero is no delay; a delay past
    /// the end of the clock saturates.
    pub const fn after(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    /// Sets which delay wins if the key has one already; [`Merge::Earlier`] unless set.
    pub const fn merge(self, merge: Merge) -> Self {
        Self { merge, ..self }
    }

    /// Lets the key wait until its backoff is over, whatever the [queue's
    /// setting](crate::queue::QueueBuilder::hold_backoff): for an event that the failing key causes
    /// itself.
    ///
    /// An add with a delay, of a key in process, follows the queue's setting.
    pub const fn hold_backoff(self) -> Self {
        Self {
            holds_backoff: Some(true),
            ..self
        }
    }

    /// Ends the backoff of the key, whatever the [queue's
    /// setting](crate::queue::QueueBuilder::hold_backoff): for a user's change, which may have fixed
    /// the failure.
    pub const fn cut_backoff(self) -> Self {
        Self {
            holds_backoff: Some(false),
            ..self
        }
    }

    /// Bounds the wait for room: then the add fails with [`AddError::Full`](crate::AddError::Full).
    /// Ignored by the `try_` methods.
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

/// Which delay wins if a key is added with a delay and has one already. A key that is ready or dirty
/// stays so in either case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Merge {
    /// The delay that ends first.
    #[default]
    Earlier,
    /// The delay that the key has.
    Keep,
}
