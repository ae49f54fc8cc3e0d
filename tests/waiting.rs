//! What waiting promises, of every limiter alike: whoever gives up costs nothing, and what changes a
//! limiter reaches those who wait.
#![cfg(not(tollgate_loom))]

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tollgate::{
    AllOf, AtomicTokenBucket, CarryOver, Clock, Denied, KeyedLimiter, LockedTokenBucket,
    ManualClock, Metered, Quota, QuotaLimiter, RateLimiter,
};

type Keyed = KeyedLimiter<String, std::hash::RandomState, ManualClock>;
type Job<'a> = Pin<Box<dyn Future<Output = Result<(), Denied>> + 'a>>;

fn quota(text: &str) -> Quota {
    text.parse().unwrap()
}

fn keyed(quota: Quota, clock: &ManualClock) -> Keyed {
    let builder = KeyedLimiter::builder(quota, 10).clock(clock.clone());
    builder.build().unwrap()
}

/// Runs `check` with every limiter of a quota, each by itself.
fn each(text: &str, check: impl Fn(&str, &dyn RateLimiter, &ManualClock)) {
    let quota = quota(text);
    let clock = ManualClock::new();
    let atomic = AtomicTokenBucket::with_clock(quota, clock.clone()).unwrap();
    check("atomic", &atomic, &clock);
    let clock = ManualClock::new();
    let locked = LockedTokenBucket::with_clock(quota, clock.clone()).unwrap();
    check("locked", &locked, &clock);
    let clock = ManualClock::new();
    check("key", &keyed(quota, &clock).key("ada"), &clock);
    let clock = ManualClock::new();
    let own = keyed(self::quota("1/d"), &clock);
    own.key("ada").set_quota(quota, CarryOver::Full).unwrap();
    check("key with its own quota", &own.key("ada"), &clock);
    let clock = ManualClock::new();
    let first = AtomicTokenBucket::with_clock(quota, clock.clone()).unwrap();
    let generous = LockedTokenBucket::with_clock(self::quota("100000/h"), clock.clone()).unwrap();
    check("all of two", &AllOf::new((&first, &generous)), &clock);
    let clock = ManualClock::new();
    let inner = AtomicTokenBucket::with_clock(quota, clock.clone()).unwrap();
    check("metered", &Metered::new(&inner), &clock);
}

