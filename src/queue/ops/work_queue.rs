//! [`WorkQueue`]: the handle of a queue, and what a queue promises.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use crate::clock::{Clock, SystemClock};
use crate::queue::core::hash::FastHash;
use crate::queue::shell::shared::Shared;

/// A bounded queue of keys that coalesces adds and hands each key to one worker at a time.
///
/// The queue is level-triggered: a run says that something about its key may have changed, not
/// what. A key is *live* from its add until a worker is done with it. Adds of a live key coalesce:
/// adds while it waits share its next run, and adds while it runs cause one more run.
///
/// A `WorkQueue` is a handle, and its clones are handles to the same queue.
///
/// Not a fit: queues in which every message matters (use a channel); keys that must survive the
/// process.
///
/// ```
/// use tollgate::WorkQueue;
///
/// let queue = WorkQueue::new(1_000)?;
/// queue.try_add("apple").unwrap();
/// queue.try_add("pear").unwrap();
/// queue.try_add("apple").unwrap(); // coalesced: one run serves both adds
///
/// let work = queue.try_get().unwrap();
/// assert_eq!(*work, "apple");
/// queue.try_add("apple").unwrap(); // dirty: it has changed during its run
/// work.done(); // ready again, behind the pear
///
/// assert_eq!(*queue.try_get().unwrap(), "pear");
/// # Ok::<(), tollgate::QueueError>(())
/// ```
///
/// # States
/// A key in *Processing* may have a delay for its next run, which counts from the add and takes
/// effect when the run ends. If it is *dirty*, it runs again without a delay. A dash: no effect.
///
/// | event | Absent | Delayed | Ready | Processing | Processing, delayed | Processing, dirty |
/// |---|---|---|---|---|---|---|
/// | [`add`](Self::add) | Ready, if there is room | Ready | – | dirty | dirty | – |
/// | [`add_after`](Self::add_after) | Delayed, if there is room | earlier delay ¹ | – | delayed | earlier delay ¹ | – |
/// | the delay is over | | Ready | | | – | |
/// | [`get`](Self::get) | | | Processing | | | |
/// | [`Work::done`], [`Work::fail`] | | | | Absent | Delayed, or Ready if due | Ready |
/// | [`Work::requeue`] | | | | Ready | Ready | Ready |
/// | [`Work::requeue_after`], [`Work::defer`] | | | | Delayed | Delayed, earlier delay | Ready |
/// | [`Work::retry`], [`Work::retry_after`], dropping the [`Work`] | | | | Delayed by the backoff ² | Delayed, earlier delay | Ready |
/// | [`remove`](Self::remove) | – | Absent | Absent | – | not delayed | not dirty |
/// | [`close`](Self::close), [`drain`](Self::drain) | – | Absent, returned | – | – | returned when the run ends | – |
/// | [`shutdown_now`](Self::shutdown_now) | – | Absent, returned | Absent, returned | returned when the run ends, unless Absent then | as before | as before |
///
/// ¹ Or as [`Merge`] says. ² Or Absent, and returned to the worker, after the last of the
/// [attempts](crate::queue::QueueBuilder::max_attempts).
///
/// Options change some of these transitions. With [`debounce`] an `add` first waits for a quiet
/// time. With [`hold_backoff`] a failed key is not Ready before its backoff is over. With
/// [`min_interval`] or [`remember_given_up`] a key without pending work may *rest* instead of being
/// Absent: the queue remembers it until it is forgotten or gives way to a new key.
///
/// # Bound
/// At most `capacity` keys are live; resting keys do not count. Only the add of a new key can meet
/// the bound. In an open queue, neither adding a live key nor ending a run fails or waits. Neither
/// allocates, but for the purposes that [`Work`] names.
///
/// | method | a new key, and no room |
/// |---|---|
/// | [`try_add`](Self::try_add), [`try_add_batch`](Self::try_add_batch) | returns the key |
/// | [`add`](Self::add), [`add_timeout`](Self::add_timeout) | waits, as a thread or a task |
/// | [`try_add_or_resync`](Self::try_add_or_resync) | returns the key; [`resync`](Self::resync) fires once there is room |
/// | [`Work::add_related`], called by a worker | uses the [reserve](crate::queue::QueueBuilder::reserve), or returns the key; never waits |
///
/// # Order
/// Ready keys are handed out by [`Priority`] and, within a priority, in the order in which they
/// became ready. Keys due in the same millisecond keep the order of their adds. A live key has the
/// highest priority of its adds; a ready key that is promoted goes to the tail of its new priority.
///
/// No priority starves: unless [`aging`] is changed, of every 16 hand-outs that pass over a lower
/// priority, one goes to the priority that was passed over longest. So the first key of any
/// priority is handed out after at most 16 others for each other priority that has keys, whatever
/// is added meanwhile.
///
/// A delayed key is never early. Delays are rounded up to a millisecond, and long delays saturate.
///
/// # Keys
/// A key is moved into the queue and never copied, unless an option says so; a worker reads it
/// there. Two threads may read one key at once, so threads can share a queue if its keys are `Send`
/// and `Sync`.
///
/// # Memory ordering
/// Every operation takes the queue's lock. What a thread did before it added a key *happens before*
/// the run that this add causes or joins; what a worker did before it ended a run happens before the
/// key's next run.
///
/// # Panics
/// Only the caller's code panics: a key's `Hash`, `Eq` or `Drop`, a [`Backoff`], an [`Observer`], a
/// [`RateLimiter`] or a [`Clock`]. The panic reaches the caller of the operation. No key in the
/// queue is lost and no waiter misses its wake-up, but the value that the operation would have
/// returned is lost with the panic. `Eq`, the limiter, and the `Clone` of a
/// [snapshot](Self::snapshot) run under the lock, before the key's state has changed; keys are
/// dropped without the lock. A wait also panics if it is polled after its end.
///
/// [`Backoff`]: crate::Backoff
/// [`Merge`]: crate::Merge
/// [`Observer`]: crate::Observer
/// [`Priority`]: crate::Priority
/// [`RateLimiter`]: crate::RateLimiter
/// [`aging`]: crate::queue::QueueBuilder::aging
/// [`debounce`]: crate::queue::QueueBuilder::debounce
/// [`hold_backoff`]: crate::queue::QueueBuilder::hold_backoff
/// [`min_interval`]: crate::queue::QueueBuilder::min_interval
/// [`remember_given_up`]: crate::queue::QueueBuilder::remember_given_up
/// [`Work`]: crate::Work
/// [`Work::add_related`]: crate::Work::add_related
/// [`Work::defer`]: crate::Work::defer
/// [`Work::done`]: crate::Work::done
/// [`Work::fail`]: crate::Work::fail
/// [`Work::requeue`]: crate::Work::requeue
/// [`Work::requeue_after`]: crate::Work::requeue_after
/// [`Work::retry`]: crate::Work::retry
/// [`Work::retry_after`]: crate::Work::retry_after
pub struct WorkQueue<K, C = SystemClock, S = FastHash>(pub(crate) Arc<Shared<K, C, S>>);

impl<K: Eq, C: Clock, S: BuildHasher> WorkQueue<K, C, S> {
    /// Removes a key that waits, or takes back the adds of a key in process; returns true if there
    /// were any.
    ///
    /// A key that is ready or delayed becomes absent. A key in process stays with its worker, which
    /// may still [requeue](crate::Work::requeue) or [retry](crate::Work::retry) it; only the adds
    /// during its run are taken back. A resting key is forgotten, which returns false.
    ///
    /// ```
    /// let queue = tollgate::WorkQueue::new(8)?;
    /// queue.try_add(String::from("key")).unwrap();
    /// assert!(queue.remove("key")); // by a borrowed form, as in a `HashMap`
    /// assert!(queue.is_empty());
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn remove<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let hash = self.0.hash(key);
        // The key that was removed is dropped here, after the lock is released.
        self.0.with_state(|state| state.machine.remove(hash, key)).0
    }
}

impl<K, C, S> Clone for WorkQueue<K, C, S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K, C, S> fmt::Debug for WorkQueue<K, C, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `Debug` must not block, so it reads nothing under the lock.
        f.debug_struct("WorkQueue").finish_non_exhaustive()
    }
}
