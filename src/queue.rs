//! A bounded work queue that never hands one key to two workers.

mod add;
mod builder;
mod drain;
mod get;
mod machine;
mod shared;
mod wheel;
mod work;

use std::borrow::Borrow;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

pub use add::{Add, AddError};
pub use builder::{QueueBuilder, QueueError};
pub use drain::{Drain, Drained};
pub use get::Get;
pub use work::Work;

use crate::clock::{Clock, SystemClock, Timer};
use crate::wait::Wait;
use shared::Shared;

/// A bounded queue of keys to be worked on, each at most once at a time.
///
/// A key is *live* from the moment it is added until a worker is done with it. Adding a live key
/// again does not queue it twice: whoever adds while it waits shares its next run, and whoever adds
/// while it runs makes it run once more.
///
/// # States
/// | event | Absent | Delayed | Ready | Processing | Processing, dirty |
/// |---|---|---|---|---|---|
/// | [`add`](Self::add) | Ready | Ready | – | dirty | – |
/// | [`add_after`](Self::add_after) | Delayed | the earlier | – | Delayed when finished, the earlier | – |
/// | [`get`](Self::get) | | | Processing | | |
/// | [`Work::done`] | | | | Absent, or Delayed as asked meanwhile | Ready |
/// | [`Work::requeue_after`] | | | | Delayed | Ready |
/// | [`Work::retry`], or dropping the [`Work`] | | | | Delayed by the backoff | Ready |
/// | [`remove`](Self::remove) | – | Absent | Absent | – | not dirty |
///
/// # Bound
/// At most `capacity` keys are live. Only a new key can meet the bound: adding a live key again,
/// and whatever a worker does with the key it holds, never fails, blocks or allocates.
///
/// # Order
/// Ready keys are handed out in the order in which they became ready. A delayed key is never early;
/// delays are rounded up to a millisecond.
///
/// # Memory ordering
/// Every operation takes the queue's lock. What a thread did before it added a key is visible to
/// the worker that gets it; what a worker did before it finished a key is visible to whoever gets
/// the key next.
///
/// Clones are handles to the same queue.
///
/// # Examples
/// ```
/// use tollgate::WorkQueue;
///
/// let queue = WorkQueue::new(1_000)?;
/// queue.try_add("apple").unwrap();
/// queue.try_add("pear").unwrap();
/// queue.try_add("apple").unwrap(); // waits already: one run serves both
///
/// let work = queue.try_get().unwrap();
/// assert_eq!(*work, "apple");
/// queue.try_add("apple").unwrap(); // changed while it is worked on
/// work.done(); // so it becomes ready again, behind the pear
///
/// assert_eq!(*queue.try_get().unwrap(), "pear");
/// # Ok::<(), tollgate::QueueError>(())
/// ```
pub struct WorkQueue<K, C: Clock = SystemClock>(Arc<Shared<K, C>>);

impl<K: Hash + Eq + Clone> WorkQueue<K> {
    /// A queue of at most `capacity` live keys, with the defaults of the [builder](Self::builder).
    ///
    /// # Errors
    /// [`QueueError::ZeroCapacity`].
    pub fn new(capacity: usize) -> Result<Self, QueueError> {
        Self::builder(capacity).build()
    }

    /// To set a backoff, a clock or an observer.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{ExponentialBackoff, WorkQueue};
    ///
    /// let backoff = ExponentialBackoff::new(Duration::from_millis(1), Duration::from_secs(30));
    /// let queue = WorkQueue::<u64>::builder(100).backoff(backoff).build()?;
    /// assert_eq!(queue.stats().capacity, 100);
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn builder(capacity: usize) -> QueueBuilder<K> {
        QueueBuilder::new(capacity)
    }
}

impl<K: Hash + Eq + Clone, C: Clock> WorkQueue<K, C> {
    /// Adds a key, if it is live already or there is room for it.
    ///
    /// # Errors
    /// [`AddError`], which gives the key back.
    ///
    /// ```
    /// use tollgate::{AddError, WorkQueue};
    ///
    /// let queue = WorkQueue::new(1)?;
    /// assert!(queue.try_add("a").is_ok());
    /// assert!(queue.try_add("a").is_ok()); // live: needs no room
    /// assert_eq!(queue.try_add("b"), Err(AddError::Full("b")));
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn try_add(&self, key: K) -> Result<(), AddError<K>> {
        self.0.add(key, None)
    }

