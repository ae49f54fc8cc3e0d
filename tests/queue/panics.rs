//! The caller's code panics: no key is lost, and every waiter is woken.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use tollgate::{AddOptions, Clock, ManualClock, Observer, Timestamp, WorkQueue};

use crate::tasks::Polled;
use crate::{BACKOFF, queue};

/// A clock that panics at the next reads.
#[derive(Clone, Debug, Default)]
struct PanickingClock(Arc<AtomicUsize>);

impl PanickingClock {
    fn panic(&self, times: usize) {
        self.0.store(times, Ordering::SeqCst);
    }
}

impl Clock for PanickingClock {
    fn now(&self) -> Timestamp {
        let left = self.0.load(Ordering::SeqCst);
        if left > 0 {
            self.0.store(left - 1, Ordering::SeqCst);
            resume_unwind(Box::new("injected"));
        }
        Timestamp::ZERO
    }
}

struct Silent;
impl Observer for Silent {}

pub(crate) fn panics<T>(run: impl FnOnce() -> T) {
    assert!(catch_unwind(AssertUnwindSafe(run)).is_err());
}

#[test]
fn a_panicking_clock_loses_no_key() {
    for times in [1, 2] {
        for (observed, dirty, and_get) in [
            (false, false, true),
            (false, true, false),
            (true, false, false),
            (true, true, true),
        ] {
            let clock = PanickingClock::default();
            let mut builder = WorkQueue::builder(8).clock(clock.clone());
            if observed {
                builder = builder.observer(Arc::new(Silent));
            }
            let queue = builder.build().unwrap();
            queue.try_add(1).unwrap();
            let work = queue.try_get().unwrap();
            if dirty {
                queue.try_add(1).unwrap();
            }
            clock.panic(times);
            if and_get {
                panics(|| drop(work.done_and_get()));
            } else {
                panics(|| work.done());
            }
            clock.panic(0);
            let stats = queue.stats();
            assert_eq!((stats.processing, stats.ready), (0, usize::from(dirty)));
            assert_eq!(stats.delayed, usize::from(!dirty), "retried");
        }
    }
}

/// A key whose drop panics if it is odd.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Odd(u32);

impl Drop for Odd {
    fn drop(&mut self) {
        if self.0 % 2 == 1 {
            resume_unwind(Box::new("injected"));
        }
    }
}

#[test]
fn a_key_whose_drop_panics_loses_no_other_key() {
    for observed in [false, true] {
        let mut builder = WorkQueue::builder(8);
        if observed {
            builder = builder.observer(Arc::new(Silent));
        }
        let queue = builder.build().unwrap();
        for key in 1..5 {
            queue.try_add(Odd(key)).unwrap();
        }
        let work = queue.try_get().unwrap();
        panics(|| drop(work.done_and_get()));
        let depths = || {
            let stats = queue.stats();
            (stats.ready, stats.processing, stats.delayed)
        };
        assert_eq!(depths(), (2, 0, 1), "the next key is retried");
        panics(|| queue.try_get_batch(2).unwrap().done());
        assert_eq!(depths(), (0, 0, 1));
    }
}

#[test]
fn a_panicking_waker_strands_no_other_waiter() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            resume_unwind(Box::new("injected"));
        }
    }
    let (queue, _) = queue(8);
    let mut bad = pin!(queue.get());
    let waker = Waker::from(Arc::new(Panics));
    assert!(
        bad.as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    let waiting = [(); 2].map(|()| Polled::pending(queue.get()));
    panics(|| queue.try_add_batch([1, 2, 3], AddOptions::new()));
    assert_eq!(waiting.each_ref().map(Polled::woken), [1, 1]);
    assert!(waiting.into_iter().all(|getter| getter.ready().is_some()));
}

/// Polls twice, with two wakers and a backoff between them; the drop of the first waker panics.
fn poll_with_a_waker_whose_drop_panics<T>(future: impl Future<Output = T>, clock: &ManualClock) {
    struct Bomb(Arc<AtomicBool>);
    impl Wake for Bomb {
        fn wake(self: Arc<Self>) {}
    }
    impl Drop for Bomb {
        fn drop(&mut self) {
            if self.0.swap(false, Ordering::SeqCst) {
                resume_unwind(Box::new("injected"));
            }
        }
    }
    let armed = Arc::new(AtomicBool::new(false));
    let waker = Waker::from(Arc::new(Bomb(Arc::clone(&armed))));
    let mut future = pin!(future);
    let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(polled.is_pending());
    drop(waker);
    clock.advance(BACKOFF);
    armed.store(true, Ordering::SeqCst);
    let mut noop = Context::from_waker(Waker::noop());
    panics(|| drop(future.as_mut().poll(&mut noop)));
    assert!(!armed.load(Ordering::SeqCst));
}

