//! Several keys that one worker takes under one lock.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use crate::clock::{Clock, SystemClock, Timestamp};
use crate::queue::core::hash::FastHash;
use crate::queue::core::keys::KeyRef;
use crate::queue::core::run::{Run, Started};
use crate::queue::core::waiting::queue_state::QueueState;
use crate::queue::ops::work::Work;
use crate::queue::shell::shared::Shared;

/// Several keys in process, held by one worker.
///
/// End all with [`done`](Self::done), or iterate to end each in its own way. Dropping a batch (a
/// panic, a `?`, a cancelled future) [retries](Work::retry) each key, as dropping a [`Work`] does.
///
/// When to use it: runs so short that the queue's lock is a large part of their cost. A key waits
/// for its turn within the batch while other workers may be idle.
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
/// assert_eq!(queue.len(), 1);
/// # Ok::<(), tollgate::QueueError>(())
/// ```
#[must_use = "dropping a batch retries its keys"]
pub struct Batch<K, C: Clock = SystemClock, S = FastHash>(BatchIter<K, C, S>);

impl<K, C: Clock, S> Batch<K, C, S> {
    pub(crate) fn new(shared: &Arc<Shared<K, C, S>>) -> Self {
        Self(BatchIter {
            shared: Arc::clone(shared),
            keys: VecDeque::new(),
            runs: VecDeque::new(),
        })
    }

    /// Starts up to `max` keys, or returns `None` if no key may start. `waits`: the consumer waits
    /// then, and the queue takes its place in the limiter's line.
    pub(crate) fn fill(
        &mut self,
        state: &mut QueueState<K>,
        now: Timestamp,
        max: usize,
        waits: bool,
    ) -> Option<()> {
        state.machine.advance(now);
        // Allocated before a key is started: a key that is borrowed must not be lost to a failure.
        let most = max.min(state.machine.ready.len());
        let BatchIter { keys, runs, .. } = &mut self.0;
        keys.reserve(most);
        runs.reserve(most);
        while keys.len() < max
            && let Some(Started { key, run }) = state.start(now, waits && keys.is_empty())
        {
            keys.push_back(key);
            runs.push_back(run);
        }
        (!keys.is_empty()).then_some(())
    }

    /// Tells the observer of each run and returns the batch, or `None` if it is empty. Called
    /// without the lock.
    pub(crate) fn observe_starts(self) -> Option<Self> {
        if self.0.keys.is_empty() {
            return None;
        }
        self.0.shared.observe(|observer| {
            for run in &self.0.runs {
                observer.started(run.queued());
            }
        });
        Some(self)
    }

    /// Returns the number of keys, which is at least one.
    #[expect(clippy::len_without_is_empty, reason = "a batch is never empty")]
    pub fn len(&self) -> usize {
        self.0.keys.len()
    }

    /// Returns the keys, in the order in which they were handed out.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &K> {
        self.0.keys.iter().map(|key| &**key)
    }

    /// Ends all runs as [`Work::done`], under one lock.
    pub fn done(mut self) {
        let now = self.0.shared.clock.now();
        let keys = std::mem::take(&mut self.0.keys);
        // Allocated before the lock is taken, and the keys are dropped after it is released.
        let mut forgotten = Vec::with_capacity(keys.len());
        self.0.shared.with_state(|state| {
            let done = |key| state.machine.finish_as_done(key, now);
            forgotten.extend(keys.into_iter().map(done));
        });
        for run in &self.0.runs {
            self.0.shared.observe_finish(run.started, now, |_| {});
        }
    }
}

/// Turns each key into a [`Work`] of its own.
impl<K, C: Clock, S> IntoIterator for Batch<K, C, S> {
    type Item = Work<K, C, S>;
    type IntoIter = BatchIter<K, C, S>;

    fn into_iter(self) -> Self::IntoIter {
        self.0
    }
}

/// The iterator over a [`Batch`]. Dropping it [retries](Work::retry) the keys that are left.
pub struct BatchIter<K, C: Clock, S> {
    shared: Arc<Shared<K, C, S>>,
    keys: VecDeque<KeyRef<K>>,
    /// The run of each key. In an allocation of its own: one of both would be a large request, for
    /// which glibc's allocator consolidates its free lists.
    runs: VecDeque<Run>,
}

impl<K, C: Clock, S> Iterator for BatchIter<K, C, S> {
    type Item = Work<K, C, S>;

    fn next(&mut self) -> Option<Self::Item> {
        let (key, run) = self.keys.pop_front().zip(self.runs.pop_front())?;
        Some(Work::new(Arc::clone(&self.shared), Started { key, run }))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.keys.len(), Some(self.keys.len()))
    }
}

impl<K, C: Clock, S> ExactSizeIterator for BatchIter<K, C, S> {}

impl<K, C: Clock, S> Drop for BatchIter<K, C, S> {
    fn drop(&mut self) {
        // In a vector: if the caller's backoff or observer panics at one key, the vector still
        // drops the rest, which releases their keys.
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
        let keys = self.keys.iter();
        f.debug_list().entries(keys.map(|key| &**key)).finish()
    }
}
