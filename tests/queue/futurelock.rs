//! Futurelock: a waiting consumer that is not polled delays the other consumers by at most 5 ms. Such a
//! consumer may lead while a delayed key is due, or may have been woken for a ready key.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tollgate::{
    AddOptions, CarryOver, LockedTokenBucket, ManualClock, Quota, RateLimiter, Timestamp, WorkQueue,
};

use crate::tasks::{Polled, Tasks};
use crate::{Queue, millis};

const MILLI: u64 = 1_000_000;

fn queue() -> (Queue, ManualClock) {
    crate::queue(100)
}

/// A task that waits for one key and finishes it.
async fn one(queue: &Queue) -> Option<u64> {
    let work = queue.get().await?;
    let key = *work;
    work.done();
    Some(key)
}

/// Runs until one second; returns the tasks that ended, each with its instant.
fn run(tasks: &mut Tasks<'_, Option<u64>>) -> Vec<(usize, u64, Option<u64>)> {
    tasks.run_until(1_000 * MILLI);
    std::mem::take(&mut tasks.ended)
}

#[test]
fn an_unpolled_leader_delays_a_due_key_by_5_ms() {
    let (queue, clock) = queue();
    let _leader = Polled::pending(queue.get());
    let mut tasks = Tasks::new(&clock);
    tasks.start(one(&queue));
    queue.try_add_after(1, millis(10)).unwrap();
    assert_eq!(run(&mut tasks), [(0, 15 * MILLI, Some(1))]);
}

#[test]
fn an_unpolled_woken_consumer_delays_its_key_by_5_ms() {
    let (queue, clock) = queue();
    let woken = Polled::pending(queue.get());
    let mut tasks = Tasks::new(&clock);
    tasks.start(one(&queue));
    clock.set(Timestamp::from_nanos(100 * MILLI));
    queue.try_add(1).unwrap();
    assert_eq!(woken.woken(), 1);
    assert_eq!(run(&mut tasks), [(0, 105 * MILLI, Some(1))]);
}

#[test]
fn a_watchdog_sets_no_timer_once_the_key_is_taken() {
    let (queue, clock) = queue();
    let mut tasks = Tasks::new(&clock);
    for _ in 0..4 {
        tasks.start(one(&queue));
    }
    queue.try_add(1).unwrap();
    assert_eq!(run(&mut tasks), [(0, 0, Some(1))]);
    assert_eq!(clock.next_deadline(), None);
    // The key was taken before the two watchdogs could set their timers.
    assert_eq!(tasks.wakes(), 3);
}

#[test]
fn several_unpolled_consumers_in_a_row_delay_a_key_by_5_ms_in_all() {
    for unpolled in 1..20 {
        for delay in [0, 10] {
            let (queue, clock) = queue();
            let _unpolled: Vec<_> = (0..unpolled)
                .map(|_| Polled::pending(queue.get()))
                .collect();
            let mut tasks = Tasks::new(&clock);
            tasks.start(one(&queue));
            queue.try_add_after(1, millis(delay)).unwrap();
            let at = (delay + 5) * MILLI;
            assert_eq!(run(&mut tasks), [(0, at, Some(1))], "{unpolled}");
        }
    }
}

#[test]
fn two_unpolled_consumers_may_stand_anywhere_in_line() {
    for (first, second) in [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)] {
        for delay in [0, 10] {
            let (queue, clock) = queue();
            let mut tasks = Tasks::new(&clock);
            let mut unpolled = Vec::new();
            for place in 0..4 {
                if place == first || place == second {
                    unpolled.push(Polled::pending(queue.get()));
                } else {
                    tasks.start(one(&queue));
                }
            }
            let options = AddOptions::from(millis(delay));
            assert!(queue.try_add_batch([1, 2], options).is_empty());
            let ended = run(&mut tasks);
            assert_eq!(ended.len(), 2, "{first}, {second}, {delay}");
            for (_, at, _) in ended {
                assert!(at <= (delay + 5) * MILLI, "{first}, {second}: {at}");
            }
        }
    }
}

