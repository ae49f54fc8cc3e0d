//! Waiters of windows and interval buckets, and the changes that reach them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use tollgate::{
    AllOf, AtomicTokenBucket, Denied, History, IntervalTokenBucket, ManualClock, QuotaError,
    RateLimiter, SlidingWindow, Timestamp, WindowError,
};

use super::{SECOND, clock_nanos, interval, retry_after, secs, window};
use crate::support::at_secs;
use crate::tasks::{Polled, Tasks};

#[test]
fn waiters_of_a_window_are_served_in_order_when_each_fits() {
    let (window, clock) = window(10, 10);
    window.try_acquire(10).unwrap();
    let mut tasks = Tasks::new(&clock);
    for n in [6, 6, 4] {
        tasks.start(window.acquire(n));
    }
    // 6 tokens at 10 s, 6 and 4 at 20 s: one more fits at 30 s only, although 17 tokens are less than two
    // windows.
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
    // At 20 s the bucket is full with the rest that the first waiter left: 2 of 10 tokens are lost.
    assert_eq!(retry_after(&bucket, 1), Some(secs(30)));
    tasks.run_until(100 * SECOND);
    let ended = [(0, 10), (1, 20), (2, 20)].map(|(task, at)| (task, at * SECOND, Ok(())));
    assert_eq!(tasks.ended, ended);
}

#[test]
fn a_dropped_waiter_moves_up_the_others() {
    let (window, clock) = window(10, 10);
    window.try_acquire(10).unwrap();
    let first = Polled::pending(window.acquire(6));
    let second = Polled::pending(window.acquire(6));
    let third = Polled::pending(window.acquire(4));
    drop(second);
    assert_eq!(retry_after(&window, 1), Some(secs(20)));
    clock.set(at_secs(10));
    first.ready().unwrap();
    third.ready().unwrap();
    assert_eq!(window.available(), 0);
}

#[test]
fn a_waiter_that_is_dropped_at_its_turn_returns_its_tokens() {
    let (window, clock) = window(10, 10);
    window.try_acquire(10).unwrap();
    let waiter = Polled::pending(window.acquire(6));
    clock.set(at_secs(10));
    assert_eq!(
        window.available(),
        4,
        "at its turn, the waiter's tokens are set aside"
    );
    drop(waiter);
    assert_eq!(window.available(), 10);

    let (bucket, clock) = interval(5, 10, 5);
    bucket.try_acquire(5).unwrap();
    let waiter = Polled::pending(bucket.acquire(3));
    clock.set(at_secs(10));
    assert_eq!(bucket.available(), 2);
    drop(waiter);
    assert_eq!(bucket.available(), 5);
}

#[test]
fn a_waiter_with_a_lower_floor_goes_first() {
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
fn a_pause_postpones_waiters() {
    let (window, clock) = window(10, 10);
    window.try_acquire(10).unwrap();
    let mut waiter = Polled::pending(window.acquire(6));
    window.pause_until(at_secs(25)).unwrap();
    clock.set(at_secs(24));
    assert_eq!(waiter.poll(), Poll::Pending);
    assert_eq!(
        (window.available(), retry_after(&window, 1)),
        (0, Some(secs(1)))
    );
    clock.set(at_secs(25));
    waiter.ready().unwrap();
    assert_eq!(window.available(), 4);
}

#[test]
fn a_refund_and_a_charge_move_waiters() {
    let (window, clock) = window(10, 10);
    window.charge(15);
    assert_eq!(
        retry_after(&window, 5),
        Some(secs(10)),
        "5 of the debt are at 10 s"
    );
    let waiter = Polled::pending(window.acquire(6));
    assert_eq!(window.status(0).waiting, 1);
    clock.set(at_secs(9));
    window.charge(1);
    clock.set(at_secs(10));
    assert_eq!(window.status(0).remaining, 4);
    assert_eq!(waiter.woken(), 0);
    window.refund(2);
    assert_eq!(waiter.woken(), 1);
    waiter.ready().unwrap();
    assert_eq!(window.available(), 0);
}

#[test]
fn a_reservation_behind_a_waiter_does_not_delay_it_and_keeps_its_instant() {
    let (window, clock) = window(10, 10);
    window.try_acquire(10).unwrap();
    let mut tasks = Tasks::new(&clock);
    tasks.start(window.acquire(6));
    let reservation = window.reserve(6, secs(60)).unwrap();
    assert_eq!(reservation.ready_at(), at_secs(20));
    // The second waiter fits beside the first, and moves neither.
    tasks.start(window.acquire(4));
    tasks.run_until(15 * SECOND);
    let ended = [(0, 10), (1, 10)].map(|(task, at)| (task, at * SECOND, Ok(())));
    assert_eq!(tasks.ended, ended);
    window.pause_until(at_secs(25)).unwrap();
    clock.set(at_secs(25));
    assert_eq!(
        window.available(),
        4,
        "the reservation counts at 20 s, in the pause"
    );
    drop(reservation);
    assert_eq!(
        window.available(),
        4,
        "a drop of a ready reservation is a use"
    );
}

#[test]
fn a_waiter_returns_the_windows_token_when_another_member_denies() {
    let (window, clock) = window(1, 10);
    let bucket = AtomicTokenBucket::with_clock("1/h".parse().unwrap(), clock.clone()).unwrap();
    window.try_acquire(1).unwrap();
    let both = AllOf::new((&window, &bucket));
    let waiter = Polled::pending(both.acquire(1));
    // Another caller takes from the bucket directly, before the waiter's turn.
    bucket.try_acquire(1).unwrap();
    clock.set(at_secs(10));
    let mut waiter = waiter;
    assert_eq!(waiter.poll(), Poll::Pending);
    assert_eq!(window.available(), 1);
}

#[test]
fn a_changed_limit_reaches_waiters() {
    let (window, clock) = window(10, 10);
    window.try_acquire(10).unwrap();
    let large = Polled::pending(window.acquire(8));
    let many = Polled::pending(window.acquire_many(7));
    let mut small = Polled::pending(window.acquire(2));
    window.set_limit(5, secs(10), History::Kept).unwrap();
    assert_eq!(large.ready(), Err(Denied::ExceedsBurst { burst: 5 }));
    assert_eq!(many.ready(), Err(Denied::ExceedsBurst { burst: 5 }));
    // The small waiter's turn is at 10 s rather than at 20 s: it rearms its timer.
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
fn bounds_on_waiters_hold_and_close_ends_waits() {
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
fn a_reservation_that_another_callers_panic_hides_goes_back() {
    struct Bomb;
    impl Wake for Bomb {
        fn wake(self: Arc<Self>) {
            panic!("the waker panics");
        }
    }
    let (window, _clock) = window(2, 10);
    window.try_acquire(2).unwrap();
    let mut waiting = pin!(window.acquire(1));
    let waker = Waker::from(Arc::new(Bomb));
    let polled = waiting.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(polled.is_pending());
    // The turn of the waiter has come, so the call wakes it.
    let now = window.at(at_secs(10));
    let reserve = || now.reserve(1, Duration::ZERO).map(drop);
    assert!(catch_unwind(AssertUnwindSafe(reserve)).is_err());
    assert_eq!(now.available(), 1);
}