#[test]
fn a_waker_whose_drop_panics_loses_no_key() {
    let (queue, clock) = queue(8);
    queue.try_add_after(1, BACKOFF).unwrap();
    // The consumer leads and polls by its timer, so the queue still has its first waker.
    poll_with_a_waker_whose_drop_panics(queue.get(), &clock);
    let stats = queue.stats();
    assert_eq!((stats.processing, stats.delayed), (0, 1), "retried");
}

#[test]
fn a_waker_whose_drop_panics_leaks_no_returned_key() {
    let clock = ManualClock::new();
    let queue = WorkQueue::builder(8).clock(clock.clone()).build().unwrap();
    let key = Arc::new(2);
    queue.try_add(Arc::new(1)).unwrap();
    queue
        .try_add_after(Arc::clone(&key), Duration::MAX)
        .unwrap();
    poll_with_a_waker_whose_drop_panics(queue.drain(BACKOFF), &clock);
    // The next call returns the keys of the drain that panicked.
    assert_eq!(queue.close().returned, [Arc::new(2)]);
    assert_eq!(Arc::strong_count(&key), 1);
}

#[test]
fn a_panicking_worker_loses_no_key() {
    let (queue, clock) = queue(8);
    queue.try_add(1).unwrap();
    panics(|| {
        let _work = queue.try_get().unwrap();
        resume_unwind(Box::new("injected"));
    });
    assert_eq!(queue.stats().delayed, 1);
    clock.advance(BACKOFF);
    assert_eq!(queue.try_get().unwrap().failures(), 1);
}

#[test]
fn a_panicking_observer_loses_no_key() {
    struct Bomb;
    impl Observer for Bomb {
        fn started(&self, _: Duration) {
            resume_unwind(Box::new("injected"));
        }
    }
    let queue = WorkQueue::<u64>::builder(8)
        .clock(ManualClock::new())
        .observer(Arc::new(Bomb));
    let queue = queue.build().unwrap();
    queue.try_add(1).unwrap();
    panics(|| drop(queue.try_get()));
    let stats = queue.stats();
    assert_eq!((stats.processing, stats.delayed), (0, 1));
}

#[test]
fn an_observer_that_panics_at_each_finish_loses_no_key_and_does_not_abort() {
    struct Bomb;
    impl Observer for Bomb {
        fn finished(&self, _: Duration) {
            resume_unwind(Box::new("injected"));
        }
    }
    let queue = || {
        let queue = WorkQueue::<u64>::builder(8)
            .clock(ManualClock::new())
            .observer(Arc::new(Bomb));
        let queue = queue.build().unwrap();
        queue.try_add(1).unwrap();
        queue.try_add(2).unwrap();
        let work = queue.try_get().unwrap();
        (queue, work)
    };
    let held = |queue: &WorkQueue<u64, ManualClock>| {
        let stats = queue.stats();
        (stats.ready, stats.processing, stats.delayed)
    };
    // The observer panics at the end of the first key, while no caller holds the next key yet; the end
    // of the next key panics again.
    let (next, work) = queue();
    panics(|| work.done_and_get());
    assert_eq!(held(&next), (0, 0, 1));
    // Each key of a batch panics at its end.
    let (batch, work) = queue();
    drop(catch_unwind(AssertUnwindSafe(|| work.done())));
    batch.try_add(1).unwrap();
    let both = batch.try_get_batch(2).unwrap();
    panics(|| drop(both));
    assert_eq!(held(&batch), (0, 0, 2));
    // A panicking worker finishes its key while it unwinds.
    let (panicked, work) = queue();
    panics(|| {
        let _work = work;
        resume_unwind(Box::new("injected"));
    });
    assert_eq!(held(&panicked), (1, 0, 1));
}

#[test]
fn a_backoff_that_panics_in_drop_loses_no_key() {
    struct Bomb;
    impl tollgate::Backoff for Bomb {
        fn delay(&self, _: u32, _: u64) -> Duration {
            resume_unwind(Box::new("injected"));
        }
    }
    let queue = WorkQueue::<u64>::builder(8).clock(ManualClock::new());
    let queue = queue.backoff(Bomb).build().unwrap();
    queue.try_add(1).unwrap();
    let work = queue.try_get().unwrap();
    panics(|| drop(work));
    let stats = queue.stats();
    assert_eq!((stats.processing, stats.delayed), (0, 1));
}

#[test]
fn a_backoff_that_panics_in_retry_loses_no_key() {
    let backoff = |_: u32, _: u64| -> Duration { resume_unwind(Box::new("injected")) };
    let queue = WorkQueue::builder(8).backoff(backoff).build().unwrap();
    queue.try_add("key").unwrap();
    let work = queue.try_get().unwrap();
    panics(|| work.retry());
    assert_eq!(
        queue.close().returned,
        ["key"],
        "the default backoff delays it"
    );
}