#[test]
fn the_next_operation_recovers_from_unpolled_watchdogs() {
    let (queue, clock) = queue();
    let mut tasks = Tasks::new(&clock);
    let _first = Polled::pending(queue.get());
    tasks.start(one(&queue));
    let _watchdogs = [(); 2].map(|()| Polled::pending(queue.get()));
    queue.try_add(1).unwrap();
    assert_eq!(
        run(&mut tasks),
        [],
        "every consumer that knows of the key is unpolled"
    );
    clock.set(Timestamp::from_nanos(100 * MILLI));
    queue.try_add_after(2, Duration::MAX).unwrap();
    assert_eq!(run(&mut tasks), [(0, 100 * MILLI, Some(1))]);
}

#[test]
fn an_unpolled_consumer_keeps_its_place() {
    let (queue, clock) = queue();
    let mut first = Polled::pending(queue.get());
    let (second, third) = (Polled::pending(queue.get()), Polled::pending(queue.get()));
    queue.try_add(1).unwrap();
    clock.advance(millis(5));
    queue.try_add(2).unwrap();
    assert_eq!(*second.ready().unwrap(), 1);
    assert_eq!(*third.ready().unwrap(), 2);
    let fourth = Polled::pending(queue.get());
    assert!(first.poll().is_pending());
    queue.try_add(3).unwrap();
    assert_eq!(*first.ready().unwrap(), 3);
    drop(fourth);
}

#[test]
fn a_key_inherited_from_a_cancelled_consumer_is_delayed_no_longer() {
    let (queue, clock) = queue();
    let first = Polled::pending(queue.get());
    let _second = Polled::pending(queue.get());
    let mut tasks = Tasks::new(&clock);
    tasks.start(one(&queue));
    queue.try_add(1).unwrap();
    tasks.run_until(3 * MILLI);
    clock.set(Timestamp::from_nanos(3 * MILLI));
    // Neither the first nor the second, which inherits the key, is polled.
    drop(first);
    assert_eq!(run(&mut tasks), [(0, 5 * MILLI, Some(1))]);
}

#[test]
fn a_cancelled_unpolled_consumer_hands_its_key_on_at_once() {
    for delay in [0, 10] {
        let (queue, clock) = queue();
        let unpolled = Polled::pending(queue.get());
        let mut tasks = Tasks::new(&clock);
        tasks.start(one(&queue));
        queue.try_add_after(1, millis(delay)).unwrap();
        tasks.run_until((delay + 3) * MILLI);
        clock.set(Timestamp::from_nanos((delay + 3) * MILLI));
        drop(unpolled);
        assert_eq!(run(&mut tasks), [(0, (delay + 3) * MILLI, Some(1))]);
    }
}

#[test]
fn a_thread_behind_an_unpolled_future_gets_the_key() {
    for delay in [0, 10] {
        let (queue, clock) = queue();
        let _unpolled = Polled::pending(queue.get());
        // Only the thread sets a timer for this key, which shows that the thread waits.
        queue.try_add_after(9, millis(50)).unwrap();
        thread::scope(|scope| {
            let thread = scope.spawn(|| queue.get().wait().map(|work| *work));
            while clock.next_deadline().is_none() {
                thread::yield_now();
            }
            queue.try_add_after(1, millis(delay)).unwrap();
            let late = Timestamp::from_nanos((delay + 5) * MILLI);
            // The thread has to set its new timer first.
            while clock.next_deadline() != Some(late) {
                thread::yield_now();
            }
            clock.set(late);
            assert_eq!(thread.join().unwrap(), Some(1));
        });
    }
}

#[test]
fn an_unpolled_batch_delays_its_keys_by_5_ms() {
    let (queue, clock) = queue();
    let _unpolled = Polled::pending(queue.get_batch(8));
    let mut tasks = Tasks::new(&clock);
    for _ in 0..3 {
        tasks.start(one(&queue));
    }
    let options = AddOptions::from(millis(10));
    assert!(queue.try_add_batch([1, 2, 3], options).is_empty());
    // The order in which they are polled does not matter.
    let ended = run(&mut tasks);
    assert_eq!(ended.len(), 3);
    assert!(ended.iter().all(|(_, at, _)| *at == 15 * MILLI));
}