    /// As [`try_add`](Self::try_add), but the key is not handed out before `delay` has passed.
    ///
    /// A key that is delayed already keeps the earlier time; one that is ready, or dirty, stays so.
    /// A delay of zero is `try_add`; no delay is too long.
    ///
    /// # Errors
    /// [`AddError`], which gives the key back.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{ManualClock, WorkQueue};
    ///
    /// let clock = ManualClock::new();
    /// let queue = WorkQueue::<&str>::builder(8).clock(clock.clone()).build()?;
    /// queue.try_add_after("later", Duration::from_secs(1)).unwrap();
    /// assert!(queue.try_get().is_none());
    /// clock.advance(Duration::from_secs(1));
    /// assert_eq!(*queue.try_get().unwrap(), "later");
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn try_add_after(&self, key: K, delay: Duration) -> Result<(), AddError<K>> {
        self.0.add(key, Some(delay))
    }

    /// Takes the key that has been ready longest, if there is one.
    ///
    /// ```
    /// let queue = tollgate::WorkQueue::<&str>::new(8)?;
    /// assert!(queue.try_get().is_none());
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn try_get(&self) -> Option<Work<K, C>> {
        self.0.try_start()
    }

    /// Takes back what was added: a waiting key becomes absent, a running one will not run again.
    /// `true` if there was anything to take back.
    ///
    /// ```
    /// let queue = tollgate::WorkQueue::new(8)?;
    /// queue.try_add(String::from("key")).unwrap();
    /// assert!(queue.remove("key"));
    /// assert!(!queue.remove("key"));
    /// assert!(queue.try_get().is_none());
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn remove<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let hash = self.0.hash(key);
        let removed = self.0.with_state(|state| state.machine.remove(hash, key));
        removed.is_some()
    }
}

impl<K: Hash + Eq + Clone, C: Timer> WorkQueue<K, C> {
    /// Adds a key, and waits for room if it is not live and the queue is full. First come, first
    /// served.
    ///
    /// # Errors
    /// [`AddError::Closed`], which gives the key back.
    ///
    /// # Cancel safety
    /// Dropping the future before it is ready adds nothing, and the key is dropped with it.
    ///
    /// ```
    /// use tollgate::WorkQueue;
    ///
    /// let queue = WorkQueue::new(8)?;
    /// queue.add("key").wait().unwrap(); // `queue.add("key").await` in a task
    /// assert_eq!(queue.stats().ready, 1);
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn add(&self, key: K) -> Wait<'_, Add<'_, K, C>, C> {
        Wait::new(&self.0.clock, Add::new(&self.0, key, None))
    }

    /// As [`add`](Self::add), but the key is not handed out before `delay` has passed, counted from
    /// when there is room.
    ///
    /// # Errors
    /// [`AddError::Closed`], which gives the key back.
    ///
    /// # Cancel safety
    /// As [`add`](Self::add).
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let queue = tollgate::WorkQueue::new(8)?;
    /// queue.add_after("key", Duration::MAX).wait().unwrap();
    /// assert_eq!(queue.stats().delayed, 1);
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn add_after(&self, key: K, delay: Duration) -> Wait<'_, Add<'_, K, C>, C> {
        Wait::new(&self.0.clock, Add::new(&self.0, key, Some(delay)))
    }

    /// Waits for a key to work on; `None` once the queue is closed and nothing is ready. First
    /// come, first served.
    ///
    /// One of the waiting consumers sleeps until the next delayed key is due; there is no timer
    /// thread of the queue.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing: if it had been woken for a key, another consumer is woken
    /// instead.
    ///
    /// ```
    /// let queue = tollgate::WorkQueue::new(8)?;
    /// queue.try_add("last").unwrap();
    /// queue.close();
    /// while let Some(work) = queue.get().wait() { // `queue.get().await` in a task
    ///     assert_eq!(*work, "last");
    ///     work.done();
    /// }
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn get(&self) -> Wait<'_, Get<'_, K, C>, C> {
        Wait::new(&self.0.clock, Get::new(&self.0))
    }

