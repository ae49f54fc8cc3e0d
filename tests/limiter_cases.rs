//! Single cases of the operations of a limiter, for the lock-free bucket and the locked one: what
//! each promises at its bounds.

#![allow(missing_docs)]

use std::future::{Future, IntoFuture};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tollgate::{
    At, AtomicTokenBucket, CarryOver, Clock, Denied, KeyedLimiter, Leasable, LockedTokenBucket,
    ManualClock, Quota, QuotaError, QuotaLimiter, RateLimiter, Timestamp,
};

fn quota(text: &str) -> Quota {
    text.parse().unwrap()
}

#[test]
fn all_cancelled_is_as_if_nothing_had_been_taken() {
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
fn the_forms_without_a_time_read_the_clock() {
    fn check(bucket: &impl Leasable, clock: &ManualClock) {
        // At the clock's origin it would still be full.
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

/// Both kinds of bucket, each with its clock.
fn both(text: &str) -> [(Box<dyn QuotaLimiter>, ManualClock); 2] {
    let (one, other) = (ManualClock::new(), ManualClock::new());
    let atomic = AtomicTokenBucket::with_clock(quota(text), one.clone()).unwrap();
    let locked = LockedTokenBucket::with_clock(quota(text), other.clone()).unwrap();
    [(Box::new(atomic), one), (Box::new(locked), other)]
}

#[test]
fn asking_for_nothing_changes_nothing_for_an_older_time() {
    let (early, late) = (Timestamp::ZERO, Timestamp::from_nanos(100_000_000_000));
    for (bucket, _) in both("1/s burst 5") {
        assert_eq!(bucket.at(late).try_acquire_up_to(0), 0);
        assert!(bucket.at(late).try_acquire(0).is_ok());
        bucket.at(late).reserve(0, Duration::ZERO).unwrap().commit();
        assert_eq!(bucket.at(early).available(), 5);
    }
}

#[test]
fn asking_for_nothing_is_granted_in_debt_and_before_the_base() {
    let (early, late) = (Timestamp::ZERO, Timestamp::from_nanos(u64::MAX / 4));
    for (bucket, _) in both("1/s burst 5") {
        // Far enough for the base of a word to move.
        bucket.at(late).try_acquire(5).unwrap();
        bucket.at(late).reserve(5, Duration::MAX).unwrap().commit();
        for now in [early, late] {
            assert!(bucket.at(now).try_acquire(1).is_err());
            assert!(bucket.at(now).try_acquire(0).is_ok());
        }
    }
}

#[test]
fn debt_beyond_what_a_word_can_hold_is_refused_by_name() {
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
    // More than that is kept beside it.
    let one = bucket.reserve(largest, Duration::MAX).unwrap();
    let two = bucket.reserve(largest, Duration::MAX).unwrap();
    let burst = bucket.quota().max_burst();
    assert!(two.wait_from(one.ready_at()) > Duration::from_secs(burst / 999_983));
}

#[test]
fn a_pause_that_ends_now_is_none() {
    for (bucket, clock) in both("1/s burst 5") {
        clock.advance(Duration::from_secs(3));
        bucket.pause_until(clock.now()).unwrap();
        bucket.pause_until(Timestamp::ZERO).unwrap();
        assert_eq!(bucket.available(), 5);
    }
}

#[test]
fn a_reservation_behind_a_waiter_has_a_fixed_instant_and_delays_nobody() {
    for (bucket, clock) in both("1/s burst 5") {
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
        // What was given back is there for others, what is reserved is not.
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
fn who_was_served_waits_no_more() {
    let clock = ManualClock::new();
    let bucket = LockedTokenBucket::with_clock(quota("1/s burst 5"), clock.clone()).unwrap();
    bucket.drain();
    let mut waiting = Box::pin(bucket.acquire(3).into_future());
    let context = &mut Context::from_waker(Waker::noop());
    assert!(waiting.as_mut().poll(context).is_pending());
    clock.advance(Duration::from_secs(3));
    assert!(waiting.as_mut().poll(context).is_ready());
    assert!(bucket.try_acquire(1).is_err());
    clock.advance(Duration::from_secs(1));
    assert!(bucket.try_acquire(1).is_ok());
    // One who gives up wants nothing either.
    let mut waiting = Box::pin(bucket.acquire(2).into_future());
    assert!(waiting.as_mut().poll(context).is_pending());
    drop(waiting);
    clock.advance(Duration::from_secs(1));
    assert_eq!(bucket.try_acquire_up_to(5), 1);
}

#[test]
fn a_lease_fetches_a_batch_or_half_of_what_there_is() {
    fn check(bucket: &impl Leasable) {
        let mut lease = bucket.lease(8).unwrap();
        lease.try_acquire(7).unwrap();
        lease.try_acquire(3).unwrap();
        assert_eq!((lease.held(), bucket.available()), (5, 85));
        lease.try_acquire(5).unwrap();
        lease.try_acquire(8).unwrap();
        assert_eq!((lease.held(), bucket.available()), (0, 77));
        bucket.sync_remaining(12);
        lease.try_acquire(1).unwrap();
        assert_eq!((lease.held(), bucket.available()), (5, 6));
        let denied = lease.try_acquire(9);
        assert_eq!(denied, Err(Denied::ExceedsBurst { burst: 8 }));
        // What it holds counts for the wait.
        bucket.drain();
        let denied = lease.try_acquire(7).unwrap_err();
        assert_eq!(denied.retry_after(), Some(Duration::from_secs(2)));
        assert_eq!(lease.held(), 5);
    }
    let text = "1/s burst 100";
    check(&AtomicTokenBucket::with_clock(quota(text), ManualClock::new()).unwrap());
    check(&LockedTokenBucket::with_clock(quota(text), ManualClock::new()).unwrap());
}

#[test]
fn who_is_put_off_gives_up_in_time_and_nobody_else_does() {
    let clock = ManualClock::new();
    let bucket = LockedTokenBucket::with_clock(quota("1/s burst 5"), clock.clone()).unwrap();
    bucket.drain();
    let context = &mut Context::from_waker(Waker::noop());
    let mut first = Box::pin(bucket.acquire(4).into_future());
    assert!(first.as_mut().poll(context).is_pending());
    let mut second = Box::pin(
        bucket
            .acquire_timeout(1, Duration::from_secs(7))
            .into_future(),
    );
    assert!(second.as_mut().poll(context).is_pending());
    bucket
        .pause_until(Timestamp::from_nanos(10_000_000_000))
        .unwrap();
    assert!(first.as_mut().poll(context).is_pending());
    assert!(second.as_mut().poll(context).is_pending());
    assert_eq!(
        clock.next_deadline(),
        Some(Timestamp::from_nanos(7_000_000_000))
    );
    clock.advance(Duration::from_secs(7));
    assert!(matches!(
        second.as_mut().poll(context),
        Poll::Ready(Err(Denied::TooLong { .. }))
    ));
    // The first wants more than there will ever be; who stands behind it does not.
    let mut third = Box::pin(bucket.acquire(1).into_future());
    assert!(third.as_mut().poll(context).is_pending());
    bucket
        .set_quota(quota("1/s burst 3"), CarryOver::Tokens)
        .unwrap();
    assert!(third.as_mut().poll(context).is_pending());
    assert_eq!(
        first.as_mut().poll(context),
        Poll::Ready(Err(Denied::ExceedsBurst { burst: 3 }))
    );
    clock.advance(Duration::from_secs(60));
    assert_eq!(third.as_mut().poll(context), Poll::Ready(Ok(())));
}

#[test]
fn a_denial_says_why() {
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
fn what_gains_no_tokens_cannot_be_paused() {
    let until = Timestamp::from_nanos(5_000_000_000);
    for (bucket, _) in both("0/s burst 3") {
        assert_eq!(bucket.pause_until(until), Err(Denied::Exhausted));
        assert_eq!(bucket.pause_until(bucket.now()), Ok(()));
        assert_eq!(bucket.available(), 3);
    }
    let builder = KeyedLimiter::builder(quota("0/s burst 3"), 1).clock(ManualClock::new());
    let keyed: KeyedLimiter<u8, _, _> = builder.build().unwrap();
    assert_eq!(keyed.key(&1).pause_until(until), Err(Denied::Exhausted));
    assert_eq!(keyed.key(&1).available(), 3);
    for (bucket, _) in both("unlimited") {
        assert_eq!(bucket.pause_until(until), Ok(()));
        assert!(bucket.try_acquire(u64::MAX).is_ok());
        bucket.drain();
        assert!(bucket.try_acquire(1).is_ok());
    }
}

#[test]
fn a_lease_is_denied_for_now_what_it_can_have_later() {
    fn check(bucket: &impl Leasable, clock: &ManualClock) {
        let mut lease = bucket.lease(9).unwrap();
        lease.try_acquire(9).unwrap();
        // One token is left, and one is all that the burst beside the lease can hold.
        let second = Duration::from_secs(1);
        let denied = Err(Denied::NotYet {
            retry_after: second,
        });
        for held in 1..9 {
            assert_eq!(lease.try_acquire(9), denied);
            assert_eq!(lease.held(), held);
            clock.advance(second);
        }
        assert_eq!(lease.try_acquire(9), Ok(()));
    }
    let clock = ManualClock::new();
    let text = "1/s burst 10";
    let bucket = AtomicTokenBucket::with_clock(quota(text), clock.clone()).unwrap();
    check(&bucket, &clock);
    let bucket = LockedTokenBucket::with_clock(quota(text), clock.clone()).unwrap();
    check(&bucket, &clock);
}

#[test]
fn a_lease_takes_what_the_burst_beside_it_cannot_hold() {
    fn check(bucket: &impl Leasable) {
        bucket.try_acquire(3).unwrap();
        let lease = bucket.lease(4).unwrap();
        assert_eq!(bucket.available(), 6);
        drop(lease);
        assert_eq!(bucket.available(), 7);
    }
    let text = "1/h burst 10";
    check(&AtomicTokenBucket::with_clock(quota(text), ManualClock::new()).unwrap());
    check(&LockedTokenBucket::with_clock(quota(text), ManualClock::new()).unwrap());
}

#[test]
fn a_quota_that_does_not_fit_leaves_the_old_one() {
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

fn until_someone_waits(clock: &ManualClock) {
    while clock.next_deadline().is_none() {
        std::thread::yield_now();
    }
}

#[test]
fn waiters_follow_a_new_quota() {
    let clock = ManualClock::new();
    let bucket = LockedTokenBucket::with_clock(quota("1/h burst 2"), clock.clone()).unwrap();
    bucket.try_acquire(2).unwrap();
    std::thread::scope(|scope| {
        let small = scope.spawn(|| bucket.acquire(1).wait());
        until_someone_waits(&clock);
        // An hour becomes a second: whoever waits already need not wait an hour.
        bucket
            .set_quota(quota("1/s burst 2"), CarryOver::Tokens)
            .unwrap();
        while clock
            .next_deadline()
            .is_none_or(|due| due.as_nanos() > 1_000_000_000)
        {
            std::thread::yield_now();
        }
        clock.advance(Duration::from_secs(1));
        assert_eq!(small.join().unwrap(), Ok(()));
    });
}

#[test]
fn a_waiter_for_more_than_a_new_burst_is_told() {
    let clock = ManualClock::new();
    let bucket = LockedTokenBucket::with_clock(quota("1/h burst 5"), clock.clone()).unwrap();
    bucket.try_acquire(5).unwrap();
    std::thread::scope(|scope| {
        let large = scope.spawn(|| bucket.acquire(5).wait());
        until_someone_waits(&clock);
        bucket
            .set_quota(quota("1/h burst 3"), CarryOver::Tokens)
            .unwrap();
        assert_eq!(
            large.join().unwrap(),
            Err(Denied::ExceedsBurst { burst: 3 })
        );
    });
}

#[test]
fn a_server_can_only_tighten() {
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
    assert!(fast.try_acquire(1).is_err(), "for centuries");
    let unlimited = LockedTokenBucket::new(Quota::unlimited()).unwrap();
    unlimited.drain();
    assert!(unlimited.try_acquire(u64::MAX).is_ok());
}

#[test]
fn a_time_before_the_base_is_judged_by_itself() {
    // 999,983/s moves its base after 18 seconds, to 2.25 seconds ago.
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
        let [mut from_atomic, mut from_locked] = [Vec::new(), Vec::new()];
        for (bucket, said) in [
            (&atomic as &dyn QuotaLimiter, &mut from_atomic),
            (&locked, &mut from_locked),
        ] {
            At::new(bucket, at(LATE)).try_acquire(2).unwrap();
            At::new(bucket, at(stale)).sync_remaining(1);
            said.push((
                At::new(bucket, at(stale)).try_acquire(1),
                At::new(bucket, at(stale)).available(),
            ));
            At::new(bucket, at(stale)).drain();
            At::new(bucket, at(stale)).try_acquire_up_to(1);
            said.push((
                At::new(bucket, at(LATE + 1_000)).try_acquire(1),
                At::new(bucket, at(LATE + 1_001)).available(),
            ));
            said.push((At::new(bucket, at(LATE + 1_001)).try_acquire(1), 0));
            said.push((
                At::new(bucket, at(stale)).try_acquire(1),
                At::new(bucket, at(stale)).available(),
            ));
        }
        assert_eq!(from_atomic, from_locked, "{stale}");
        assert!(
            matches!(from_atomic[0].0, Err(Denied::NotYet { .. })),
            "{stale}"
        );
    }
}

#[test]
fn a_cancellation_that_reaches_back_before_the_base_leaves_the_others_in_order() {
    // The base moves after 18 seconds, to 2.25 seconds ago, and what `late` took began before that.
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
