//! Code of the caller in one place: every call of it is counted, and the n-th one panics or runs
//! an action of the test. Each thread counts by itself.
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

/// What of the caller's is called.
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

/// All that may panic.
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

/// All that may call the limiter or the queue.
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

/// A call of the caller's code.
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

/// Runs `op` with the n-th of these calls trapped: whether there were so many, and what panicked.
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

/// Runs a test on a thread of its own, to tell a deadlock from a failure.
pub(crate) fn without_deadlock(test: impl FnOnce() + Send + 'static) {
    let (done, ended) = channel();
    let thread = thread::spawn(move || {
        test();
        let _ = done.send(());
    });
    // Only a lock that is never released takes so long.
    let answer = ended.recv_timeout(Duration::from_secs(30));
    assert!(answer != Err(RecvTimeoutError::Timeout), "a deadlock");
    if let Err(panic) = thread.join() {
        resume_unwind(panic);
    }
}

/// A key.
#[derive(Debug)]
pub(crate) struct Key(pub(crate) Name);

/// A borrowed form of it.
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

/// The same in each run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hashers;

impl BuildHasher for Hashers {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        call(Call::Hash);
        DefaultHasher::new()
    }
}

/// A clock that moves when told to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watch(pub(crate) ManualClock);

impl Clock for Watch {
    fn now(&self) -> Timestamp {
        call(Call::Clock);
        self.0.now()
    }

    fn sleep_until(&self, deadline: Timestamp) -> Sleep {
        call(Call::Clock);
        self.0.sleep_until(deadline)
    }
}

/// A waker that counts, beside whom nobody holds it.
#[derive(Debug)]
struct Bell(Arc<AtomicUsize>);

impl Bell {
    fn waker(woken: &Arc<AtomicUsize>) -> Waker {
        let bell = Arc::new(Self(Arc::clone(woken)));
        // SAFETY: the table's functions take what `Arc::into_raw` gives, as `Waker` asks for.
        unsafe { Waker::from_raw(RawWaker::new(Arc::into_raw(bell).cast(), &BELL)) }
    }

    fn wake(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
        call(Call::Wake);
    }
}

/// As std makes it of a `Wake`, but that a clone is a call, too. Each function is called with a pointer
/// that `Bell::waker` got from an `Arc`, and each waker owns one count of that.
static BELL: RawWakerVTable = RawWakerVTable::new(
    |bell| {
        call(Call::CloneWaker);
        // SAFETY: the pointer is an `Arc`'s, of which the waker that is cloned owns a count.
        unsafe { Arc::increment_strong_count(bell.cast::<Bell>()) };
        RawWaker::new(bell, &BELL)
    },
    // SAFETY: the pointer is an `Arc`'s; the waker that is consumed owned the count.
    |bell| unsafe { Arc::from_raw(bell.cast::<Bell>()) }.wake(),
    // SAFETY: the pointer is an `Arc`'s, which the waker keeps.
    |bell| unsafe { &*bell.cast::<Bell>() }.wake(),
    // SAFETY: the pointer is an `Arc`'s; the waker that is dropped owned the count.
    |bell| drop(unsafe { Arc::from_raw(bell.cast::<Bell>()) }),
);

impl Drop for Bell {
    fn drop(&mut self) {
        call(Call::DropWaker);
    }
}

/// A future, polled with a waker of its own each time.
pub(crate) struct Waiter<'a, T> {
    future: Option<Pin<Box<dyn Future<Output = T> + 'a>>>,
    woken: Arc<AtomicUsize>,
}

impl<'a, T> Waiter<'a, T> {
    /// Polls it for the first time; it must have to wait.
    pub(crate) fn pending(future: impl Future<Output = T> + 'a) -> Self {
        let mut waiter = Self::new(future);
        assert!(waiter.poll().is_none(), "it has to wait");
        waiter
    }

    pub(crate) fn new(future: impl Future<Output = T> + 'a) -> Self {
        Self {
            future: Some(Box::pin(future)),
            woken: Arc::default(),
        }
    }

    /// Polls it; one that panics or ends is gone.
    pub(crate) fn poll(&mut self) -> Option<T> {
        let mut future = self.future.take()?;
        let waker = Bell::waker(&self.woken);
        let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
        // Before the output is returned: then it would not be dropped any more, should this panic.
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

    /// Drops it, before it has ended.
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

/// An observer and a backoff.
#[derive(Debug)]
pub(crate) struct Ears;

impl Observer for Ears {
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
}

impl Backoff for Ears {
    fn delay(&self, _: u32, _: u64) -> Duration {
        call(Call::Backoff);
        Duration::from_millis(5)
    }
}