    /// The operation of [`get`](Self::get), to be part of another.
    pub(crate) fn getter(&self) -> Get<'_, K, C> {
        Get::new(&self.0)
    }
}

impl<K, C: Timer> WorkQueue<K, C> {
    /// Closes the queue and waits until nothing is ready and nothing is being processed, or until
    /// `timeout` has passed.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the queue closed; the next call reports what this one would have.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let queue = tollgate::WorkQueue::new(8)?;
    /// queue.try_add("ready").unwrap();
    /// queue.try_add_after("delayed", Duration::from_secs(60)).unwrap();
    ///
    /// let drained = queue.drain(Duration::ZERO).wait(); // nobody works
    /// assert!(!drained.complete());
    /// assert_eq!((drained.ready, drained.processing), (1, 0));
    /// assert_eq!(drained.returned, ["delayed"]);
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn drain(&self, timeout: Duration) -> Wait<'_, Drain<'_, K, C>, C> {
        Wait::new(&self.0.clock, Drain::new(&self.0, timeout))
    }
}

impl<K, C: Clock> WorkQueue<K, C> {
    pub(crate) fn clock(&self) -> &C {
        &self.0.clock
    }

    /// Lets no key in any more, and returns those that were delayed. What is ready is still handed
    /// out; a key whose worker wants it again later is left for the next call of this,
    /// [`drain`](Self::drain) or
    /// [`shutdown_now`](Self::shutdown_now). Closing twice is no error.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{AddError, WorkQueue};
    ///
    /// let queue = WorkQueue::new(8)?;
    /// queue.try_add_after("delayed", Duration::from_secs(60)).unwrap();
    /// assert_eq!(queue.close(), ["delayed"]);
    /// assert_eq!(queue.close(), [""; 0]);
    /// assert_eq!(queue.try_add("late"), Err(AddError::Closed("late")));
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn close(&self) -> Vec<K> {
        self.0.with_state(|state| {
            state.machine.close();
            state.machine.take_left()
        })
    }

    /// Closes the queue and returns every key that was not handed out, ready or delayed.
    ///
    /// ```
    /// let queue = tollgate::WorkQueue::new(8)?;
    /// queue.try_add("ready").unwrap();
    /// assert_eq!(queue.shutdown_now(), ["ready"]);
    /// assert!(queue.get().wait().is_none());
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn shutdown_now(&self) -> Vec<K> {
        self.0.with_state(|state| {
            state.machine.shut_down();
            state.machine.take_left()
        })
    }

    /// Whether the queue was closed.
    ///
    /// ```
    /// let queue = tollgate::WorkQueue::<u8>::new(8)?;
    /// assert!(!queue.is_closed());
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn is_closed(&self) -> bool {
        self.0.state.lock().machine.is_closed()
    }

    /// The numbers of this moment, all of the same moment.
    ///
    /// ```
    /// let queue = tollgate::WorkQueue::new(8)?;
    /// queue.try_add("key").unwrap();
    /// let _work = queue.try_get().unwrap();
    /// let stats = queue.stats();
    /// assert_eq!((stats.ready, stats.delayed, stats.processing, stats.capacity), (0, 0, 1, 8));
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn stats(&self) -> Stats {
        let now = self.0.clock.now();
        let state = self.0.state.lock();
        let machine = &state.machine;
        Stats {
            ready: machine.ready_len(),
            delayed: machine.delayed_len(),
            processing: machine.processing_len(),
            capacity: machine.capacity(),
            longest_running: machine.longest_running(now),
            unfinished: machine.unfinished(now),
        }
    }
}

/// What is in a [`WorkQueue`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Keys that wait for a worker. Those that are due, but that nobody has asked for yet, count as
    /// delayed.
    pub ready: usize,
    /// Keys that wait for their time.
    pub delayed: usize,
    /// Keys that a worker holds.
    pub processing: usize,
    /// The most keys that can be live.
    pub capacity: usize,
    /// For how long the worker that began first has held its key.
    pub longest_running: Duration,
    /// For how long all workers together have held the keys that they hold.
    pub unfinished: Duration,
}

impl<K, C: Clock> Clone for WorkQueue<K, C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K, C: Clock> fmt::Debug for WorkQueue<K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the lock: `Debug` never blocks.
        f.debug_struct("WorkQueue").finish_non_exhaustive()
    }
}
