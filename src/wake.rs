//! Waking: a thread as a waker, and those to be woken once a lock is released.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::task::{Wake, Waker};

use crate::sync::thread;

struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Unparks the calling thread. One a thread, so that a step can tell it is the same one.
#[cfg(not(tollgate_loom))]
pub(crate) fn thread_waker() -> Waker {
    thread_local! {
        static WAKER: Waker = Waker::from(Arc::new(Unpark(thread::current())));
    }
    // While the thread's own values are being dropped there may be none left.
    let cached = WAKER.try_with(Waker::clone);
    cached.unwrap_or_else(|_| Waker::from(Arc::new(Unpark(thread::current()))))
}

#[cfg(tollgate_loom)]
pub(crate) fn thread_waker() -> Waker {
    Waker::from(Arc::new(Unpark(thread::current())))
}

/// Collected under a lock, to be woken when it is released, whatever happens until then: dropping
/// this wakes them all, in order.
#[derive(Debug, Default)]
pub(crate) struct Wakers {
    /// Mostly it is one, and needs no allocation.
    first: Option<Waker>,
    more: Vec<Waker>,
}

impl Extend<Waker> for Wakers {
    fn extend<T: IntoIterator<Item = Waker>>(&mut self, wakers: T) {
        for waker in wakers {
            match &self.first {
                None => self.first = Some(waker),
                Some(_) => self.more.push(waker),
            }
        }
    }
}

impl Wakers {
    /// Takes those of another, to be woken with these.
    pub(crate) fn append(&mut self, mut other: Self) {
        self.extend(other.first.take());
        self.extend(std::mem::take(&mut other.more));
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.first.is_none()
    }
}

// What a scope of `defer` collects, on this thread.
#[cfg(not(tollgate_loom))]
thread_local! {
    static DEFERRED: RefCell<Option<Wakers>> = const { RefCell::new(None) };
}

#[cfg(tollgate_loom)]
loom::thread_local! {
    static DEFERRED: RefCell<Option<Wakers>> = RefCell::new(None);
}

/// Runs what would wake at its end, and collects who is to be woken, also if it panics: for a caller that
/// holds a lock.
pub(crate) fn defer<T>(into: &mut Wakers, run: impl FnOnce() -> T) -> T {
    /// Ends the scope however it ends.
    struct Scope<'a> {
        before: Option<Wakers>,
        into: &'a mut Wakers,
    }

    impl Drop for Scope<'_> {
        fn drop(&mut self) {
            let woken = DEFERRED.with(|deferred| deferred.replace(self.before.take()));
            self.into.append(woken.unwrap_or_default());
        }
    }

    let before = DEFERRED.with(|deferred| deferred.replace(Some(Wakers::default())));
    let _scope = Scope { before, into };
    run()
}

/// Leaves wakers to the scope of [`defer`] in which the thread is: whether it is in one.
fn leave_to_scope(wakers: &mut Wakers) -> bool {
    let leave = |deferred: &RefCell<Option<Wakers>>| match &mut *deferred.borrow_mut() {
        Some(scope) => {
            scope.append(std::mem::take(wakers));
            true
        }
        None => false,
    };
    // While the thread's own values are being dropped it is in none.
    DEFERRED.try_with(leave).unwrap_or(false)
}

impl Drop for Wakers {
    #[inline]
    fn drop(&mut self) {
        if self.is_empty() || leave_to_scope(self) {
            return;
        }
        let more = std::mem::take(&mut self.more);
        wake_all(self.first.take().into_iter().chain(more));
    }
}

/// Wakes all, although one may panic: the others have left their lines, and nobody else would wake
/// them. Then goes on with the first panic.
pub(crate) fn wake_all(wakers: impl IntoIterator<Item = Waker>) {
    let mut panicked = None;
    for waker in wakers {
        if let Err(panic) = wake_caught(waker) {
            panicked.get_or_insert(panic);
        }
    }
    // A second panic while the first unwinds would end the program.
    if let Some(panic) = panicked
        && !std::thread::panicking()
    {
        resume_unwind(panic);
    }
}

pub(crate) fn wake_caught(waker: Waker) -> Result<(), Box<dyn Any + Send>> {
    catch_unwind(AssertUnwindSafe(|| waker.wake()))
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

    struct Panics;

    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("its executor is full");
        }
    }

    fn wakers(woken: &Arc<Counts>) -> Wakers {
        let counts = || Waker::from(Arc::clone(woken));
        let mut wakers = Wakers::default();
        wakers.extend([counts(), Arc::new(Panics).into(), counts(), counts()]);
        wakers
    }

    #[test]
    fn a_waker_that_panics_takes_no_wake_up_from_others() {
        let woken = Arc::new(Counts(AtomicUsize::new(0)));
        let all = wakers(&woken);
        assert!(catch_unwind(AssertUnwindSafe(|| drop(all))).is_err());
        assert_eq!(woken.0.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn what_is_deferred_is_woken_by_the_caller_also_after_a_panic() {
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
    fn a_waker_that_panics_while_another_panic_unwinds_does_not_abort() {
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
