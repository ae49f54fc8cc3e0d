//! Taking from an `AtomicTokenBucket`, and being denied, takes no lock and allocates nothing, while
//! its quota changes and its base moves.
#![cfg(not(tollgate_loom))]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use allocation_counter::measure;
use tollgate::{
    AtomicTokenBucket, CarryOver, Clock, LockedTokenBucket, ManualClock, Quota, QuotaLimiter,
    RateLimiter, Timestamp,
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
