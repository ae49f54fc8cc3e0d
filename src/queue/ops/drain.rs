use std::fmt;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use crate::clock::{Clock, SystemClock, Timestamp};
use crate::queue::core::hash::FastHash;
use crate::queue::core::waiting::queue_state::QueueState;
use crate::queue::ops::work_queue::WorkQueue;
use crate::queue::shell::shared::Shared;
use crate::unwind::Panics;
use crate::wait::{Progress, Step, Wait, WaitId};

impl<K, C: Clock, S> WorkQueue<K, C, S> {
    /// Lets no key in any more, and hands back those that were delayed. What is ready is still handed
    /// out, also what a worker makes ready once more; a key whose worker wants it again later is
    /// left for the next call of this, [`drain`](Self::drain) or
    /// [`shutdown_now`](Self::shutdown_now). Closing twice is no error.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{AddError, WorkQueue};
    ///
    /// let queue = WorkQueue::new(8)?;
    /// queue.try_add_after("delayed", Duration::from_secs(60)).unwrap();
    /// assert_eq!(queue.close().returned, ["delayed"]);
    /// assert_eq!(queue.close().returned, [""; 0]);
    /// assert_eq!(queue.try_add("late"), Err(AddError::Closed("late")));
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn close(&self) -> Drained<K> {
        let now = self.0.clock.now();
        self.hand_back(|state| state.close(now))
    }

    /// Closes the queue and hands back every key that was not handed out, ready or delayed. Consumers
    /// end; what is being processed is left for the next call, should its worker want it again.
    ///
    /// ```
    /// let queue = tollgate::WorkQueue::new(8)?;
    /// queue.try_add("ready").unwrap();
    /// assert_eq!(queue.shutdown_now().returned, ["ready"]);
    /// assert!(queue.get().wait().is_none());
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn shutdown_now(&self) -> Drained<K> {
        self.hand_back(|state| state.machine.shut_down())
    }

    fn hand_back(&self, end: impl FnOnce(&mut QueueState<K>)) -> Drained<K> {
        let counts = self.0.with_state(|state| {
            end(state);
            state.counts()
        });
        Drained::new(counts, self.0.take_returned())
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

    /// Hands out nothing until [`resume`](Self::resume). Keys come in, and workers end with those
    /// that they hold; a drain waits, at most for its timeout.
    ///
    /// ```
    /// let queue = tollgate::WorkQueue::new(8)?;
    /// queue.try_add("key").unwrap();
    /// queue.pause();
    /// assert!(queue.try_get().is_none() && queue.is_paused());
    /// queue.resume();
    /// assert!(queue.try_get().is_some());
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn pause(&self) {
        self.0.with_state(|state| state.set_paused(true));
    }

    /// Hands out keys again.
    ///
    /// ```
    /// let queue = tollgate::WorkQueue::<u8>::new(8)?;
    /// queue.resume(); // it was not paused: nothing changes
    /// assert!(!queue.is_paused());
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn resume(&self) {
        // Goes on once the queue has.
        let mut panics = Panics::default();
        let now = panics.catch(|| self.0.clock.now());
        self.0.with_state(|state| {
            // Since when keys are kept for the consumers that are woken now.
            if let Some(now) = now {
                state.pass_time(now);
            }
            state.set_paused(false);
        });
    }

    /// Whether the queue is [paused](Self::pause).
    ///
    /// ```
    /// let queue = tollgate::WorkQueue::<u8>::new(8)?;
    /// queue.pause();
    /// assert!(queue.is_paused());
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn is_paused(&self) -> bool {
        self.0.state.lock().is_paused()
    }
}

impl<K, C: Clock, S> WorkQueue<K, C, S> {
    /// Closes the queue and waits until nothing is ready and nothing is being processed, or until
    /// `timeout` has passed. Both begin when this is waited for or first polled.
    ///
    /// # Cancel safety
    /// Dropping the future once it was polled leaves the queue closed; the next call reports what
    /// this one would have.
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
    pub fn drain(&self, timeout: Duration) -> Wait<Drain<'_, K, C, S>> {
        let step = Drain {
            shared: &self.0,
            timeout,
            deadline: None,
            place: None,
        };
        Wait::new(step)
    }
}

