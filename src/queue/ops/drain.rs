//! The end of a queue: closing, draining and shutting down; and pausing, which is none.

use std::fmt;
use std::task::Waker;
use std::time::Duration;

use crate::clock::{Clock, SystemClock, Timestamp};
use crate::list::NIL;
use crate::queue::core::hash::FastHash;
use crate::queue::core::waiting::queue_state::{Event, QueueState};
use crate::queue::ops::event_wait::EventWait;
use crate::queue::ops::work_queue::WorkQueue;
use crate::queue::shell::shared::Shared;
use crate::unwind::Panics;
use crate::wait::{Progress, Step, Wait};

impl<K, C: Clock, S> WorkQueue<K, C, S> {
    /// Closes the queue to adds, and returns the delayed keys.
    ///
    /// Ready keys are still handed out, and so is a key in process that its worker requeues or
    /// that is dirty. A key that its worker wants again after a delay is returned by the next call
    /// of `close`, [`drain`](Self::drain) or [`shutdown_now`](Self::shutdown_now). Closing twice is
    /// no error.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{AddError, WorkQueue};
    ///
    /// let queue = WorkQueue::new(8)?;
    /// queue.try_add_after("delayed", Duration::from_secs(60)).unwrap();
    /// assert_eq!(queue.close().returned, ["delayed"]);
    /// assert_eq!(queue.try_add("late"), Err(AddError::Closed("late")));
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn close(&self) -> Drained<K> {
        let now = self.0.clock.now();
        self.end(|state| state.close(now))
    }

    /// Closes the queue and returns every key that is ready or delayed: none is handed out any
    /// more.
    ///
    /// Waiting consumers end. A key in process that its worker wants again is returned by the next
    /// call.
    pub fn shutdown_now(&self) -> Drained<K> {
        self.end(|state| state.machine.shut_down())
    }

    fn end(&self, end: impl FnOnce(&mut QueueState<K>)) -> Drained<K> {
        self.0.with_state(end);
        Drained::take(&self.0)
    }

    /// Returns true if the queue is closed.
    pub fn is_closed(&self) -> bool {
        self.0.state.lock().machine.is_closed()
    }

    /// Stops handing out keys until [`resume`](Self::resume).
    ///
    /// Adds go on, and workers finish the keys that they hold. A [`drain`](Self::drain) of a paused
    /// queue with ready keys ends at its timeout.
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

    /// Hands out keys again. No effect unless the queue is [paused](Self::pause).
    pub fn resume(&self) {
        // A panic of the clock continues once the queue is resumed: consumers must be woken.
        let mut panics = Panics::default();
        let now = panics.catch(|| self.0.clock.now());
        self.0.with_state(|state| {
            // First the time: a woken consumer counts as late from this instant on, not from the
            // last change before the pause.
            if let Some(now) = now {
                state.pass_time(now);
            }
            state.set_paused(false);
        });
    }

    /// Returns true if the queue is [paused](Self::pause).
    pub fn is_paused(&self) -> bool {
        self.0.state.lock().paused
    }

    /// Closes the queue and waits until no key is ready or in process, for at most `timeout`.
    ///
    /// The queue closes, and the timeout starts, at the first poll or the call of `wait`. The
    /// consumers must go on: `drain` hands no key to a worker itself.
    ///
    /// # Cancel safety
    /// Dropping the future after its first poll leaves the queue closed. No key is lost: the next
    /// call of `drain`, [`close`](Self::close) or [`shutdown_now`](Self::shutdown_now) returns what
    /// this one would have.
    pub fn drain(&self, timeout: Duration) -> Wait<Drain<'_, K, C, S>> {
        let step = Drain {
            wait: EventWait::new(&self.0, Event::Idle, NIL),
            timeout,
            deadline: None,
        };
        Wait::new(step)
    }
}

/// What a queue held when it was closed, drained or shut down, and the keys that it returned.
///
/// ```
/// use std::time::Duration;
///
/// let queue = tollgate::WorkQueue::new(8)?;
/// queue.try_add("ready").unwrap();
/// queue.try_add_after("later", Duration::from_secs(60)).unwrap();
/// let drained = queue.drain(Duration::ZERO).wait(); // no worker: the timeout ends it
/// assert!(!drained.complete());
/// assert_eq!((drained.ready, drained.processing), (1, 0));
/// assert_eq!(drained.returned, ["later"]);
/// # Ok::<(), tollgate::QueueError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "it holds the keys that no worker will get"]
#[non_exhaustive]
pub struct Drained<K> {
    /// The keys that no worker will get, each returned once: keys that were delayed, keys that a
    /// worker wanted again after a delay, keys behind a closed limiter; and the ready keys of a
    /// queue that was shut down.
    pub returned: Vec<K>,
    /// The number of keys that are still ready.
    pub ready: usize,
    /// The number of keys that are still in process.
    pub processing: usize,
}

impl<K> Drained<K> {
    /// Takes the keys that a closed queue returns.
    ///
    /// Locks without waking a waiter: a waker that panics would lose the keys. Called after the
    /// change that returned them; should that panic, they stay for the next call.
    fn take<C, S>(shared: &Shared<K, C, S>) -> Self {
        let machine = &mut shared.state.lock().machine;
        Self {
            returned: std::mem::take(&mut machine.returned),
            ready: machine.ready.len(),
            processing: machine.processing_len as usize,
        }
    }

    /// Returns true if no key was ready or in process any more.
    pub const fn complete(&self) -> bool {
        self.ready == 0 && self.processing == 0
    }
}

/// The operation of [`WorkQueue::drain`], named so that a caller can store or return it.
pub struct Drain<'a, K, C = SystemClock, S = FastHash> {
    wait: EventWait<'a, K, C, S>,
    timeout: Duration,
    /// Set by the first step.
    deadline: Option<Timestamp>,
}

impl<K, C: Clock, S> Step for Drain<'_, K, C, S> {
    type Output = Drained<K>;

    fn clock(&self) -> &dyn Clock {
        &self.wait.shared.clock
    }

    fn step(&mut self, now: Timestamp, waker: &Waker) -> Progress<Drained<K>> {
        let deadline = *self
            .deadline
            .get_or_insert_with(|| now.saturating_add(self.timeout));
        let ended = self.wait.step(waker, Some(deadline), |state| {
            state.close(now);
            (now >= deadline || state.machine.is_idle()).then_some(())
        });
        // Taken last: should the destructor of the waiter's waker panic in the step, the next call
        // still returns the keys.
        ended.map(|()| Drained::take(self.wait.shared))
    }
}

impl<K, C, S> fmt::Debug for Drain<'_, K, C, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain")
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}
