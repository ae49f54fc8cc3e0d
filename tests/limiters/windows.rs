//! `SlidingWindow` and `IntervalTokenBucket`: how much they admit, their reservations, stale times and
//! combinations with other limiters.

mod waiting;

use std::sync::Arc;
use std::time::Duration;

use tollgate::{
    AllOf, AtomicTokenBucket, Denied, IntervalTokenBucket, ManualClock, Metered, RateLimiter,
    SlidingWindow, Timestamp, WorkQueue,
};

use crate::support::at_secs;
use crate::tasks::Tasks;

const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn window(limit: u64, period: u64) -> (SlidingWindow<ManualClock>, ManualClock) {
    let clock = ManualClock::new();
    let window = SlidingWindow::with_clock(limit, secs(period), clock.clone()).unwrap();
    (window, clock)
}

/// A bucket that refills at multiples of its period.
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

/// The most tokens taken in any minute.
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
fn a_greedy_caller_gets_exactly_sixty_a_minute() {
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
fn takes_at_odd_instants_stay_within_the_limit_of_any_minute() {
    let (window, clock) = window(60, 60);
    let mut taken = Vec::new();
    for step in 0..1_500_u64 {
        let n = step * 7 % 11 + 1;
        if window.try_acquire(n).is_ok() {
            taken.push((clock_nanos(&clock), n));
        } else {
            // A denial reports its wait to the nanosecond.
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
fn an_admission_leaves_the_window_a_whole_period_later() {
    let (window, clock) = window(2, 10);
    window.try_acquire(1).unwrap();
    clock.set(at_secs(4));
    window.try_acquire(1).unwrap();
    assert_eq!(retry_after(&window, 1), Some(secs(6)));
    assert_eq!(retry_after(&window, 2), Some(secs(10)));
    clock.set(Timestamp::from_nanos(10 * SECOND - 1));
    assert_eq!(window.available(), 0);
    clock.set(at_secs(10));
    assert_eq!(window.available(), 1);
    let status = window.status(2);
    assert_eq!((status.limit, status.remaining), (2, 1));
    assert_eq!(status.retry_after, Some(secs(4)));
    assert_eq!(status.full_after, Some(secs(4)));
}

#[test]
fn an_interval_bucket_refills_at_boundaries_only() {
    let seen = |anchor| {
        let clock = ManualClock::new();
        let refill = (5, secs(60), 5);
        let bucket = IntervalTokenBucket::with_clock(
            refill.0,
            refill.1,
            refill.2,
            at_secs(anchor),
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
    // The boundaries are at 0:30 and 1:30.
    assert_eq!(seen(30), [5, 0, 5, 0, 0, 0, 5, 0, 0]);
}

#[test]
fn a_pause_until_a_refill_keeps_all_its_tokens() {
    let (bucket, clock) = interval(5, 60, 5);
    bucket.try_acquire(5).unwrap();
    bucket.pause_until(at_secs(60)).unwrap();
    clock.set(at_secs(60));
    assert_eq!(bucket.available(), 5);
}

/// Checks reservations of a limiter of one token in ten seconds.
fn check_dropped_reservations(limiter: &dyn RateLimiter, clock: &ManualClock) {
    limiter.reserve(1, Duration::ZERO).unwrap().commit();
    let next = limiter.reserve(1, secs(10)).unwrap();
    assert_eq!(next.ready_at(), at_secs(10));
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
    clock.set(at_secs(10));
    drop(next); // It is ready, so it counts as used.
    assert_eq!(retry_after(&limiter, 1), Some(secs(10)));
    let next = limiter.reserve(1, secs(10)).unwrap();
    clock.set(at_secs(20));
    next.cancel();
    assert_eq!(limiter.available(), 1);
}

#[test]
fn a_reservation_that_is_dropped_before_it_is_ready_returns_its_tokens() {
    let (window, clock) = window(1, 10);
    check_dropped_reservations(&window, &clock);
    let (bucket, clock) = interval(1, 10, 1);
    check_dropped_reservations(&bucket, &clock);
}

#[test]
fn a_window_and_a_bucket_combine() {
    let (window, clock) = window(3, 60);
    let bucket = AtomicTokenBucket::with_clock("2/s".parse().unwrap(), clock.clone()).unwrap();
    let both = AllOf::new((&window, &bucket));
    both.try_acquire(2).unwrap();
    let retry_after = Duration::from_millis(500);
    assert_eq!(both.try_acquire(1), Err(Denied::NotYet { retry_after }));
    assert_eq!(window.available(), 1, "a denied take takes a token");

    let mut tasks = Tasks::new(&clock);
    for _ in 0..3 {
        tasks.start(both.acquire(1));
    }
    tasks.run_until(u64::MAX);
    // The first waiter waits for the bucket, the others for the window.
    let ended = [(0, SECOND / 2), (1, MINUTE), (2, MINUTE)];
    assert_eq!(tasks.ended, ended.map(|(task, at)| (task, at, Ok(()))));
    assert_eq!((window.available(), bucket.available()), (0, 0));
}

#[test]
fn a_stale_time_counts_as_the_latest() {
    let (window, clock) = window(2, 10);
    window.at(at_secs(10)).try_acquire(1).unwrap();
    window.at(at_secs(3)).try_acquire(1).unwrap();
    let denied = window.at(at_secs(5)).try_acquire(1).unwrap_err();
    assert_eq!(denied.retry_after(), Some(secs(15)));
    clock.set(at_secs(19));
    assert_eq!(window.available(), 0, "the stale take counts at 10 s too");
    clock.set(at_secs(20));
    assert_eq!(window.available(), 2);

    let (bucket, _) = interval(2, 10, 2);
    bucket.at(at_secs(15)).try_acquire(2).unwrap();
    for earlier in [0, 9, 10, 14] {
        let denied = bucket.at(at_secs(earlier)).try_acquire(1).unwrap_err();
        assert_eq!(denied.retry_after(), Some(secs(20 - earlier)));
    }
    let (bucket, _) = interval(2, 10, 2);
    bucket.at(at_secs(15)).try_acquire(1).unwrap();
    bucket.at(at_secs(5)).try_acquire(1).unwrap();
    // A cancellation at a stale time returns the token to where it was taken.
    let (window, clock) = self::window(1, 10);
    let reservation = window.at(at_secs(10)).reserve(1, Duration::ZERO).unwrap();
    clock.set(at_secs(9));
    reservation.cancel();
    assert_eq!(window.at(at_secs(10)).available(), 1);
}

#[test]
fn a_window_works_behind_every_limiter_interface() {
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
    clock.set(at_secs(10));
    queue.try_get().unwrap().done();
    assert_eq!(window.available(), 1);

    let owned = window.clone().reserve_owned(1, Duration::ZERO).unwrap();
    owned.commit();
    let any: Arc<dyn RateLimiter> = window;
    assert_eq!(retry_after(&any, 1), Some(secs(10)));
}
