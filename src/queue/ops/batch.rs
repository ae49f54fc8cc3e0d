//! Several keys that one worker takes under one lock.

use std::fmt;
use std::mem;
use std::sync::Arc;

use crate::clock::{Clock, SystemClock, Timestamp};
use crate::queue::core::hash::FastHash;
use crate::queue::core::keys::KeyRef;
use crate::queue::core::run::Run;
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
pub struct Batch<K, C: Clock = SystemClock, S = FastHash> {
    shared: Arc<Shared<K, C, S>>,
    keys: Vec<KeyRef<K>>,
    /// The run of each key. In an allocation of its own: one of both would be a large request, for
    /// which glibc's allocator consolidates its free lists.
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
        let (keys, runs) = (&mut self.keys, &mut self.runs);
        keys.reserve(most);
        runs.reserve(most);
        while keys.len() < max
            && let Some((key, run)) = state.start(now, waits && keys.is_empty())
        {
            keys.push(key);
            runs.push(run);
        }
        (!keys.is_empty()).then_some(())
    }

    /// Tells the observer of each run and returns the batch, or `None` if it is empty. Called
    /// without the lock.
    pub(crate) fn observe_starts(self) -> Option<Self> {
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

    fn take_all(&mut self) -> Vec<Work<K, C, S>> {
        let keys = mem::take(&mut self.keys).into_iter();
        let work = |(key, &run)| Work::new(Arc::clone(&self.shared), (key, run));
        keys.zip(&self.runs).map(work).collect()
    }

    /// Returns the number of keys, which is at least one.
    #[expect(clippy::len_without_is_empty, reason = "a batch is never empty")]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Returns the keys, in the order in which they were handed out.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &K> {
        self.keys.iter().map(|key| &**key)
    }

    /// Ends all runs as [`Work::done`], under one lock.
    pub fn done(mut self) {
        let now = self.shared.clock.now();
        let keys = mem::take(&mut self.keys);
        // Allocated before the lock is taken, and the keys are dropped after it is released.
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

/// Turns each key into a [`Work`] of its own. Dropping the iterator [retries](Work::retry) the keys
/// that are left.
impl<K, C: Clock, S> IntoIterator for Batch<K, C, S> {
    type Item = Work<K, C, S>;
    type IntoIter = std::vec::IntoIter<Work<K, C, S>>;

    fn into_iter(mut self) -> Self::IntoIter {
        self.take_all().into_iter()
    }
}

impl<K, C: Clock, S> Drop for Batch<K, C, S> {
    fn drop(&mut self) {
        // In a vector: if the caller's backoff or observer panics at one key, the vector still
        // drops the rest, which releases their keys.
        drop(self.take_all());
    }
}

impl<K: fmt::Debug, C: Clock, S> fmt::Debug for Batch<K, C, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys()).finish()
    }
}
