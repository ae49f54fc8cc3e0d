//! Explores loom models to their end, and what such models share: an executor, a clock, a waiter.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use loom::sync::{Condvar, Mutex};
use tollgate::clock::Sleep;
use tollgate::{Clock, ManualClock, Timestamp};

/// Explores every execution of `model`, or every one with at most `preemptions`.
///
/// # Panics
/// If an execution panics or deadlocks, or if there is only one, in which case nothing contends.
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
    // An atomic of std, so that counting is not part of the model.
    let executions = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&executions);
    let mut builder = loom::model::Builder::new();
    // Overrides the environment: these two limits would end the model early without a failure.
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

/// Explores a model twice: with the calling thread first, and with its spawned threads first. Loom
/// remembers only the last access to a word, and may not try a read after a write if it saw them in the
/// other order. A model calls its argument after it has spawned its threads.
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

/// A flag that the future was woken, with its condition variable.
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
/// It does not park the thread: loom 0.7 loses the unpark of a thread that is blocked at a lock, and then
/// reports deadlocks that do not exist.
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

/// A clock outside the model: a read returns the latest instant, like a processor's counter. A modelled
/// clock would also return older instants after a thread acted on a newer one.
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
        // Orders the accesses after this instant: a thread that publishes and then reads an older time has
        // published before the accesses of a thread that read this time.
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

/// A waker outside the model that records the wake-up.
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A future, and whether it was woken since its last poll.
#[allow(dead_code, reason = "not every model waits")]
pub(crate) struct Waiter<F> {
    future: Pin<Box<F>>,
    woken: Arc<Flag>,
}

#[allow(dead_code, reason = "not every model waits")]
impl<F: Future> Waiter<F> {
    /// A future that has not been polled yet.
    pub(crate) fn new(future: F) -> Self {
        Self {
            future: Box::pin(future),
            woken: Arc::new(Flag(AtomicBool::new(true))),
        }
    }

    /// Polls the future for the first time, which must not complete it.
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

    /// Polls the future only when it is woken, and otherwise lets time pass to the next timer. Returns the
    /// instant of its completion and its output, so that a lost wake-up shows as a late instant.
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
