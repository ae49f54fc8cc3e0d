//! Changes of a bucket other than takes: quotas, pauses, cancellations and debt. None of them mints or
//! loses a token.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tollgate::{
    AtomicTokenBucket, CarryOver, Clock, Denied, LockedTokenBucket, ManualClock, Quota,
    QuotaLimiter, RateLimiter, Timestamp,
};

use crate::support::{at_secs, buckets, quota};

#[test]
fn a_limit_set_on_an_unlimited_bucket_is_enforced() {
    for first in ["unlimited", "1/h"] {
        let (buckets, _) = buckets(first);
        for bucket in buckets {
            let _ = bucket.try_acquire(1);
            bucket
                .set_quota(Quota::unlimited(), CarryOver::Tokens)
                .unwrap();
            for _ in 0..5 {
                assert_eq!(bucket.try_acquire(1_000), Ok(()));
            }
            bucket.set_quota(quota("1/h"), CarryOver::Empty).unwrap();
            for _ in 0..5 {
                assert!(bucket.try_acquire(1).is_err(), "{bucket:?}");
            }
        }
    }
}

#[test]
fn a_take_does_not_use_the_quota_of_256_changes_ago() {
    // At this rate a quota change moves the base after a few seconds.
    const RATE: &str = "999983/s burst 1000";
    for changes in 250..260 {
        let (buckets, _) = buckets(RATE);
        for bucket in buckets {
            assert!(bucket.at(at_secs(10)).try_acquire(1_000).is_ok());
            for _ in 0..changes {
                let same = bucket
                    .at(at_secs(10))
                    .set_quota(quota(RATE), CarryOver::Tokens);
                same.unwrap();
            }
            let denied = bucket.at(at_secs(10)).try_acquire(1);
            assert!(denied.is_err(), "{changes} changes of {bucket:?}");
        }
    }
}

#[test]
fn a_cached_denial_does_not_outlive_256_changes() {
    for changes in 250..260 {
        let (buckets, _) = buckets("1/d burst 1");
        for bucket in buckets {
            assert!(bucket.try_acquire(1).is_ok());
            assert!(bucket.try_acquire(1).is_err());
            for _ in 0..changes {
                let faster = quota("1/s burst 100000");
                bucket.set_quota(faster, CarryOver::Full).unwrap();
            }
            // The bucket lacks a day of tokens, as when the denial was cached.
            assert!(bucket.try_acquire(86_400).is_ok());
            let admitted = bucket.try_acquire(1);
            assert!(admitted.is_ok(), "{changes} changes of {bucket:?}");
        }
    }
}

type Service = Box<dyn FnOnce() + Send>;

/// A clock that runs another caller between the reading and its use.
#[derive(Clone, Default)]
struct StalledReader {
    clock: ManualClock,
    meanwhile: Arc<Mutex<Option<Service>>>,
}

impl Clock for StalledReader {
    fn now(&self) -> Timestamp {
        let now = self.clock.now();
        let meanwhile = self.meanwhile.lock().unwrap().take();
        if let Some(meanwhile) = meanwhile {
            meanwhile();
        }
        now
    }
}

impl std::fmt::Debug for StalledReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.clock.fmt(f)
    }
}

#[test]
fn a_stalled_quota_change_mints_nothing() {
    type Change = fn(&AtomicTokenBucket<StalledReader>);
    let changes: [(&str, Change); 3] = [
        ("1/s burst 1000", |bucket| {
            let faster = quota("1000000/s burst 1000");
            bucket.set_quota(faster, CarryOver::Tokens).unwrap();
        }),
        // The base moves in the meantime.
        ("999999937/s burst 1000000", |bucket| {
            let same = quota("999999937/s burst 1000000");
            bucket.set_quota(same, CarryOver::Tokens).unwrap();
        }),
        ("999999937/s burst 1000000", |bucket| {
            let _ = bucket.lease(10);
        }),
    ];
    for (text, change) in changes {
        let clock = StalledReader::default();
        let bucket = AtomicTokenBucket::with_clock(quota(text), clock.clone()).unwrap();
        let bucket = Arc::new(bucket);
        let (taker, time) = (bucket.clone(), clock.clock.clone());
        let burst = bucket.quota().max_burst();
        *clock.meanwhile.lock().unwrap() = Some(Box::new(move || {
            time.advance(Duration::from_millis(50));
            assert_eq!(taker.at(time.now()).try_acquire_up_to(burst), burst);
        }));
        change(&bucket);
        assert_eq!(bucket.at(clock.clock.now()).available(), 0, "{text}");
    }
}

