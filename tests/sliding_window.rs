//! `SlidingWindow` and `IntervalTokenBucket` as limiters: how much they admit, and the line, the
//! reservations and the combinations that they share with the buckets.
#![cfg(not(tollgate_loom))]

#[allow(dead_code, reason = "shared with the tests of the limiters")]
#[path = "model/tasks.rs"]
mod tasks;

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tasks::{Polled, Tasks};
use tollgate::{
    AllOf, AtomicTokenBucket, Denied, History, IntervalTokenBucket, ManualClock, Metered,
    QuotaError, RateLimiter, SlidingWindow, Timestamp, WindowError, WorkQueue,
};

const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn at(secs: u64) -> Timestamp {
    Timestamp::from_nanos(secs * SECOND)
}

fn window(limit: u64, period: u64) -> (SlidingWindow<ManualClock>, ManualClock) {
    let clock = ManualClock::new();
    let window = SlidingWindow::with_clock(limit, secs(period), clock.clone()).unwrap();
    (window, clock)
}

/// Refilled at whole periods.
fn interval(
    tokens: u64,
    period: u64,
    burst: u64,
) -> (IntervalTokenBucket<ManualClock>, ManualClock) {
    let clock = ManualClock::new();
    let (period, anchor) = (secs(period), Timestamp::ZERO);
    let bucket =
        IntervalTokenBucket::with_clock(tokens, period, burst, anchor, clock.clone()).unwrap();
    (bucket, clock)
}

fn retry_after(limiter: &impl RateLimiter, n: u64) -> Option<Duration> {
    limiter.try_acquire(n).unwrap_err().retry_after()
}

/// The most tokens in any minute.
fn most_in_a_minute(taken: &[(u64, u64)]) -> u64 {
    let from = |first: u64| {
        let within = taken
            .iter()
            .filter(|(at, _)| (first..first + MINUTE).contains(at));
        within.map(|(_, n)| n).sum::<u64>()
    };
    taken.iter().map(|(at, _)| from(*at)).max().unwrap_or(0)
}

#[test]
fn a_greedy_caller_gets_sixty_in_any_minute_and_no_fewer() {
    let (window, clock) = window(60, 60);
    let mut taken = Vec::new();
    while clock_nanos(&clock) < 10 * MINUTE {
        taken.push((clock_nanos(&clock), window.try_acquire_up_to(u64::MAX)));
        clock.advance(Duration::from_millis(100));
    }
    taken.retain(|(_, n)| *n > 0);
    let each_minute: Vec<_> = (0..10).map(|minute| (minute * MINUTE, 60)).collect();
    assert_eq!(taken, each_minute);
}

fn clock_nanos(clock: &ManualClock) -> u64 {
    tollgate::Clock::now(clock).as_nanos()
}

#[test]
fn takes_at_odd_instants_stay_within_any_minute() {
    let (window, clock) = window(60, 60);
    let mut taken = Vec::new();
    for step in 0..1_500_u64 {
        let n = step * 7 % 11 + 1;
        if window.try_acquire(n).is_ok() {
            taken.push((clock_nanos(&clock), n));
        } else {
            // What is denied says when it is admitted, to the nanosecond.
            let wait = retry_after(&window, n).unwrap();
            let due = window.now().saturating_add(wait);
            let before = due.saturating_sub(Duration::from_nanos(1));
            assert!(window.at(before).try_acquire(n).is_err());
        }
        clock.advance(Duration::from_millis(step * 37 % 700));
    }
    assert_eq!(most_in_a_minute(&taken), 60);
}

#[test]
fn an_admission_leaves_a_whole_period_later() {
    let (window, clock) = window(2, 10);
    window.try_acquire(1).unwrap();
    clock.set(at(4));
    window.try_acquire(1).unwrap();
    assert_eq!(retry_after(&window, 1), Some(secs(6)));
    assert_eq!(retry_after(&window, 2), Some(secs(10)));
    clock.set(Timestamp::from_nanos(10 * SECOND - 1));
    assert_eq!(window.available(), 0);
    clock.set(at(10));
    assert_eq!(window.available(), 1);
    let status = window.status(2);
    assert_eq!((status.limit, status.remaining), (2, 1));
    assert_eq!(status.retry_after, Some(secs(4)));
    assert_eq!(status.full_after, Some(secs(4)));
}

