//! The caller's own code: every call of it is counted, and the `n`-th panics or runs an action of the
//! test. Each thread has its own count.
#![allow(unsafe_code, reason = "there is no safe waker whose clone can panic")]

use std::borrow::Borrow;
use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};
use std::thread;
use std::time::Duration;

use tollgate::clock::Sleep;
use tollgate::limiter::ToKey;
use tollgate::{Backoff, Clock, ManualClock, Observer, Timestamp};

/// A kind of call into the caller's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Hash,
    Eq,
    Clone,
    ToKey,
    Drop,
    Wake,
    CloneWaker,
    DropWaker,
    Clock,
    Closure,
    Observer,
    Backoff,
}

/// The calls that may panic.
pub(crate) const ALL: &[Call] = &[
    Call::Hash,
    Call::Eq,
    Call::Clone,
    Call::ToKey,
    Call::Drop,
    Call::Wake,
    Call::CloneWaker,
    Call::DropWaker,
    Call::Clock,
    Call::Closure,
    Call::Observer,
    Call::Backoff,
];

/// The calls made without a lock held, which may call the limiter or the queue.
pub(crate) const OUTSIDE: &[Call] = &[
    Call::Clone,
    Call::ToKey,
    Call::Drop,
    Call::Wake,
    Call::DropWaker,
    Call::Observer,
    Call::Backoff,
];

type Action = Rc<dyn Fn()>;

thread_local! {
    static LEFT: Cell<usize> = const { Cell::new(0) };
    static CALLS: Cell<&'static [Call]> = const { Cell::new(&[]) };
    static ACTION: RefCell<Option<Action>> = const { RefCell::new(None) };
}

/// Counts a call of the caller's code, and springs the trap at the `n`-th.
pub(crate) fn call(what: Call) {
    let left = LEFT.get();
    if left == 0 || !CALLS.get().contains(&what) {
        return;
    }
    LEFT.set(left - 1);
    if left > 1 {
        return;
    }
    let action = ACTION.with_borrow(Clone::clone);
    match action {
        Some(action) => action(),
        None => resume_unwind(Box::new(what)),
    }
}

/// Runs `op` with the `n`-th of these calls trapped. Returns whether there were so many calls, and which
/// call panicked.
pub(crate) fn trapped(
    n: usize,
    calls: &'static [Call],
    action: Option<Action>,
    op: impl FnOnce(),
) -> (bool, Option<Call>) {
    ACTION.set(action);
    CALLS.set(calls);
    LEFT.set(n);
    let result = catch_unwind(AssertUnwindSafe(op));
    let fired = LEFT.replace(0) == 0;
    ACTION.set(None);
    let panicked = result.err().map(|panic| match panic.downcast::<Call>() {
        Ok(call) => *call,
        Err(bug) => resume_unwind(bug),
    });
    (fired, panicked)
}

/// Runs a test on its own thread, so that a deadlock is reported as one.
pub(crate) fn without_deadlock(test: impl FnOnce() + Send + 'static) {
    let (done, ended) = channel();
    let thread = thread::spawn(move || {
        test();
        let _ = done.send(());
    });
    // Only a lock that is never released takes this long.
    let answer = ended.recv_timeout(Duration::from_secs(30));
    assert!(answer != Err(RecvTimeoutError::Timeout), "a deadlock");
    if let Err(panic) = thread.join() {
        resume_unwind(panic);
    }
}

/// A key whose every trait method counts as a call.
#[derive(Debug)]
pub(crate) struct Key(pub(crate) Name);

/// The borrowed form of [`Key`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name(pub(crate) u64);

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        call(Call::Hash);
        self.0.hash(state);
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        call(Call::Eq);
        self.0 == other.0
    }
}

impl Eq for Name {}

impl ToKey<Key> for Name {
    fn to_key(&self) -> Key {
        call(Call::ToKey);
        Key(*self)
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Key {}

impl Borrow<Name> for Key {
    fn borrow(&self) -> &Name {
        &self.0
    }
}

impl Clone for Key {
    fn clone(&self) -> Self {
        call(Call::Clone);
        Self(self.0)
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        call(Call::Drop);
    }
}

/// A `BuildHasher` whose hashers hash alike in each run.
#[derive(Clone, Debug, Default)]
pub(crate) struct TrapHasher;

impl BuildHasher for TrapHasher {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        call(Call::Hash);
        DefaultHasher::new()
    }
}

/// A manual clock whose methods count as calls.
#[derive(Clone, Debug, Default)]
pub(crate) struct TrapClock(pub(crate) ManualClock);

impl Clock for TrapClock {
    fn now(&self) -> Timestamp {
        call(Call::Clock);
        self.0.now()
    }

