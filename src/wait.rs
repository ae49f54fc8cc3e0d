//! Waiting: each operation that waits is a state machine ([`Step`]), driven by a task (`.await`) or
//! by a thread (`.wait()`) through [`Wait`].

mod blocking;
mod list;

use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

pub(crate) use list::{Left, Order, WaitId, WaitList};

use crate::clock::{Clock, Sleep, Timestamp};
use crate::sync::{AtomicU64, Ordering, thread};
use crate::wake::thread_waker;

/// The state of an operation after a step.
#[derive(Debug)]
pub enum Progress<T> {
    /// The operation has ended.
    Done(T),
    /// The waker is registered. Step again when it is woken or, if an instant is given, at that
    /// instant.
    Waiting(Option<Timestamp>),
}

impl<T> Progress<T> {
    /// Converts the output.
    pub(crate) fn map<U>(self, f: impl FnOnce(T) -> U) -> Progress<U> {
        match self {
            Self::Done(output) => Progress::Done(f(output)),
            Self::Waiting(until) => Progress::Waiting(until),
        }
    }
}

/// An operation that waits, as a state machine without a thread or a runtime.
///
/// Dropping it cancels the operation. Every wait of this crate is a [`Wait`] around such a step, so
/// generic code takes `Wait<S>` with `S: Step`. Implement it only to drive steps in a simulation or
/// a runtime of your own.
///
/// ```
/// use std::task::Waker;
/// use tollgate::{Progress, Step};
/// use tollgate::{Clock, ManualClock, Timestamp};
///
/// struct Sleep(Timestamp, ManualClock);
///
/// impl Step for Sleep {
///     type Output = ();
///
///     fn clock(&self) -> &dyn Clock {
///         &self.1
///     }
///
///     fn step(&mut self, now: Timestamp, _: &Waker) -> Progress<()> {
///         if now < self.0 { Progress::Waiting(Some(self.0)) } else { Progress::Done(()) }
///     }
/// }
///
/// let noon = Timestamp::from_nanos(43_200_000_000_000);
/// let mut sleep = Sleep(noon, ManualClock::new());
/// let waiting = sleep.step(Timestamp::ZERO, Waker::noop());
/// assert!(matches!(waiting, Progress::Waiting(Some(until)) if until == noon));
/// assert!(matches!(sleep.step(noon, Waker::noop()), Progress::Done(())));
/// ```
pub trait Step {
    /// The output of the operation.
    type Output;

    /// Returns the clock by which the operation waits.
    fn clock(&self) -> &dyn Clock;

    /// Reads that clock.
    #[inline]
    fn now(&self) -> Timestamp {
        self.clock().now()
    }

    /// Advances as far as possible without waiting.
    ///
    /// `now` is a reading of [`clock`](Self::clock). If the operation has to wait it registers
    /// `waker`, in place of an earlier one.
    fn step(&mut self, now: Timestamp, waker: &Waker) -> Progress<Self::Output>;

    /// Tries to finish on a shorter path that registers no waker. [`Wait`] calls it before the
    /// first step of each poll. `None`, the default's answer: continue with [`step`](Self::step).
    #[inline]
    fn at_once(&mut self, _now: Timestamp) -> Option<Self::Output> {
        None
    }
}

/// An operation that waits: `.await` it in a task, or call [`wait`](Self::wait) on a thread.
///
/// Nothing happens before the first poll. Tasks need no particular runtime; threads need no timer
/// thread.
///
/// # Cancel safety
/// Dropping it at any moment cancels the operation. Tokens that it holds go back as far as no later
/// taker has built on them, a key that it was handed goes to another consumer, and a wake-up that
/// it received is passed on.
///
/// ```
/// use tollgate::WorkQueue;
///
/// let queue = WorkQueue::new(8)?;
/// queue.add("key").wait()?; // on a thread; `queue.add("key").await?` in a task
/// let work = queue.get().wait().expect("the queue is open");
/// assert_eq!(*work, "key");
/// work.done();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "nothing happens until it is awaited or waited for"]
pub struct Wait<S> {
    step: S,
    sleep: Option<(Timestamp, Sleep)>,
}

/// The error of [`Wait::wait_timeout`]: the time is over, and the operation is cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedOut;

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("timed out")
    }
}

impl std::error::Error for TimedOut {}

// Nothing is structurally pinned: steps are called by `&mut`.
impl<S> Unpin for Wait<S> {}

impl<S: Step> Wait<S> {
    pub(crate) fn new(step: S) -> Self {
        Self { step, sleep: None }
    }

