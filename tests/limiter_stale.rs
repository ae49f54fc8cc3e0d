//! Stale times: what an operation does at a time that lies before those of others. It mints nothing,
//! nor is it taken for a later one.
#![cfg(not(tollgate_loom))]

use std::time::Duration;

use tollgate::{
    AtomicTokenBucket, CarryOver, KeyedLimiter, LockedTokenBucket, Quota, QuotaLimiter,
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
                let _ = bucket.try_acquire_up_to_at(1_000, secs(late));
                let stale = bucket.set_quota_at(quota(rate), CarryOver::Tokens, secs(0));
                stale.unwrap();
                assert_eq!(bucket.available_at(secs(late)), 0, "{bucket:?}");
            }
        }
    }
    let keyed: KeyedLimiter<u64> = KeyedLimiter::new(quota("999983/s burst 1000"), 8).unwrap();
    assert!(keyed.key(&1).try_acquire_at(1_000, secs(400)).is_ok());
    let stale = keyed.set_quota_at(quota("999983/s burst 1000"), CarryOver::Tokens, secs(0));
    stale.unwrap();
    assert_eq!(keyed.key(&1).available_at(secs(400)), 0);
}

#[test]
fn a_faster_quota_of_an_earlier_time_does_not_refill_what_was_taken_since() {
    let takes: [fn(&LockedTokenBucket); 3] = [
        |locked| assert!(locked.try_acquire_at(10, secs(100)).is_ok()),
        |locked| locked.drain_at(secs(100)),
        |locked| locked.pause_until_at(secs(101), secs(100)).unwrap(),
    ];
    for take in takes {
        let locked = LockedTokenBucket::new(quota("1/s burst 10")).unwrap();
        take(&locked);
        let stale = locked.set_quota_at(quota("1000/s burst 10"), CarryOver::Tokens, secs(99));
        stale.unwrap();
        assert_eq!(locked.available_at(secs(100)), 0);
    }
}

#[test]
fn what_a_stale_cancellation_gives_back_is_at_most_what_was_reserved() {
    let cancelled = |bucket: &dyn QuotaLimiter| {
        let reservation = bucket.reserve_at(1, Duration::ZERO, secs(0)).unwrap();
        assert!(bucket.try_acquire_at(1, secs(1)).is_ok());
        reservation.cancel_at(secs(0));
        bucket.available_at(secs(1))
    };
    let text = "1/s burst 2";
    // By then what was reserved has come again. The locked bucket knows.
    let locked = LockedTokenBucket::new(quota(text)).unwrap();
    assert_eq!(cancelled(&locked), 1);
    // The other believes what it is told, as its page says; of a later time it knows as much.
    let atomic = AtomicTokenBucket::new(quota(text)).unwrap();
    assert_eq!(cancelled(&atomic), 2);
    let atomic = AtomicTokenBucket::new(quota(text)).unwrap();
    let reservation = atomic.reserve_at(1, Duration::ZERO, secs(0)).unwrap();
    assert!(atomic.try_acquire_at(1, secs(1)).is_ok());
    reservation.cancel_at(secs(1));
    assert_eq!(atomic.available_at(secs(1)), 1);
}

#[test]
fn a_stale_drain_takes_what_was_there_then() {
    for bucket in buckets("1/s burst 20") {
        assert!(bucket.try_acquire_at(1, secs(100)).is_ok());
        bucket.drain_at(secs(90));
        assert_eq!(bucket.available_at(secs(100)), 10, "{bucket:?}");
    }
}

#[test]
fn who_takes_nothing_leaves_no_time_behind() {
    let nothing: [fn(&dyn QuotaLimiter); 3] = [
        |bucket| assert_eq!(bucket.try_acquire_up_to_at(0, Timestamp::MAX), 0),
        |bucket| bucket.refund_at(1, Timestamp::MAX),
        |bucket| bucket.sync_remaining_at(5, Timestamp::MAX),
    ];
    for nothing in nothing {
        let locked = LockedTokenBucket::new(quota("1/s burst 5")).unwrap();
        nothing(&locked);
        let same = locked.set_quota_at(quota("1/s burst 5"), CarryOver::Tokens, secs(0));
        same.unwrap();
        assert_eq!(locked.available_at(secs(0)), 5);
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
                        .try_acquire_at(1, Timestamp::from_nanos(n * step))
                        .is_ok()
                );
                if n == first {
                    let denied = bucket.try_acquire_at(1, Timestamp::from_nanos(n * step));
                    assert!(denied.is_err(), "it is kept");
                }
            }
            bucket.try_acquire_at(1, Timestamp::from_nanos(first * step))
        });
        assert_eq!(denials[0], denials[1], "{moves} moves");
    }
}

#[test]
fn the_end_of_time_is_not_right_before_its_beginning() {
    let day = secs(86_400);
    for bucket in buckets("1/d burst 5") {
        assert!(bucket.try_acquire_at(5, Timestamp::MAX).is_ok());
        // Long before what was taken.
        assert!(bucket.try_acquire_at(1, day).is_err(), "{bucket:?}");
    }
    let keyed: KeyedLimiter<u64> = KeyedLimiter::new(quota("1/d burst 5"), 8).unwrap();
    assert!(keyed.key(&1).try_acquire_at(5, Timestamp::MAX).is_ok());
    assert!(keyed.key(&1).try_acquire_at(1, day).is_err());
}

#[test]
fn who_asks_for_nothing_leaves_no_base_behind() {
    for bucket in buckets("999983/s burst 5") {
        assert!(bucket.try_acquire_at(0, Timestamp::MAX).is_ok());
        assert!(bucket.try_acquire_at(5, secs(0)).is_ok(), "{bucket:?}");
    }
}

#[test]
fn a_taker_from_after_a_pause_does_not_end_it_for_others() {
    for bucket in buckets("1/s burst 1000") {
        bucket.pause_until_at(secs(100), secs(50)).unwrap();
        assert!(bucket.try_acquire_at(1, secs(101)).is_ok());
        bucket.refund_at(999, secs(50));
        assert_eq!(bucket.available_at(secs(50)), 0, "{bucket:?}");
    }
    for rate in ["1/h burst 1000", "0/s burst 1000"] {
        for bucket in buckets("1/s burst 1000") {
            bucket.pause_until_at(secs(100), secs(50)).unwrap();
            assert!(bucket.try_acquire_at(1, secs(110)).is_ok());
            let stale = bucket.set_quota_at(quota(rate), CarryOver::Tokens, secs(50));
            stale.unwrap();
            assert_eq!(bucket.available_at(secs(50)), 0, "{rate} of {bucket:?}");
        }
    }
}