#[test]
fn an_unpolled_leader_delays_the_next_token_by_5_ms() {
    let clock = ManualClock::new();
    let quota = Quota::new(1, millis(10)).unwrap();
    let limiter = LockedTokenBucket::with_clock(quota, clock.clone()).unwrap();
    let builder = WorkQueue::builder(8).clock(clock.clone());
    let queue = builder.rate_limit(Arc::new(limiter)).build().unwrap();
    assert!(queue.try_add_batch([1, 2], AddOptions::new()).is_empty());
    queue.try_get().unwrap().done();
    let _leader = Polled::pending(queue.get());
    let mut tasks = Tasks::new(&clock);
    tasks.start(one(&queue));
    assert_eq!(run(&mut tasks), [(0, 15 * MILLI, Some(2))]);
}

/// A queue with the ready key 2, and its limiter, which has one token an hour and none now.
fn out_of_tokens(clock: &ManualClock) -> (Queue, Arc<LockedTokenBucket<ManualClock>>) {
    let limiter = LockedTokenBucket::with_clock("1/h".parse().unwrap(), clock.clone());
    let limiter = Arc::new(limiter.unwrap());
    let builder = WorkQueue::builder(8).clock(clock.clone());
    let queue = builder.rate_limit(limiter.clone()).build().unwrap();
    assert!(queue.try_add_batch([1, 2], AddOptions::new()).is_empty());
    queue.try_get().unwrap().done();
    (queue, limiter)
}

fn raise(limiter: &LockedTokenBucket<ManualClock>) {
    let faster = "100/s burst 2".parse().unwrap();
    limiter.set_quota(faster, CarryOver::Tokens).unwrap();
}

#[test]
fn an_unpolled_wait_for_a_token_does_not_delay_the_queue_behind_it() {
    let clock = ManualClock::new();
    let (queue, limiter) = out_of_tokens(&clock);
    let unpolled = Polled::pending(limiter.acquire(1));
    let mut tasks = Tasks::new(&clock);
    tasks.start(one(&queue));
    raise(&limiter);
    assert_eq!(run(&mut tasks), [(0, 20 * MILLI, Some(2))]);
    assert!(unpolled.woken() <= 3, "{}", unpolled.woken());
}

#[test]
fn a_task_that_polls_the_second_of_its_consumers_is_not_woken_by_its_polls() {
    let clock = ManualClock::new();
    let (queue, limiter) = out_of_tokens(&clock);
    let (mut first, mut second) = (queue.get(), queue.get());
    let polls = Cell::new(0);
    let mut tasks = Tasks::new(&clock);
    tasks.start(poll_fn(|cx| {
        polls.set(polls.get() + 1);
        assert!(polls.get() <= 8, "the polls of the task wake it");
        if polls.get() == 1 {
            assert!(Pin::new(&mut first).poll(cx).is_pending());
        }
        let polled = Pin::new(&mut second).poll(cx);
        polled.map(|work| work.map(|work| *work))
    }));
    raise(&limiter);
    assert_eq!(run(&mut tasks), [(0, 10 * MILLI, Some(2))]);
}

#[test]
fn the_5_ms_start_when_a_paused_queue_resumes() {
    let (queue, clock) = queue();
    let _unpolled = Polled::pending(queue.get());
    let mut tasks = Tasks::new(&clock);
    tasks.start(one(&queue));
    queue.pause();
    queue.try_add(1).unwrap();
    tasks.run_until(100 * MILLI);
    clock.set(Timestamp::from_nanos(100 * MILLI));
    queue.resume();
    tasks.settle();
    assert_eq!(tasks.ended, [], "the first has just been woken");
    assert_eq!(run(&mut tasks), [(0, 105 * MILLI, Some(1))]);
}

#[test]
fn close_ends_the_other_consumers_at_once() {
    let (queue, clock) = queue();
    let _unpolled = Polled::pending(queue.get());
    let mut tasks = Tasks::new(&clock);
    tasks.start(one(&queue));
    queue.try_add(1).unwrap();
    assert_eq!(queue.close().returned, []);
    assert_eq!(run(&mut tasks), [(0, 5 * MILLI, Some(1))]);
    tasks.start(one(&queue));
    assert_eq!(run(&mut tasks), [(1, 5 * MILLI, None)]);
}

#[test]
fn a_poll_without_a_wake_up_takes_no_key_kept_for_another() {
    let (queue, clock) = queue();
    let first = Polled::pending(queue.get());
    let mut second = Polled::pending(queue.get());
    queue.try_add(1).unwrap();
    clock.advance(millis(4));
    assert!(second.poll().is_pending());
    assert_eq!(*first.ready().unwrap(), 1);
}
