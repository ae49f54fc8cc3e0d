//! Known failures of other work queues, a test for each.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use tollgate::queue::QueueBuilder;
use tollgate::{
    AddError, Backoff, ExponentialBackoff, LockedTokenBucket, ManualClock, Priority, Quota,
    RateLimiter, WorkQueue,
};

use crate::tasks::{Polled, poll_once};
use crate::{Queue, millis};

/// A builder of a queue on a manual clock, whose backoff doubles from 5 ms.
fn builder(capacity: usize) -> (QueueBuilder<u64, ManualClock>, ManualClock) {
    let clock = ManualClock::new();
    let backoff = ExponentialBackoff::new(millis(5), Duration::from_secs(1000)).jitter(0);
    let builder = WorkQueue::builder(capacity).backoff(backoff);
    (builder.clock(clock.clone()), clock)
}

fn queue(capacity: usize) -> (Queue, ManualClock) {
    let (builder, clock) = builder(capacity);
    (builder.build().unwrap(), clock)
}

#[test]
fn a_drain_does_not_return_while_a_key_is_ready() {
    let (queue, clock) = queue(8);
    queue.try_add(1).unwrap();
    queue.try_add_after(2, millis(5)).unwrap();
    clock.advance(millis(5)); // due, though no call has made it ready yet
    let mut drain = Polled::pending(queue.drain(Duration::MAX));
    for _ in 0..2 {
        queue.try_get().unwrap().done();
    }
    let work = poll_once(queue.drain(Duration::ZERO));
    assert!(work.is_ready());
    let std::task::Poll::Ready(drained) = drain.poll() else {
        panic!("no key is left")
    };
    assert!(drained.complete() && drained.returned.is_empty());
}

#[test]
fn a_drain_does_not_return_while_a_dirty_key_is_to_run_again() {
    let (queue, _) = queue(8);
    queue.try_add(1).unwrap();
    let work = queue.try_get().unwrap();
    queue.try_add(1).unwrap();
    let mut drain = Polled::pending(queue.drain(Duration::MAX));
    work.done();
    assert!(drain.poll().is_pending());
    queue.try_get().unwrap().done();
    assert!(drain.ready().complete());
}

#[test]
fn two_workers_never_hold_one_key() {
    let (queue, clock) = queue(8);
    queue.try_add(1).unwrap();
    let work = queue.try_get().unwrap();
    queue.try_add(1).unwrap();
    queue.try_add_after(1, millis(1)).unwrap();
    queue.try_add_with(1, Priority::MAX).unwrap();
    clock.advance(millis(10));
    assert!(queue.try_get().is_none() && queue.try_get_batch(8).is_none());
    work.requeue();
    assert_eq!(queue.try_get_batch(8).unwrap().len(), 1);
}

#[test]
fn a_delayed_add_does_not_start_a_second_run() {
    let (queue, clock) = queue(8);
    queue.try_add_after(1, millis(50)).unwrap();
    queue.try_add(1).unwrap();
    queue.try_get().unwrap().done();
    clock.advance(millis(100));
    assert!(queue.try_get().is_none());
}

#[test]
fn coalesced_adds_spend_no_tokens() {
    let (builder, clock) = builder(8);
    let quota = Quota::per_second(1).unwrap().burst(2).unwrap();
    let limiter = Arc::new(LockedTokenBucket::with_clock(quota, clock.clone()).unwrap());
    let queue = builder.rate_limit(limiter.clone()).build().unwrap();
    for _ in 0..100 {
        queue.try_add(1).unwrap();
    }
    assert!(queue.remove(&1));
    assert_eq!(limiter.available(), 2);
    for key in [1, 2, 3] {
        queue.try_add(key).unwrap();
    }
    queue.try_get().unwrap().done();
    queue.try_get().unwrap().done();
    assert!(queue.try_get().is_none(), "out of tokens");
    // A consumer sleeps until the next token.
    let waiting = Polled::pending(queue.get());
    assert_eq!(
        clock.next_deadline().map(|at| at.as_nanos()),
        Some(1_000_000_000)
    );
    clock.advance(Duration::from_secs(1));
    assert_eq!(waiting.woken(), 1);
    assert_eq!(*waiting.ready().unwrap(), 3);
}