#[test]
fn no_refund_cancellation_or_lease_shortens_a_pause() {
    let (slow, fast) = ("1/s burst 100", "100/s burst 100");
    type Back = fn(&dyn QuotaLimiter);
    let backs: [Back; 4] = [
        |bucket| (0..200).for_each(|_| bucket.refund(1)),
        |bucket| drop(bucket.set_quota("100/s burst 100".parse().unwrap(), CarryOver::Tokens)),
        |bucket| drop(bucket.set_quota("100/s burst 100".parse().unwrap(), CarryOver::Fraction)),
        |bucket| bucket.refund(u64::MAX),
    ];
    for text in [slow, fast] {
        for back in backs {
            for bucket in buckets(text).0 {
                let reservation = bucket.reserve(5, Duration::ZERO).unwrap();
                bucket.pause_until(at_secs(30)).unwrap();
                back(&*bucket);
                reservation.cancel();
                let paused = bucket.try_acquire(1).unwrap_err().retry_after().unwrap();
                assert!(paused >= Duration::from_secs(30), "{paused:?} {bucket:?}");
                // The pause adds nothing but itself to the debt at its beginning.
                assert!(paused <= Duration::from_secs(30 * 101), "{paused:?}");
            }
        }
    }
    for bucket in buckets(slow).0 {
        bucket.pause_until(at_secs(30)).unwrap();
        bucket.set_quota(quota(slow), CarryOver::Full).unwrap();
        assert_eq!(bucket.available(), 100, "`Full` ends the pause");
    }
    let clock = ManualClock::new();
    let bucket = AtomicTokenBucket::with_clock(quota(slow), clock.clone()).unwrap();
    let locked = LockedTokenBucket::with_clock(quota(slow), clock.clone()).unwrap();
    let leases = (bucket.lease(50).unwrap(), locked.lease(50).unwrap());
    bucket.pause_until(at_secs(30)).unwrap();
    locked.pause_until(at_secs(30)).unwrap();
    drop(leases);
    assert_eq!((bucket.available(), locked.available()), (0, 0));
    drop((bucket.lease(50).unwrap(), locked.lease(99).unwrap()));
    clock.set(Timestamp::from_nanos(at_secs(30).as_nanos() - 1));
    assert_eq!((bucket.available(), locked.available()), (0, 0));
    clock.set(at_secs(30));
    assert!(bucket.try_acquire(1).is_ok() && locked.try_acquire(1).is_ok());
}

#[test]
fn a_cancellation_is_judged_at_the_given_instant() {
    let (buckets, clock) = buckets("1/s burst 10");
    clock.advance(Duration::from_secs(60));
    for bucket in buckets {
        let reservation = bucket.at(at_secs(0)).reserve(3, Duration::ZERO).unwrap();
        assert!(bucket.at(at_secs(0)).try_acquire(5).is_ok());
        // By the clock, a minute later, the bucket would be full again.
        reservation.cancel_at(at_secs(0));
        assert_eq!(bucket.at(at_secs(0)).available(), 5, "{bucket:?}");
    }
}

