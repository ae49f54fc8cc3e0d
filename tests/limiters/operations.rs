//! Each operation of the lock-free bucket and of the locked one at its bounds.

use std::future::Future;
use std::task::{Context, Waker};
use std::time::Duration;

use tollgate::{
    At, AtomicTokenBucket, CarryOver, Clock, Denied, KeyedLimiter, Leasable, LockedTokenBucket,
    ManualClock, Quota, QuotaError, QuotaLimiter, RateLimiter, Timestamp,
};

use crate::support::quota;

#[test]
fn cancelling_every_reservation_restores_the_bucket() {
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]] {
        let clock = ManualClock::new();
        let atomic = AtomicTokenBucket::with_clock(quota("1/s burst 4"), clock.clone()).unwrap();
        let locked = LockedTokenBucket::with_clock(quota("1/s burst 4"), clock).unwrap();
        for bucket in [&atomic as &dyn QuotaLimiter, &locked] {
            let mut open: Vec<_> = (0..4)
                .map(|_| bucket.reserve(3, Duration::MAX).ok())
                .collect();
            for which in order {
                open[which].take().unwrap().cancel();
            }
            assert_eq!(bucket.available(), 4, "{order:?}");
        }
    }
}

#[test]
fn methods_without_a_time_read_the_clock() {
    fn check(bucket: &impl Leasable, clock: &ManualClock) {
        // At the clock's origin the bucket would still be full.
        clock.advance(Duration::from_secs(10));
        assert_eq!(bucket.now(), Timestamp::from_nanos(10_000_000_000));
        assert!(bucket.try_acquire(6).is_ok());
        assert!(bucket.try_acquire(5).is_err());
        assert!(bucket.try_acquire_above(2, 3).is_err());
        assert!(bucket.try_acquire_above(2, 2).is_ok());
        assert_eq!((bucket.available(), bucket.try_acquire_up_to(9)), (2, 2));
        clock.advance(Duration::from_secs(5));
        bucket.sync_remaining(4);
        assert_eq!(bucket.available(), 4);
        bucket.refund(1);
        assert_eq!(bucket.available(), 5);
        bucket.drain();
        assert_eq!(bucket.available(), 0);
        clock.advance(Duration::from_secs(1));
        assert_eq!(bucket.available(), 1);
        let before = bucket.now();
        bucket.at(before).drain();
        assert_eq!(bucket.at(before).available(), 0);
        let wait = Duration::from_secs(1);
        let reserved = bucket.reserve(1, wait).unwrap();
        assert_eq!(reserved.ready_at(), before.saturating_add(wait));
        reserved.commit();
        bucket.pause_until(before.saturating_add(wait * 9)).unwrap();
        assert_eq!(
            bucket.try_acquire(1).unwrap_err().retry_after(),
            Some(wait * 9)
        );
        bucket
            .set_quota(quota("1/s burst 3"), CarryOver::Full)
            .unwrap();
        assert_eq!(
            (bucket.quota(), bucket.available()),
            (quota("1/s burst 3"), 3)
        );
    }
    let (clock, text) = (ManualClock::new(), "1/s burst 10");
    let atomic = AtomicTokenBucket::with_clock(quota(text), clock.clone()).unwrap();
    check(&atomic, &clock);
    let clock = ManualClock::new();
    let locked = LockedTokenBucket::with_clock(quota(text), clock.clone()).unwrap();
    check(&locked, &clock);
}

/// A bucket of each type, each on its own clock.
fn buckets_with_clocks(text: &str) -> [(Box<dyn QuotaLimiter>, ManualClock); 2] {
    let (one, other) = (ManualClock::new(), ManualClock::new());
    let atomic = AtomicTokenBucket::with_clock(quota(text), one.clone()).unwrap();
    let locked = LockedTokenBucket::with_clock(quota(text), other.clone()).unwrap();
    [(Box::new(atomic), one), (Box::new(locked), other)]
}

#[test]
fn a_take_of_zero_tokens_leaves_no_time_behind() {
    let (early, late) = (Timestamp::ZERO, Timestamp::from_nanos(100_000_000_000));
    for (bucket, _) in buckets_with_clocks("1/s burst 5") {
        assert_eq!(bucket.at(late).try_acquire_up_to(0), 0);
        assert!(bucket.at(late).try_acquire(0).is_ok());
        bucket.at(late).reserve(0, Duration::ZERO).unwrap().commit();
        assert_eq!(bucket.at(early).available(), 5);
    }
}

#[test]
fn a_take_of_zero_tokens_passes_in_debt_and_before_the_base() {
    let (early, late) = (Timestamp::ZERO, Timestamp::from_nanos(u64::MAX / 4));
    for (bucket, _) in buckets_with_clocks("1/s burst 5") {
        // `late` is far enough for the base to move.
        bucket.at(late).try_acquire(5).unwrap();
        bucket.at(late).reserve(5, Duration::MAX).unwrap().commit();
        for now in [early, late] {
            assert!(bucket.at(now).try_acquire(1).is_err());
            assert!(bucket.at(now).try_acquire(0).is_ok());
        }
    }
}