#[test]
fn a_forgotten_key_leaves_no_failure_count() {
    let (queue, clock) = queue(8);
    for round in 0..100 {
        queue.try_add(1).unwrap();
        let work = queue.try_get().unwrap();
        assert_eq!(work.failures(), 0, "round {round}");
        let _ = work.retry();
        clock.advance(millis(5));
        let work = queue.try_get().unwrap();
        assert_eq!(work.failures(), 1);
        match round % 4 {
            0 => work.done(),
            1 => drop(work.fail()),
            2 => {
                work.requeue();
                queue.try_get().unwrap().done();
            }
            _ => {
                let _ = work.retry();
                assert!(queue.remove(&1));
            }
        }
        assert!(queue.snapshot().is_empty(), "the key is forgotten");
    }
}

#[test]
fn close_and_shutdown_end_every_wait() {
    let (queue, _) = queue(1);
    queue.try_add(1).unwrap();
    let work = queue.try_get().unwrap();
    let (getter, adder) = (Polled::pending(queue.get()), Polled::pending(queue.add(2)));
    let resync = Polled::pending(queue.resync());
    assert!(queue.close().returned.is_empty());
    assert_eq!(adder.ready(), Err(AddError::Closed(2)));
    assert_eq!(resync.ready(), None);
    assert_eq!(getter.woken(), 0, "the key in flight may be requeued");
    work.requeue();
    let work = getter.ready().unwrap();
    let getter = Polled::pending(queue.get());
    work.done();
    assert!(getter.ready().is_none());

    // `shutdown_now` waits for no worker.
    let (queue, _) = self::queue(8);
    queue.try_add(1).unwrap();
    queue.try_add(2).unwrap();
    let work = queue.try_get().unwrap();
    queue.pause();
    let getter = Polled::pending(queue.get());
    assert_eq!(queue.shutdown_now().returned, [2]);
    assert!(getter.ready().is_none());
    work.requeue();
    assert!(queue.try_get().is_none());
    assert_eq!(
        queue.shutdown_now().returned,
        [1],
        "the requeued key is returned"
    );
}

#[test]
fn a_flood_of_high_priority_does_not_starve_other_bands() {
    let (queue, _) = queue(1_000);
    let bands: Vec<_> = (-32..32).map(|n| Priority::new(n).unwrap()).collect();
    for (key, &priority) in (0..).zip(&bands) {
        queue.try_add_with(key, priority).unwrap();
    }
    // A flood of the highest priority, while the clock stands still.
    let mut handed_out = [0; 64];
    for n in 1..=16 * 63 {
        queue.try_add_with(1_000 + n, Priority::MAX).unwrap();
        let work = queue.try_get().unwrap();
        if *work < 64 {
            handed_out[usize::try_from(*work).unwrap()] = n;
        }
        work.done();
    }
    assert!(handed_out.iter().all(|&n| n > 0), "{handed_out:?}");

    // Of two bands the lower one has one key in 16.
    let (queue, _) = self::queue(100);
    queue.try_add_with(0, Priority::LOW).unwrap();
    let mut before = 0;
    loop {
        queue.try_add(1 + before).unwrap();
        let work = queue.try_get().unwrap();
        if *work == 0 {
            break;
        }
        work.done();
        before += 1;
    }
    assert_eq!(before, 15);
}

#[test]
fn a_requeue_into_a_full_queue_does_not_block() {
    let (queue, _) = queue(2);
    for key in [1, 2] {
        queue.try_add(key).unwrap();
    }
    let (one, two) = (queue.try_get().unwrap(), queue.try_get().unwrap());
    let adder = Polled::pending(queue.add(3));
    one.requeue();
    drop(two);
    assert_eq!(adder.woken(), 0);
    assert_eq!((queue.stats().ready, queue.stats().delayed), (1, 1));
}

#[test]
fn workers_that_all_add_to_a_full_queue_do_not_deadlock() {
    // Four workers, a producer that keeps the queue full, and a related key for each key.
    let queue = WorkQueue::<u64>::builder(8).reserve(2).build().unwrap();
    let seen = std::sync::Mutex::new(std::collections::BTreeSet::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(work) = queue.get().wait() {
                    if *work < 1_000 {
                        match work.add_related(*work + 1_000) {
                            Ok(()) => work.done(),
                            Err(AddError::Full(_)) => work.requeue(),
                            // The producer closes the queue once every related key has run.
                            Err(_) => drop(work.fail()),
                        }
                    } else {
                        seen.lock().unwrap().insert(*work);
                        work.done();
                    }
                }
            });
        }
        for key in 0..200 {
            queue.add(key).wait().unwrap();
        }
        while seen.lock().unwrap().len() < 200 {
            std::thread::yield_now();
        }
        drop(queue.close());
    });
}

