use std::fmt;
use std::sync::Arc;
use std::task::Waker;

use crate::clock::{Clock, SystemClock, Timestamp};
use crate::queue::core::hash::FastHash;
use crate::queue::core::waiting::queue_state::QueueState;
use crate::queue::ops::batch::Batch;
use crate::queue::ops::work::Work;
use crate::queue::ops::work_queue::WorkQueue;
use crate::queue::shell::shared::Shared;
use crate::wait::{Progress, Step, Wait, WaitId};

impl<K, C: Clock, S> WorkQueue<K, C, S> {
    /// Takes the key whose turn it is. `None` if nothing is ready, the queue is
    /// [paused](Self::pause), or its [rate limit](crate::queue::QueueBuilder::rate_limit) has no token now.
    ///
    /// ```
    /// let queue = tollgate::WorkQueue::<&str>::new(8)?;
    /// assert!(queue.try_get().is_none());
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    #[expect(
        clippy::inline_always,
        reason = "what it returns is read in other widths than it is written: waited for, in memory"
    )]
    #[inline(always)]
    pub fn try_get(&self) -> Option<Work<K, C, S>> {
        try_get(&self.0, self.0.clock.now())
    }

    /// Takes up to `max` keys at once, under one lock. `None` as from [`try_get`](Self::try_get), and
    /// if `max` is 0.
    ///
    /// ```
    /// let queue = tollgate::WorkQueue::new(8)?;
    /// assert!(queue.try_add_batch([1, 2, 3], tollgate::AddOptions::new()).is_empty());
    /// let batch = queue.try_get_batch(2).unwrap();
    /// assert_eq!(batch.keys().collect::<Vec<_>>(), [&1, &2]);
    /// batch.done();
    /// assert_eq!(queue.stats().ready, 1);
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn try_get_batch(&self, max: usize) -> Option<Batch<K, C, S>> {
        let now = self.0.clock.now();
        let mut batch = Batch::new(&self.0);
        self.0
            .with_state(|state| batch.fill(state, now, max, false));
        batch.handed_out()
    }
}

/// Takes the key whose turn it is, if there is one, and if so tells the observer.
#[expect(
    clippy::inline_always,
    reason = "what it returns is read in other widths than it is written: waited for, in memory"
)]
#[inline(always)]
fn try_get<K, C: Clock, S>(shared: &Arc<Shared<K, C, S>>, now: Timestamp) -> Option<Work<K, C, S>> {
    let mut change = shared.change();
    let Some(started) = change.state().start(now, false) else {
        let limiter_closed = change.state().take_limiter_closed();
        change.end();
        if limiter_closed {
            shared.observe(|observer| observer.limiter_closed());
        }
        return None;
    };
    if change.state().is_quiet() && !shared.is_observed() {
        change.end();
        return Some(Work::new(Arc::clone(shared), started));
    }
    let work = Work::new(Arc::clone(shared), started);
    change.end();
    work.announce();
    Some(work)
}

impl<K, C: Clock, S> WorkQueue<K, C, S> {
    /// Waits for a key to work on. `None` once the queue is closed, nothing is ready, and nothing
    /// that is being processed can come back. First come, first served; but a newcomer may take the
    /// key for which another was woken, before that one has looked. It keeps its place in line.
    ///
    /// One of the waiting consumers sleeps until the next delayed key is due; there is no timer
    /// thread of the queue. After [`close`](Self::close) it waits as long as another worker holds a
    /// key; so whoever holds one himself should finish it first, or use
    /// [`try_get`](Self::try_get).
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing: if it had been woken for a key, another consumer is woken
    /// instead.
    ///
    /// ```
    /// let queue = tollgate::WorkQueue::new(8)?;
    /// queue.try_add("last").unwrap();
    /// drop(queue.close());
    /// while let Some(work) = queue.get().wait() { // `queue.get().await` in a task
    ///     assert_eq!(*work, "last");
    ///     work.done();
    /// }
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn get(&self) -> Wait<Get<'_, K, C, S>> {
        Wait::new(self.getter())
    }

    /// The operation of [`get`](Self::get), to be part of another.
    pub(crate) fn getter(&self) -> Get<'_, K, C, S> {
        Get(Line::new(&self.0))
    }

    /// As [`get`](Self::get), but takes up to `max` keys at once, under one lock; 0 counts as 1.
    ///
    /// # Cancel safety
    /// As [`get`](Self::get).
    ///
    /// ```
    /// let queue = tollgate::WorkQueue::new(8)?;
    /// queue.try_add("key").unwrap();
    /// let batch = queue.get_batch(32).wait().expect("the queue is open"); // does not wait for 32
    /// assert_eq!(batch.len(), 1);
    /// batch.done();
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn get_batch(&self, max: usize) -> Wait<GetBatch<'_, K, C, S>> {
        let (line, max) = (Line::new(&self.0), max.max(1));
        Wait::new(GetBatch { line, max })
    }
}

/// A consumer's place in line.
struct Line<'a, K, C, S> {
    shared: &'a Arc<Shared<K, C, S>>,
    place: Option<WaitId>,
}

impl<'a, K, C, S> Line<'a, K, C, S> {
    const fn new(shared: &'a Arc<Shared<K, C, S>>) -> Self {
        let place = None;
        Self { shared, place }
    }