#[test]
fn a_bucket_names_its_largest_burst_and_takes_debt_beyond_its_word() {
    let largest = match AtomicTokenBucket::new(quota("999983/s burst 1000000000")) {
        Err(QuotaError::BeyondWord { max_burst }) => max_burst,
        other => panic!("{other:?}"),
    };
    let text = format!("999983/s burst {largest}");
    let bucket = AtomicTokenBucket::with_clock(quota(&text), ManualClock::new()).unwrap();
    // A burst is a quarter of a word.
    for _ in 0..3 {
        bucket.reserve(largest, Duration::MAX).unwrap().commit();
    }
    // The debt beyond the word is kept behind the lock.
    let one = bucket.reserve(largest, Duration::MAX).unwrap();
    let two = bucket.reserve(largest, Duration::MAX).unwrap();
    let burst = bucket.quota().max_burst();
    assert!(two.wait_from(one.ready_at()) > Duration::from_secs(burst / 999_983));
}

#[test]
fn a_pause_that_ends_now_has_no_effect() {
    for (bucket, clock) in buckets_with_clocks("1/s burst 5") {
        clock.advance(Duration::from_secs(3));
        bucket.pause_until(clock.now()).unwrap();
        bucket.pause_until(Timestamp::ZERO).unwrap();
        assert_eq!(bucket.available(), 5);
    }
}

#[test]
fn a_reservation_behind_a_waiter_has_a_fixed_instant_and_does_not_delay_it() {
    for (bucket, clock) in buckets_with_clocks("1/s burst 5") {
        bucket.try_acquire(2).unwrap();
        let mut waiting = Box::pin(bucket.acquire(5));
        let context = &mut Context::from_waker(Waker::noop());
        assert!(waiting.as_mut().poll(context).is_pending());
        let nothing = bucket.reserve(0, Duration::ZERO).unwrap();
        assert_eq!(nothing.ready_at(), bucket.now());
        let late = bucket.reserve(1, Duration::from_millis(2_999));
        assert!(matches!(late, Err(Denied::TooLong { .. })));
        let cancelled = bucket.reserve(1, Duration::MAX).unwrap();
        let reserved = bucket.reserve(1, Duration::MAX).unwrap();
        let second = Duration::from_secs(1);
        let instants = [&cancelled, &reserved].map(|one| one.wait_from(clock.now()));
        assert_eq!(instants, [3 * second, 4 * second]);
        drop(cancelled);
        clock.advance(2 * second);
        assert!(waiting.as_mut().poll(context).is_ready());
        // A newcomer can have the returned token, but not the reserved one.
        clock.advance(second);
        assert_eq!(
            bucket.try_acquire(1).unwrap_err().retry_after(),
            Some(second)
        );
        clock.advance(second);
        assert_eq!(reserved.ready_at(), clock.now());
        drop(reserved);
        assert_eq!(bucket.available(), 1);
    }
}

#[test]
fn a_denial_displays_its_reason() {
    let bucket = AtomicTokenBucket::with_clock(quota("1/s burst 2"), ManualClock::new()).unwrap();
    bucket.drain();
    let says = |denied: Denied, what: &str| {
        let text = denied.to_string();
        assert!(text.contains(what), "{text:?} does not say {what:?}");
    };
    says(bucket.try_acquire(1).unwrap_err(), "after 1s");
    says(bucket.try_acquire(3).unwrap_err(), "burst of 2");
    let too_long = bucket.reserve(1, Duration::ZERO).unwrap_err();
    says(too_long, "1s is too long");
    says(Denied::Exhausted, "used up");
    says(Denied::TooManyKeys, "too many keys");
}

#[test]
fn a_bucket_without_a_rate_cannot_be_paused() {
    let until = Timestamp::from_nanos(5_000_000_000);
    for (bucket, _) in buckets_with_clocks("0/s burst 3") {
        assert_eq!(bucket.pause_until(until), Err(Denied::Exhausted));
        assert_eq!(bucket.pause_until(bucket.now()), Ok(()));
        assert_eq!(bucket.available(), 3);
    }
    let builder = KeyedLimiter::builder(quota("0/s burst 3"), 1).clock(ManualClock::new());
    let keyed: KeyedLimiter<u8, _, _> = builder.build().unwrap();
    assert_eq!(keyed.key(&1).pause_until(until), Err(Denied::Exhausted));
    assert_eq!(keyed.key(&1).available(), 3);
    for (bucket, _) in buckets_with_clocks("unlimited") {
        assert_eq!(bucket.pause_until(until), Ok(()));
        assert!(bucket.try_acquire(u64::MAX).is_ok());
        bucket.drain();
        assert!(bucket.try_acquire(1).is_ok());
    }
}

