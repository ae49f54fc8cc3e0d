//! Runs a loom model to its end and says how much of it there was.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use loom::sync::{Condvar, Mutex};
use tollgate::clock::Sleep;
use tollgate::{Clock, ManualClock, Timestamp};

/// Explores every execution of `model`, or every one with at most so many preemptions.
///
/// # Panics
/// If an execution panics or deadlocks, or if there is only one: then nothing contends.
pub(crate) fn explore(
    name: &str,
    preemptions: Option<usize>,
    model: impl Fn() + Send + Sync + 'static,
) {
    let executions = count(name, preemptions, model);
    assert!(executions > 1, "{name}: nothing contends");
}

fn count(
    name: &str,
    preemptions: Option<usize>,
    model: impl Fn() + Send + Sync + 'static,
) -> usize {
    // std's, so that counting is no part of the model.
    let executions = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&executions);
    let mut builder = loom::model::Builder::new();
    // Whatever the environment says: these two stop early and in silence.
    builder.max_duration = None;
    builder.max_permutations = None;
    builder.preemption_bound = preemptions;
    builder.check(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        model();
    });
    let executions = executions.load(Ordering::Relaxed);
    println!("{name}: {executions} executions");
    executions
}

/// Explores a model twice: with the calling thread first, and with the threads that it spawns first.
/// Loom remembers only the last access to a word, and may not try a read after a write if it has
/// seen them in the other order. A model calls its argument once it has spawned.
///
/// # Panics
/// As [`explore`].
#[allow(dead_code, reason = "not every model has such threads")]
pub(crate) fn explore_in_turns(
    name: &str,
    preemptions: Option<usize>,
    model: impl Fn(fn()) + Copy + Send + Sync + 'static,
) {
    let first = count(name, preemptions, move || model(|| {}));
    let second = count(name, preemptions, move || model(loom::thread::yield_now));
    assert!(first.max(second) > 1, "{name}: nothing contends");
}

/// Whether the future has to be polled again.
struct Woken {
    flag: Mutex<bool>,
    changed: Condvar,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        *self.flag.lock().unwrap() = true;
        self.changed.notify_one();
    }
}

/// Drives a future on the calling thread.
///
/// Not by parking it: loom 0.7 forgets the unparking of a thread that is blocked at a lock, and
/// then finds deadlocks where there are none.
#[allow(dead_code, reason = "not every model waits")]
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let woken = Arc::new(Woken {
        flag: Mutex::new(false),
        changed: Condvar::new(),
    });
    let waker = Waker::from(Arc::clone(&woken));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        let mut flag = woken.flag.lock().unwrap();
        while !*flag {
            flag = woken.changed.wait(flag).unwrap();
        }
        *flag = false;
    }
}

/// A clock outside the model: a read returns the latest instant, as a processor's counter does. A
/// modelled clock would return older instants too, also after a newer one was acted on.
#[allow(dead_code, reason = "not every model reads a clock")]
#[derive(Clone, Debug, Default)]
pub(crate) struct TestClock {
    now: Arc<AtomicU64>,
    timers: ManualClock,
}

#[allow(dead_code, reason = "not every model reads a clock")]
impl TestClock {
    /// Lets time pass up to `nanos`; fires no timer.
    pub(crate) fn pass(&self, nanos: u64) {
        self.now.fetch_max(nanos, Ordering::SeqCst);
        // A thread that has read this time makes its accesses after it: a thread that publishes and
        // then reads an older time has published before them.
        loom::sync::atomic::fence(loom::sync::atomic::Ordering::SeqCst);
    }

    /// Lets time pass up to the next timer, and fires it.
    fn fire_next(&self) {
        let next = self.timers.next_deadline();
        let next = next.expect("a waiter that is neither woken nor has a timer is lost");
        self.pass(next.as_nanos());
        self.timers.set(self.now());
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_nanos(self.now.load(Ordering::SeqCst))
    }

    fn sleep_until(&self, deadline: Timestamp) -> Sleep {
        self.timers.sleep_until(deadline)
    }

    fn park_until(&self, deadline: Option<Timestamp>) {
        self.timers.park_until(deadline);
    }
}

/// A waker that only notes the wake-up, outside the model.
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A future and whether it was woken since its last poll.
#[allow(dead_code, reason = "not every model waits")]
pub(crate) struct Waiter<F> {
    future: Pin<Box<F>>,
    woken: Arc<Flag>,
}

#[allow(dead_code, reason = "not every model waits")]
impl<F: Future> Waiter<F> {
    /// To be polled for the first time.
    pub(crate) fn new(future: F) -> Self {
        Self {
            future: Box::pin(future),
            woken: Arc::new(Flag(AtomicBool::new(true))),
        }
    }

    /// A future that has to wait.
    pub(crate) fn pending(future: F) -> Self {
        let mut waiter = Self::new(future);
        assert!(waiter.poll().is_pending());
        waiter
    }

    pub(crate) fn poll(&mut self) -> Poll<F::Output> {
        self.woken.0.store(false, Ordering::SeqCst);
        let waker = Waker::from(Arc::clone(&self.woken));
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    /// Polls it only when it is woken, and lets time pass to the next timer when it is not: what it
    /// ends with, and when. So a lost wake-up makes it late.
    pub(crate) fn finish(mut self, clock: &TestClock) -> (u64, F::Output) {
        loop {
            if !self.woken.0.load(Ordering::SeqCst) {
                clock.fire_next();
            } else if let Poll::Ready(output) = self.poll() {
                return (clock.now().as_nanos(), output);
            }
        }
    }
}
