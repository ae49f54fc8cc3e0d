use std::fmt;
use std::sync::Arc;
use std::vec;

use crate::clock::{Clock, SystemClock, Timestamp};
use crate::queue::core::hash::FastHash;
use crate::queue::core::keys::KeyRef;
use crate::queue::core::run::{Run, Started};
use crate::queue::core::waiting::state::State;
use crate::queue::ops::work::Work;
use crate::queue::shell::shared::Shared;

/// Several keys that are being worked on, by nobody else.
///
/// Say that all are [`done`](Self::done), or iterate over them to end each in its own way. Dropping
/// it, by a panic, a `?` or a cancelled future, is a [`retry`](Work::retry) of each.
///
/// ```
/// use tollgate::{AddOptions, WorkQueue};
///
/// let queue = WorkQueue::new(8)?;
/// assert!(queue.try_add_batch(["a", "b"], AddOptions::new()).is_empty());
/// for work in queue.try_get_batch(32).unwrap() {
///     match *work {
///         "a" => work.done(),
///         _ => work.requeue(),
///     }
/// }
/// assert_eq!(queue.stats().ready, 1);
/// # Ok::<(), tollgate::QueueError>(())
/// ```
#[must_use = "dropping it is a retry of each"]
pub struct Batch<K, C: Clock = SystemClock, S = FastHash> {
    shared: Arc<Shared<K, C, S>>,
    keys: Vec<KeyRef<K>>,
    /// The run of each key. As one, 32 of both are more than a thousand bytes, at which the
    /// allocator of glibc puts together all that it has kept.
    runs: Vec<Run>,
}

impl<K, C: Clock, S> Batch<K, C, S> {
    pub(crate) fn new(shared: &Arc<Shared<K, C, S>>) -> Self {
        Self {
            shared: Arc::clone(shared),
            keys: Vec::new(),
            runs: Vec::new(),
        }
    }

    /// Starts up to `max` keys, for a consumer that `waits` if there is none.
    pub(crate) fn fill(
        &mut self,
        state: &mut State<K>,
        now: Timestamp,
        max: usize,
        waits: bool,
    ) -> Option<()> {
        state.machine.advance(now);
        // Before anything is started: it may fail.
        let most = max.min(state.machine.ready_len());
        self.keys.reserve(most);
        self.runs.reserve(most);
        while self.keys.len() < max
            && let Some(Started { key, run }) = state.start(now, waits && self.keys.is_empty())
        {
            self.keys.push(key);
            self.runs.push(run);
        }
        (!self.keys.is_empty()).then_some(())
    }

    /// Itself, and the observer knows of it; `None` if there is no key.
    pub(crate) fn handed_out(self) -> Option<Self> {
        if self.keys.is_empty() {
            return None;
        }
        self.shared.observe(|observer| {
            for run in &self.runs {
                observer.started(run.queued());
            }
        });
        Some(self)
    }

    /// How many keys there are; at least one.
    ///
    /// ```
    /// let queue = tollgate::WorkQueue::new(8)?;
    /// queue.try_add("key").unwrap();
    /// assert_eq!(queue.try_get_batch(2).unwrap().len(), 1);
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    #[expect(clippy::len_without_is_empty, reason = "it never is")]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// The keys.
    ///
    /// ```
    /// let queue = tollgate::WorkQueue::new(8)?;
    /// queue.try_add("key").unwrap();
    /// assert!(queue.try_get_batch(2).unwrap().keys().eq([&"key"]));
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &K> {
        self.keys.iter().map(|key| &**key)
    }

    /// The work on all of them is done, as by [`Work::done`], under one lock.
    ///
    /// ```
    /// let queue = tollgate::WorkQueue::new(8)?;
    /// queue.try_add("key").unwrap();
    /// queue.try_get_batch(2).unwrap().done();
    /// assert_eq!(queue.stats().processing, 0);
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn done(mut self) {
        let now = self.shared.clock.now();
        let keys = std::mem::take(&mut self.keys);
        // Dropped outside the lock, where nothing is allocated either.
        let mut forgotten = Vec::with_capacity(keys.len());
        self.shared.with_state(|state| {
            let done = |key| state.machine.finish_as_done(key, now);
            forgotten.extend(keys.into_iter().map(done));
        });
        for run in &self.runs {
            self.shared.observe_finish(run.started, now, |_| {});
        }
    }
}

/// Each as a [`Work`] of its own.
impl<K, C: Clock, S> IntoIterator for Batch<K, C, S> {
    type Item = Work<K, C, S>;
    type IntoIter = BatchIter<K, C, S>;

    fn into_iter(mut self) -> Self::IntoIter {
        self.take()
    }
}

impl<K, C: Clock, S> Batch<K, C, S> {
    /// What has not ended.
    fn take(&mut self) -> BatchIter<K, C, S> {
        BatchIter {
            shared: Arc::clone(&self.shared),
            keys: std::mem::take(&mut self.keys).into_iter(),
            runs: std::mem::take(&mut self.runs).into_iter(),
        }
    }
}

impl<K, C: Clock, S> Drop for Batch<K, C, S> {
    fn drop(&mut self) {
        if !self.keys.is_empty() {
            drop(self.take());
        }
    }
}

/// Hands the keys of a [`Batch`] out one by one. Dropping it is a retry of the rest.
///
/// ```
/// let queue = tollgate::WorkQueue::new(8)?;
/// queue.try_add("key").unwrap();
/// let mut batch = queue.try_get_batch(2).unwrap().into_iter();
/// batch.next().unwrap().done();
/// assert!(batch.next().is_none());
/// # Ok::<(), tollgate::QueueError>(())
/// ```
pub struct BatchIter<K, C: Clock, S> {
    shared: Arc<Shared<K, C, S>>,
    keys: vec::IntoIter<KeyRef<K>>,
    runs: vec::IntoIter<Run>,
}

impl<K, C: Clock, S> Iterator for BatchIter<K, C, S> {
    type Item = Work<K, C, S>;

    fn next(&mut self) -> Option<Self::Item> {
        let (key, run) = self.keys.next().zip(self.runs.next())?;
        Some(Work::new(Arc::clone(&self.shared), Started { key, run }))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.keys.size_hint()
    }
}

impl<K, C: Clock, S> ExactSizeIterator for BatchIter<K, C, S> {}

impl<K, C: Clock, S> Drop for BatchIter<K, C, S> {
    fn drop(&mut self) {
        // A vector drops the rest too when the caller's backoff or observer panics at one.
        drop(self.collect::<Vec<_>>());
    }
}

impl<K: fmt::Debug, C: Clock, S> fmt::Debug for Batch<K, C, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys()).finish()
    }
}

impl<K: fmt::Debug, C: Clock, S> fmt::Debug for BatchIter<K, C, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.keys.as_slice().iter();
        f.debug_list().entries(keys.map(|key| &**key)).finish()
    }
}