#[test]
fn an_interval_bucket_refills_at_boundaries_and_not_between() {
    let seen = |anchor| {
        let clock = ManualClock::new();
        let refill = (5, secs(60), 5);
        let bucket = IntervalTokenBucket::with_clock(
            refill.0,
            refill.1,
            refill.2,
            at(anchor),
            clock.clone(),
        );
        let bucket = bucket.unwrap();
        let mut seen = Vec::new();
        for _ in 0..9 {
            seen.push(bucket.try_acquire_up_to(100));
            clock.advance(secs(15));
        }
        seen
    };
    assert_eq!(seen(0), [5, 0, 0, 0, 5, 0, 0, 0, 5]);
    assert_eq!(seen(600), [5, 0, 0, 0, 5, 0, 0, 0, 5]);
    // A boundary at 0:30 and at 1:30.
    assert_eq!(seen(30), [5, 0, 5, 0, 0, 0, 5, 0, 0]);
}

#[test]
fn a_pause_until_the_reset_leaves_all_tokens_there() {
    let (bucket, clock) = interval(5, 60, 5);
    bucket.try_acquire(5).unwrap();
    bucket.pause_until(at(60)).unwrap();
    clock.set(at(60));
    assert_eq!(bucket.available(), 5);
}

#[test]
fn waiters_are_served_in_order_when_each_fits() {
    let (window, clock) = window(10, 10);
    window.try_acquire(10).unwrap();
    let mut tasks = Tasks::new(&clock);
    for n in [6, 6, 4] {
        tasks.start(window.acquire(n));
    }
    // 6 at 10 s, 6 and 4 at 20 s: not before 30 s for one more, although 17 tokens are two windows.
    assert_eq!(retry_after(&window, 1), Some(secs(30)));
    assert_eq!(window.status(1).waiting, 3);
    assert_eq!(window.try_acquire_up_to(9), 0);
    tasks.run_until(100 * SECOND);
    let ended = [(0, 10), (1, 20), (2, 20)].map(|(task, at)| (task, at * SECOND, Ok(())));
    assert_eq!(tasks.ended, ended);
    assert_eq!(window.available(), 0);
}

#[test]
fn waiters_of_an_interval_bucket_are_served_in_order_when_each_fits() {
    let (bucket, clock) = interval(5, 10, 5);
    bucket.try_acquire(5).unwrap();
    let mut tasks = Tasks::new(&clock);
    for n in [3, 3, 2] {
        tasks.start(bucket.acquire(n));
    }
    // At 20 s the bucket is full with what the first left: 2 of 10 tokens are lost.
    assert_eq!(retry_after(&bucket, 1), Some(secs(30)));
    tasks.run_until(100 * SECOND);
    let ended = [(0, 10), (1, 20), (2, 20)].map(|(task, at)| (task, at * SECOND, Ok(())));
    assert_eq!(tasks.ended, ended);
}

#[test]
fn a_waiter_that_leaves_costs_nothing() {
    let (window, clock) = window(10, 10);
    window.try_acquire(10).unwrap();
    let first = Polled::pending(window.acquire(6));
    let second = Polled::pending(window.acquire(6));
    let third = Polled::pending(window.acquire(4));
    drop(second);
    assert_eq!(retry_after(&window, 1), Some(secs(20)));
    clock.set(at(10));
    first.ready().unwrap();
    third.ready().unwrap();
    assert_eq!(window.available(), 0);
}

