//! Promises of every limiter type: bounds on waiters, closing, charges, statuses, reservations and meters.

use std::task::Poll;
use std::time::Duration;

use tollgate::{
    AllOf, AtomicTokenBucket, Clock, Denied, KeyedLimiter, LockedTokenBucket, ManualClock, Metered,
    RateLimiter,
};

use crate::support::{each, keyed, millis, poll, quota};

#[test]
fn bounds_on_waiters_and_on_their_wait_hold() {
    fn check(limiter: &dyn RateLimiter) {
        limiter.try_acquire(1).unwrap();
        let mut waits = [limiter.acquire(1), limiter.acquire(1)];
        assert!(waits.iter_mut().all(|wait| poll(wait).is_pending()));
        let full = Poll::Ready(Err(Denied::TooManyWaiters));
        assert_eq!(poll(&mut limiter.acquire(1)), full, "{limiter:?}");
        let [_, second] = waits;
        drop(second);
        let mut third = limiter.acquire(1);
        assert!(
            poll(&mut third).is_pending(),
            "{limiter:?}: the dropped waiter frees its place"
        );
    }
    fn check_longest(limiter: &dyn RateLimiter) {
        limiter.try_acquire(1).unwrap();
        let mut first = limiter.acquire(1);
        assert!(poll(&mut first).is_pending());
        let late = poll(&mut limiter.acquire(1));
        assert!(
            matches!(late, Poll::Ready(Err(Denied::TooLong { .. }))),
            "{late:?}"
        );
    }
    let (quota, clock) = (quota("1/s burst 1"), ManualClock::new());
    let atomic = || AtomicTokenBucket::with_clock(quota, clock.clone()).unwrap();
    let locked = || LockedTokenBucket::with_clock(quota, clock.clone()).unwrap();
    let keyed = || KeyedLimiter::<u64>::builder(quota, 10).clock(clock.clone());
    check(&atomic().max_waiters(2));
    check(&locked().max_waiters(2));
    check(&keyed().max_waiters(2).build().unwrap().key(&1));
    let longest = millis(1_500);
    check_longest(&atomic().max_wait(longest));
    check_longest(&locked().max_wait(longest));
    check_longest(&keyed().max_wait(longest).build().unwrap().key(&1));
}

#[test]
fn close_ends_every_wait_and_denies_later_calls() {
    fn check(limiter: &dyn RateLimiter, close: impl Fn(), clock: &ManualClock) {
        limiter.try_acquire(1).unwrap();
        let reserved = limiter.reserve(1, Duration::MAX).unwrap();
        let mut waits = [limiter.acquire(1), limiter.acquire(2)];
        assert!(waits.iter_mut().all(|wait| poll(wait).is_pending()));
        close();
        for wait in &mut waits {
            assert_eq!(poll(wait), Poll::Ready(Err(Denied::Closed)), "{limiter:?}");
        }
        assert_eq!(limiter.try_acquire(1), Err(Denied::Closed));
        assert_eq!(limiter.try_acquire(0), Ok(()));
        assert_eq!(limiter.try_acquire_up_to(1), 0);
        assert_eq!(
            poll(&mut limiter.acquire(1)),
            Poll::Ready(Err(Denied::Closed))
        );
        let refused = limiter.reserve(1, Duration::MAX).map(drop);
        assert_eq!(refused, Err(Denied::Closed));
        // Reservations keep their instants, and reads, refunds and charges still work.
        assert!(reserved.ready_at() > clock.now());
        drop(reserved);
        limiter.refund(1);
        limiter.charge(1);
        clock.advance(millis(9_000));
        assert_eq!(limiter.available(), 2, "{limiter:?}");
    }
    let (quota, clock) = (quota("1/s burst 2"), ManualClock::new());
    let atomic = AtomicTokenBucket::with_clock(quota, clock.clone()).unwrap();
    atomic.try_acquire(1).unwrap();
    check(&atomic, || atomic.close(), &clock);
    let locked = LockedTokenBucket::with_clock(quota, clock.clone()).unwrap();
    locked.try_acquire(1).unwrap();
    check(&locked, || locked.close(), &clock);
    let keyed = keyed(quota, &clock);
    keyed.key("ada").try_acquire(1).unwrap();
    check(&keyed.key("ada"), || keyed.close(), &clock);
    let all = AtomicTokenBucket::with_clock(quota, clock.clone()).unwrap();
    all.try_acquire(1).unwrap();
    let other = AtomicTokenBucket::with_clock(self::quota("1000/s"), clock.clone()).unwrap();
    check(&AllOf::new((&other, &all)), || all.close(), &clock);
}

