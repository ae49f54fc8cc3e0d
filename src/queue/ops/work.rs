pub(crate) mod ending;
pub(crate) mod in_hand;

use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::queue::core::add_error::AddError;
use crate::queue::core::admit::Room;
use crate::queue::core::hash::FastHash;
use crate::queue::core::keys::KeyRef;
use crate::queue::core::options::AddOptions;
use crate::queue::core::priority::Priority;
use crate::queue::core::run::{Run, Started};
use crate::queue::ops::dirtied::Dirtied;
use crate::queue::shell::shared::Shared;
use crate::wait::Wait;

/// A key that is being worked on, by one worker. It dereferences to the key.
///
/// The worker says how the work ended by consuming this:
///
/// | | the key runs again | its failures in a row | an add meanwhile |
/// |---|---|---|---|
/// | [`done`](Self::done) | not by itself | cleared | runs it at once |
/// | [`requeue`](Self::requeue) | behind the ready ones | cleared | the same |
/// | [`requeue_after`](Self::requeue_after) | after a delay | cleared | runs it at once |
/// | [`defer`](Self::defer) | after a delay | as they were | runs it at once |
/// | [`retry`](Self::retry) | after the backoff; not after its last attempt | one more ¹ | runs it at once ² |
/// | [`retry_after`](Self::retry_after) | after a delay; not after its last attempt | one more ¹ | runs it at once ² |
/// | [`fail`](Self::fail) | not by itself | one more ¹, and forgotten with the key | runs it at once ² |
/// | dropped | as `retry`, and never for the last time | one more ¹ | runs it at once ² |
///
/// ¹ The same number, if the run began before the backoff of the failure before it was over.
/// ² When the backoff is over, where it is [held](crate::queue::QueueBuilder::hold_backoff). If the key is given
/// up and [remembered](crate::queue::QueueBuilder::remember_given_up), as that says.
///
/// With a [shortest interval](crate::queue::QueueBuilder::min_interval) none of this is before that is over.
///
/// What others do: client-go's `AddRateLimited` is `retry`, `Forget` with `AddAfter` is
/// `requeue_after`, and `AddAfter` alone, which keeps the failures, is `defer`; controller-runtime's
/// terminal error is `fail`, its error is `retry`, and neither can carry a delay.
///
/// Dropping it, by a panic, a `?` or a cancelled future, is a retry: a lost worker never loses work. None of this can
/// fail or block for room, whatever has become of the queue meanwhile, nor allocate. (But for these cases:
/// what a closed queue keeps until a caller collects it, several waiters that are woken at once, and the
/// bookkeeping of groups, of keys at rest and of limiters.)
///
/// ```
/// use std::time::Duration;
/// use tollgate::WorkQueue;
///
/// let queue = WorkQueue::new(8)?;
/// queue.try_add("key").unwrap();
/// let work = queue.try_get().unwrap();
/// assert_eq!(work.len(), 3); // a method of the key
/// work.requeue_after(Duration::from_secs(30));
/// assert_eq!(queue.stats().delayed, 1);
/// # Ok::<(), tollgate::QueueError>(())
/// ```
#[must_use = "dropping it is a retry"]
pub struct Work<K, C: Clock = SystemClock, S = FastHash> {
    /// Until it has ended.
    held: Option<Held<K, C, S>>,
    run: Run,
}

/// What of the queue the guard has: the key, and a handle without which that could be gone.
struct Held<K, C, S> {
    shared: Arc<Shared<K, C, S>>,
    key: KeyRef<K>,
}

impl<K, C: Clock, S> Work<K, C, S> {
    #[inline]
    pub(crate) fn new(shared: Arc<Shared<K, C, S>>, Started { key, run }: Started<K>) -> Self {
        let held = Some(Held { shared, key });
        Self { held, run }
    }

    /// Tells the observer that this was started; not under the lock. It is made before: should the
    /// observer panic, dropping this releases the key.
    #[inline]
    pub(crate) fn announce(&self) {
        self.shared()
            .observe(|observer| observer.started(self.queued()));
    }

    /// How often in a row the key has failed before this run; events that came before a backoff was
    /// over do not count. At most 65,535 are counted.
    ///
    /// ```
    /// let queue = tollgate::WorkQueue::new(8)?;
    /// queue.try_add("key").unwrap();
    /// assert_eq!(queue.try_get().unwrap().failures(), 0);
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub const fn failures(&self) -> u32 {
        self.run.failures as u32
    }

    /// The priority with which it was handed out.
    ///
    /// ```
    /// use tollgate::{Priority, WorkQueue};
    ///
    /// let queue = WorkQueue::new(8)?;
    /// queue.try_add_with("key", Priority::LOW).unwrap();
    /// assert_eq!(queue.try_get().unwrap().priority(), Priority::LOW);
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub const fn priority(&self) -> Priority {
        self.run.priority
    }

