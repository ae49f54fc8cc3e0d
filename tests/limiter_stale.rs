//! Stale times: what an operation does at a time that lies before those of others. It mints nothing,
//! nor is it taken for a later one.
#![cfg(not(tollgate_loom))]

use std::time::Duration;

use tollgate::{
    At, AtomicTokenBucket, CarryOver, KeyedLimiter, LockedTokenBucket, Quota, QuotaLimiter,
    RateLimiter, Timestamp,
};

fn quota(text: &str) -> Quota {
    text.parse().unwrap()
}

fn secs(secs: u64) -> Timestamp {
    Timestamp::from_nanos(secs * 1_000_000_000)
}

/// A bucket of each type.
fn buckets(text: &str) -> [Box<dyn QuotaLimiter>; 2] {
    let atomic = AtomicTokenBucket::new(quota(text)).unwrap();
    let locked = LockedTokenBucket::new(quota(text)).unwrap();
    [Box::new(atomic), Box::new(locked)]
}

#[test]
fn a_stale_change_of_the_quota_gives_nothing_back() {
    for rate in ["999983/s burst 1000", "1/s burst 1000"] {
        for bucket in buckets(rate) {
            // From the second on, it is more than a word could owe.
            for late in [40, 60] {
                let _ = bucket.at(secs(late)).try_acquire_up_to(1_000);
                let stale = bucket.at(secs(0)).set_quota(quota(rate), CarryOver::Tokens);
                stale.unwrap();
                assert_eq!(bucket.at(secs(late)).available(), 0, "{bucket:?}");
            }
        }
    }
    let keyed: KeyedLimiter<u64> = KeyedLimiter::new(quota("999983/s burst 1000"), 8).unwrap();
    assert!(keyed.key(&1).at(secs(400)).try_acquire(1_000).is_ok());
    let stale = keyed
        .at(secs(0))
        .set_quota(quota("999983/s burst 1000"), CarryOver::Tokens);
    stale.unwrap();
    assert_eq!(keyed.key(&1).at(secs(400)).available(), 0);
}

#[test]
fn a_faster_quota_of_an_earlier_time_does_not_refill_what_was_taken_since() {
    let takes: [fn(&LockedTokenBucket); 3] = [
        |locked| assert!(locked.at(secs(100)).try_acquire(10).is_ok()),
        |locked| locked.at(secs(100)).drain(),
        |locked| locked.at(secs(100)).pause_until(secs(101)).unwrap(),
    ];
    for take in takes {
        let locked = LockedTokenBucket::new(quota("1/s burst 10")).unwrap();
        take(&locked);
        let stale = locked
            .at(secs(99))
            .set_quota(quota("1000/s burst 10"), CarryOver::Tokens);
        stale.unwrap();
        assert_eq!(locked.at(secs(100)).available(), 0);
    }
}

#[test]
fn what_a_stale_cancellation_gives_back_is_at_most_what_was_reserved() {
    let cancelled = |bucket: &dyn QuotaLimiter| {
        let reservation = At::new(bucket, secs(0)).reserve(1, Duration::ZERO).unwrap();
        assert!(At::new(bucket, secs(1)).try_acquire(1).is_ok());
        reservation.cancel_at(secs(0));
        At::new(bucket, secs(1)).available()
    };
    let text = "1/s burst 2";
    // By then what was reserved has come again. The locked bucket knows.
    let locked = LockedTokenBucket::new(quota(text)).unwrap();
    assert_eq!(cancelled(&locked), 1);
    // The other believes what it is told, as its page says; of a later time it knows as much.
    let atomic = AtomicTokenBucket::new(quota(text)).unwrap();
    assert_eq!(cancelled(&atomic), 2);
    let atomic = AtomicTokenBucket::new(quota(text)).unwrap();
    let reservation = atomic.at(secs(0)).reserve(1, Duration::ZERO).unwrap();
    assert!(atomic.at(secs(1)).try_acquire(1).is_ok());
    reservation.cancel_at(secs(1));
    assert_eq!(atomic.at(secs(1)).available(), 1);
}

