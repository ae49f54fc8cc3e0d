use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use super::machine::{Failures, Outcome, Started};
use super::shared::Shared;
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::list::Index;

/// A key that is being worked on, by nobody else. It dereferences to the key.
///
/// Say how it ended by consuming it. Dropping it, by a panic, a `?` or a cancelled future, is a
/// [`retry`](Self::retry): a lost worker never loses work. None of this can fail, block for room,
/// or allocate, whatever has become of the queue meanwhile.
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
pub struct Work<K, C: Clock = SystemClock> {
    shared: Arc<Shared<K, C>>,
    index: Index,
    key: K,
    queued: Duration,
    started: Timestamp,
    failures: Failures,
    /// The queue's backoff has been asked: if it panicked, it is not asked again.
    asked: bool,
    finished: bool,
}

impl<K, C: Clock> Work<K, C> {
    pub(super) fn new(shared: Arc<Shared<K, C>>, started: Started<K>, now: Timestamp) -> Self {
        let Started {
            index,
            key,
            queued,
            failures,
        } = started;
        Self {
            shared,
            index,
            key,
            queued,
            started: now,
            failures,
            asked: false,
            finished: false,
        }
    }

    /// The work is done. The key is absent from now on, unless it was added meanwhile; its failures
    /// are forgotten.
    ///
    /// ```
    /// let queue = tollgate::WorkQueue::new(8)?;
    /// queue.try_add("key").unwrap();
    /// queue.try_get().unwrap().done();
    /// assert_eq!(queue.stats().ready + queue.stats().processing, 0);
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn done(mut self) {
        self.finish(|_, _| Outcome::Done);
    }

    /// Once more, behind the keys that are ready; its failures are forgotten.
    ///
    /// ```
    /// let queue = tollgate::WorkQueue::new(8)?;
    /// queue.try_add("key").unwrap();
    /// queue.try_get().unwrap().requeue();
    /// assert_eq!(queue.stats().ready, 1);
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn requeue(mut self) {
        self.finish(|_, _| Outcome::Requeue);
    }

    /// Once more, after `delay` or when it is added, whichever is first; its failures are
    /// forgotten.
    pub fn requeue_after(mut self, delay: Duration) {
        self.finish(|_, now| Outcome::after(delay, now));
    }

    /// It failed: once more, when the queue's [`Backoff`](crate::Backoff) is over or when it is
    /// added.
    ///
    /// ```
    /// let queue = tollgate::WorkQueue::new(8)?;
    /// queue.try_add("key").unwrap();
    /// queue.try_get().unwrap().retry();
    /// assert_eq!(queue.stats().delayed, 1);
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn retry(mut self) {
        self.finish(Self::failed);
    }

    /// It failed for good: do not retry. The key is absent from now on, unless it was added
    /// meanwhile.
    ///
    /// ```
    /// let queue = tollgate::WorkQueue::new(8)?;
    /// queue.try_add("key").unwrap();
    /// queue.try_get().unwrap().fail();
    /// assert_eq!(queue.stats().delayed, 0);
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn fail(self) {
        self.done();
    }

    /// How often in a row the key has failed before this run; events that came before a backoff was
    /// over do not count.
    ///
    /// ```
    /// let queue = tollgate::WorkQueue::new(8)?;
    /// queue.try_add("key").unwrap();
    /// assert_eq!(queue.try_get().unwrap().failures(), 0);
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub const fn failures(&self) -> u32 {
        self.failures.count
    }

    /// For how long the key was ready before it was handed out.
    pub const fn queued(&self) -> Duration {
        self.queued
    }

    /// Whether the key was added while this ran: it will run once more, whatever the outcome.
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
        self.shared.state.lock().machine.is_dirty(self.index)
    }

    fn failed(&mut self, now: Timestamp) -> Outcome {
        let panicked = std::mem::replace(&mut self.asked, true);
        Outcome::Retry(
            self.shared
                .failed(self.failures, self.started, now, panicked),
        )
    }

    fn finish(&mut self, outcome: impl FnOnce(&mut Self, Timestamp) -> Outcome) {
        let now = self.shared.clock.now();
        let outcome = outcome(self, now);
        self.finished = true;
        self.shared.finish(self.index, outcome, self.started, now);
    }
}

impl<K, C: Clock> Deref for Work<K, C> {
    type Target = K;

    fn deref(&self) -> &K {
        &self.key
    }
}

impl<K, C: Clock> Drop for Work<K, C> {
    fn drop(&mut self) {
        if !self.finished {
            self.finish(Self::failed);
        }
    }
}

impl<K: fmt::Debug, C: Clock> fmt::Debug for Work<K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Work")
            .field("key", &self.key)
            .field("failures", &self.failures.count)
            .finish_non_exhaustive()
    }
}
