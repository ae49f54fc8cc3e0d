//! What changes a limiter beside takes: quotas, leases, pauses, cancellations. None of it mints a
//! token or loses one.
#![cfg(not(tollgate_loom))]

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use tollgate::{
    AllOf, AtomicTokenBucket, CarryOver, Clock, Denied, KeyedLimiter, Leasable, LockedTokenBucket,
    ManualClock, OnFull, Quota, QuotaLimiter, RateLimiter, Timestamp,
};

fn quota(text: &str) -> Quota {
    text.parse().unwrap()
}

fn secs(secs: u64) -> Timestamp {
    Timestamp::from_nanos(secs * 1_000_000_000)
}

/// A bucket of each type, on one clock.
fn buckets(text: &str) -> ([Box<dyn QuotaLimiter>; 2], ManualClock) {
    let clock = ManualClock::new();
    let atomic = AtomicTokenBucket::with_clock(quota(text), clock.clone()).unwrap();
    let locked = LockedTokenBucket::with_clock(quota(text), clock.clone()).unwrap();
    ([Box::new(atomic), Box::new(locked)], clock)
}

#[test]
fn a_limit_after_no_limit_is_enforced() {
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
fn what_takers_go_by_is_not_that_of_256_changes_ago() {
    // At such a rate a change of the quota moves the base after a few seconds already.
    const RATE: &str = "999983/s burst 1000";
    for changes in 250..260 {
        let (buckets, _) = buckets(RATE);
        for bucket in buckets {
            assert!(bucket.at(secs(10)).try_acquire(1_000).is_ok());
            for _ in 0..changes {
                let same = bucket
                    .at(secs(10))
                    .set_quota(quota(RATE), CarryOver::Tokens);
                same.unwrap();
            }
            let denied = bucket.at(secs(10)).try_acquire(1);
            assert!(denied.is_err(), "{changes} changes of {bucket:?}");
        }
    }
}

#[test]
fn a_denial_that_was_kept_is_not_that_of_256_changes_ago() {
    for changes in 250..260 {
        let (buckets, _) = buckets("1/d burst 1");
        for bucket in buckets {
            assert!(bucket.try_acquire(1).is_ok());
            assert!(bucket.try_acquire(1).is_err());
            for _ in 0..changes {
                let faster = quota("1/s burst 100000");
                bucket.set_quota(faster, CarryOver::Full).unwrap();
            }
            // A day is missing, as it was then.
            assert!(bucket.try_acquire(86_400).is_ok());
            let admitted = bucket.try_acquire(1);
            assert!(admitted.is_ok(), "{changes} changes of {bucket:?}");
        }
    }
}

type Service = Box<dyn FnOnce() + Send>;

/// A clock at which somebody else is served between its reading and its reader.
#[derive(Clone, Default)]
struct Slow {
    clock: ManualClock,
    meanwhile: Arc<Mutex<Option<Service>>>,
}

impl Clock for Slow {
    fn now(&self) -> Timestamp {
        let now = self.clock.now();
        let meanwhile = self.meanwhile.lock().unwrap().take();
        if let Some(meanwhile) = meanwhile {
            meanwhile();
        }
        now
    }
}

impl std::fmt::Debug for Slow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.clock.fmt(f)
    }
}

#[test]
fn who_changes_a_quota_and_is_held_up_grants_nothing_by_it() {
    type Change = fn(&AtomicTokenBucket<Slow>);
    let changes: [(&str, Change); 3] = [
        ("1/s burst 1000", |bucket| {
            let faster = quota("1000000/s burst 1000");
            bucket.set_quota(faster, CarryOver::Tokens).unwrap();
        }),
        // The base moves on meanwhile.
        ("999999937/s burst 1000000", |bucket| {
            let same = quota("999999937/s burst 1000000");
            bucket.set_quota(same, CarryOver::Tokens).unwrap();
        }),
        ("999999937/s burst 1000000", |bucket| {
            let _ = bucket.lease(10);
        }),
    ];
    for (text, change) in changes {
        let clock = Slow::default();
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
fn a_key_that_was_not_retained_gives_nothing_back() {
    let clock = ManualClock::new();
    let builder = KeyedLimiter::<u64>::builder(quota("1/s burst 10"), 8);
    let keyed = builder.clock(clock.clone()).build().unwrap();
    let key = keyed.key(&1);
    assert!(key.try_acquire(10).is_ok());
    let reservation = key.reserve(10, Duration::MAX).unwrap();
    keyed.retain(|_, _| false);
    assert!(key.try_acquire(10).is_ok(), "as new");
    reservation.cancel();
    assert_eq!(key.available(), 0);
}

#[test]
fn nothing_that_comes_back_ends_a_pause() {
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
                bucket.pause_until(secs(30)).unwrap();
                back(&*bucket);
                reservation.cancel();
                let paused = bucket.try_acquire(1).unwrap_err().retry_after().unwrap();
                assert!(paused >= Duration::from_secs(30), "{paused:?} {bucket:?}");
                // It ends for whoever comes then, but for the debt that was there.
                assert!(paused <= Duration::from_secs(30 * 101), "{paused:?}");
            }
        }
    }
    for bucket in buckets(slow).0 {
        bucket.pause_until(secs(30)).unwrap();
        bucket.set_quota(quota(slow), CarryOver::Full).unwrap();
        assert_eq!(bucket.available(), 100, "a grant");
    }
    let clock = ManualClock::new();
    let bucket = AtomicTokenBucket::with_clock(quota(slow), clock.clone()).unwrap();
    let locked = LockedTokenBucket::with_clock(quota(slow), clock.clone()).unwrap();
    let leases = (bucket.lease(50).unwrap(), locked.lease(50).unwrap());
    bucket.pause_until(secs(30)).unwrap();
    locked.pause_until(secs(30)).unwrap();
    drop(leases);
    assert_eq!((bucket.available(), locked.available()), (0, 0));
    drop((bucket.lease(50).unwrap(), locked.lease(99).unwrap()));
    clock.set(Timestamp::from_nanos(secs(30).as_nanos() - 1));
    assert_eq!((bucket.available(), locked.available()), (0, 0));
    clock.set(secs(30));
    assert!(bucket.try_acquire(1).is_ok() && locked.try_acquire(1).is_ok());
}