#[test]
fn a_rejected_quota_leaves_the_old_one_in_force() {
    let bucket = AtomicTokenBucket::new(quota("10/d")).unwrap();
    bucket.try_acquire(4).unwrap();
    let refused = bucket.set_quota(quota("999983/s burst 1000000000"), CarryOver::Full);
    assert!(
        matches!(refused, Err(QuotaError::BeyondWord { max_burst: 1.. })),
        "{refused:?}"
    );
    assert_eq!((bucket.quota(), bucket.available()), (quota("10/d"), 6));
    let _lease = bucket.lease(3).unwrap();
    assert_eq!(
        bucket.set_quota(quota("10/d burst 3"), CarryOver::Tokens),
        Err(QuotaError::ZeroBurst)
    );
    assert_eq!(bucket.quota(), quota("10/d"));
}

#[test]
fn a_servers_answer_only_tightens() {
    let clock = ManualClock::new();
    let atomic = AtomicTokenBucket::with_clock(quota("10/s burst 10"), clock.clone()).unwrap();
    let locked = LockedTokenBucket::with_clock(quota("10/s burst 10"), clock.clone()).unwrap();
    for bucket in [&atomic as &dyn QuotaLimiter, &locked] {
        bucket.sync_remaining(u64::MAX);
        assert_eq!(bucket.available(), 10);
        bucket
            .pause_until(clock.now().saturating_add(Duration::from_secs(7)))
            .unwrap();
        bucket
            .pause_until(clock.now().saturating_add(Duration::from_secs(5)))
            .unwrap();
        assert_eq!(
            bucket.try_acquire(1).unwrap_err().retry_after(),
            Some(Duration::from_secs(7))
        );
        bucket.refund(u64::MAX);
        assert!(bucket.available() <= 10);
    }
    let fast = AtomicTokenBucket::new(quota("999983/s burst 1")).unwrap();
    assert_eq!(fast.pause_until(Timestamp::MAX), Ok(()));
    assert!(
        fast.try_acquire(1).is_err(),
        "the pause lasts for centuries"
    );
    let unlimited = LockedTokenBucket::new(Quota::unlimited()).unwrap();
    unlimited.drain();
    assert!(unlimited.try_acquire(u64::MAX).is_ok());
}

#[test]
fn a_time_before_the_base_is_judged_as_given() {
    // At 999,983/s the base moves after 18 seconds, to 2.25 seconds before that.
    const LATE: u64 = 40_000_000_000;
    let at = Timestamp::from_nanos;
    for stale in [
        0,
        1,
        LATE / 2,
        LATE - 2_300_000_000,
        LATE - 2_250_000_100,
        LATE - 1,
    ] {
        let atomic =
            AtomicTokenBucket::with_clock(quota("999983/s burst 2"), ManualClock::new()).unwrap();
        let locked =
            LockedTokenBucket::with_clock(quota("999983/s burst 2"), ManualClock::new()).unwrap();
        let [mut atomic_answers, mut locked_answers] = [Vec::new(), Vec::new()];
        for (bucket, answers) in [
            (&atomic as &dyn QuotaLimiter, &mut atomic_answers),
            (&locked, &mut locked_answers),
        ] {
            At::new(bucket, at(LATE)).try_acquire(2).unwrap();
            At::new(bucket, at(stale)).sync_remaining(1);
            answers.push((
                At::new(bucket, at(stale)).try_acquire(1),
                At::new(bucket, at(stale)).available(),
            ));
            At::new(bucket, at(stale)).drain();
            At::new(bucket, at(stale)).try_acquire_up_to(1);
            answers.push((
                At::new(bucket, at(LATE + 1_000)).try_acquire(1),
                At::new(bucket, at(LATE + 1_001)).available(),
            ));
            answers.push((At::new(bucket, at(LATE + 1_001)).try_acquire(1), 0));
            answers.push((
                At::new(bucket, at(stale)).try_acquire(1),
                At::new(bucket, at(stale)).available(),
            ));
        }
        assert_eq!(atomic_answers, locked_answers, "{stale}");
        assert!(
            matches!(atomic_answers[0].0, Err(Denied::NotYet { .. })),
            "{stale}"
        );
    }
}

#[test]
fn a_cancellation_that_reaches_before_the_base_returns_every_token() {
    // The base moves after 18 seconds, to 2.25 seconds before that. `late` was taken before the new base.
    let clock = ManualClock::new();
    let quota = quota("999983/s burst 4000000");
    let atomic = AtomicTokenBucket::with_clock(quota, clock.clone()).unwrap();
    let locked = LockedTokenBucket::with_clock(quota, clock.clone()).unwrap();
    for bucket in [&atomic as &dyn QuotaLimiter, &locked] {
        clock.set(Timestamp::ZERO);
        let first = bucket.reserve(1_000_000, Duration::ZERO).unwrap();
        let _used = bucket.reserve(1, Duration::ZERO).unwrap();
        first.cancel();
        let open = bucket.reserve(1, Duration::ZERO).unwrap();
        clock.advance(Duration::from_secs(16));
        let late = bucket.reserve(4_000_000, Duration::ZERO).unwrap();
        clock.advance(Duration::from_millis(2_400));
        late.cancel();
        open.cancel();
        assert_eq!(bucket.available(), 4_000_000);
    }
}
