//! A take from an `AtomicTokenBucket` takes no lock and allocates nothing, admitted or denied, while the
//! quota changes and the base moves. Waiters and reservations leave no memory behind.
#![cfg(not(tollgate_loom))]

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::task::{Context, Waker};
use std::thread;
use std::time::Duration;

use allocation_counter::measure;
use tollgate::{
    AllOf, AtomicTokenBucket, CarryOver, Clock, KeyedLimiter, LockedTokenBucket, ManualClock,
    Quota, QuotaLimiter, RateLimiter, SlidingWindow, Timestamp,
};

#[test]
fn neither_a_take_nor_a_denial_allocates() {
    let clock = ManualClock::new();
    let quota = Quota::per_second(1_000).unwrap();
    let bucket = AtomicTokenBucket::with_clock(quota, clock.clone()).unwrap();
    let (done, start) = (AtomicBool::new(false), Barrier::new(2));
    let (mut admitted, mut denied) = (0, 0);
    thread::scope(|scope| {
        scope.spawn(|| {
            start.wait();
            for n in 0..20_000 {
                let next = quota.burst(n % 7 + 1).unwrap();
                bucket.set_quota(next, CarryOver::Tokens).unwrap();
                // Every hundredth step exceeds every horizon, so that the base moves.
                clock.advance(Duration::from_secs(if n % 100 == 0 { 1 << 20 } else { 0 }));
                clock.advance(Duration::from_micros(100));
            }
            done.store(true, Ordering::Release);
        });
        start.wait();
        let allocated = measure(|| {
            while !done.load(Ordering::Acquire) || admitted == 0 || denied == 0 {
                match bucket.try_acquire(1) {
                    Ok(()) => admitted += 1,
                    Err(_) => denied += 1,
                }
            }
        });
        assert_eq!(allocated.count_total, 0);
    });
    assert!(admitted > 0 && denied > 0, "{admitted} and {denied}");
    // The counter sees an allocation.
    assert_eq!(
        measure(|| drop(std::hint::black_box(Box::new(admitted)))).count_total,
        1
    );
}

#[test]
fn committed_reservations_keep_no_memory() {
    let quota = Quota::per_second(1_000_000_000).unwrap();
    let atomic = AtomicTokenBucket::new(quota).unwrap();
    let locked = LockedTokenBucket::new(quota).unwrap();
    for bucket in [&atomic as &dyn QuotaLimiter, &locked] {
        let used = measure(|| {
            for _ in 0..10_000 {
                bucket.reserve(1, Duration::MAX).unwrap().commit();
            }
        });
        assert!(used.bytes_max < 10_000, "{used:?} by {bucket:?}");
    }
}

/// Starts and drops five hundred waiters, a few at a time.
fn waiters_come_and_go(limiter: &dyn RateLimiter) {
    let mut line = Vec::with_capacity(16);
    for n in 0..500_usize {
        let mut wait = limiter.acquire(1 + n as u64 % 2);
        let context = &mut Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut wait).poll(context).is_pending());
        line.push(wait);
        if line.len() == 10 {
            // Drops the first, the last, and some in between.
            for gone in [0, 8, 4, 3, 5] {
                drop(line.remove(gone));
            }
        }
    }
}

#[test]
fn waiters_dropped_in_any_order_leave_no_memory_behind() {
    let clock = ManualClock::new();
    let quota = Quota::per_hour(2).unwrap();
    let atomic = AtomicTokenBucket::with_clock(quota, clock.clone()).unwrap();
    let locked = LockedTokenBucket::with_clock(quota, clock.clone()).unwrap();
    let hour = Duration::from_secs(3_600);
    let window = SlidingWindow::with_clock(2, hour, clock.clone()).unwrap();
    let builder = KeyedLimiter::builder(quota, 10).clock(clock);
    let keyed: KeyedLimiter<u64, _, _> = builder.build().unwrap();
    let (key, all) = (keyed.key(&7), AllOf::new((&atomic, &locked)));
    for limiter in [&atomic as &dyn RateLimiter, &locked, &window, &key, &all] {
        // Drains the limiter; the members of `AllOf` are drained already.
        limiter.try_acquire_up_to(2);
        waiters_come_and_go(limiter);
        let once = measure(|| waiters_come_and_go(limiter));
        let often = measure(|| (0..20).for_each(|_| waiters_come_and_go(limiter)));
        assert_eq!(often.bytes_max, once.bytes_max, "{limiter:?}");
        assert_eq!(often.bytes_current, 0, "{limiter:?}");
        assert_eq!(limiter.status(1).waiting, 0, "{limiter:?}");
    }
}

/// A clock that stops its next reader, once armed.
#[derive(Clone)]
struct StallingClock {
    time: ManualClock,
    armed: Arc<AtomicBool>,
    stopped: Arc<Barrier>,
    resumed: Arc<Barrier>,
}

impl Clock for StallingClock {
    fn now(&self) -> Timestamp {
        if self.armed.swap(false, Ordering::SeqCst) {
            self.stopped.wait();
            self.resumed.wait();
        }
        self.time.now()
    }
}

#[test]
fn a_stalled_writer_does_not_block_takers() {
    let barrier = || Arc::new(Barrier::new(2));
    let clock = StallingClock {
        time: ManualClock::new(),
        armed: Arc::default(),
        stopped: barrier(),
        resumed: barrier(),
    };
    let quota = Quota::per_second(1).unwrap().burst(3).unwrap();
    let bucket = AtomicTokenBucket::with_clock(quota, clock.clone()).unwrap();
    let lease = bucket.lease(1).unwrap();
    thread::scope(|scope| {
        clock.armed.store(true, Ordering::SeqCst);
        // A dropped lease returns its share of the burst under the lock of quota changes, where it
        // reads the clock.
        scope.spawn(|| drop(lease));
        clock.stopped.wait();
        assert!(bucket.try_acquire(1).is_ok());
        assert!(bucket.try_acquire(1).is_ok());
        assert!(bucket.try_acquire(1).is_err());
        clock.resumed.wait();
    });
    assert_eq!(bucket.available(), 1);
}
