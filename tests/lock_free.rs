//! Taking from an `AtomicTokenBucket`, and being denied, takes no lock and allocates nothing, while
//! its quota changes and its base moves.
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
                // Beyond every horizon now and then, so that the base moves.
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
    // It would have been seen.
    assert_eq!(
        measure(|| drop(std::hint::black_box(Box::new(admitted)))).count_total,
        1
    );
}

#[test]
fn reservations_that_were_used_take_no_memory() {
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

/// Five hundred callers who come and go, a few at a time.
fn comes_and_goes(limiter: &dyn RateLimiter) {
    let mut line = Vec::with_capacity(16);
    for n in 0..500_usize {
        let mut wait = limiter.acquire(1 + n as u64 % 2);
        let context = &mut Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut wait).poll(context).is_pending());
        line.push(wait);
        if line.len() == 10 {
            // The first, the last, and those between.
            for gone in [0, 8, 4, 3, 5] {
                drop(line.remove(gone));
            }
        }
    }
}

#[test]
fn callers_who_wait_and_leave_in_any_order_leave_no_memory_behind() {
    let clock = ManualClock::new();
    let quota = Quota::per_hour(2).unwrap();
    let atomic = AtomicTokenBucket::with_clock(quota, clock.clone()).unwrap();
    let locked = LockedTokenBucket::with_clock(quota, clock.clone()).unwrap();
    let hour = Duration::from_hours(1);
    let window = SlidingWindow::with_clock(2, hour, clock.clone()).unwrap();
    let builder = KeyedLimiter::builder(quota, 10).clock(clock);
    let keyed: KeyedLimiter<u64, _, _> = builder.build().unwrap();
    let (key, all) = (keyed.key(&7), AllOf::new((&atomic, &locked)));
    for limiter in [&atomic as &dyn RateLimiter, &locked, &window, &key, &all] {
        // `AllOf` is drained already: its members are.
        limiter.try_acquire_up_to(2);
        comes_and_goes(limiter);
        let once = measure(|| comes_and_goes(limiter));
        let often = measure(|| (0..20).for_each(|_| comes_and_goes(limiter)));
        assert_eq!(often.bytes_max, once.bytes_max, "{limiter:?}");
        assert_eq!(often.bytes_current, 0, "{limiter:?}");
        assert_eq!(limiter.status(1).waiting, 0, "{limiter:?}");
    }
}

/// A clock that a thread can be made to stop at.
#[derive(Clone)]
struct Stops {
    time: ManualClock,
    armed: Arc<AtomicBool>,
    stopped: Arc<Barrier>,
    go_on: Arc<Barrier>,
}

impl Clock for Stops {
    fn now(&self) -> Timestamp {
        if self.armed.swap(false, Ordering::SeqCst) {
            self.stopped.wait();
            self.go_on.wait();
        }
        self.time.now()
    }
}

#[test]
fn who_is_stopped_in_the_midst_of_a_change_stops_nobody() {
    let barrier = || Arc::new(Barrier::new(2));
    let clock = Stops {
        time: ManualClock::new(),
        armed: Arc::default(),
        stopped: barrier(),
        go_on: barrier(),
    };
    let quota = Quota::per_second(1).unwrap().burst(3).unwrap();
    let bucket = AtomicTokenBucket::with_clock(quota, clock.clone()).unwrap();
    let lease = bucket.lease(1).unwrap();
    thread::scope(|scope| {
        clock.armed.store(true, Ordering::SeqCst);
        // The last thing that a lease does is to give its part of the burst back, under the lock of
        // those who change the quota, and there it reads the clock.
        scope.spawn(|| drop(lease));
        clock.stopped.wait();
        assert!(bucket.try_acquire(1).is_ok());
        assert!(bucket.try_acquire(1).is_ok());
        assert!(bucket.try_acquire(1).is_err());
        clock.go_on.wait();
    });
    assert_eq!(bucket.available(), 1);
}