/// As [`each`], of the limiters with one quota.
fn each_of_one_quota(text: &str, check: impl Fn(&str, &dyn QuotaLimiter, &ManualClock)) {
    let clock = ManualClock::new();
    let atomic = AtomicTokenBucket::with_clock(quota(text), clock.clone()).unwrap();
    check("atomic", &atomic, &clock);
    let clock = ManualClock::new();
    let locked = LockedTokenBucket::with_clock(quota(text), clock.clone()).unwrap();
    check("locked", &locked, &clock);
    let clock = ManualClock::new();
    check("key", &keyed(quota(text), &clock).key("ada"), &clock);
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// A newcomer every 50 ms, who leaves when it has waited for `patience`: how many are served in each
/// of six stretches of ten seconds.
fn overload<'a>(clock: &ManualClock, patience: u64, make: impl Fn() -> Job<'a>) -> [u32; 6] {
    let (mut line, mut served) = (VecDeque::<(u64, Job<'a>)>::new(), [0; 6]);
    for ms in (0..60_000_u64).step_by(10) {
        if ms % 50 == 0 {
            line.push_back((ms, make()));
        }
        line.retain_mut(|(since, job)| match poll(job) {
            Poll::Ready(decided) => {
                served[(ms / 10_000) as usize] += u32::from(decided.is_ok());
                false
            }
            Poll::Pending => ms < *since + patience,
        });
        clock.advance(millis(10));
    }
    served
}

#[test]
fn overload_serves_every_token_however_many_give_up() {
    each("10/s burst 1", |name, limiter, clock| {
        let served = overload(clock, 1_000, || Box::pin(limiter.acquire(1)));
        assert!(
            served.iter().all(|n| (99..=101).contains(n)),
            "{name}: {served:?}"
        );
        // What is left of the crowd owes nothing.
        clock.advance(millis(100));
        assert_eq!(limiter.try_acquire(1), Ok(()), "{name}");
    });
    each("10/s burst 1", |name, limiter, clock| {
        let second = millis(1_000);
        let timed = || Box::pin(limiter.acquire_timeout(1, second)) as Job<'_>;
        let served = overload(clock, 500, timed);
        assert!(
            served.iter().all(|n| (99..=101).contains(n)),
            "{name}: {served:?}"
        );
    });
}

#[test]
fn a_task_that_asks_anew_at_each_heartbeat_gets_every_token() {
    each("1/s burst 1", |name, limiter, clock| {
        limiter.try_acquire(1).unwrap();
        let (mut served, mut waits) = (0, [limiter.acquire(1), limiter.acquire(1)]);
        for ms in 0..60_000_u64 {
            for (task, wait) in waits.iter_mut().enumerate() {
                if poll(wait).is_ready() {
                    served += 1;
                    *wait = limiter.acquire(1);
                } else if (ms + task as u64 * 350).is_multiple_of(700) {
                    *wait = limiter.acquire(1);
                }
            }
            clock.advance(millis(1));
        }
        assert!((59..=60).contains(&served), "{name}: {served}");
    });
}

#[test]
fn a_pause_holds_those_who_wait_already() {
    each("10/s burst 1", |name, limiter, clock| {
        let mut line: Vec<_> = (0..20).map(|_| limiter.acquire(1)).collect();
        let mut sent = Vec::new();
        for ms in (0..40_000_u64).step_by(100) {
            if ms == 300 {
                let until = clock.now().saturating_add(millis(30_000));
                limiter.pause_until(until).unwrap();
            }
            line.retain_mut(|wait| {
                let ready = poll(wait).is_ready();
                sent.extend(ready.then_some(ms));
                !ready
            });
            clock.advance(millis(100));
        }
        let during = sent.iter().filter(|ms| (300..30_300).contains(*ms));
        assert_eq!((during.count(), sent.len()), (0, 20), "{name}: {sent:?}");
        assert_eq!(sent[3], 30_300, "{name}");
    });
}

#[test]
fn a_raised_quota_wakes_those_who_wait() {
    for carry in [CarryOver::Tokens, CarryOver::Full] {
        each_of_one_quota("1/h", |name, limiter, clock| {
            limiter.try_acquire(1).unwrap();
            let mut waits = [limiter.acquire(1), limiter.acquire(1)];
            assert!(waits.iter_mut().all(|wait| poll(wait).is_pending()));
            limiter.set_quota(quota("100/s"), carry).unwrap();
            assert!(
                limiter.try_acquire(100).is_err(),
                "{name}: nobody overtakes"
            );
            clock.advance(millis(20));
            assert!(waits.iter_mut().all(|wait| poll(wait).is_ready()), "{name}");
        });
    }
    // Of all keys at once.
    let clock = ManualClock::new();
    let keyed = keyed(quota("1/h"), &clock);
    keyed.key("ada").try_acquire(1).unwrap();
    let mut wait = keyed.key("ada").acquire(1);
    assert!(poll(&mut wait).is_pending());
    keyed.set_quota(quota("100/s"), CarryOver::Tokens).unwrap();
    clock.advance(millis(10));
    assert!(poll(&mut wait).is_ready());
}

#[test]
fn a_lowered_quota_sends_away_who_waits_in_vain() {
    each_of_one_quota("1/s burst 9", |name, limiter, clock| {
        limiter.try_acquire(9).unwrap();
        let mut large = limiter.acquire(5);
        let mut small = limiter.acquire(1);
        assert!(poll(&mut large).is_pending() && poll(&mut small).is_pending());
        let lower = quota("1/s burst 3");
        limiter.set_quota(lower, CarryOver::Tokens).unwrap();
        let denied = Denied::ExceedsBurst { burst: 3 };
        assert_eq!(poll(&mut large), Poll::Ready(Err(denied)), "{name}");
        clock.advance(millis(1_000));
        assert_eq!(poll(&mut small), Poll::Ready(Ok(())), "{name}");
    });
}

#[test]
fn a_refund_goes_to_the_first_in_line() {
    each("1/h burst 5", |name, limiter, _| {
        limiter.try_acquire(5).unwrap();
        let mut waits = [3, 1].map(|n| limiter.acquire(n));
        assert!(waits.iter_mut().all(|wait| poll(wait).is_pending()));
        limiter.refund(2);
        assert!(limiter.try_acquire(1).is_err(), "{name}: it is waited for");
        assert!(
            waits.iter_mut().all(|wait| poll(wait).is_pending()),
            "{name}"
        );
        limiter.refund(1);
        assert!(poll(&mut waits[0]).is_ready(), "{name}");
        assert!(poll(&mut waits[1]).is_pending(), "{name}");
    });
}

#[test]
fn a_waiter_that_is_not_polled_holds_up_nobody() {
    each("1/s burst 1", |name, limiter, clock| {
        limiter.try_acquire(1).unwrap();
        let mut unpolled = limiter.acquire(1);
        assert!(poll(&mut unpolled).is_pending());
        clock.advance(millis(3_600_000));
        // Its token is set aside, and the bucket is full behind it a second later.
        let _ = limiter.try_acquire(1);
        clock.advance(millis(1_000));
        assert_eq!(limiter.try_acquire(1), Ok(()), "{name}");
        let mut other = limiter.acquire(1);
        assert!(poll(&mut other).is_pending(), "{name}");
        clock.advance(millis(1_000));
        assert!(poll(&mut other).is_ready(), "{name}");
        assert!(poll(&mut unpolled).is_ready(), "{name}");
    });
}

#[test]
fn waiters_with_a_lower_floor_go_first_and_newcomers_pass_nobody_of_theirs() {
    each("1/s burst 5", |name, limiter, clock| {
        limiter.try_acquire(5).unwrap();
        let mut low = limiter.acquire_above(1, 2);
        assert!(poll(&mut low).is_pending());
        let mut high = limiter.acquire(1);
        assert!(poll(&mut high).is_pending());
        clock.advance(millis(1_000));
        assert!(
            poll(&mut high).is_ready(),
            "{name}: passed the one with a floor"
        );
        clock.advance(millis(3_000));
        assert!(
            limiter.try_acquire_above(1, 2).is_err(),
            "{name}: no newcomer of its floor"
        );
        assert!(poll(&mut low).is_ready(), "{name}");
        assert_eq!(limiter.available(), 2, "{name}");
    });
}

#[test]
fn more_than_the_burst_is_waited_for_in_parts_and_given_back_whole() {
    each_of_one_quota("1/s burst 4", |name, limiter, clock| {
        let mut many = limiter.acquire_many(10);
        assert!(poll(&mut many).is_pending());
        for _ in 0..6 {
            assert!(poll(&mut many).is_pending(), "{name}");
            assert!(limiter.try_acquire(1).is_err(), "{name}");
            clock.advance(millis(1_000));
        }
        assert!(poll(&mut many).is_ready(), "{name}: 4 at once, 6 in 6 s");
        let mut many = limiter.acquire_many(100);
        for _ in 0..9 {
            assert!(poll(&mut many).is_pending(), "{name}");
            clock.advance(millis(1_000));
        }
        drop(many);
        assert_eq!(limiter.available(), 4, "{name}: all that a burst holds");
    });
}

#[test]
fn bounds_on_those_who_wait_are_kept() {
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
            "{limiter:?}: a place is free"
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
fn closing_ends_all_waits_and_refuses_what_comes_later() {
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
        // What was promised stays promised, and reads and refunds go on.
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
fn what_is_charged_afterwards_delays_the_next() {
    each("1000/min", |name, limiter, _| {
        limiter.try_acquire(1_000).unwrap();
        limiter.charge(600);
        let retry_after = millis(36_060);
        let denied = limiter.try_acquire(1);
        assert_eq!(denied, Err(Denied::NotYet { retry_after }), "{name}");
        // Beyond the burst, and while another waits.
        let mut wait = limiter.acquire(1);
        assert!(poll(&mut wait).is_pending());
        limiter.charge(2_000);
        let retry_after = millis(60 * 2_602);
        let denied = limiter.try_acquire(1);
        assert_eq!(denied, Err(Denied::NotYet { retry_after }), "{name}");
    });
}

#[test]
fn a_status_tells_what_a_decision_would_and_takes_nothing() {
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
fn a_reservation_that_is_dropped_costs_what_a_wait_that_is_dropped_costs() {
    each("1/s burst 1", |name, limiter, clock| {
        limiter.try_acquire(1).unwrap();
        drop(limiter.reserve(1, Duration::MAX).unwrap());
        let second = millis(1_000);
        let wait = limiter.try_acquire(1).unwrap_err().retry_after();
        assert_eq!(wait, Some(second), "{name}: given back");
        limiter.reserve(1, Duration::MAX).unwrap().commit();
        let wait = limiter.try_acquire(1).unwrap_err().retry_after();
        assert_eq!(wait, Some(2 * second), "{name}: used");
        let due = limiter.reserve(1, Duration::MAX).unwrap();
        clock.advance(2 * second);
        drop(due);
        assert!(limiter.try_acquire(1).is_err(), "{name}: its time had come");
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
fn a_metered_limit_of_several_is_a_member_of_another() {
    let (quota, clock) = (quota("1/s burst 2"), ManualClock::new());
    let [a, b, c] =
        [(), (), ()].map(|()| AtomicTokenBucket::with_clock(quota, clock.clone()).unwrap());
    let all = AllOf::new((&c, Metered::new(AllOf::new((&a, &b)))));
    let available = || [a.available(), b.available(), c.available()];
    all.reserve(1, Duration::ZERO).unwrap().cancel();
    assert_eq!(available(), [2; 3], "all is given back");
    all.try_acquire(2).unwrap();
    let mut wait = all.acquire(2);
    assert!(poll(&mut wait).is_pending());
    drop(wait);
    let mut wait = all.acquire(2);
    assert!(poll(&mut wait).is_pending());
    clock.advance(millis(2_000));
    assert!(poll(&mut wait).is_ready());
    clock.advance(millis(1_000));
    assert_eq!(available(), [1; 3], "each token is taken once");
}

#[test]
fn a_key_that_is_waited_for_is_emptied_of_debt_and_not_of_waiters() {
    type Forget = fn(&Keyed);
    let forgets: [(&str, Forget); 2] = [
        ("remove", |keyed| assert!(keyed.remove("ada"))),
        ("retain", |keyed| keyed.retain(|_, _| false)),
    ];
    for (name, forget) in forgets {
        let clock = ManualClock::new();
        let keyed = keyed(quota("1/h burst 3"), &clock);
        let key = keyed.key("ada");
        key.try_acquire(3).unwrap();
        let mut waits = [2, 2].map(|n| key.acquire(n));
        assert!(waits.iter_mut().all(|wait| poll(wait).is_pending()));
        assert_eq!(keyed.iter().collect::<Vec<_>>(), [("ada".to_owned(), 0)]);
        forget(&keyed);
        assert_eq!(
            poll(&mut waits[0]),
            Poll::Ready(Ok(())),
            "{name}: of a full bucket"
        );
        assert!(poll(&mut waits[1]).is_pending(), "{name}");
        assert_eq!((keyed.len(), key.status(1).waiting), (1, 1), "{name}");
        assert!(key.try_acquire(1).is_err(), "{name}: nobody overtakes");
        clock.advance(millis(3_600_000));
        assert!(poll(&mut waits[1]).is_ready(), "{name}");
        clock.advance(millis(3 * 3_600_000));
        forget(&keyed);
        assert!(keyed.is_empty(), "{name}");
    }
    // A quota of its own goes, and its waiters are timed by that of all.
    let clock = ManualClock::new();
    let keyed = keyed(quota("1/s burst 1"), &clock);
    keyed
        .key("ada")
        .set_quota(quota("1/day burst 9"), CarryOver::Empty)
        .unwrap();
    let key = keyed.key("ada");
    let mut waits = [1, 9, 1].map(|n| key.acquire(n));
    assert!(waits.iter_mut().all(|wait| poll(wait).is_pending()));
    assert!(keyed.remove("ada"));
    assert!(poll(&mut waits[0]).is_ready(), "of a full bucket");
    let small = Poll::Ready(Err(Denied::ExceedsBurst { burst: 1 }));
    assert_eq!(poll(&mut waits[1]), small);
    clock.advance(millis(1_000));
    assert!(poll(&mut waits[2]).is_ready());
}

#[test]
fn a_lease_that_comes_reaches_those_who_wait() {
    let clock = ManualClock::new();
    let bucket = AtomicTokenBucket::with_clock(quota("1/s burst 5"), clock.clone()).unwrap();
    bucket.try_acquire(5).unwrap();
    let mut waits = [5, 1].map(|n| bucket.acquire(n));
    assert!(waits.iter_mut().all(|wait| poll(wait).is_pending()));
    let mut lease = bucket.lease(2).unwrap();
    let small = Poll::Ready(Err(Denied::ExceedsBurst { burst: 3 }));
    assert_eq!(poll(&mut waits[0]), small);
    clock.advance(millis(1_000));
    assert!(lease.try_acquire(1).is_err(), "it does not overtake");
    assert!(poll(&mut waits[1]).is_ready());
}