    /// Blocks the calling thread until the operation ends.
    ///
    /// Do not call it in a task: it blocks the runtime's thread.
    ///
    /// # Panics
    /// With the feature `tokio`: if the operation has to wait and the thread drives a tokio
    /// runtime. The task that would end the operation may need that thread. Call it in
    /// `tokio::task::spawn_blocking` or `block_in_place` instead.
    #[inline]
    #[track_caller]
    pub fn wait(mut self) -> S::Output {
        if let Some(output) = self.step.at_once(self.step.now()) {
            return output;
        }
        self.block(None).expect("only a deadline ends it early")
    }

    /// Blocks the calling thread until the operation ends or `timeout` has passed.
    ///
    /// A `timeout` of zero never blocks: it makes one attempt.
    ///
    /// # Errors
    /// [`TimedOut`]: the operation is cancelled as if it had been dropped. A key that was to be
    /// added is dropped with it ([`add_timeout`](crate::WorkQueue::add_timeout) gives it back), and
    /// a queue that was to be drained stays closed.
    ///
    /// # Panics
    /// As [`wait`](Self::wait), unless `timeout` is zero.
    #[track_caller]
    pub fn wait_timeout(mut self, timeout: Duration) -> Result<S::Output, TimedOut> {
        let now = self.step.now();
        if let Some(output) = self.step.at_once(now) {
            return Ok(output);
        }
        let deadline = now.saturating_add(timeout);
        self.block(Some(deadline)).ok_or(TimedOut)
    }

    #[track_caller]
    fn block(&mut self, deadline: Option<Timestamp>) -> Option<S::Output> {
        let waker = thread_waker();
        let mut may_block = false;
        loop {
            let now = self.step.now();
            let wake_at = match self.step.step(now, &waker) {
                Progress::Done(output) => return Some(output),
                Progress::Waiting(wake_at) => wake_at,
            };
            // Checked after the step: also with a timeout of zero the operation is tried once.
            if deadline.is_some_and(|deadline| deadline <= now) {
                return None;
            }
            if !may_block {
                blocking::assert_may_block();
                may_block = true;
            }
            // The waker unparks this thread: a wake-up since the step makes the park return at
            // once.
            self.step
                .clock()
                .park_until(wake_at.into_iter().chain(deadline).min());
        }
    }

    /// Polls from the first step on.
    fn poll_step(&mut self, mut now: Timestamp, cx: &mut Context<'_>) -> Poll<S::Output> {
        loop {
            let at = match self.step.step(now, cx.waker()) {
                Progress::Done(output) => return Poll::Ready(output),
                Progress::Waiting(at) => at,
            };
            let Some(at) = at else {
                // Only the waker can end this wait: disarm the timer of an earlier step.
                self.sleep = None;
                return Poll::Pending;
            };
            // An unchanged instant keeps its timer.
            let kept = self.sleep.take().filter(|(armed, _)| *armed == at);
            let armed = kept.unwrap_or_else(|| (at, self.step.clock().sleep_until(at)));
            let (_, sleep) = self.sleep.insert(armed);
            // Registers the waker with the timer; ready if the instant has passed meanwhile, so
            // step again.
            if Pin::new(sleep).poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.sleep = None;
            now = self.step.now();
        }
    }
}

impl<S: Step> Future for Wait<S> {
    type Output = S::Output;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<S::Output> {
        let this = &mut *self;
        let now = this.step.now();
        match this.step.at_once(now) {
            Some(output) => Poll::Ready(output),
            None => this.poll_step(now, cx),
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for Wait<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wait")
            .field("step", &self.step)
            .field("until", &self.sleep.as_ref().map(|(at, _)| at))
            .finish_non_exhaustive()
    }
}

/// Unparks a thread and sets a flag. The flag is needed because a future that parks its thread can
/// consume the park token of a wake-up that was meant for `block_on`.
struct Notify {
    thread: thread::Thread,
    woken: AtomicU64,
}

impl Wake for Notify {
    fn wake(self: Arc<Self>) {
        // Release pairs with the Acquire in `block_on`: the poll sees what was done before the
        // wake-up. Stored before the unpark, or `block_on` could park again without a token and
        // lose the wake-up.
        self.woken.store(1, Ordering::Release);
        self.thread.unpark();
    }
}

/// Drives a future on the calling thread.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let notify = Arc::new(Notify {
        thread: thread::current(),
        woken: AtomicU64::new(0),
    });
    let waker = Waker::from(Arc::clone(&notify));
    let mut cx = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        // Acquire pairs with the Release in `wake`. The exchange takes the flag, so a wake-up
        // during the poll causes one more poll; a park that returns without the flag is spurious.
        while notify
            .woken
            .compare_exchange(1, 0, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
        {
            thread::park();
        }
    }
}
