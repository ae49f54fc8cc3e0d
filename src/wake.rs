//! Wakers: one that unparks a thread, and a collection that is woken once a lock is released.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::task::{Wake, Waker};

use smallvec::SmallVec;

use crate::sync::thread;
use crate::unwind::Panics;

struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Returns a waker that unparks the calling thread. It is cached per thread, so that `will_wake`
/// holds between the steps of a wait.
#[cfg(not(tollgate_loom))]
pub(crate) fn thread_waker() -> Waker {
    thread_local! {
        static WAKER: Waker = Waker::from(Arc::new(Unpark(thread::current())));
    }
    // During the destruction of thread locals the cache may be gone.
    let cached = WAKER.try_with(Waker::clone);
    cached.unwrap_or_else(|_| Waker::from(Arc::new(Unpark(thread::current()))))
}

#[cfg(tollgate_loom)]
pub(crate) fn thread_waker() -> Waker {
    Waker::from(Arc::new(Unpark(thread::current())))
}

/// Wakers collected under a lock. Dropping it wakes them all, in order, or leaves them to the
/// enclosing [`defer`] scope. Declare it before the guard: then it is dropped after the lock is
/// released, also on a panic. Mostly there is one waker, which needs no allocation.
#[derive(Debug, Default)]
pub(crate) struct Wakers(SmallVec<[Waker; 1]>);

impl Extend<Waker> for Wakers {
    fn extend<T: IntoIterator<Item = Waker>>(&mut self, wakers: T) {
        wakers.into_iter().for_each(|waker| self.0.push(waker));
    }
}

impl Wakers {
    /// Takes over the wakers of another collection, to be woken after these.
    pub(crate) fn append(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

// The collection of the innermost [`defer`] scope of this thread.
#[cfg(not(tollgate_loom))]
thread_local! {
    static DEFERRED: RefCell<Option<Wakers>> = const { RefCell::new(None) };
}

#[cfg(tollgate_loom)]
loom::thread_local! {
    static DEFERRED: RefCell<Option<Wakers>> = RefCell::new(None);
}

/// Runs `run` with all wake-ups deferred: the wakers that it would wake are appended to `into`,
/// also if it panics. For a caller that holds a lock, which a waker might take again.
pub(crate) fn defer<T>(into: &mut Wakers, run: impl FnOnce() -> T) -> T {
    let before = DEFERRED.with(|deferred| deferred.replace(Some(Wakers::default())));
    let output = catch_unwind(AssertUnwindSafe(run));
    let woken = DEFERRED.with(|deferred| deferred.replace(before));
    into.append(woken.unwrap_or_default());
    output.unwrap_or_else(|panic| resume_unwind(panic))
}

/// Moves wakers to the enclosing [`defer`] scope; returns false if there is none.
fn leave_to_scope(wakers: &mut Wakers) -> bool {
    let leave = |deferred: &RefCell<Option<Wakers>>| {
        let mut scope = deferred.borrow_mut();
        scope
            .as_mut()
            .map(|scope| scope.append(std::mem::take(wakers)))
            .is_some()
    };
    // During the destruction of thread locals there is no scope.
    DEFERRED.try_with(leave).unwrap_or(false)
}

impl Drop for Wakers {
    #[inline]
    fn drop(&mut self) {
        // Mostly empty: checked inline, before anything that touches a thread local.
        if self.is_empty() || leave_to_scope(self) {
            return;
        }
        wake_all(self.0.drain(..));
    }
}

/// Wakes all, although a waker may panic: the others have left their lines, so a lost wake-up would
/// never be repeated. Resumes the first panic at the end.
pub(crate) fn wake_all(wakers: impl IntoIterator<Item = Waker>) {
    let mut panics = Panics::default();
    for waker in wakers {
        panics.catch(|| waker.wake());
    }
}

#[cfg(all(test, not(tollgate_loom)))]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    struct Counts(AtomicUsize);

    impl Wake for Counts {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    struct Bomb;

    impl Wake for Bomb {
        fn wake(self: Arc<Self>) {
            panic!("its executor is full");
        }
    }

    fn wakers(woken: &Arc<Counts>) -> Wakers {
        let counts = || Waker::from(Arc::clone(woken));
        let mut wakers = Wakers::default();
        wakers.extend([counts(), Arc::new(Bomb).into(), counts(), counts()]);
        wakers
    }

    #[test]
    fn a_panicking_waker_does_not_lose_other_wake_ups() {
        let woken = Arc::new(Counts(AtomicUsize::new(0)));
        let all = wakers(&woken);
        assert!(catch_unwind(AssertUnwindSafe(|| drop(all))).is_err());
        assert_eq!(woken.0.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn deferred_wakers_survive_a_panic() {
        let woken = Arc::new(Counts(AtomicUsize::new(0)));
        let mut collected = Wakers::default();
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            defer(&mut collected, || {
                let mut one = Wakers::default();
                one.extend([Waker::from(Arc::clone(&woken))]);
                drop(one);
                panic!("under the lock");
            });
        }));
        assert!(panicked.is_err());
        assert_eq!(woken.0.load(Ordering::Relaxed), 0, "the lock is held");
        drop(collected);
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_panicking_waker_during_unwinding_does_not_abort() {
        let woken = Arc::new(Counts(AtomicUsize::new(0)));
        let all = wakers(&woken);
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            let _all = all;
            panic!("under the lock");
        }));
        let panic = unwound.expect_err("it panicked");
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"under the lock"));
        assert_eq!(woken.0.load(Ordering::Relaxed), 3);
    }
}