#[test]
fn a_stale_drain_takes_what_was_there_then() {
    for bucket in buckets("1/s burst 20") {
        assert!(bucket.at(secs(100)).try_acquire(1).is_ok());
        bucket.at(secs(90)).drain();
        assert_eq!(bucket.at(secs(100)).available(), 10, "{bucket:?}");
    }
}

#[test]
fn who_takes_nothing_leaves_no_time_behind() {
    let nothing: [fn(&dyn QuotaLimiter); 3] = [
        |bucket| assert_eq!(At::new(bucket, Timestamp::MAX).try_acquire_up_to(0), 0),
        |bucket| At::new(bucket, Timestamp::MAX).refund(1),
        |bucket| At::new(bucket, Timestamp::MAX).sync_remaining(5),
    ];
    for nothing in nothing {
        let locked = LockedTokenBucket::new(quota("1/s burst 5")).unwrap();
        nothing(&locked);
        let same = locked
            .at(secs(0))
            .set_quota(quota("1/s burst 5"), CarryOver::Tokens);
        same.unwrap();
        assert_eq!(locked.at(secs(0)).available(), 5);
    }
}

#[test]
fn a_stale_denial_is_not_that_of_256_bases_ago() {
    // Further than its horizon, and a whole number of the steps in which a base is kept.
    let (step, first) = (70_000_000 << 18, 1_u64);
    for moves in 250..260 {
        let denials = buckets("1009/s burst 1").map(|bucket| {
            for n in first..first + moves {
                assert!(
                    bucket
                        .at(Timestamp::from_nanos(n * step))
                        .try_acquire(1)
                        .is_ok()
                );
                if n == first {
                    let denied = bucket.at(Timestamp::from_nanos(n * step)).try_acquire(1);
                    assert!(denied.is_err(), "it is kept");
                }
            }
            bucket
                .at(Timestamp::from_nanos(first * step))
                .try_acquire(1)
        });
        assert_eq!(denials[0], denials[1], "{moves} moves");
    }
}

#[test]
fn the_end_of_time_is_not_right_before_its_beginning() {
    let day = secs(86_400);
    for bucket in buckets("1/d burst 5") {
        assert!(bucket.at(Timestamp::MAX).try_acquire(5).is_ok());
        // Long before what was taken.
        assert!(bucket.at(day).try_acquire(1).is_err(), "{bucket:?}");
    }
    let keyed: KeyedLimiter<u64> = KeyedLimiter::new(quota("1/d burst 5"), 8).unwrap();
    assert!(keyed.key(&1).at(Timestamp::MAX).try_acquire(5).is_ok());
    assert!(keyed.key(&1).at(day).try_acquire(1).is_err());
}

#[test]
fn who_asks_for_nothing_leaves_no_base_behind() {
    for bucket in buckets("999983/s burst 5") {
        assert!(bucket.at(Timestamp::MAX).try_acquire(0).is_ok());
        assert!(bucket.at(secs(0)).try_acquire(5).is_ok(), "{bucket:?}");
    }
}

#[test]
fn a_taker_from_after_a_pause_does_not_end_it_for_others() {
    for bucket in buckets("1/s burst 1000") {
        bucket.at(secs(50)).pause_until(secs(100)).unwrap();
        assert!(bucket.at(secs(101)).try_acquire(1).is_ok());
        bucket.at(secs(50)).refund(999);
        assert_eq!(bucket.at(secs(50)).available(), 0, "{bucket:?}");
    }
    for rate in ["1/h burst 1000", "0/s burst 1000"] {
        for bucket in buckets("1/s burst 1000") {
            bucket.at(secs(50)).pause_until(secs(100)).unwrap();
            assert!(bucket.at(secs(110)).try_acquire(1).is_ok());
            let stale = bucket
                .at(secs(50))
                .set_quota(quota(rate), CarryOver::Tokens);
            stale.unwrap();
            assert_eq!(bucket.at(secs(50)).available(), 0, "{rate} of {bucket:?}");
        }
    }
}
