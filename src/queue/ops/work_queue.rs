use std::borrow::Borrow;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use crate::clock::{Clock, SystemClock};
use crate::queue::core::hash::FastHash;
use crate::queue::core::machine::remove::Removed;
use crate::queue::shell::shared::Shared;

/// A bounded queue of keys to be worked on, each at most once at a time.
///
/// A key is *live* from the moment it is added until a worker is done with it. Adding a live key
/// again does not queue it twice: whoever adds while it waits shares its next run, and whoever adds
/// while it runs makes it run once more.
///
/// # States
/// A key that is being processed may have been given a delay meanwhile, which begins to count at
/// once and matters when it is finished; *dirty* is to be run again without one.
///
/// | event | Absent | Delayed | Ready | Processing | Processing, delayed | Processing, dirty |
/// |---|---|---|---|---|---|---|
/// | [`add`](Self::add) | Ready, if there is room | Ready | – | dirty | dirty | – |
/// | [`add_after`](Self::add_after) | Delayed, if there is room | the earlier ¹ | – | delayed | the earlier ¹ | – |
/// | its time comes | | Ready | | | – | |
/// | [`get`](Self::get) | | | Processing | | | |
/// | [`Work::done`], [`Work::fail`] | | | | Absent | Delayed, or Ready if due | Ready |
/// | [`Work::requeue`] | | | | Ready | Ready | Ready |
/// | [`Work::requeue_after`], [`Work::defer`] | | | | Delayed | Delayed, the earlier | Ready |
/// | [`Work::retry`], [`Work::retry_after`], or dropping the [`Work`] | | | | Delayed by the backoff ² | Delayed, the earlier | Ready |
/// | [`remove`](Self::remove) | – | Absent | Absent | – | not delayed | not dirty |
/// | [`close`](Self::close), [`drain`](Self::drain) | – | Absent, returned | – | – | returned when finished | – |
/// | [`shutdown_now`](Self::shutdown_now) | – | Absent, returned | Absent, returned | what would not be Absent is returned when finished | | |
///
/// ¹ Or as [`Merge`] says. ² Or Absent, and given to the caller, after the last of the
/// [attempts](QueueBuilder::max_attempts).
///
/// A queue that [debounces](QueueBuilder::debounce) has every `add` wait for a quiet time first. Where a
/// [backoff is held](QueueBuilder::hold_backoff), no add and no other wish makes a failed key Ready
/// before that is over.
///
/// With a [shortest interval](QueueBuilder::min_interval), or where keys that were given up are
/// [remembered](QueueBuilder::remember_given_up), a key without work may be *at rest*: it is remembered,
/// counts in no bound, and gives way to a new key.
///
/// # Bound
/// At most `capacity` keys are live. Only a new key can meet the bound: adding a live key again (to a
/// queue that is not closed), and whatever a worker does with the key it holds, never fails or blocks,
/// nor allocates but in the cases that [`Work`] names. What happens
/// to a new key then is up to who adds it:
///
/// | method | a new key and no room |
/// |---|---|
/// | [`try_add`](Self::try_add) | comes back |
/// | [`add`](Self::add), [`add_timeout`](Self::add_timeout) | waits, as a thread or a task |
/// | [`try_add_or_resync`](Self::try_add_or_resync) | comes back, and [`resync`](Self::resync) fires when there is room |
/// | [`Work::add_related`], by a worker | may use the [reserve](QueueBuilder::reserve); never waits |
///
/// # Order
/// Ready keys are handed out by [`Priority`] and, within one, in the order in which they became
/// ready; keys due in the same millisecond in the order in which they were added. A key has the
/// highest priority that it was added with while it is live; one that is promoted while it is ready
/// goes to the end of the line of its new priority.
///
/// No priority starves: of every 16 keys that are handed out while one of another priority waits,
/// one is that of the priority that was passed over longest. So the first in line of any priority
/// is handed out after at most 16 others for each other priority that has keys, whatever is added
/// meanwhile.
///
/// A delayed key is never early; delays are rounded up to a millisecond, and none is too long.
///
/// # Keys
/// A key is moved into the queue and never copied: who works on it reads it there. Two threads may
/// read one at the same time, so a queue that is shared between threads is one of keys that are
/// `Send` and `Sync`.
///
/// # Memory ordering
/// Every operation takes the queue's lock. What a thread did before it added a key is visible to
/// the worker that gets it; what a worker did before it finished a key is visible to whoever gets
/// the key next.
///
/// # Panics
/// Only the caller's own code can: if a key's `Hash`, `Eq` or `Drop`, a [`Backoff`], an [`Observer`],
/// a [`RateLimiter`](crate::RateLimiter) or a [`Clock`] panics, nothing is lost and nobody waits in
/// vain; but what would have been returned to the caller goes with the panic. `Eq`, the limiter, and
/// the `Clone` of a [snapshot](Self::snapshot) run under the lock, before anything has changed for
/// the key; keys are dropped outside it. What waits panics as its clock does, and as any future may
/// that is polled after its end.
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
///
/// [`Backoff`]: crate::Backoff
/// [`Observer`]: crate::Observer
pub struct WorkQueue<K, C = SystemClock, S = FastHash>(pub(crate) Arc<Shared<K, C, S>>);

impl<K: Eq, C: Clock, S: BuildHasher> WorkQueue<K, C, S> {
    /// Takes back what was added: a waiting key becomes absent. Of a key that is being processed only
    /// the adds made meanwhile are taken back; its worker may still [requeue](Work::requeue) or
    /// [retry](Work::retry) it.
    ///
    /// `true` if there was anything to take back; so `false` for a running key that was not added
    /// meanwhile.
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
        matches!(removed, Some(Removed::Waiting(_) | Removed::NextRun(_)))
    }
}

impl<K, C, S> WorkQueue<K, C, S> {
    pub(crate) fn clock(&self) -> &C {
        &self.0.clock
    }
}

impl<K, C, S> Clone for WorkQueue<K, C, S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K, C, S> fmt::Debug for WorkQueue<K, C, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the lock: `Debug` never blocks.
        f.debug_struct("WorkQueue").finish_non_exhaustive()
    }
}
