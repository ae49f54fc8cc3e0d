//! Waiters are served in order, at the exact instant, with one timer each. A waiter that gives up
//! returns its tokens.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use proptest::prelude::*;
use tollgate::{
    AtomicTokenBucket, CarryOver, Clock, Denied, LockedTokenBucket, ManualClock, Quota,
    RateLimiter, Timestamp,
};

use crate::limiter_model;
use crate::support::millis;
use crate::tasks::{Polled, Tasks};

const MILLI: u64 = 1_000_000;

/// A bucket that was emptied at the clock's origin, on its own clock.
macro_rules! empty {
    ($bucket:ident, $quota:expr) => {{
        let (clock, quota): (_, Quota) = (ManualClock::new(), $quota.parse().unwrap());
        let bucket = $bucket::with_clock(quota, clock.clone()).unwrap();
        bucket.try_acquire(quota.max_burst()).unwrap();
        (bucket, clock)
    }};
}

/// Runs the same test for both bucket types.
macro_rules! for_both {
    ($(#[$meta:meta])* fn $name:ident<$bucket:ident>() $body:block) => {
        mod $name {
            use super::*;

            $(#[$meta])*
            #[test]
            fn locked() {
                type $bucket<C> = LockedTokenBucket<C>;
                $body
            }

            $(#[$meta])*
            #[test]
            fn atomic() {
                type $bucket<C> = AtomicTokenBucket<C>;
                $body
            }
        }
    };
}

for_both! {
    fn a_hundred_thousand_waiters_are_woken_in_order_at_their_instants<Bucket>() {
        let (bucket, clock) = empty!(Bucket, "999983/s burst 2");
        let mut tasks = Tasks::new(&clock);
        for _ in 0..100_000 {
            tasks.start(bucket.acquire(1));
        }
        tasks.run_until(u64::MAX);
        assert_eq!(tasks.ended.len(), 100_000);
        for (i, (task, at, result)) in tasks.ended.iter().enumerate() {
            let due = (i as u64 + 1) * 1_000_000_000;
            assert_eq!((*task, *at, *result), (i, due.div_ceil(999_983), Ok(())));
        }
        assert_eq!(tasks.wakes(), 100_000, "each waiter is woken once, by its timer");
    }
}

for_both! {
    fn a_waiter_that_is_not_polled_does_not_block_the_next<Bucket>() {
        let (bucket, clock) = empty!(Bucket, "1000/s burst 4");
        // As in `select!` with a busy handler (futurelock), and a leaked future.
        let _first = Polled::pending(bucket.acquire(1));
        let leaked = Polled::pending(bucket.acquire(1));
        std::mem::forget(leaked);
        let mut tasks = Tasks::new(&clock);
        for _ in 0..3 {
            tasks.start(bucket.acquire(1));
        }
        tasks.run_until(u64::MAX);
        let ended: Vec<_> = tasks.ended.iter().map(|(task, at, _)| (*task, at / MILLI)).collect();
        assert_eq!(ended, [(0, 3), (1, 4), (2, 5)]);
    }
}

#[test]
fn a_waiter_beyond_the_new_burst_does_not_block_the_next() {
    let (bucket, clock) = empty!(LockedTokenBucket, "1000/s burst 5");
    let first = Polled::pending(bucket.acquire(5));
    let second = Polled::pending(bucket.acquire(1));
    let less = "1000/s burst 3".parse().unwrap();
    bucket.set_quota(less, CarryOver::Tokens).unwrap();
    assert_eq!(first.woken(), 1);
    clock.advance(millis(10));
    // The first has not been polled yet.
    assert_eq!(second.ready(), Ok(()));
    assert!(matches!(
        first.ready(),
        Err(Denied::ExceedsBurst { burst: 3 })
    ));
}

for_both! {
    fn a_small_request_does_not_overtake_a_large_one<Bucket>() {
        let (bucket, clock) = empty!(Bucket, "1000/s burst 10");
        let mut tasks = Tasks::new(&clock);
        for n in [10, 1, 5, 2, 1, 10] {
            tasks.start(bucket.acquire(n));
        }
        tasks.run_until(u64::MAX);
        let ended: Vec<_> = tasks.ended.iter().map(|(task, at, _)| (*task, at / MILLI)).collect();
        assert_eq!(ended, [(0, 10), (1, 11), (2, 16), (3, 18), (4, 19), (5, 29)]);
    }
}

for_both! {
    fn threads_are_served_in_order<Bucket>() {
        let (bucket, clock) = empty!(Bucket, "1000/s burst 1");
        let (served, order) = mpsc::channel();
        thread::scope(|scope| {
            for i in 0..8u64 {
                let (bucket, served) = (&bucket, served.clone());
                scope.spawn(move || {
                    bucket.acquire(1).wait().unwrap();
                    served.send(i).unwrap();
                });
                // The thread is in line once the wait for one more token has grown by one period.
                let behind = Denied::NotYet { retry_after: millis(i + 2) };
                while bucket.try_acquire(1) != Err(behind) {
                    thread::yield_now();
                }
            }
            for i in 0..8 {
                assert!(order.try_recv().is_err(), "a thread is served early");
                clock.advance(millis(1));
                assert_eq!(order.recv(), Ok(i));
            }
        });
    }
}

for_both! {
    fn a_dropped_waiter_returns_its_tokens<Bucket>() {
        let (bucket, clock) = empty!(Bucket, "1000/s burst 4");
        let wait = || bucket.try_acquire(1).unwrap_err().retry_after().unwrap();
        let first = Polled::pending(bucket.acquire(3));
        let last = Polled::pending(bucket.acquire(2));
        assert_eq!(wait(), millis(6));
        drop(last);
        assert_eq!(wait(), millis(4));
        drop(first);
        assert_eq!(wait(), millis(1));
        // The same after its turn, for a waiter that has not been polled since.
        let late = Polled::pending(bucket.acquire(2));
        clock.advance(millis(2));
        assert_eq!(late.woken(), 1);
        assert!(bucket.try_acquire(1).is_err());
        drop(late);
        // The atomic bucket no longer knows that the two tokens that fell due were not used: it may
        // return fewer, never more.
        assert!(bucket.available() <= 2);
        clock.advance(millis(100));
        assert_eq!(bucket.available(), 4);
    }
}

for_both! {
    fn a_wait_beyond_the_timeout_fails_at_once_and_takes_nothing<Bucket>() {
        let (bucket, clock) = empty!(Bucket, "1000/s burst 4");
        let too_long = |got| matches!(got, Err(Denied::TooLong { retry_after, .. }) if retry_after == millis(3));
        assert!(too_long(bucket.acquire_timeout(3, millis(3) - Duration::from_nanos(1)).wait()));
        assert!(too_long(bucket.acquire_timeout(3, Duration::ZERO).wait()));
        assert!(bucket.acquire_timeout(5, Duration::MAX).wait().is_err(), "more than the burst is never admitted");
        assert_eq!(clock.next_deadline(), None);
        let in_time = Polled::pending(bucket.acquire_timeout(3, millis(3)));
        clock.advance(millis(3));
        assert_eq!(in_time.ready(), Ok(()));
        assert_eq!(bucket.available(), 0);
    }
}

for_both! {
    fn an_acquire_of_zero_tokens_does_not_wait<Bucket>() {
        let (bucket, _clock) = empty!(Bucket, "1000/s burst 4");
        assert_eq!(bucket.acquire(0).wait(), Ok(()));
    }
}

for_both! {
    fn an_acquire_at_a_rate_of_zero_fails_at_once<Bucket>() {
        let (bucket, _clock) = empty!(Bucket, "0/s burst 4");
        assert_eq!(bucket.acquire(1).wait(), Err(Denied::Exhausted));
    }
}

#[test]
fn a_cancelled_waiter_moves_up_all_behind_it_and_wakes_at_most_two() {
    let (bucket, clock) = empty!(LockedTokenBucket, "1000/s burst 1");
    let mut tasks = Tasks::new(&clock);
    for _ in 0..1_000 {
        tasks.start(bucket.acquire(1));
    }
    let before = tasks.wakes();
    for task in (0..1_000).filter(|task| task % 2 == 0).rev() {
        tasks.cancel(task);
        assert!(
            tasks.wakes() <= before + 2,
            "only the first two in line have timers to move"
        );
    }
    tasks.run_until(u64::MAX);
    let ended: Vec<_> = tasks
        .ended
        .iter()
        .map(|(task, at, _)| (*task, *at))
        .collect();
    let expected: Vec<_> = (0..500)
        .map(|i| (2 * i + 1, (i as u64 + 1) * MILLI))
        .collect();
    assert_eq!(ended, expected);
}

#[test]
fn granted_tokens_that_are_returned_move_up_the_next_waiter() {
    let (bucket, clock) = empty!(LockedTokenBucket, "1000/s burst 10");
    let mut tasks = Tasks::new(&clock);
    let granted = Polled::pending(bucket.acquire(5));
    let next = tasks.start(bucket.acquire(10));
    // Another call grants the first waiter its tokens, and that waiter drops them.
    clock.advance(millis(5));
    tasks.start(bucket.acquire(0));
    let other = Polled::pending(bucket.acquire(1));
    tasks.settle();
    clock.advance(millis(1));
    drop(other);
    drop(granted);
    tasks.run_until(u64::MAX);
    // With the five returned tokens, ten are there at 10 ms rather than at 15 ms.
    let at = tasks
        .ended
        .iter()
        .find(|ended| ended.0 == next)
        .map(|ended| ended.1);
    assert_eq!(at, Some(10 * MILLI));
}

#[derive(Clone, Debug)]
enum Op {
    Start(u64),
    /// `true`: when the task is woken rather than now.
    Cancel(prop::sample::Index, bool),
    TryAcquire(u64),
    Advance(u64),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        4 => (1..6u64).prop_map(Op::Start),
        3 => (any::<prop::sample::Index>(), any::<bool>()).prop_map(|(task, late)| Op::Cancel(task, late)),
        2 => (1..6u64).prop_map(Op::TryAcquire),
        4 => (0..6 * MILLI).prop_map(Op::Advance),
    ];
    prop::collection::vec(op, 1..60)
}

/// Cancels at arbitrary instants: the tokens used never exceed the bound, and every other waiter is
/// served.
macro_rules! cancel_at_random {
    ($bucket:ident, $ops:expr) => {{
        let quota: Quota = "1000/s burst 5".parse().unwrap();
        let clock = ManualClock::new();
        let bucket = $bucket::with_clock(quota, clock.clone()).unwrap();
        let mut tasks = Tasks::new(&clock);
        let (mut sizes, mut doomed, mut cancelled, mut used) = (vec![], vec![], 0, vec![]);
        for op in $ops {
            let now = clock.now().as_nanos();
            match op {
                Op::Start(n) => {
                    sizes.push(n);
                    tasks.start(bucket.acquire(n));
                }
                Op::Cancel(pick, late) if !sizes.is_empty() => {
                    let task = pick.index(sizes.len());
                    if late {
                        doomed.push(task);
                    } else {
                        cancelled += usize::from(tasks.cancel(task));
                    }
                }
                Op::TryAcquire(n) => used.extend(bucket.try_acquire(n).ok().map(|()| (now, n))),
                Op::Advance(by) => {
                    let end = now + by;
                    while let Some(next) =
                        clock.next_deadline().filter(|next| next.as_nanos() <= end)
                    {
                        clock.set(next);
                        for &task in &doomed {
                            cancelled += usize::from(tasks.cancel(task));
                        }
                        tasks.settle();
                    }
                    clock.set(Timestamp::from_nanos(end));
                }
                Op::Cancel(..) => {}
            }
            tasks.settle();
        }
        tasks.run_until(u64::MAX);
        prop_assert_eq!(
            tasks.ended.len() + cancelled,
            sizes.len(),
            "a waiter is never served"
        );
        used.extend(tasks.ended.iter().map(|(task, at, _)| (*at, sizes[*task])));
        limiter_model::assert_never_over(quota, &used);
    }};
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_cancellation_never_mints_locked(ops in ops()) {
        cancel_at_random!(LockedTokenBucket, ops);
    }

    #[test]
    fn a_cancellation_never_mints_atomic(ops in ops()) {
        cancel_at_random!(AtomicTokenBucket, ops);
    }
}