    fn sleep_until(&self, deadline: Timestamp) -> Sleep {
        call(Call::Clock);
        self.0.sleep_until(deadline)
    }
}

/// A waker that counts its wake-ups, with one reference for each clone.
#[derive(Debug)]
struct CountingWaker(Arc<AtomicUsize>);

impl CountingWaker {
    fn waker(woken: &Arc<AtomicUsize>) -> Waker {
        let waker = Arc::new(Self(Arc::clone(woken)));
        // SAFETY: the functions of the table take a pointer of `Arc::into_raw`, as `Waker` requires.
        unsafe { Waker::from_raw(RawWaker::new(Arc::into_raw(waker).cast(), &VTABLE)) }
    }

    fn wake(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
        call(Call::Wake);
    }
}

/// As the table of std for a `Wake`, except that a clone counts as a call.
static VTABLE: RawWakerVTable = RawWakerVTable::new(
    |waker| {
        call(Call::CloneWaker);
        // SAFETY: the pointer is an `Arc`'s, of which the waker that is cloned owns a count.
        unsafe { Arc::increment_strong_count(waker.cast::<CountingWaker>()) };
        RawWaker::new(waker, &VTABLE)
    },
    // SAFETY: the pointer is an `Arc`'s; the waker that is consumed owned the count.
    |waker| unsafe { Arc::from_raw(waker.cast::<CountingWaker>()) }.wake(),
    // SAFETY: the pointer is an `Arc`'s, which the waker keeps.
    |waker| unsafe { &*waker.cast::<CountingWaker>() }.wake(),
    // SAFETY: the pointer is an `Arc`'s; the waker that is dropped owned the count.
    |waker| drop(unsafe { Arc::from_raw(waker.cast::<CountingWaker>()) }),
);

impl Drop for CountingWaker {
    fn drop(&mut self) {
        call(Call::DropWaker);
    }
}

/// A future that is polled with a new waker each time.
pub(crate) struct Waiter<'a, T> {
    future: Option<Pin<Box<dyn Future<Output = T> + 'a>>>,
    woken: Arc<AtomicUsize>,
}

impl<'a, T> Waiter<'a, T> {
    /// Polls the future for the first time, which must not complete it.
    pub(crate) fn pending(future: impl Future<Output = T> + 'a) -> Self {
        let mut waiter = Self::new(future);
        assert!(waiter.poll().is_none(), "the future does not wait");
        waiter
    }

    pub(crate) fn new(future: impl Future<Output = T> + 'a) -> Self {
        Self {
            future: Some(Box::pin(future)),
            woken: Arc::default(),
        }
    }

    /// Polls the future, and drops it if it panics or completes.
    pub(crate) fn poll(&mut self) -> Option<T> {
        let mut future = self.future.take()?;
        let waker = CountingWaker::waker(&self.woken);
        let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
        // Dropped before the output is returned: the output would leak if this panicked later.
        drop(waker);
        if polled.is_pending() {
            self.future = Some(future);
            return None;
        }
        drop(future);
        match polled {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }

    /// Drops the future before it completes.
    pub(crate) fn leave(&mut self) {
        drop(self.future.take());
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.future.is_some()
    }

    pub(crate) fn woken(&self) -> usize {
        self.woken.load(Ordering::SeqCst)
    }
}

/// An observer and a back-off whose methods count as calls.
#[derive(Debug)]
pub(crate) struct TrapCallbacks;

impl Observer for TrapCallbacks {
    fn added(&self) {
        call(Call::Observer);
    }

    fn coalesced(&self) {
        call(Call::Observer);
    }

    fn rejected(&self) {
        call(Call::Observer);
    }

    fn started(&self, _: Duration) {
        call(Call::Observer);
    }

    fn finished(&self, _: Duration) {
        call(Call::Observer);
    }

    fn retried(&self) {
        call(Call::Observer);
    }

    fn deferred(&self) {
        call(Call::Observer);
    }

    fn failed(&self) {
        call(Call::Observer);
    }

    fn gave_up(&self) {
        call(Call::Observer);
    }

    fn limiter_closed(&self) {
        call(Call::Observer);
    }
}

impl Backoff for TrapCallbacks {
    fn delay(&self, _: u32, _: u64) -> Duration {
        call(Call::Backoff);
        Duration::from_millis(5)
    }
}