#[test]
fn a_charge_delays_the_next_take() {
    each("1000/min", |name, limiter, _| {
        limiter.try_acquire(1_000).unwrap();
        limiter.charge(600);
        let retry_after = millis(36_060);
        let denied = limiter.try_acquire(1);
        assert_eq!(denied, Err(Denied::NotYet { retry_after }), "{name}");
        // A charge may exceed the burst, and counts while a caller waits.
        let mut wait = limiter.acquire(1);
        assert!(poll(&mut wait).is_pending());
        limiter.charge(2_000);
        let retry_after = millis(60 * 2_602);
        let denied = limiter.try_acquire(1);
        assert_eq!(denied, Err(Denied::NotYet { retry_after }), "{name}");
    });
}

#[test]
fn a_status_agrees_with_the_next_take_and_takes_nothing() {
    each("7/min burst 7", |name, limiter, clock| {
        limiter.try_acquire(7).unwrap();
        clock.advance(millis(20_000));
        for _ in 0..3 {
            let status = limiter.status(5);
            assert_eq!(
                (status.limit, status.remaining, status.waiting),
                (7, 2, 0),
                "{name}"
            );
            let wait = status.retry_after.unwrap();
            assert_eq!(
                limiter.try_acquire(5).unwrap_err().retry_after(),
                Some(wait)
            );
            if !name.starts_with("all") {
                assert_eq!(status.full_after, Some(millis(40_000)), "{name}");
            }
        }
        let (taken, status) = limiter.try_acquire_with_status(1);
        assert_eq!((taken, status.remaining), (Ok(()), 1), "{name}");
        let (denied, status) = limiter.try_acquire_with_status(3);
        assert!(denied.is_err() && status.remaining == 1, "{name}");
    });
}

#[test]
fn a_dropped_reservation_returns_its_tokens_until_it_is_ready() {
    each("1/s burst 1", |name, limiter, clock| {
        limiter.try_acquire(1).unwrap();
        drop(limiter.reserve(1, Duration::MAX).unwrap());
        let second = millis(1_000);
        let wait = limiter.try_acquire(1).unwrap_err().retry_after();
        assert_eq!(wait, Some(second), "{name}: dropped before it was ready");
        limiter.reserve(1, Duration::MAX).unwrap().commit();
        let wait = limiter.try_acquire(1).unwrap_err().retry_after();
        assert_eq!(wait, Some(2 * second), "{name}: committed");
        let due = limiter.reserve(1, Duration::MAX).unwrap();
        clock.advance(2 * second);
        drop(due);
        assert!(
            limiter.try_acquire(1).is_err(),
            "{name}: dropped when it was ready"
        );
    });
}

#[test]
fn a_metered_limiter_counts_each_call_once() {
    let clock = ManualClock::new();
    let bucket = AtomicTokenBucket::with_clock(quota("1/s burst 1"), clock.clone()).unwrap();
    let metered = Metered::new(bucket);
    metered.try_acquire(1).unwrap();
    let mut wait = RateLimiter::acquire(&metered, 1);
    assert!(poll(&mut wait).is_pending());
    drop(RateLimiter::acquire(&metered, 1));
    let mut left = RateLimiter::acquire(&metered, 1);
    assert!(poll(&mut left).is_pending());
    drop(left);
    clock.advance(millis(1_000));
    assert!(poll(&mut wait).is_ready());
    assert!(metered.try_acquire(1).is_err());
    let meter = metered.meter();
    assert_eq!((meter.admitted, meter.denied, meter.abandoned), (2, 1, 1));
    assert_eq!((meter.waited(), meter.waits[6]), (1, 1));
    assert_eq!(meter.total_wait, millis(1_000));
}

#[test]
fn a_metered_all_of_works_as_a_member_of_another() {
    let (quota, clock) = (quota("1/s burst 2"), ManualClock::new());
    let [a, b, c] =
        [(), (), ()].map(|()| AtomicTokenBucket::with_clock(quota, clock.clone()).unwrap());
    let all = AllOf::new((&c, Metered::new(AllOf::new((&a, &b)))));
    let available = || [a.available(), b.available(), c.available()];
    all.reserve(1, Duration::ZERO).unwrap().cancel();
    assert_eq!(available(), [2; 3], "the reservation returns every token");
    all.try_acquire(2).unwrap();
    let mut wait = all.acquire(2);
    assert!(poll(&mut wait).is_pending());
    drop(wait);
    let mut wait = all.acquire(2);
    assert!(poll(&mut wait).is_pending());
    clock.advance(millis(2_000));
    assert!(poll(&mut wait).is_ready());
    clock.advance(millis(1_000));
    assert_eq!(available(), [1; 3], "a token is taken twice");
}