fn a_reservation_outlives_leases_of(bucket: &impl Leasable) {
    let reservation = bucket.reserve(50, Duration::ZERO).unwrap();
    let lease = bucket.lease(1).unwrap();
    assert_eq!((lease.held(), bucket.available()), (0, 50));
    reservation.cancel();
    // The burst that is left is full; what the lease does not hold yet, it would have to fetch.
    assert_eq!((lease.held(), bucket.available()), (0, 99));
    let reservation = bucket.reserve(99, Duration::ZERO).unwrap();
    drop(lease);
    reservation.cancel();
    assert_eq!(bucket.available(), 99);

    // As if it had never been: the lease's share, and what was taken since.
    bucket.refund(1);
    let reservation = bucket.reserve(50, Duration::ZERO).unwrap();
    let lease = bucket.lease(10).unwrap();
    assert_eq!(bucket.try_acquire(50), Ok(()));
    reservation.cancel();
    assert_eq!((lease.held(), bucket.available()), (0, 40));
}

#[test]
fn a_reservation_outlives_leases() {
    let (text, clock) = ("1/h burst 100", ManualClock::new());
    let atomic = AtomicTokenBucket::with_clock(quota(text), clock.clone());
    a_reservation_outlives_leases_of(&atomic.unwrap());
    a_reservation_outlives_leases_of(&LockedTokenBucket::with_clock(quota(text), clock).unwrap());
}

#[test]
fn a_reservation_is_cancelled_at_the_time_that_is_given() {
    let (buckets, clock) = buckets("1/s burst 10");
    clock.advance(Duration::from_secs(60));
    for bucket in buckets {
        let reservation = bucket.at(secs(0)).reserve(3, Duration::ZERO).unwrap();
        assert!(bucket.at(secs(0)).try_acquire(5).is_ok());
        // By the clock, a minute later, all of it would have come anyway.
        reservation.cancel_at(secs(0));
        assert_eq!(bucket.at(secs(0)).available(), 5, "{bucket:?}");
    }
}

#[test]
fn a_fraction_counts_what_leases_hold_as_taken() {
    let (text, clock) = ("100/d", ManualClock::new());
    let atomic = AtomicTokenBucket::with_clock(quota(text), clock.clone());
    a_fraction_counts_what_leases_of(&atomic.unwrap());
    a_fraction_counts_what_leases_of(&LockedTokenBucket::with_clock(quota(text), clock).unwrap());
}

fn a_fraction_counts_what_leases_of(bucket: &impl Leasable) {
    assert!(bucket.try_acquire(50).is_ok());
    let lease = bucket.lease(50).unwrap();
    let there = lease.held() + bucket.available();
    assert_eq!(there, 50);
    bucket
        .set_quota(quota("1000/d"), CarryOver::Fraction)
        .unwrap();
    assert_eq!(lease.held() + bucket.available(), 500);
    drop(lease);
    bucket
        .set_quota(quota("100/d"), CarryOver::Fraction)
        .unwrap();
    assert_eq!(bucket.available(), 50, "{bucket:?}");
}