#[test]
fn a_waiter_that_was_served_and_leaves_gives_back() {
    let (window, clock) = window(10, 10);
    window.try_acquire(10).unwrap();
    let waiter = Polled::pending(window.acquire(6));
    clock.set(at(10));
    assert_eq!(
        window.available(),
        4,
        "its tokens are set aside at its turn"
    );
    drop(waiter);
    assert_eq!(window.available(), 10);

    let (bucket, clock) = interval(5, 10, 5);
    bucket.try_acquire(5).unwrap();
    let waiter = Polled::pending(bucket.acquire(3));
    clock.set(at(10));
    assert_eq!(bucket.available(), 2);
    drop(waiter);
    assert_eq!(bucket.available(), 5);
}

#[test]
fn a_lower_floor_goes_first() {
    let (window, clock) = window(10, 10);
    window.try_acquire(10).unwrap();
    let mut tasks = Tasks::new(&clock);
    tasks.start(window.acquire_above(4, 5));
    tasks.start(window.acquire(8));
    tasks.run_until(100 * SECOND);
    let ended = [(1, 10), (0, 20)].map(|(task, at)| (task, at * SECOND, Ok(())));
    assert_eq!(tasks.ended, ended);
}

#[test]
fn a_pause_reaches_those_who_wait() {
    let (window, clock) = window(10, 10);
    window.try_acquire(10).unwrap();
    let mut waiter = Polled::pending(window.acquire(6));
    window.pause_until(at(25)).unwrap();
    clock.set(at(24));
    assert_eq!(waiter.poll(), Poll::Pending);
    assert_eq!(
        (window.available(), retry_after(&window, 1)),
        (0, Some(secs(1)))
    );
    clock.set(at(25));
    waiter.ready().unwrap();
    assert_eq!(window.available(), 4);
}

#[test]
fn a_refund_and_a_charge_reach_those_who_wait() {
    let (window, clock) = window(10, 10);
    window.charge(15);
    assert_eq!(
        retry_after(&window, 5),
        Some(secs(10)),
        "5 of the debt are at 10 s"
    );
    let waiter = Polled::pending(window.acquire(6));
    assert_eq!(window.status(0).waiting, 1);
    clock.set(at(9));
    window.charge(1);
    clock.set(at(10));
    assert_eq!(window.status(0).remaining, 4);
    assert_eq!(waiter.woken(), 0);
    window.refund(2);
    assert_eq!(waiter.woken(), 1);
    waiter.ready().unwrap();
    assert_eq!(window.available(), 0);
}

/// The same for both: a limit of one in ten seconds.
fn gives_back_before_its_time(limiter: &dyn RateLimiter, clock: &ManualClock) {
    limiter.reserve(1, Duration::ZERO).unwrap().commit();
    let next = limiter.reserve(1, secs(10)).unwrap();
    assert_eq!(next.ready_at(), at(10));
    assert_eq!(retry_after(&limiter, 1), Some(secs(20)));
    let denied = limiter.reserve(1, secs(19)).unwrap_err();
    assert_eq!(
        denied,
        Denied::TooLong {
            retry_after: secs(20)
        }
    );
    drop(next);
    assert_eq!(retry_after(&limiter, 1), Some(secs(10)));

    let next = limiter.reserve(1, secs(10)).unwrap();
    clock.set(at(10));
    drop(next); // it counts as used
    assert_eq!(retry_after(&limiter, 1), Some(secs(10)));
    let next = limiter.reserve(1, secs(10)).unwrap();
    clock.set(at(20));
    next.cancel();
    assert_eq!(limiter.available(), 1);
}

#[test]
fn a_reservation_that_is_dropped_before_its_time_gives_back() {
    let (window, clock) = window(1, 10);
    gives_back_before_its_time(&window, &clock);
    let (bucket, clock) = interval(1, 10, 1);
    gives_back_before_its_time(&bucket, &clock);
}

