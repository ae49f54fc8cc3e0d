//! A bucket restores exactly what it saved, to the fraction of a token: in debt, with waiters, with
//! leases and during a pause.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tollgate::{
    AtomicTokenBucket, CarryOver, Clock, Denied, LockedTokenBucket, ManualClock, RateLimiter, Saved,
};

use crate::support::quota;
use crate::tasks::Polled;

const SECOND: Duration = Duration::from_secs(1);

fn nanos(nanos: u64) -> Duration {
    Duration::from_nanos(nanos)
}

fn wall(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
}

/// Runs a scenario with both bucket types.
macro_rules! on_both {
    ($scenario:ident) => {
        $scenario!(AtomicTokenBucket);
        $scenario!(LockedTokenBucket);
    };
}

fn retry_after(denied: Result<(), Denied>) -> Duration {
    denied.unwrap_err().retry_after().unwrap()
}

#[test]
fn a_fraction_of_a_token_survives_a_restart() {
    macro_rules! scenario {
        ($bucket:ident) => {{
            let clock = ManualClock::new();
            let bucket = $bucket::with_clock(quota("3/s burst 3"), clock.clone()).unwrap();
            bucket.try_acquire(3).unwrap();
            clock.advance(nanos(100_000_000));
            let line = bucket.save(wall(0)).to_string();
            let saved: Saved = line.parse().unwrap();
            // At once, in another process whose clock has another origin: 0.3 tokens are there.
            let clock = ManualClock::new();
            clock.advance(nanos(77));
            let bucket = $bucket::with_clock(quota("3/s burst 3"), clock.clone()).unwrap();
            bucket.restore(&saved, wall(0));
            assert_eq!(retry_after(bucket.try_acquire(1)), nanos(233_333_334));
            // Half a minute later, by the wall clock, the bucket is full.
            let bucket = $bucket::with_clock(quota("3/s burst 3"), clock.clone()).unwrap();
            bucket.restore(&saved, wall(30));
            assert_eq!(bucket.available(), 3);
            // A wall clock that was set back counts as no time passed.
            let bucket = $bucket::with_clock(quota("3/s burst 3"), clock).unwrap();
            bucket.restore(&saved, wall(0) - SECOND);
            assert_eq!(retry_after(bucket.try_acquire(1)), nanos(233_333_334));
        }};
    }
    on_both!(scenario);
}

#[test]
fn a_pause_survives_a_restart() {
    macro_rules! scenario {
        ($bucket:ident) => {{
            let clock = ManualClock::new();
            let bucket = $bucket::with_clock(quota("3/s burst 3"), clock.clone()).unwrap();
            let until = clock.now().saturating_add(10 * SECOND);
            bucket.pause_until(until).unwrap();
            clock.advance(4 * SECOND);
            let saved = bucket.save(wall(0));
            let bucket = $bucket::with_clock(quota("3/s burst 3"), ManualClock::new()).unwrap();
            bucket.restore(&saved, wall(2));
            assert_eq!(retry_after(bucket.try_acquire(1)), 4 * SECOND);
            bucket.refund(3);
            assert_eq!(
                retry_after(bucket.try_acquire(1)),
                4 * SECOND,
                "a refund shortens the pause"
            );
        }};
    }
    on_both!(scenario);
}

#[test]
fn leased_tokens_are_saved_as_used() {
    macro_rules! scenario {
        ($bucket:ident) => {{
            let bucket = $bucket::with_clock(quota("1/h burst 10"), ManualClock::new()).unwrap();
            bucket.try_acquire(2).unwrap();
            let lease = bucket.lease(5).unwrap();
            // The lease has five tokens of the burst.
            assert_eq!(bucket.available(), 5);
            let saved = bucket.save(wall(0));
            drop(lease);
            let bucket = $bucket::with_clock(quota("1/h burst 10"), ManualClock::new()).unwrap();
            bucket.restore(&saved, wall(0));
            assert_eq!(bucket.available(), 5);
        }};
    }
    on_both!(scenario);
}

#[test]
fn a_bucket_with_a_waiter_can_be_saved() {
    macro_rules! scenario {
        ($bucket:ident) => {{
            let clock = ManualClock::new();
            let bucket = $bucket::with_clock(quota("1/s burst 1"), clock.clone()).unwrap();
            bucket.try_acquire(1).unwrap();
            let waits = Polled::pending(bucket.acquire(1));
            clock.advance(nanos(400_000_000));
            // The waiter holds no token yet.
            let saved = bucket.save(wall(0));
            let other = $bucket::with_clock(quota("1/s burst 1"), ManualClock::new()).unwrap();
            other.restore(&saved, wall(0));
            assert_eq!(retry_after(other.try_acquire(1)), nanos(600_000_000));
            clock.advance(nanos(600_000_000));
            assert_eq!(waits.ready(), Ok(()));
        }};
    }
    on_both!(scenario);
}

#[test]
fn debt_survives_a_restart_to_the_nanosecond() {
    macro_rules! scenario {
        ($bucket:ident) => {{
            let (clock, other) = (ManualClock::new(), ManualClock::new());
            clock.advance(17_000 * SECOND);
            let before = $bucket::with_clock(quota("7/h burst 9"), clock.clone()).unwrap();
            before.charge(12);
            clock.advance(nanos(1));
            let saved = before.save(wall(0));
            clock.advance(600 * SECOND);
            let after = $bucket::with_clock(quota("7/h burst 9"), other).unwrap();
            after.restore(&saved, wall(600));
            for n in [1, 5] {
                assert_eq!(after.status(n).retry_after, before.status(n).retry_after);
            }
            assert_eq!(after.status(1).full_after, before.status(1).full_after);
        }};
    }
    on_both!(scenario);
}

#[test]
fn restoring_only_tightens_and_postpones_waiters() {
    macro_rules! scenario {
        ($bucket:ident) => {{
            let clock = ManualClock::new();
            let bucket = || $bucket::with_clock(quota("1/h burst 9"), clock.clone()).unwrap();
            let lacking = bucket();
            lacking.try_acquire(7).unwrap();
            let saved = lacking.save(wall(0));
            let owing = bucket();
            owing.charge(100);
            let owed = owing.status(1).retry_after;
            owing.restore(&saved, wall(0));
            assert_eq!(owing.status(1).retry_after, owed);
            // To another quota the tokens carry over, and later changes start from them.
            let other = $bucket::with_clock(quota("1/s burst 4"), clock.clone()).unwrap();
            other.restore(&saved, wall(0));
            assert_eq!(other.available(), 2);
            other.set_quota(quota("1/h"), CarryOver::Full).unwrap();
            assert_eq!(other.available(), 1);
            // A restored debt postpones a waiter.
            let busy = bucket();
            busy.try_acquire(9).unwrap();
            let mut waits = Polled::pending(busy.acquire(1));
            let debt = bucket();
            debt.charge(9 + 2);
            busy.restore(&debt.save(wall(0)), wall(0));
            clock.advance(3 * 3_600 * SECOND - nanos(1));
            assert!(waits.poll().is_pending());
            clock.advance(nanos(1));
            assert_eq!(waits.ready(), Ok(()));
        }};
    }
    on_both!(scenario);
}