#[test]
fn what_a_word_cannot_hold_is_kept_beside_it_until_it_is_paid() {
    const LAST: u64 = (1 << 56) - 1;
    // A token is a nanosecond is a unit, and a burst is a quarter of the word.
    let (buckets, clock) = buckets(&format!("1000000000/s burst {}", 1_u64 << 54));
    for bucket in &buckets {
        for _ in 0..4 {
            bucket.reserve(1 << 54, Duration::MAX).unwrap().commit();
        }
        // The last unit of the word, and the first beyond it.
        for (n, wait) in [((1 << 54) - 1, LAST - (1 << 54) + 1), (1, LAST)] {
            let denied = bucket.try_acquire(n).unwrap_err();
            assert!(denied.retry_after().is_some(), "{wait}");
            bucket.reserve(n, Duration::MAX).unwrap().commit();
        }
    }
    let [atomic, locked] = buckets.each_ref().map(|bucket| bucket.try_acquire(1));
    assert_eq!(atomic, locked);
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
fn a_quota_is_in_force_from_the_instant_it_was_given_on() {
    let (buckets, _) = buckets("1/s burst 100");
    for bucket in buckets {
        assert!(bucket.at(secs(0)).try_acquire(100).is_ok());
        let faster = quota("10/s burst 100");
        assert_eq!(
            bucket.at(secs(2)).set_quota(faster, CarryOver::Tokens),
            Ok(())
        );
        assert_eq!(
            (bucket.quota(), bucket.at(secs(3)).available()),
            (faster, 12)
        );
    }
}

#[test]
fn a_pause_outlives_a_change_of_the_quota_in_an_old_process() {
    // Thirty years after the clock's origin: more units than a word holds.
    let (now, end) = (secs(1_000_000_000), secs(1_000_000_001));
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
fn a_pause_outlives_a_change_to_a_rate_of_zero() {
    for which in 0..2 {
        let (buckets, clock) = buckets("1/s burst 1");
        let bucket = &buckets[which];
        bucket.pause_until(Timestamp::from_nanos(8)).unwrap();
        // Most of one token is there, and most of three would be.
        let fraction = CarryOver::Fraction;
        bucket.set_quota(quota("0/s burst 3"), fraction).unwrap();
        assert_eq!(bucket.try_acquire(1), Err(Denied::Exhausted));
        clock.advance(Duration::from_nanos(8));
        bucket.refund(1);
        assert_eq!((bucket.try_acquire(1), bucket.available()), (Ok(()), 0));
    }
}

#[test]
fn debt_that_a_word_cannot_hold_is_kept_beside_it() {
    let (buckets, clock) = buckets("100/s burst 100");
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
    let [atomic, locked] = answers;
    let day = Duration::from_secs(86_400);
    let retry_after = day * 1_901;
    assert_eq!(locked.0, Err(Denied::NotYet { retry_after }));
    assert_eq!((atomic, locked.2), (locked, Ok(())));
    drop(clock);
}

#[test]
fn no_tokens_of_all_limits_always_pass() {
    let clock = ManualClock::new();
    let bucket = AtomicTokenBucket::with_clock(quota("1/s burst 1"), clock.clone()).unwrap();
    bucket.pause_until(secs(10)).unwrap();
    let all = AllOf::new([&bucket]);
    assert_eq!(all.try_acquire(0), Ok(()));
    assert_eq!(all.try_acquire_up_to(0), 0);
    assert!(all.reserve(0, Duration::ZERO).is_ok());
}

#[test]
fn a_full_bucket_is_full_however_long_it_was_idle() {
    for idle in [
        18_446_500_000_000_u64,
        18_447_057_000_000,
        18_447_058_000_000,
    ] {
        let now = Timestamp::from_nanos(idle);
        let bucket = AtomicTokenBucket::new(quota("999983/s burst 1000000")).unwrap();
        let all = AllOf::new([&bucket]);
        assert_eq!(all.at(now).try_acquire(1_000_000), Ok(()), "{idle}");
    }
}

#[test]
fn a_lease_that_is_refused_takes_nothing() {
    let clock = ManualClock::new();
    let builder = KeyedLimiter::<u64>::builder(quota("1/h burst 100"), 1);
    let keyed = builder
        .clock(clock)
        .on_full(OnFull::Shared)
        .build()
        .unwrap();
    assert!(keyed.key(&1).try_acquire(1).is_ok());
    let shared = keyed.key(&2);
    assert_eq!(shared.available(), 100);
    let bucket = AtomicTokenBucket::new(quota("1/h burst 100")).unwrap();
    assert!(matches!(
        bucket.lease(100),
        Err(Denied::ExceedsBurst { burst: 99 })
    ));
    assert_eq!(bucket.available(), 100);
}

#[test]
fn debt_of_a_key_with_its_own_quota_does_not_overflow() {
    let clock = ManualClock::new();
    let builder = KeyedLimiter::<u64>::builder(quota("1/s"), 8);
    let keyed = builder.clock(clock).build().unwrap();
    keyed
        .key(&1)
        .set_quota(quota("1000000000000/s"), CarryOver::Tokens)
        .unwrap();
    let _ = keyed.key(&1).pause_until(Timestamp::MAX);
    keyed
        .key(&1)
        .set_quota(quota("1/36500d"), CarryOver::Tokens)
        .unwrap();
    assert!(keyed.key(&1).try_acquire(1).is_err());
}
