//! Waiting on every limiter type: a waiter that gives up costs nothing, and a change of the limiter
//! reaches its waiters.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tollgate::{CarryOver, Clock, Denied, LockedTokenBucket, ManualClock, RateLimiter, Timestamp};

use crate::support::{each, each_of_one_quota, keyed, millis, poll, quota};

type Job<'a> = Pin<Box<dyn Future<Output = Result<(), Denied>> + 'a>>;

/// Starts a waiter every 50 ms, which gives up after `patience`. Returns how many are served in each of
/// six stretches of ten seconds.
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
fn an_overloaded_limiter_hands_out_every_token_although_waiters_give_up() {
    each("10/s burst 1", |name, limiter, clock| {
        let served = overload(clock, 1_000, || Box::pin(limiter.acquire(1)));
        assert!(
            served.iter().all(|n| (99..=101).contains(n)),
            "{name}: {served:?}"
        );
        // The waiters that gave up left no debt.
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
fn tasks_that_restart_their_acquire_at_each_heartbeat_get_every_token() {
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
fn a_pause_holds_earlier_waiters() {
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
fn a_raised_quota_wakes_waiters() {
    for carry in [CarryOver::Tokens, CarryOver::Full] {
        each_of_one_quota("1/h", |name, limiter, clock| {
            limiter.try_acquire(1).unwrap();
            let mut waits = [limiter.acquire(1), limiter.acquire(1)];
            assert!(waits.iter_mut().all(|wait| poll(wait).is_pending()));
            limiter.set_quota(quota("100/s"), carry).unwrap();
            assert!(
                limiter.try_acquire(100).is_err(),
                "{name}: a newcomer overtakes"
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
fn a_lowered_quota_denies_a_waiter_beyond_its_burst() {
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
fn a_refund_goes_to_the_first_waiter() {
    each("1/h burst 5", |name, limiter, _| {
        limiter.try_acquire(5).unwrap();
        let mut waits = [3, 1].map(|n| limiter.acquire(n));
        assert!(waits.iter_mut().all(|wait| poll(wait).is_pending()));
        limiter.refund(2);
        assert!(
            limiter.try_acquire(1).is_err(),
            "{name}: a newcomer takes the refund"
        );
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
fn a_waiter_that_is_not_polled_does_not_block_other_callers() {
    each("1/s burst 1", |name, limiter, clock| {
        limiter.try_acquire(1).unwrap();
        let mut unpolled = limiter.acquire(1);
        assert!(poll(&mut unpolled).is_pending());
        clock.advance(millis(3_600_000));
        // The waiter's token is set aside, and a second later the bucket is full beside it.
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
fn a_waiter_with_a_lower_floor_goes_first_and_a_newcomer_does_not_pass_its_own_floor() {
    each("1/s burst 5", |name, limiter, clock| {
        limiter.try_acquire(5).unwrap();
        let mut low = limiter.acquire_above(1, 2);
        assert!(poll(&mut low).is_pending());
        let mut high = limiter.acquire(1);
        assert!(poll(&mut high).is_pending());
        clock.advance(millis(1_000));
        assert!(
            poll(&mut high).is_ready(),
            "{name}: behind the waiter with a higher floor"
        );
        clock.advance(millis(3_000));
        assert!(
            limiter.try_acquire_above(1, 2).is_err(),
            "{name}: a newcomer of the same floor overtakes"
        );
        assert!(poll(&mut low).is_ready(), "{name}");
        assert_eq!(limiter.available(), 2, "{name}");
    });
}

#[test]
fn acquire_many_takes_in_parts_and_a_drop_returns_the_whole() {
    each_of_one_quota("1/s burst 4", |name, limiter, clock| {
        let mut many = limiter.acquire_many(10);
        assert!(poll(&mut many).is_pending());
        for _ in 0..6 {
            assert!(poll(&mut many).is_pending(), "{name}");
            assert!(limiter.try_acquire(1).is_err(), "{name}");
            clock.advance(millis(1_000));
        }
        assert!(
            poll(&mut many).is_ready(),
            "{name}: 4 tokens at once, 6 in 6 s"
        );
        let mut many = limiter.acquire_many(100);
        for _ in 0..9 {
            assert!(poll(&mut many).is_pending(), "{name}");
            clock.advance(millis(1_000));
        }
        drop(many);
        assert_eq!(
            limiter.available(),
            4,
            "{name}: the drop returns a full burst"
        );
    });
}

#[test]
fn a_served_or_dropped_waiter_is_no_longer_in_line() {
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
    // A dropped waiter claims nothing either.
    let mut waiting = Box::pin(bucket.acquire(2).into_future());
    assert!(waiting.as_mut().poll(context).is_pending());
    drop(waiting);
    clock.advance(Duration::from_secs(1));
    assert_eq!(bucket.try_acquire_up_to(5), 1);
}

#[test]
fn a_postponed_waiter_times_out_and_the_others_do_not() {
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
    // The first waiter exceeds the new burst; the one behind it does not.
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

fn spin_until_a_waiter_arms_its_timer(clock: &ManualClock) {
    while clock.next_deadline().is_none() {
        std::thread::yield_now();
    }
}

#[test]
fn a_blocked_thread_follows_a_raised_quota() {
    let clock = ManualClock::new();
    let bucket = LockedTokenBucket::with_clock(quota("1/h burst 2"), clock.clone()).unwrap();
    bucket.try_acquire(2).unwrap();
    std::thread::scope(|scope| {
        let small = scope.spawn(|| bucket.acquire(1).wait());
        spin_until_a_waiter_arms_its_timer(&clock);
        // The waiter's hour becomes a second.
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
fn a_blocked_thread_beyond_the_new_burst_is_denied() {
    let clock = ManualClock::new();
    let bucket = LockedTokenBucket::with_clock(quota("1/h burst 5"), clock.clone()).unwrap();
    bucket.try_acquire(5).unwrap();
    std::thread::scope(|scope| {
        let large = scope.spawn(|| bucket.acquire(5).wait());
        spin_until_a_waiter_arms_its_timer(&clock);
        bucket
            .set_quota(quota("1/h burst 3"), CarryOver::Tokens)
            .unwrap();
        assert_eq!(
            large.join().unwrap(),
            Err(Denied::ExceedsBurst { burst: 3 })
        );
    });
}
