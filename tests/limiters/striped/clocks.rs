//! The striped bucket on clocks that move on between two readings, or panic.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tollgate::clock::Sleep;
use tollgate::{Clock, Denied, ManualClock, RateLimiter, Timestamp};

use super::Bucket;
use crate::support::{at, quota};

/// A clock that moves on at each reading.
#[derive(Clone, Debug, Default)]
struct Ticking(Arc<AtomicU64>);

impl Clock for Ticking {
    fn now(&self) -> Timestamp {
        at(self.0.fetch_add(50, Ordering::Relaxed))
    }

    fn sleep_until(&self, deadline: Timestamp) -> Sleep {
        ManualClock::new().sleep_until(deadline)
    }

    fn park_until(&self, _deadline: Option<Timestamp>) {}
}

#[test]
fn a_full_bucket_admits_its_burst_although_time_passes() {
    let clock = Ticking::default();
    let bucket = Bucket::with_clock(quota("1/s burst 256"), clock.clone());
    let bucket = bucket.unwrap().stripes(4);
    bucket.try_acquire(1).unwrap();
    clock.0.fetch_add(1_000_000_000_000, Ordering::Relaxed);
    // Carved, and one stripe lacks a token.
    bucket.try_acquire(1).unwrap();
    assert_eq!(bucket.try_acquire(255), Ok(()));
}

/// A clock, and how many of the next readings panic.
#[derive(Clone, Debug, Default)]
struct Failing(Arc<(AtomicU64, AtomicU64)>);

impl Clock for Failing {
    fn now(&self) -> Timestamp {
        let left = |fails: u64| fails.checked_sub(1);
        let fails = self
            .0
            .1
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, left);
        assert!(fails.is_err(), "the clock fails");
        at(self.0.0.load(Ordering::Relaxed))
    }

    fn sleep_until(&self, deadline: Timestamp) -> Sleep {
        ManualClock::new().sleep_until(deadline)
    }

    fn park_until(&self, _deadline: Option<Timestamp>) {}
}

#[test]
fn a_clock_that_panics_mints_and_loses_no_token() {
    let clock = Failing::default();
    let (time, fails) = &*clock.0;
    let bucket = Bucket::with_clock(quota("1/s burst 256"), clock.clone());
    let bucket = bucket.unwrap().stripes(4);
    bucket.try_acquire(1).unwrap();
    fails.store(u64::MAX, Ordering::Relaxed);
    // Sweeps at a given time, without a time of its own.
    assert_eq!(bucket.at(at(0)).available(), 255);
    for _ in 0..3 {
        let panicked = catch_unwind(AssertUnwindSafe(|| bucket.try_acquire(64)));
        assert!(panicked.is_err());
    }
    fails.store(0, Ordering::Relaxed);
    assert_eq!(bucket.available(), 255);
    // A sweep without a time lets no newcomer pass a close.
    let closed = Bucket::with_clock(quota("1/s burst 256"), clock.clone());
    let closed = closed.unwrap().stripes(4);
    (0..5).for_each(|_| closed.try_acquire(1).unwrap());
    fails.store(1, Ordering::Relaxed);
    closed.close();
    assert_eq!(closed.try_acquire(1), Err(Denied::Closed));
    time.store(10_000_000_000, Ordering::Relaxed);
    assert_eq!(bucket.available(), 256);
    assert_eq!(bucket.try_acquire_up_to(1_000), 256);
}
