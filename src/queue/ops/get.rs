//! Taking keys, at once or as a wait; singly or in batches.

use std::fmt;
use std::mem;
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
    /// Takes the key whose turn it is, or returns `None` without waiting.
    ///
    /// `None`: no key is ready, the queue is [paused](Self::pause), or each ready key is held back
    /// by a [rate limit](crate::queue::QueueBuilder::rate_limit) or a bound of its
    /// [group](crate::queue::Groups).
    #[expect(
        clippy::inline_always,
        reason = "returned through memory, it is stored narrowly and loaded widely: no forwarding"
    )]
    #[inline(always)]
    pub fn try_get(&self) -> Option<Work<K, C, S>> {
        try_get(&self.0, self.0.clock.now())
    }

    /// Takes up to `max` keys under one lock, or returns `None` without waiting.
    ///
    /// `None`: as [`try_get`](Self::try_get), and if `max` is 0.
    pub fn try_get_batch(&self, max: usize) -> Option<Batch<K, C, S>> {
        let now = self.0.clock.now();
        let mut batch = Batch::new(&self.0);
        let limiter_closed = self.0.with_state(|state| {
            batch.fill(state, now, max, false);
            mem::take(&mut state.limiter_closed)
        });
        self.0.observe_closed_limiter(limiter_closed);
        batch.observe_starts()
    }

    /// Takes the key whose turn it is, waiting until there is one.
    ///
    /// `None`: the queue is closed, no key is ready, and no key in process can come back. A worker
    /// that holds a key while it waits for another therefore waits for itself after
    /// [`close`](Self::close): finish the key first, or use [`try_get`](Self::try_get).
    ///
    /// Consumers are served first come, first served. A newcomer may barge: it can take the key
    /// for which a consumer was woken before that one looks. The woken consumer keeps its place in
    /// line.
    ///
    /// The queue has no timer thread: one waiting consumer leads, and sleeps until the next delayed
    /// key is due. A task that is not polled holds up the other consumers for at most 5 ms.
    ///
    /// # Cancel safety
    /// Dropping the future loses no key and no wake-up: if it was woken, another consumer is woken
    /// instead.
    ///
    /// # Streams
    /// The standard library has no `Stream`, so the queue implements none. An adapter is one call of
    /// `unfold`:
    ///
    /// ```
    /// use futures_util::StreamExt;
    /// use futures_util::stream::unfold;
    /// use tollgate::{AddOptions, WorkQueue};
    ///
    /// let queue = WorkQueue::new(8)?;
    /// let refused = queue.try_add_batch(["apple", "pear"], AddOptions::new());
    /// assert!(refused.is_empty());
    /// let _ = queue.close(); // the stream ends once all keys are done
    ///
    /// let works = unfold(queue.clone(), |queue| async {
    ///     let work = queue.get().await?;
    ///     Some((work, queue))
    /// });
    /// let all_done = works.for_each_concurrent(4, |work| async move { work.done() });
    /// futures_executor::block_on(all_done);
    /// assert!(queue.is_empty());
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn get(&self) -> Wait<Get<'_, K, C, S>> {
        Wait::new(self.get_step())
    }

    /// Returns the step of [`get`](Self::get), for an operation that contains it.
    pub(crate) fn get_step(&self) -> Get<'_, K, C, S> {
        let (shared, place) = (&self.0, None);
        Get { shared, place }
    }

    /// Takes up to `max` keys under one lock, waiting until there is one.
    ///
    /// Otherwise the same as [`get`](Self::get). It does not wait for `max` keys; a `max` of 0
    /// counts as 1.
    ///
    /// # Cancel safety
    /// As [`get`](Self::get).
    ///
    /// ```
    /// let queue = tollgate::WorkQueue::new(8)?;
    /// queue.try_add("key").unwrap();
    /// let batch = queue.get_batch(32).wait().expect("the queue is open");
    /// assert!(batch.keys().eq([&"key"]));
    /// batch.done();
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn get_batch(&self, max: usize) -> Wait<GetBatch<'_, K, C, S>> {
        let (get, max) = (self.get_step(), max.max(1));
        Wait::new(GetBatch { get, max })
    }
}

/// Takes the key whose turn it is, if there is one, and tells the observer once the lock is
/// released.
#[expect(
    clippy::inline_always,
    reason = "returned through memory, it is stored narrowly and loaded widely: no forwarding"
)]
#[inline(always)]
fn try_get<K, C: Clock, S>(shared: &Arc<Shared<K, C, S>>, now: Timestamp) -> Option<Work<K, C, S>> {
    let mut guard = shared.lock_mut();
    let Some(started) = guard.state().start(now, false) else {
        let limiter_closed = mem::take(&mut guard.state().limiter_closed);
        guard.unlock();
        shared.observe_closed_limiter(limiter_closed);
        return None;
    };
    if guard.state().is_quiet() && shared.observer.is_none() {
        guard.unlock();
        return Some(Work::new(Arc::clone(shared), started));
    }
    // The guard of the key exists before any waker or observer runs: should one panic, dropping
    // `work` releases the key.
    let work = Work::new(Arc::clone(shared), started);
    // The key of one group can start although the limiter of another was found closed.
    let limiter_closed = mem::take(&mut guard.state().limiter_closed);
    guard.unlock();
    shared.observe_closed_limiter(limiter_closed);
    work.observe_start();
    Some(work)
}