#[test]
fn debt_and_pauses_beyond_the_word_are_exact_until_they_end() {
    const LAST: u64 = (1 << 56) - 1;
    // A token is a nanosecond and a unit; a burst is a quarter of the word.
    let (buckets, clock) = buckets(&format!("1000000000/s burst {}", 1_u64 << 54));
    for bucket in &buckets {
        for _ in 0..4 {
            bucket.reserve(1 << 54, Duration::MAX).unwrap().commit();
        }
        // The last unit in the word, and the first beyond it.
        for (n, wait) in [((1 << 54) - 1, LAST - (1 << 54) + 1), (1, LAST)] {
            let denied = bucket.try_acquire(n).unwrap_err();
            assert!(denied.retry_after().is_some(), "{wait}");
            bucket.reserve(n, Duration::MAX).unwrap().commit();
        }
    }
    let [atomic, locked, striped] = buckets.each_ref().map(|bucket| bucket.try_acquire(1));
    assert_eq!((atomic, striped), (locked, locked));
    clock.advance(Duration::from_nanos(LAST));
    let retry_after = Duration::from_nanos(2);
    for bucket in &buckets {
        assert_eq!(bucket.try_acquire(1), Err(Denied::NotYet { retry_after }));
    }
    clock.advance(retry_after);
    assert!(buckets.iter().all(|bucket| bucket.try_acquire(1).is_ok()));

    let (buckets, clock) = self::buckets("1/s burst 1");
    for bucket in &buckets {
        let until = Timestamp::from_nanos(LAST + 1);
        assert_eq!(bucket.pause_until(until), Ok(()));
    }
    clock.set(Timestamp::from_nanos(LAST));
    let retry_after = Duration::from_nanos(1);
    for bucket in &buckets {
        assert_eq!(bucket.try_acquire(1), Err(Denied::NotYet { retry_after }));
    }
    clock.advance(retry_after);
    assert!(buckets.iter().all(|bucket| bucket.try_acquire(1).is_ok()));
}

#[test]
fn a_quota_is_in_force_from_the_given_instant_on() {
    let (buckets, _) = buckets("1/s burst 100");
    for bucket in buckets {
        assert!(bucket.at(at_secs(0)).try_acquire(100).is_ok());
        let faster = quota("10/s burst 100");
        assert_eq!(
            bucket.at(at_secs(2)).set_quota(faster, CarryOver::Tokens),
            Ok(())
        );
        assert_eq!(
            (bucket.quota(), bucket.at(at_secs(3)).available()),
            (faster, 12)
        );
    }
}

#[test]
fn a_pause_survives_a_quota_change_in_an_old_process() {
    // Thirty years after the clock's origin, in more units than a word holds.
    let (now, end) = (at_secs(1_000_000_000), at_secs(1_000_000_001));
    let (buckets, _) = buckets("2000000000/s burst 10");
    for bucket in buckets {
        bucket.at(now).pause_until(end).unwrap();
        let faster = quota("3000000000/s burst 10");
        assert_eq!(bucket.at(now).set_quota(faster, CarryOver::Tokens), Ok(()));
        let before = Timestamp::from_nanos(end.as_nanos() - 1);
        assert_eq!(bucket.at(before).available(), 0, "{bucket:?}");
        assert_eq!(bucket.at(end).available(), 1, "{bucket:?}");
    }
}

#[test]
fn a_pause_survives_a_change_to_a_rate_of_zero() {
    for which in 0..2 {
        let (buckets, clock) = buckets("1/s burst 1");
        let bucket = &buckets[which];
        bucket.pause_until(Timestamp::from_nanos(8)).unwrap();
        // The bucket holds most of one token, and would hold most of three.
        let fraction = CarryOver::Fraction;
        bucket.set_quota(quota("0/s burst 3"), fraction).unwrap();
        assert_eq!(bucket.try_acquire(1), Err(Denied::Exhausted));
        clock.advance(Duration::from_nanos(8));
        bucket.refund(1);
        assert_eq!((bucket.try_acquire(1), bucket.available()), (Ok(()), 0));
    }
}

#[test]
fn debt_beyond_the_word_survives_quota_changes() {
    let (buckets, _) = buckets("100/s burst 100");
    let answers = buckets.map(|bucket| {
        for _ in 0..20 {
            bucket.reserve(100, Duration::MAX).unwrap().commit();
        }
        bucket
            .set_quota(quota("1/d burst 1"), CarryOver::Tokens)
            .unwrap();
        let owing = bucket.try_acquire(1);
        bucket
            .set_quota(quota("100/s burst 100"), CarryOver::Tokens)
            .unwrap();
        let again = bucket.try_acquire(1);
        bucket
            .set_quota(quota("1/d burst 1"), CarryOver::Full)
            .unwrap();
        (owing, again, bucket.try_acquire(1))
    });
    let [atomic, locked, striped] = answers;
    let day = Duration::from_secs(86_400);
    let retry_after = day * 1_901;
    assert_eq!(locked.0, Err(Denied::NotYet { retry_after }));
    assert_eq!((atomic, striped, locked.2), (locked, locked, Ok(())));
}
