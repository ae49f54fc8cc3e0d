//! Waiting: one state machine for each operation that waits, driven by a task (`.await`) or by a
//! thread (`.wait()`).

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

/// Where an operation stands after a step.
///
/// ```
/// use std::task::Waker;
/// use tollgate::Timestamp;
/// use tollgate::wait::{Progress, Step};
///
/// /// Runs a step to its end in no time, and says when that would have been.
/// fn simulate<S: Step>(mut step: S) -> (S::Output, Timestamp) {
///     let mut now = Timestamp::ZERO;
///     loop {
///         match step.step(now, Waker::noop()) {
///             Progress::Done(output) => return (output, now),
///             Progress::Waiting(until) => now = until.expect("nobody else would wake it"),
///         }
///     }
/// }
/// # struct Sleep(Timestamp);
/// # impl Step for Sleep {
/// #     type Output = ();
/// #     fn clock(&self) -> &dyn tollgate::Clock { unimplemented!() }
/// #     fn step(&mut self, now: Timestamp, _: &Waker) -> Progress<()> {
/// #         if now < self.0 { Progress::Waiting(Some(self.0)) } else { Progress::Done(()) }
/// #     }
/// # }
///
/// let noon = Timestamp::from_nanos(43_200_000_000_000);
/// assert_eq!(simulate(Sleep(noon)), ((), noon)); // `Sleep` is as at `Step::step`
/// ```
#[derive(Debug)]
pub enum Progress<T> {
    /// It has ended.
    Done(T),
    /// Its waker is registered; step again when woken or, if it names one, at that instant.
    Waiting(Option<Timestamp>),
}

impl<T> Progress<T> {
    /// The same, with another output.
    pub(crate) fn map<U>(self, f: impl FnOnce(T) -> U) -> Progress<U> {
        match self {
            Self::Done(output) => Progress::Done(f(output)),
            Self::Waiting(until) => Progress::Waiting(until),
        }
    }
}

/// An operation that waits, as a state machine without a thread or a runtime. Dropping it cancels
/// the operation.
///
/// ```
/// use std::time::Duration;
/// use tollgate::WorkQueue;
/// use tollgate::wait::{Step, Wait};
///
/// /// Any operation of this crate, or nothing.
/// fn at_once<S: Step>(operation: Wait<S>) -> Option<S::Output> {
///     operation.wait_timeout(Duration::ZERO).ok()
/// }
///
/// let queue = WorkQueue::new(1)?;
/// assert!(at_once(queue.get()).is_none());
/// assert_eq!(at_once(queue.add("first")), Some(Ok(())));
/// assert_eq!(at_once(queue.add("second")), None); // it would wait for room
/// # Ok::<(), tollgate::QueueError>(())
/// ```
pub trait Step {
    /// What the operation ends with.
    type Output;

    /// The clock by which it waits.
    fn clock(&self) -> &dyn Clock;

    /// The time on that clock.
    #[inline]
    fn now(&self) -> Timestamp {
        self.clock().now()
    }

    /// Goes as far as it can without waiting.
    ///
    /// ```
    /// use std::task::Waker;
    /// use tollgate::wait::{Progress, Step};
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
    fn step(&mut self, now: Timestamp, waker: &Waker) -> Progress<Self::Output>;

    /// Ends before its first step, if it need not wait and that shows with less ado. If not, a step
    /// goes on from there. Of itself it never does.
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
/// Dropping it, at any moment, cancels the operation and loses nothing that is others': tokens go
/// back, as far as no later taker has built on them, a key goes to another consumer, a wake-up is
/// passed on.
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

/// [`Wait::wait_timeout`] gave up; the operation was cancelled.
///
/// ```
/// use std::time::Duration;
/// use tollgate::{TimedOut, WorkQueue};
///
/// let queue = WorkQueue::new(1)?;
/// queue.try_add("first").unwrap();
/// assert_eq!(queue.add("second").wait_timeout(Duration::ZERO), Err(TimedOut));
/// assert_eq!(queue.shutdown_now().returned, ["first"]);
/// assert_eq!(TimedOut.to_string(), "timed out");
/// # Ok::<(), tollgate::QueueError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedOut;

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("timed out")
    }
}