/// The operation of [`WorkQueue::get`], named so that a caller can store or return it.
///
/// ```
/// use tollgate::queue::Get;
/// use tollgate::{Wait, WorkQueue};
///
/// struct Worker<'a> {
///     next: Wait<Get<'a, u64>>,
/// }
///
/// let queue = WorkQueue::new(8)?;
/// let worker = Worker { next: queue.get() };
/// queue.try_add(7).unwrap();
/// assert_eq!(*worker.next.wait().unwrap(), 7);
/// # Ok::<(), tollgate::QueueError>(())
/// ```
pub struct Get<'a, K, C = SystemClock, S = FastHash> {
    shared: &'a Arc<Shared<K, C, S>>,
    /// The consumer's place in line; `None` before it waits.
    place: Option<WaitId>,
}

impl<K, C, S> Get<'_, K, C, S> {
    /// Takes with `take`, or joins the line, or ends because no key will come.
    fn take_or_wait<T>(
        &mut self,
        now: Timestamp,
        waker: &Waker,
        take: impl FnOnce(&mut QueueState<K>) -> Option<T>,
    ) -> Progress<Option<T>> {
        let (mut stale, mut limiter_closed) = (None, false);
        let shared = self.shared;
        let progress = shared.with_state(|state| {
            let may_take = state.may_take(self.place, now);
            let taken = may_take.then(|| take(state)).flatten();
            limiter_closed = mem::take(&mut state.limiter_closed);
            if taken.is_some() || state.machine.is_over() {
                let place = self.place.take();
                stale = place.and_then(|place| state.consumers.leave(place, false));
                return Progress::Done(taken);
            }
            let look;
            (look, stale) = state.wait(&mut self.place, waker);
            Progress::Waiting(look)
        });
        // After the lock is released, since a waker's destructor may run any code; and while
        // `progress` still owns the key: should the destructor panic, the key is released.
        drop(stale);
        shared.observe_closed_limiter(limiter_closed);
        progress
    }
}

impl<K, C, S> Drop for Get<'_, K, C, S> {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            let leave = |state: &mut QueueState<K>| state.consumers.leave(place, true);
            drop(self.shared.with_state(leave));
        }
    }
}

impl<K, C: Clock, S> Get<'_, K, C, S> {
    /// Steps without telling the observer: the caller does, with [`Work::observe_start`].
    pub(crate) fn step_unannounced(
        &mut self,
        now: Timestamp,
        waker: &Waker,
    ) -> Progress<Option<Work<K, C, S>>> {
        let shared = self.shared;
        self.take_or_wait(now, waker, |state| {
            let started = state.start(now, true)?;
            Some(Work::new(Arc::clone(shared), started))
        })
    }
}

impl<K, C: Clock, S> Step for Get<'_, K, C, S> {
    type Output = Option<Work<K, C, S>>;

    fn clock(&self) -> &dyn Clock {
        &self.shared.clock
    }

    #[inline]
    fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    fn step(&mut self, now: Timestamp, waker: &Waker) -> Progress<Self::Output> {
        let got = self.step_unannounced(now, waker);
        if let Progress::Done(Some(work)) = &got {
            work.observe_start();
        }
        got
    }

    #[inline]
    fn at_once(&mut self, now: Timestamp) -> Option<Self::Output> {
        match self.place {
            None => try_get(self.shared, now).map(Some),
            Some(_) => None,
        }
    }
}

/// The operation of [`WorkQueue::get_batch`], named so that a caller can store or return it.
pub struct GetBatch<'a, K, C = SystemClock, S = FastHash> {
    get: Get<'a, K, C, S>,
    max: usize,
}

impl<K, C: Clock, S> Step for GetBatch<'_, K, C, S> {
    type Output = Option<Batch<K, C, S>>;

    fn clock(&self) -> &dyn Clock {
        &self.get.shared.clock
    }

    fn step(&mut self, now: Timestamp, waker: &Waker) -> Progress<Self::Output> {
        let (shared, max) = (self.get.shared, self.max);
        let mut batch = Batch::new(shared);
        let filled = self
            .get
            .take_or_wait(now, waker, |state| batch.fill(state, now, max, true));
        filled.map(|_| batch.observe_starts())
    }
}

impl<K, C, S> fmt::Debug for Get<'_, K, C, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Get")
            .field("in_line", &self.place.is_some())
            .finish_non_exhaustive()
    }
}

impl<K, C, S> fmt::Debug for GetBatch<'_, K, C, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GetBatch")
            .field("in_line", &self.get.place.is_some())
            .field("max", &self.max)
            .finish_non_exhaustive()
    }
}