#[test]
fn a_reservation_behind_waiters_delays_none_and_keeps_its_instant() {
    let (window, clock) = window(10, 10);
    window.try_acquire(10).unwrap();
    let mut tasks = Tasks::new(&clock);
    tasks.start(window.acquire(6));
    let reservation = window.reserve(6, secs(60)).unwrap();
    assert_eq!(reservation.ready_at(), at(20));
    // It fits beside the first, and moves nothing.
    tasks.start(window.acquire(4));
    tasks.run_until(15 * SECOND);
    let ended = [(0, 10), (1, 10)].map(|(task, at)| (task, at * SECOND, Ok(())));
    assert_eq!(tasks.ended, ended);
    window.pause_until(at(25)).unwrap();
    clock.set(at(25));
    assert_eq!(window.available(), 4, "it counted at 20 s, in the pause");
    drop(reservation);
    assert_eq!(window.available(), 4, "a drop after its time is use");
}

#[test]
fn a_window_and_a_bucket_together() {
    let (window, clock) = window(3, 60);
    let bucket = AtomicTokenBucket::with_clock("2/s".parse().unwrap(), clock.clone()).unwrap();
    let both = AllOf::new((&window, &bucket));
    both.try_acquire(2).unwrap();
    let retry_after = Duration::from_millis(500);
    assert_eq!(both.try_acquire(1), Err(Denied::NotYet { retry_after }));
    assert_eq!(window.available(), 1, "a denied take takes nothing");

    let mut tasks = Tasks::new(&clock);
    for _ in 0..3 {
        tasks.start(both.acquire(1));
    }
    tasks.run_until(u64::MAX);
    // The first waits for the bucket, the others for the window.
    let ended = [(0, SECOND / 2), (1, MINUTE), (2, MINUTE)];
    assert_eq!(tasks.ended, ended.map(|(task, at)| (task, at, Ok(()))));
    assert_eq!((window.available(), bucket.available()), (0, 0));
}

#[test]
fn a_claim_of_a_window_comes_back_when_another_limit_refuses() {
    let (window, clock) = window(1, 10);
    let bucket = AtomicTokenBucket::with_clock("1/h".parse().unwrap(), clock.clone()).unwrap();
    window.try_acquire(1).unwrap();
    let both = AllOf::new((&window, &bucket));
    let waiter = Polled::pending(both.acquire(1));
    // A direct take of the other, before the waiter's turn.
    bucket.try_acquire(1).unwrap();
    clock.set(at(10));
    let mut waiter = waiter;
    assert_eq!(waiter.poll(), Poll::Pending);
    assert_eq!(window.available(), 1);
}

#[test]
fn an_older_now_counts_as_the_latest() {
    let (window, clock) = window(2, 10);
    window.at(at(10)).try_acquire(1).unwrap();
    window.at(at(3)).try_acquire(1).unwrap();
    let denied = window.at(at(5)).try_acquire(1).unwrap_err();
    assert_eq!(denied.retry_after(), Some(secs(15)));
    clock.set(at(19));
    assert_eq!(window.available(), 0, "the older counts at 10 s, too");
    clock.set(at(20));
    assert_eq!(window.available(), 2);

    let (bucket, _) = interval(2, 10, 2);
    bucket.at(at(15)).try_acquire(2).unwrap();
    for earlier in [0, 9, 10, 14] {
        let denied = bucket.at(at(earlier)).try_acquire(1).unwrap_err();
        assert_eq!(denied.retry_after(), Some(secs(20 - earlier)));
    }
    let (bucket, _) = interval(2, 10, 2);
    bucket.at(at(15)).try_acquire(1).unwrap();
    bucket.at(at(5)).try_acquire(1).unwrap();
    // Given back at an older time: where it was taken.
    let (window, clock) = self::window(1, 10);
    let reservation = window.at(at(10)).reserve(1, Duration::ZERO).unwrap();
    clock.set(at(9));
    reservation.cancel();
    assert_eq!(window.at(at(10)).available(), 1);
}