    /// For how long the key was ready before it was handed out.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{ManualClock, WorkQueue};
    ///
    /// let clock = ManualClock::new();
    /// let queue = WorkQueue::builder(8).clock(clock.clone()).build()?;
    /// queue.try_add("key").unwrap();
    /// clock.advance(Duration::from_secs(3));
    /// assert_eq!(queue.try_get().unwrap().queued(), Duration::from_secs(3));
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub const fn queued(&self) -> Duration {
        self.run.queued()
    }

    /// Whether the key was added without a delay while this ran: it will run once more, whatever the
    /// outcome, unless it is [removed](crate::WorkQueue::remove) or the queue is shut down.
    ///
    /// ```
    /// let queue = tollgate::WorkQueue::new(8)?;
    /// queue.try_add("key").unwrap();
    /// let work = queue.try_get().unwrap();
    /// assert!(!work.is_dirty());
    /// queue.try_add("key").unwrap();
    /// assert!(work.is_dirty());
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn is_dirty(&self) -> bool {
        let state = self.shared().state.lock();
        state.machine.is_dirty(self.held().key.index())
    }

    /// Waits until the key [is dirty](Self::is_dirty): what this works on is out of date, so a long
    /// run may as well stop and be done. It does not end if nobody adds the key, as nobody can once
    /// the queue is closed: wait beside the work itself.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    ///
    /// ```
    /// let queue = tollgate::WorkQueue::new(8)?;
    /// queue.try_add("key").unwrap();
    /// let work = queue.try_get().unwrap();
    /// queue.try_add("key").unwrap();
    /// work.dirtied().wait(); // `work.dirtied().await` in a task, beside the work itself
    /// assert!(work.is_dirty());
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn dirtied(&self) -> Wait<Dirtied<'_, K, C, S>>
    where
        C: Clock,
    {
        let shared = self.shared();
        Wait::new(Dirtied::new(shared, self.held().key.index()))
    }

    /// Adds another key that this run has found to need work. It never waits, so that workers who
    /// add keys to a full queue cannot all be waiting for each other; and it has the room that is
    /// [kept for them](crate::queue::QueueBuilder::reserve), which the producers cannot fill.
    ///
    /// If even that is full, [`requeue_after`](Self::requeue_after) a while and return: this run
    /// comes back when there may be room, and gives way to those that make it. A
    /// [`retry`](Self::retry) does too, but counts as a failure, and
    /// [too many](crate::queue::QueueBuilder::max_attempts) give the key up.
    ///
    /// # Errors
    /// [`AddError`], which gives the key back.
    ///
    /// ```
    /// use tollgate::{AddError, WorkQueue};
    ///
    /// let queue = WorkQueue::builder(2).reserve(1).build()?;
    /// queue.try_add("parent").unwrap();
    /// assert_eq!(queue.try_add("other"), Err(AddError::Full("other")));
    /// let parent = queue.try_get().unwrap();
    /// parent.add_related("child")?;
    /// parent.done();
    /// assert_eq!(*queue.try_get().unwrap(), "child");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn add_related(&self, key: K) -> Result<(), AddError<K>>
    where
        K: Hash + Eq,
        S: BuildHasher,
    {
        self.add_related_with(key, AddOptions::new())
    }

    /// As [`add_related`](Self::add_related), with options.
    ///
    /// # Errors
    /// [`AddError`], which gives the key back.
    ///
    /// ```
    /// use tollgate::{Priority, WorkQueue};
    ///
    /// let queue = WorkQueue::new(8)?;
    /// queue.try_add_with("parent", Priority::HIGH).unwrap();
    /// let parent = queue.try_get().unwrap();
    /// // Children of urgent parents are urgent.
    /// parent.add_related_with("child", parent.priority()).unwrap();
    /// assert_eq!(queue.try_get().unwrap().priority(), Priority::HIGH);
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn add_related_with(
        &self,
        key: K,
        options: impl Into<AddOptions>,
    ) -> Result<(), AddError<K>>
    where
        K: Hash + Eq,
        S: BuildHasher,
    {
        self.shared().add(key, options.into(), Room::Reserve)
    }

    #[inline]
    fn held(&self) -> &Held<K, C, S> {
        let Some(held) = &self.held else {
            unreachable!("ending it consumes it")
        };
        held
    }

    #[inline]
    fn shared(&self) -> &Arc<Shared<K, C, S>> {
        &self.held().shared
    }
}

impl<K, C: Clock, S> Deref for Work<K, C, S> {
    type Target = K;

    #[inline]
    fn deref(&self) -> &K {
        &self.held().key
    }
}

impl<K: fmt::Debug, C: Clock, S> fmt::Debug for Work<K, C, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Work")
            .field("key", &**self)
            .field("priority", &self.run.priority)
            .field("failures", &self.run.failures)
            .finish_non_exhaustive()
    }
}
