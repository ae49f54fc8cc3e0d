//! The guard of a key in process.

pub(crate) mod ending;
pub(crate) mod erased;

use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::queue::core::add_error::AddError;
use crate::queue::core::hash::FastHash;
use crate::queue::core::keys::KeyRef;
use crate::queue::core::machine::add::Room;
use crate::queue::core::options::AddOptions;
use crate::queue::core::priority::Priority;
use crate::queue::core::run::{Run, Started};
use crate::queue::core::waiting::queue_state::Event;
use crate::queue::ops::event_wait::{Dirtied, EventWait};
use crate::queue::shell::shared::Shared;
use crate::wait::Wait;

/// A key in process, held by one worker. Dereferences to the key.
///
/// The worker ends the run by one of these methods, which consume the guard:
///
/// | | the key runs again | its failures in a row | an add during the run |
/// |---|---|---|---|
/// | [`done`](Self::done) | no | cleared | runs it at once |
/// | [`requeue`](Self::requeue) | after the ready keys | cleared | coalesces with that |
/// | [`requeue_after`](Self::requeue_after) | after a delay | cleared | runs it at once |
/// | [`defer`](Self::defer) | after a delay | unchanged | runs it at once |
/// | [`retry`](Self::retry) | after the backoff, unless this was the last attempt | one more ¹ | runs it at once ² |
/// | [`retry_after`](Self::retry_after) | after a delay, unless this was the last attempt | one more ¹ | runs it at once ² |
/// | [`fail`](Self::fail) | no | one more ¹, forgotten with the key | runs it at once ² |
/// | dropping the guard | after the backoff | one more ¹ | runs it at once ² |
///
/// ¹ Unchanged if the run began before the backoff of the last failure was over.
/// ² After the backoff, if the queue [holds](crate::queue::QueueBuilder::hold_backoff) it. For a key
/// that is given up, as [`remember_given_up`](crate::queue::QueueBuilder::remember_given_up) says.
///
/// A [shortest interval](crate::queue::QueueBuilder::min_interval) delays all of these.
///
/// For users of client-go: `AddRateLimited` is `retry`, `Forget` with `AddAfter` is `requeue_after`,
/// and `AddAfter` alone is `defer`. For users of controller-runtime: an error is `retry`, and a
/// terminal error is `fail`.
///
/// # Dropping
/// Dropping the guard (a panic, a `?`, a cancelled future) retries the key: a lost worker loses no
/// work. A dropped key is never given up, since there is no caller to return it to.
///
/// # Guarantees
/// Ending a run never fails and never waits for room, whatever the queue's state. It does not
/// allocate, except to keep keys of a closed queue, to keep the
/// [newest](crate::queue::QueueBuilder::keep_newest) of equal keys, to wake several waiters at once,
/// and for the bookkeeping of groups, resting keys and limiters.
///
/// ```
/// use std::time::Duration;
/// use tollgate::WorkQueue;
///
/// let queue = WorkQueue::new(8)?;
/// queue.try_add("key").unwrap();
/// let work = queue.try_get().unwrap();
/// assert_eq!((*work.key(), work.len()), ("key", 3)); // `len` is a method of the key
/// work.requeue_after(Duration::from_secs(30));
/// assert_eq!(queue.stats().delayed, 1);
/// # Ok::<(), tollgate::QueueError>(())
/// ```
#[must_use = "dropping it retries the key"]
pub struct Work<K, C: Clock = SystemClock, S = FastHash> {
    /// `None` once the run has ended.
    held: Option<HeldKey<K, C, S>>,
    run: Run,
}

/// The key, and the handle that keeps the queue alive for its return.
struct HeldKey<K, C, S> {
    shared: Arc<Shared<K, C, S>>,
    key: KeyRef<K>,
}

impl<K, C: Clock, S> Work<K, C, S> {
    #[inline]
    pub(crate) fn new(shared: Arc<Shared<K, C, S>>, (key, run): Started<K>) -> Self {
        let held = Some(HeldKey { shared, key });
        Self { held, run }
    }

    /// Tells the observer that the run has started. Called without the lock, on a guard that
    /// exists: should the observer panic, dropping the guard releases the key.
    #[inline]
    pub(crate) fn observe_start(&self) {
        self.shared()
            .observe(|observer| observer.started(self.queued()));
    }

    /// Returns the key, as dereferencing does.
    #[inline]
    pub fn key(&self) -> &K {
        self
    }

    /// Returns the key's failures in a row before this run, at most 65,535.
    ///
    /// The failure of a run that began before the backoff of the last failure was over does not
    /// count: an event that cuts the backoff short does not raise the next one.
    pub const fn failures(&self) -> u32 {
        self.run.failures as u32
    }

    /// Returns the priority with which the key was handed out.
    pub const fn priority(&self) -> Priority {
        self.run.priority
    }

    /// Returns how long the key was ready before this run.
    pub const fn queued(&self) -> Duration {
        self.run.queued()
    }

    /// Returns true if the key was added without a delay during this run.
    ///
    /// It runs once more, however this run ends, unless it is
    /// [removed](crate::WorkQueue::remove) or the queue is shut down.
    pub fn is_dirty(&self) -> bool {
        let state = self.shared().state.lock();
        state.machine.is_dirty(self.held().key.index())
    }

    /// Waits until the key [is dirty](Self::is_dirty).
    ///
    /// A long run may stop then: its input is out of date, and the key runs once more. The wait
    /// does not end if the key is not added, and no key is added to a closed queue: race it with
    /// the work itself, as in a `select!`.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    ///
    /// ```
    /// let queue = tollgate::WorkQueue::new(8)?;
    /// queue.try_add("key").unwrap();
    /// let work = queue.try_get().unwrap();
    /// queue.try_add("key").unwrap();
    /// work.dirtied().wait(); // or `.await` in a task
    /// assert!(work.is_dirty());
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn dirtied(&self) -> Wait<Dirtied<'_, K, C, S>> {
        let key = self.held().key.index();
        Wait::new(Dirtied(EventWait::new(self.shared(), Event::Dirty, key)))
    }

    /// Adds another key that this run has found to need work.
    ///
    /// Never waits, so workers that add to a full queue cannot deadlock the pool. May use the
    /// [reserve](crate::queue::QueueBuilder::reserve), which producers cannot fill.
    ///
    /// If even the reserve is full, end the run with [`requeue_after`](Self::requeue_after): other
    /// runs make room meanwhile. ([`retry`](Self::retry) would count as a failure, towards
    /// [`max_attempts`](crate::queue::QueueBuilder::max_attempts).)
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

    /// Same as [`add_related`](Self::add_related), with options: for example with the
    /// [priority](Self::priority) of this key.
    ///
    /// # Errors
    /// [`AddError`], which gives the key back.
    pub fn add_related_with(
        &self,
        key: K,
        options: impl Into<AddOptions>,
    ) -> Result<(), AddError<K>>
    where
        K: Hash + Eq,
        S: BuildHasher,
    {
        self.shared().add(key, options.into(), Room::WithReserve)
    }

    #[inline]
    fn held(&self) -> &HeldKey<K, C, S> {
        let Some(held) = &self.held else {
            unreachable!("ending a run consumes its guard")
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