#[test]
fn another_limit_reaches_those_who_wait() {
    let (window, clock) = window(10, 10);
    window.try_acquire(10).unwrap();
    let large = Polled::pending(window.acquire(8));
    let many = Polled::pending(window.acquire_many(7));
    let mut small = Polled::pending(window.acquire(2));
    window.set_limit(5, secs(10), History::Kept).unwrap();
    assert_eq!(large.ready(), Err(Denied::ExceedsBurst { burst: 5 }));
    assert_eq!(many.ready(), Err(Denied::ExceedsBurst { burst: 5 }));
    // Its turn is at 10 s now, not at 20 s: it sets its timer.
    assert_eq!(small.poll(), Poll::Pending);
    let woken = small.woken();
    window.set_limit(12, secs(10), History::Kept).unwrap();
    assert_eq!(small.woken(), woken + 1);
    small.ready().unwrap();
    let again = Polled::pending(window.acquire(12));
    window.set_limit(12, secs(10), History::Forgotten).unwrap();
    again.ready().unwrap();
    assert_eq!(clock_nanos(&clock), 0);
    let refused = window.set_limit(0, secs(10), History::Kept);
    assert_eq!(refused, Err(WindowError::ZeroLimit));

    let (bucket, _clock) = interval(5, 10, 5);
    bucket.try_acquire(5).unwrap();
    let waiter = Polled::pending(bucket.acquire(3));
    let (period, anchor) = (secs(10), Timestamp::ZERO);
    let refused = bucket.set_refill(5, Duration::ZERO, 5, anchor, History::Kept);
    assert_eq!(refused, Err(QuotaError::ZeroPeriod));
    bucket
        .set_refill(5, period, 5, anchor, History::Forgotten)
        .unwrap();
    waiter.ready().unwrap();
    assert_eq!(bucket.available(), 2);
}

#[test]
fn bounds_on_those_who_wait_and_the_end() {
    let clock = ManualClock::new();
    let window = SlidingWindow::with_clock(2, secs(10), clock.clone()).unwrap();
    let window = window.max_waiters(1).max_wait(secs(15));
    assert_eq!(
        window.acquire_many(3).wait(),
        Err(Denied::ExceedsBurst { burst: 2 })
    );
    window.acquire_many(2).wait().unwrap();
    let waiter = Polled::pending(window.acquire(2));
    let long = Denied::TooLong {
        retry_after: secs(20),
    };
    assert_eq!(window.acquire(1).wait(), Err(long));
    let other = IntervalTokenBucket::with_clock(1, secs(9), 1, Timestamp::ZERO, clock).unwrap();
    let other = other.max_waiters(0);
    other.try_acquire(1).unwrap();
    assert_eq!(other.acquire(1).wait(), Err(Denied::TooManyWaiters));
    let timeout = other.acquire_timeout(1, secs(8)).wait();
    assert_eq!(
        timeout,
        Err(Denied::TooLong {
            retry_after: secs(9)
        })
    );

    window.close();
    assert_eq!(waiter.woken(), 1);
    assert_eq!(waiter.ready(), Err(Denied::Closed));
    assert_eq!(window.try_acquire(1), Err(Denied::Closed));
    assert_eq!(window.reserve(1, secs(1)).unwrap_err(), Denied::Closed);
    window.refund(1);
    assert_eq!((window.available(), window.is_closed()), (1, true));
}

#[test]
fn a_window_goes_wherever_a_limiter_is_asked_for() {
    let (window, clock) = window(2, 10);
    let window = Arc::new(window);
    let metered = Metered::new(Arc::clone(&window));
    metered.try_acquire(1).unwrap();
    let queue = WorkQueue::<u64, _>::builder(8).clock(clock.clone());
    let queue = queue.rate_limit(window.clone()).build().unwrap();
    queue.try_add(1).unwrap();
    queue.try_add(2).unwrap();
    queue.try_get().unwrap().done();
    assert!(queue.try_get().is_none(), "both tokens are used");
    clock.set(at(10));
    queue.try_get().unwrap().done();
    assert_eq!(window.available(), 1);

    let owned = window.clone().reserve_owned(1, Duration::ZERO).unwrap();
    owned.commit();
    let any: Arc<dyn RateLimiter> = window;
    assert_eq!(retry_after(&any, 1), Some(secs(10)));
}