impl std::error::Error for TimedOut {}

// Nothing in it is pinned: steps are called by `&mut`.
impl<S> Unpin for Wait<S> {}

impl<S: Step> Wait<S> {
    pub(crate) fn new(step: S) -> Self {
        Self { step, sleep: None }
    }

    /// Blocks the calling thread until the operation ends.
    ///
    /// Do not call it in a task: it would block the runtime's thread.
    ///
    /// # Panics
    /// With the feature `tokio`: if the operation does not end at once and the thread drives a tokio
    /// runtime, which another task may need that would end the operation. `tokio::task::spawn_blocking`
    /// and `block_in_place` give a thread that may block.
    ///
    /// ```
    /// use tollgate::WorkQueue;
    ///
    /// let queue = WorkQueue::new(8)?;
    /// let producer = queue.clone();
    /// let thread = std::thread::spawn(move || producer.add("key").wait());
    /// assert_eq!(*queue.get().wait().unwrap(), "key"); // however long the other thread takes
    /// assert_eq!(thread.join().unwrap(), Ok(()));
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    #[inline]
    #[track_caller]
    pub fn wait(mut self) -> S::Output {
        if let Some(output) = self.step.at_once(self.step.now()) {
            return output;
        }
        match self.block(None) {
            Some(output) => output,
            None => unreachable!("only a deadline ends a wait early"),
        }
    }

    /// Blocks the calling thread until the operation ends or `timeout` has passed.
    ///
    /// # Errors
    /// [`TimedOut`]; the operation is then cancelled, as if it had been dropped. A key that was to be
    /// added is dropped with it ([`add_timeout`](crate::WorkQueue::add_timeout) gives it back), and a
    /// queue that was to be drained stays closed.
    ///
    /// # Panics
    /// As [`wait`](Self::wait), unless `timeout` is zero.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{TimedOut, WorkQueue};
    ///
    /// let queue = WorkQueue::<u64>::new(8)?;
    /// assert_eq!(queue.get().wait_timeout(Duration::ZERO).unwrap_err(), TimedOut);
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
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
            if deadline.is_some_and(|deadline| deadline <= now) {
                return None;
            }
            if !may_block {
                assert_may_block();
                may_block = true;
            }
            self.step
                .clock()
                .park_until(wake_at.into_iter().chain(deadline).min());
        }
    }

    /// From the first step on.
    fn poll_step(&mut self, mut now: Timestamp, cx: &mut Context<'_>) -> Poll<S::Output> {
        loop {
            let at = match self.step.step(now, cx.waker()) {
                Progress::Done(output) => return Poll::Ready(output),
                Progress::Waiting(at) => at,
            };
            let Some(at) = at else {
                self.sleep = None;
                return Poll::Pending;
            };
            if self.sleep.as_ref().is_none_or(|(armed, _)| *armed != at) {
                self.sleep = Some((at, self.step.clock().sleep_until(at)));
            }
            let Some((_, sleep)) = &mut self.sleep else {
                unreachable!("armed above")
            };
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

/// Panics on a thread that drives a runtime: what ends the wait may be a task of that runtime.
#[track_caller]
fn assert_may_block() {
    #[cfg(feature = "tokio")]
    assert!(
        crate::integrations::tokio::may_block(),
        "`wait` would block a thread that drives a tokio runtime: `.await` the operation, or call `wait` in \
         `tokio::task::spawn_blocking`"
    );
}

/// Wakes a thread, and leaves word of it: a future that parks its thread by itself can take the token
/// of a wake-up that was meant for whoever polls it.
struct Notify {
    thread: thread::Thread,
    woken: AtomicU64,
}

impl Wake for Notify {
    fn wake(self: Arc<Self>) {
        // Release, for what was done before the wake-up; pairs with the Acquire in `block_on`.
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
        // Acquire pairs with the Release in `wake`.
        while notify
            .woken
            .compare_exchange(1, 0, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
        {
            thread::park();
        }
    }
}
