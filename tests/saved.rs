//! What a bucket saves is what it restores, to the part of a token: behind its word, in its line, with
//! leases and during a pause.
#![cfg(not(tollgate_loom))]

#[allow(dead_code, reason = "shared with other tests")]
#[path = "model/tasks.rs"]
mod tasks;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tasks::Polled;
use tollgate::{
    AtomicTokenBucket, CarryOver, Clock, Denied, LockedTokenBucket, ManualClock, Quota,
    RateLimiter, Saved,
};

const SECOND: Duration = Duration::from_secs(1);

fn nanos(nanos: u64) -> Duration {
    Duration::from_nanos(nanos)
}

fn wall(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
}

fn quota(text: &str) -> Quota {
    text.parse().unwrap()
}

/// Runs a scene on both buckets: each with a constructor and a clock.
macro_rules! on_both {
    ($scene:ident) => {
        $scene!(AtomicTokenBucket);
        $scene!(LockedTokenBucket);
    };
}

fn not_before(denied: Result<(), Denied>) -> Duration {
    denied.unwrap_err().retry_after().unwrap()
}

#[test]
fn parts_of_a_token_survive_a_restart() {
    macro_rules! scene {
        ($bucket:ident) => {{
            let clock = ManualClock::new();
            let bucket = $bucket::with_clock(quota("3/s burst 3"), clock.clone()).unwrap();
            bucket.try_acquire(3).unwrap();
            clock.advance(nanos(100_000_000));
            let line = bucket.save(wall(0)).to_string();
            let saved: Saved = line.parse().unwrap();
            // Another process, whose clock began elsewhere, right away: 0.3 tokens are there.
            let clock = ManualClock::new();
            clock.advance(nanos(77));
            let bucket = $bucket::with_clock(quota("3/s burst 3"), clock.clone()).unwrap();
            bucket.restore(&saved, wall(0));
            assert_eq!(not_before(bucket.try_acquire(1)), nanos(233_333_334));
            // Half a minute later, by the wall clock, it is full.
            let bucket = $bucket::with_clock(quota("3/s burst 3"), clock.clone()).unwrap();
            bucket.restore(&saved, wall(30));
            assert_eq!(bucket.available(), 3);
            // Of a wall clock that was set back nothing is known.
            let bucket = $bucket::with_clock(quota("3/s burst 3"), clock).unwrap();
            bucket.restore(&saved, wall(0) - SECOND);
            assert_eq!(not_before(bucket.try_acquire(1)), nanos(233_333_334));
        }};
    }
    on_both!(scene);
}

#[test]
fn a_pause_survives_a_restart() {
    macro_rules! scene {
        ($bucket:ident) => {{
            let clock = ManualClock::new();
            let bucket = $bucket::with_clock(quota("3/s burst 3"), clock.clone()).unwrap();
            let until = clock.now().saturating_add(10 * SECOND);
            bucket.pause_until(until).unwrap();
            clock.advance(4 * SECOND);
            let saved = bucket.save(wall(0));
            let bucket = $bucket::with_clock(quota("3/s burst 3"), ManualClock::new()).unwrap();
            bucket.restore(&saved, wall(2));
            assert_eq!(not_before(bucket.try_acquire(1)), 4 * SECOND);
            bucket.refund(3);
            assert_eq!(not_before(bucket.try_acquire(1)), 4 * SECOND, "a pause");
        }};
    }
    on_both!(scene);
}

#[test]
fn what_a_lease_holds_counts_as_used() {
    macro_rules! scene {
        ($bucket:ident) => {{
            let bucket = $bucket::with_clock(quota("1/h burst 10"), ManualClock::new()).unwrap();
            bucket.try_acquire(2).unwrap();
            let lease = bucket.lease(5).unwrap();
            // The lease has the room of five tokens, which the burst lacks.
            assert_eq!(bucket.available(), 5);
            let saved = bucket.save(wall(0));
            drop(lease);
            let bucket = $bucket::with_clock(quota("1/h burst 10"), ManualClock::new()).unwrap();
            bucket.restore(&saved, wall(0));
            assert_eq!(bucket.available(), 5);
        }};
    }
    on_both!(scene);
}

#[test]
fn a_bucket_for_which_a_caller_waits_is_saved_too() {
    macro_rules! scene {
        ($bucket:ident) => {{
            let clock = ManualClock::new();
            let bucket = $bucket::with_clock(quota("1/s burst 1"), clock.clone()).unwrap();
            bucket.try_acquire(1).unwrap();
            let waits = Polled::pending(bucket.acquire(1));
            clock.advance(nanos(400_000_000));
            // The waiter holds nothing yet.
            let saved = bucket.save(wall(0));
            let other = $bucket::with_clock(quota("1/s burst 1"), ManualClock::new()).unwrap();
            other.restore(&saved, wall(0));
            assert_eq!(not_before(other.try_acquire(1)), nanos(600_000_000));
            clock.advance(nanos(600_000_000));
            assert_eq!(waits.ready(), Ok(()));
        }};
    }
    on_both!(scene);
}

#[test]
fn debt_goes_on_as_if_there_had_been_no_restart() {
    macro_rules! scene {
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
    on_both!(scene);
}

#[test]
fn restoring_only_tightens_and_reaches_those_who_wait() {
    macro_rules! scene {
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
            // Of another quota the tokens carry over, and later changes go on from there.
            let other = $bucket::with_clock(quota("1/s burst 4"), clock.clone()).unwrap();
            other.restore(&saved, wall(0));
            assert_eq!(other.available(), 2);
            other.set_quota(quota("1/h"), CarryOver::Full).unwrap();
            assert_eq!(other.available(), 1);
            // A waiter is put off.
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
    on_both!(scene);
}