/// What a queue held when it was closed, drained or shut down, and the keys that it handed back.
///
/// ```
/// use std::time::Duration;
///
/// let queue = tollgate::WorkQueue::new(8)?;
/// for key in ["held", "ready"] {
///     queue.try_add(key).unwrap();
/// }
/// queue.try_add_after("later", Duration::from_secs(60)).unwrap();
/// let work = queue.try_get().unwrap();
/// let drained = queue.drain(Duration::ZERO).wait();
/// assert_eq!((drained.processing, drained.ready, drained.returned), (1, 1, vec!["later"]));
/// work.requeue_after(Duration::from_secs(60));
/// queue.try_get().unwrap().done();
/// let drained = queue.drain(Duration::ZERO).wait();
/// assert_eq!((drained.complete(), drained.returned), (true, vec!["held"]));
/// # Ok::<(), tollgate::QueueError>(())
/// ```
///
/// It cannot be ignored without a warning:
/// ```compile_fail
/// #![deny(unused_must_use)]
/// let queue = tollgate::WorkQueue::<u8>::new(8).unwrap();
/// queue.close();
/// ```
/// ```
/// #![deny(unused_must_use)]
/// let queue = tollgate::WorkQueue::<u8>::new(8).unwrap();
/// let _ = queue.close();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "it holds the keys that no worker will get"]
#[non_exhaustive]
pub struct Drained<K> {
    /// Keys that no worker will get: those that waited for their time, or that a worker wanted again
    /// later; of a shut-down queue, those that were ready too.
    pub returned: Vec<K>,
    /// Keys that are still ready.
    pub ready: usize,
    /// Keys that are still being processed.
    pub processing: usize,
}

impl<K> Drained<K> {
    fn new((ready, processing): (usize, usize), returned: Vec<K>) -> Self {
        Self {
            returned,
            ready,
            processing,
        }
    }

    /// Whether everything that was ready has been worked on.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let queue = tollgate::WorkQueue::<u8>::new(8)?;
    /// assert!(queue.drain(Duration::MAX).wait().complete());
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub const fn complete(&self) -> bool {
        self.ready == 0 && self.processing == 0
    }
}

/// The operation of [`WorkQueue::drain`].
///
/// ```
/// use std::time::Duration;
/// use tollgate::queue::Drain;
/// use tollgate::{Wait, WorkQueue};
///
/// /// For the caller to `.await`, or to `.wait()` for.
/// type Ending<'a> = Wait<Drain<'a, u64>>;
///
/// fn end(queue: &WorkQueue<u64>) -> Ending<'_> {
///     queue.drain(Duration::from_secs(10))
/// }
///
/// let queue = WorkQueue::new(8)?;
/// assert!(end(&queue).wait().complete() && queue.is_closed());
/// # Ok::<(), tollgate::QueueError>(())
/// ```
pub struct Drain<'a, K, C = SystemClock, S = FastHash> {
    shared: &'a Arc<Shared<K, C, S>>,
    timeout: Duration,
    deadline: Option<Timestamp>,
    place: Option<WaitId>,
}

impl<K, C, S> Drain<'_, K, C, S> {
    fn leave(&mut self, state: &mut QueueState<K>) -> Option<Waker> {
        let place = self.place.take()?;
        state.drainers.leave(place).waker
    }
}

impl<K, C: Clock, S> Step for Drain<'_, K, C, S> {
    type Output = Drained<K>;

    fn clock(&self) -> &dyn Clock {
        &self.shared.clock
    }

    fn step(&mut self, now: Timestamp, waker: &Waker) -> Progress<Drained<K>> {
        let deadline = *self
            .deadline
            .get_or_insert_with(|| now.saturating_add(self.timeout));
        let mut stale = None;
        let shared = self.shared;
        let progress = shared.with_state(|state| {
            state.close(now);
            if now < deadline && !state.machine.is_idle() {
                state.awaited = true;
                stale = state.drainers.wait(&mut self.place, waker, ());
                return Progress::Waiting(Some(deadline));
            }
            stale = self.leave(state);
            Progress::Done(state.counts())
        });
        // Without the lock, and before the keys are returned, as in `Line::step`.
        drop(stale);
        progress.map(|counts| Drained::new(counts, shared.take_returned()))
    }
}

impl<K, C, S> Drop for Drain<'_, K, C, S> {
    fn drop(&mut self) {
        if self.place.is_some() {
            let shared = self.shared;
            drop(shared.with_state(|state| self.leave(state)));
        }
    }
}

impl<K, C, S> fmt::Debug for Drain<'_, K, C, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain")
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}