    /// Takes what there is, waits in line for more, or finds that no more will come.
    fn step<T>(
        &mut self,
        now: Timestamp,
        waker: &Waker,
        take: impl FnOnce(&mut QueueState<K>) -> Option<T>,
    ) -> Progress<Option<T>> {
        let (mut stale, mut limiter_closed) = (None, false);
        let shared = self.shared;
        let progress = shared.with_state(|state| {
            let taken = if state.may_take(self.place, now) {
                take(state)
            } else {
                None
            };
            limiter_closed = state.take_limiter_closed();
            if taken.is_some() || state.machine.is_over() {
                stale = self.leave(state);
                return Progress::Done(taken);
            }
            let look;
            (look, stale) = state.wait(&mut self.place, waker);
            Progress::Waiting(look)
        });
        // Without the lock, and before what was taken is returned: then it would not be dropped any
        // more, should this panic.
        drop(stale);
        if limiter_closed {
            shared.observe(|observer| observer.limiter_closed());
        }
        progress
    }

    /// Leaves the line.
    fn leave(&mut self, state: &mut QueueState<K>) -> Option<Waker> {
        let place = self.place.take()?;
        state.leave(place)
    }
}

impl<K, C, S> Drop for Line<'_, K, C, S> {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            drop(self.shared.with_state(|state| state.cancel(place)));
        }
    }
}

/// The operation of [`WorkQueue::get`].
///
/// ```
/// use tollgate::queue::Get;
/// use tollgate::{Wait, WorkQueue};
///
/// struct Consumer<'a> {
///     next: Wait<Get<'a, u64>>,
/// }
///
/// let queue = WorkQueue::new(8)?;
/// let consumer = Consumer { next: queue.get() };
/// queue.try_add(7).unwrap();
/// assert_eq!(*consumer.next.wait().unwrap(), 7);
/// # Ok::<(), tollgate::QueueError>(())
/// ```
pub struct Get<'a, K, C = SystemClock, S = FastHash>(Line<'a, K, C, S>);

impl<K, C: Clock, S> Get<'_, K, C, S> {
    /// A step that leaves it to the caller to tell the observer.
    pub(crate) fn step_unannounced(
        &mut self,
        now: Timestamp,
        waker: &Waker,
    ) -> Progress<Option<Work<K, C, S>>> {
        let shared = self.0.shared;
        self.0.step(now, waker, |state| {
            let started = state.start(now, true)?;
            Some(Work::new(Arc::clone(shared), started))
        })
    }
}

impl<K, C: Clock, S> Step for Get<'_, K, C, S> {
    type Output = Option<Work<K, C, S>>;

    fn clock(&self) -> &dyn Clock {
        &self.0.shared.clock
    }

    #[inline]
    fn now(&self) -> Timestamp {
        self.0.shared.clock.now()
    }

    fn step(&mut self, now: Timestamp, waker: &Waker) -> Progress<Self::Output> {
        let got = self.step_unannounced(now, waker);
        if let Progress::Done(Some(work)) = &got {
            work.announce();
        }
        got
    }

    #[inline]
    fn at_once(&mut self, now: Timestamp) -> Option<Self::Output> {
        match self.0.place {
            None => try_get(self.0.shared, now).map(Some),
            Some(_) => None,
        }
    }
}

/// The operation of [`WorkQueue::get_batch`].
///
/// ```
/// use tollgate::queue::GetBatch;
/// use tollgate::{AddOptions, Wait, WorkQueue};
///
/// /// For the caller to `.await`, or to `.wait()` for.
/// type Two<'a> = Wait<GetBatch<'a, u64>>;
///
/// fn two(queue: &WorkQueue<u64>) -> Two<'_> {
///     queue.get_batch(2)
/// }
///
/// let queue = WorkQueue::new(8)?;
/// assert!(queue.try_add_batch(0..3, AddOptions::new()).is_empty());
/// assert_eq!(two(&queue).wait().unwrap().len(), 2);
/// # Ok::<(), tollgate::QueueError>(())
/// ```
pub struct GetBatch<'a, K, C = SystemClock, S = FastHash> {
    line: Line<'a, K, C, S>,
    max: usize,
}

impl<K, C: Clock, S> Step for GetBatch<'_, K, C, S> {
    type Output = Option<Batch<K, C, S>>;

    fn clock(&self) -> &dyn Clock {
        &self.line.shared.clock
    }

    fn step(&mut self, now: Timestamp, waker: &Waker) -> Progress<Self::Output> {
        let (shared, max) = (self.line.shared, self.max);
        let mut batch = Batch::new(shared);
        let filled = self
            .line
            .step(now, waker, |state| batch.fill(state, now, max, true));
        filled.map(|_| batch.handed_out())
    }
}

impl<K, C, S> fmt::Debug for Get<'_, K, C, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Get")
            .field("in_line", &self.0.place.is_some())
            .finish_non_exhaustive()
    }
}

impl<K, C, S> fmt::Debug for GetBatch<'_, K, C, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GetBatch")
            .field("in_line", &self.line.place.is_some())
            .field("max", &self.max)
            .finish_non_exhaustive()
    }
}
