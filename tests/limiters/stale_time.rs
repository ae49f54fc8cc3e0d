//! Operations at stale times, before the times of earlier operations: they mint nothing, and are not
//! mistaken for later ones.

use std::time::Duration;

use tollgate::{
    At, AtomicTokenBucket, CarryOver, KeyedLimiter, LockedTokenBucket, QuotaLimiter, RateLimiter,
    Timestamp,
};

use crate::support::{at_secs, buckets, quota};

#[test]
fn a_stale_quota_change_returns_no_token() {
    for rate in ["999983/s burst 1000", "1/s burst 1000"] {
        for bucket in buckets(rate).0 {
            // At the second instant, the debt exceeds what a word holds.
            for late in [40, 60] {
                let _ = bucket.at(at_secs(late)).try_acquire_up_to(1_000);
                let stale = bucket
                    .at(at_secs(0))
                    .set_quota(quota(rate), CarryOver::Tokens);
                stale.unwrap();
                assert_eq!(bucket.at(at_secs(late)).available(), 0, "{bucket:?}");
            }
        }
    }
    let keyed: KeyedLimiter<u64> = KeyedLimiter::new(quota("999983/s burst 1000"), 8).unwrap();
    assert!(keyed.key(&1).at(at_secs(400)).try_acquire(1_000).is_ok());
    let stale = keyed
        .at(at_secs(0))
        .set_quota(quota("999983/s burst 1000"), CarryOver::Tokens);
    stale.unwrap();
    assert_eq!(keyed.key(&1).at(at_secs(400)).available(), 0);
}

#[test]
fn a_stale_faster_quota_does_not_refill_later_takes() {
    let takes: [fn(&LockedTokenBucket); 3] = [
        |locked| assert!(locked.at(at_secs(100)).try_acquire(10).is_ok()),
        |locked| locked.at(at_secs(100)).drain(),
        |locked| locked.at(at_secs(100)).pause_until(at_secs(101)).unwrap(),
    ];
    for take in takes {
        let locked = LockedTokenBucket::new(quota("1/s burst 10")).unwrap();
        take(&locked);
        let stale = locked
            .at(at_secs(99))
            .set_quota(quota("1000/s burst 10"), CarryOver::Tokens);
        stale.unwrap();
        assert_eq!(locked.at(at_secs(100)).available(), 0);
    }
}

#[test]
fn a_stale_cancellation_returns_at_most_what_was_reserved() {
    let cancelled = |bucket: &dyn QuotaLimiter| {
        let reservation = At::new(bucket, at_secs(0))
            .reserve(1, Duration::ZERO)
            .unwrap();
        assert!(At::new(bucket, at_secs(1)).try_acquire(1).is_ok());
        reservation.cancel_at(at_secs(0));
        At::new(bucket, at_secs(1)).available()
    };
    let text = "1/s burst 2";
    // By 1 s the reserved token has come again. The locked bucket remembers the latest take.
    let locked = LockedTokenBucket::new(quota(text)).unwrap();
    assert_eq!(cancelled(&locked), 1);
    // The atomic bucket goes by the given time, as documented; at a later time it agrees.
    let atomic = AtomicTokenBucket::new(quota(text)).unwrap();
    assert_eq!(cancelled(&atomic), 2);
    let atomic = AtomicTokenBucket::new(quota(text)).unwrap();
    let reservation = atomic.at(at_secs(0)).reserve(1, Duration::ZERO).unwrap();
    assert!(atomic.at(at_secs(1)).try_acquire(1).is_ok());
    reservation.cancel_at(at_secs(1));
    assert_eq!(atomic.at(at_secs(1)).available(), 1);
}

#[test]
fn a_stale_drain_takes_what_was_available_at_its_time() {
    for bucket in buckets("1/s burst 20").0 {
        assert!(bucket.at(at_secs(100)).try_acquire(1).is_ok());
        bucket.at(at_secs(90)).drain();
        assert_eq!(bucket.at(at_secs(100)).available(), 10, "{bucket:?}");
    }
}

#[test]
fn an_operation_that_takes_nothing_leaves_no_time_behind() {
    let nothing: [fn(&dyn QuotaLimiter); 3] = [
        |bucket| assert_eq!(At::new(bucket, Timestamp::MAX).try_acquire_up_to(0), 0),
        |bucket| At::new(bucket, Timestamp::MAX).refund(1),
        |bucket| At::new(bucket, Timestamp::MAX).sync_remaining(5),
    ];
    for nothing in nothing {
        let locked = LockedTokenBucket::new(quota("1/s burst 5")).unwrap();
        nothing(&locked);
        let same = locked
            .at(at_secs(0))
            .set_quota(quota("1/s burst 5"), CarryOver::Tokens);
        same.unwrap();
        assert_eq!(locked.at(at_secs(0)).available(), 5);
    }
}

#[test]
fn a_stale_denial_is_not_one_cached_256_bases_ago() {
    // Each step exceeds the horizon, and is a multiple of the granularity of a base.
    let (step, first) = (70_000_000 << 18, 1_u64);
    for moves in 250..260 {
        let denials = buckets("1009/s burst 1").0.map(|bucket| {
            for n in first..first + moves {
                assert!(
                    bucket
                        .at(Timestamp::from_nanos(n * step))
                        .try_acquire(1)
                        .is_ok()
                );
                if n == first {
                    let denied = bucket.at(Timestamp::from_nanos(n * step)).try_acquire(1);
                    assert!(denied.is_err(), "the bucket has a second token");
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
fn the_end_of_the_clock_does_not_wrap_to_its_origin() {
    let day = at_secs(86_400);
    for bucket in buckets("1/d burst 5").0 {
        assert!(bucket.at(Timestamp::MAX).try_acquire(5).is_ok());
        // One day is long before the take.
        assert!(bucket.at(day).try_acquire(1).is_err(), "{bucket:?}");
    }
    let keyed: KeyedLimiter<u64> = KeyedLimiter::new(quota("1/d burst 5"), 8).unwrap();
    assert!(keyed.key(&1).at(Timestamp::MAX).try_acquire(5).is_ok());
    assert!(keyed.key(&1).at(day).try_acquire(1).is_err());
}

#[test]
fn a_take_of_zero_tokens_moves_no_base() {
    for bucket in buckets("999983/s burst 5").0 {
        assert!(bucket.at(Timestamp::MAX).try_acquire(0).is_ok());
        assert!(bucket.at(at_secs(0)).try_acquire(5).is_ok(), "{bucket:?}");
    }
}

#[test]
fn a_take_after_a_pause_does_not_end_it_for_earlier_times() {
    for bucket in buckets("1/s burst 1000").0 {
        bucket.at(at_secs(50)).pause_until(at_secs(100)).unwrap();
        assert!(bucket.at(at_secs(101)).try_acquire(1).is_ok());
        bucket.at(at_secs(50)).refund(999);
        assert_eq!(bucket.at(at_secs(50)).available(), 0, "{bucket:?}");
    }
    for rate in ["1/h burst 1000", "0/s burst 1000"] {
        for bucket in buckets("1/s burst 1000").0 {
            bucket.at(at_secs(50)).pause_until(at_secs(100)).unwrap();
            assert!(bucket.at(at_secs(110)).try_acquire(1).is_ok());
            let stale = bucket
                .at(at_secs(50))
                .set_quota(quota(rate), CarryOver::Tokens);
            stale.unwrap();
            assert_eq!(
                bucket.at(at_secs(50)).available(),
                0,
                "{rate} of {bucket:?}"
            );
        }
    }
}