#[test]
fn the_longest_delays_do_not_overflow() {
    let (queue, clock) = queue(8);
    let year = Duration::from_secs(365 * 24 * 3600);
    for (key, delay) in (0..).zip([year, Duration::MAX, Duration::from_nanos(u64::MAX)]) {
        queue.try_add_after(key, delay).unwrap();
    }
    clock.advance(year);
    queue.try_get().unwrap().requeue_after(Duration::MAX);
    clock.advance(Duration::MAX);
    queue.try_add_after(7, Duration::MAX).unwrap();
    assert_eq!(queue.stats().ready + queue.stats().delayed, 4);
}

#[test]
fn depths_do_not_go_below_zero() {
    let (queue, clock) = queue(4);
    queue.try_add(1).unwrap();
    let work = queue.try_get().unwrap();
    queue.try_add(1).unwrap();
    queue.remove(&1);
    queue.remove(&1);
    work.done();
    queue.try_add_after(2, millis(1)).unwrap();
    clock.advance(millis(9));
    assert_eq!((queue.stats().ready, queue.stats().delayed), (1, 0));
    queue.remove(&2);
    let stats = queue.stats();
    assert_eq!((stats.ready, stats.delayed, stats.processing), (0, 0, 0));
}

#[test]
fn a_panicking_eq_loses_no_key_and_no_wake_up() {
    use std::sync::atomic::{AtomicBool, Ordering};

    static ARMED: AtomicBool = AtomicBool::new(false);
    #[derive(Debug)]
    struct Key(u64);
    impl PartialEq for Key {
        fn eq(&self, other: &Self) -> bool {
            if ARMED.swap(false, Ordering::SeqCst) {
                resume_unwind(Box::new("injected"));
            }
            self.0 == other.0
        }
    }
    impl Eq for Key {}
    impl std::hash::Hash for Key {
        fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
            self.0.hash(state);
        }
    }
    let clock = ManualClock::new();
    let queue = WorkQueue::builder(8).clock(clock.clone()).build().unwrap();
    queue.try_add(Key(1)).unwrap();
    queue.try_add_after(Key(2), millis(5)).unwrap();
    ARMED.store(true, Ordering::SeqCst);
    assert!(catch_unwind(AssertUnwindSafe(|| queue.try_add(Key(1)))).is_err());
    queue.try_get().unwrap().done();
    let waiting = Polled::pending(queue.get());
    clock.advance(millis(5));
    let woken = waiting.woken();
    ARMED.store(true, Ordering::SeqCst);
    // The add makes the delayed key ready, and then panics in the comparison.
    assert!(catch_unwind(AssertUnwindSafe(|| queue.try_add(Key(2)))).is_err());
    assert!(waiting.woken() > woken);
    assert_eq!(waiting.ready().unwrap().0, 2);
}

#[test]
fn runs_caused_by_events_do_not_raise_the_backoff() {
    let clock = ManualClock::new();
    let backoff =
        ExponentialBackoff::new(Duration::from_millis(5), Duration::from_secs(1000)).jitter(0);
    let queue = WorkQueue::builder(1)
        .backoff(backoff)
        .clock(clock.clone())
        .build()
        .unwrap();
    queue.try_add("key").unwrap();
    let _ = queue.try_get().unwrap().retry();
    for _ in 0..100 {
        // Before the backoff of 5 ms is over.
        queue.try_add("key").unwrap();
        let work = queue.try_get().unwrap();
        assert_eq!(work.failures(), 1);
        let _ = work.retry();
    }
    clock.advance(backoff.delay(1, 0));
    let work = queue.try_get().unwrap();
    assert_eq!(work.failures(), 1);
    let _ = work.retry();
    clock.advance(backoff.delay(2, 0));
    assert_eq!(
        queue.try_get().unwrap().failures(),
        2,
        "a run after its backoff counts"
    );
}
