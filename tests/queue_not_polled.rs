//! A consumer that waits and is not polled holds up the other consumers by 5 ms at most: one that leads
//! when a delayed key is due, and one that was woken for a ready key.
#![cfg(not(tollgate_loom))]

#[allow(dead_code, reason = "shared with other tests")]
#[path = "model/tasks.rs"]
mod tasks;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tasks::{Polled, Tasks};
use tollgate::{AddOptions, LockedTokenBucket, ManualClock, Quota, Timestamp, WorkQueue};

type Queue = WorkQueue<u64, ManualClock>;

const MILLI: u64 = 1_000_000;

fn queue() -> (Queue, ManualClock) {
    let clock = ManualClock::new();
    let queue = WorkQueue::builder(100).clock(clock.clone());
    (queue.build().unwrap(), clock)
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A task that waits for one key.
async fn one(queue: &Queue) -> Option<u64> {
    let work = queue.get().await?;
    let key = *work;
    work.done();
    Some(key)
}

/// Runs for a second.
fn run(tasks: &mut Tasks<'_, Option<u64>>) -> Vec<(usize, u64, Option<u64>)> {
    tasks.run_until(1_000 * MILLI);
    std::mem::take(&mut tasks.ended)
}

#[test]
fn a_leader_that_is_not_polled_holds_up_a_delayed_key_by_5_ms() {
    let (queue, clock) = queue();
    let _leader = Polled::pending(queue.get());
    let mut tasks = Tasks::new(&clock);
    tasks.start(one(&queue));
    queue.try_add_after(1, millis(10)).unwrap();
    assert_eq!(run(&mut tasks), [(0, 15 * MILLI, Some(1))]);
}

#[test]
fn a_consumer_that_is_not_polled_holds_up_the_ready_key_that_it_was_woken_for_by_5_ms() {
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
fn a_lookout_that_sees_the_key_taken_sleeps_again_without_a_timer() {
    let (queue, clock) = queue();
    let mut tasks = Tasks::new(&clock);
    for _ in 0..4 {
        tasks.start(one(&queue));
    }
    queue.try_add(1).unwrap();
    assert_eq!(run(&mut tasks), [(0, 0, Some(1))]);
    assert_eq!(clock.next_deadline(), None);
    // Two were to look out, and had nothing to look out for when they came to set their timers.
    assert_eq!(tasks.wakes(), 3);
}

#[test]
fn several_in_a_row_that_are_not_polled_hold_up_a_key_by_5_ms_in_all() {
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
fn two_that_are_not_polled_may_stand_anywhere() {
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
fn the_next_operation_ends_the_wait_for_lookouts_that_are_not_polled() {
    let (queue, clock) = queue();
    let mut tasks = Tasks::new(&clock);
    let _first = Polled::pending(queue.get());
    tasks.start(one(&queue));
    let _lookouts = [(); 2].map(|()| Polled::pending(queue.get()));
    queue.try_add(1).unwrap();
    assert_eq!(
        run(&mut tasks),
        [],
        "no consumer that is polled knows of it"
    );
    clock.set(Timestamp::from_nanos(100 * MILLI));
    queue.try_add_after(2, Duration::MAX).unwrap();
    assert_eq!(run(&mut tasks), [(0, 100 * MILLI, Some(1))]);
}

#[test]
fn a_consumer_that_is_not_polled_keeps_its_place() {
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
fn a_key_passed_on_by_a_cancelled_consumer_is_held_up_no_longer() {
    let (queue, clock) = queue();
    let first = Polled::pending(queue.get());
    let _second = Polled::pending(queue.get());
    let mut tasks = Tasks::new(&clock);
    tasks.start(one(&queue));
    queue.try_add(1).unwrap();
    tasks.run_until(3 * MILLI);
    clock.set(Timestamp::from_nanos(3 * MILLI));
    // Neither it nor the one that is woken in its place is polled.
    drop(first);
    assert_eq!(run(&mut tasks), [(0, 5 * MILLI, Some(1))]);
}

#[test]
fn a_cancelled_consumer_that_was_not_polled_passes_its_key_on_at_once() {
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
fn a_thread_behind_a_future_that_is_not_polled_gets_the_key() {
    for delay in [0, 10] {
        let (queue, clock) = queue();
        let _unpolled = Polled::pending(queue.get());
        // The thread alone sets a timer for this, by which it shows that it is there.
        queue.try_add_after(9, millis(50)).unwrap();
        thread::scope(|scope| {
            let thread = scope.spawn(|| queue.get().wait().map(|work| *work));
            while clock.next_deadline().is_none() {
                thread::yield_now();
            }
            queue.try_add_after(1, millis(delay)).unwrap();
            let late = Timestamp::from_nanos((delay + 5) * MILLI);
            // Until it has set its timer anew.
            while clock.next_deadline() != Some(late) {
                thread::yield_now();
            }
            clock.set(late);
            assert_eq!(thread.join().unwrap(), Some(1));
        });
    }
}

#[test]
fn a_batch_that_is_not_polled_holds_up_its_keys_by_5_ms() {
    let (queue, clock) = queue();
    let _unpolled = Polled::pending(queue.get_batch(8));
    let mut tasks = Tasks::new(&clock);
    for _ in 0..3 {
        tasks.start(one(&queue));
    }
    let options = AddOptions::from(millis(10));
    assert!(queue.try_add_batch([1, 2, 3], options).is_empty());
    // In whatever order they are scheduled.
    let ended = run(&mut tasks);
    assert_eq!(ended.len(), 3);
    assert!(ended.iter().all(|(_, at, _)| *at == 15 * MILLI));
}

#[test]
fn a_leader_that_is_not_polled_holds_up_the_next_token_by_5_ms() {
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

#[test]
fn resuming_a_queue_counts_from_then_on() {
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
fn closing_ends_the_others_at_once() {
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
fn a_poll_without_a_wake_up_takes_nothing_that_is_kept_for_another() {
    let (queue, clock) = queue();
    let first = Polled::pending(queue.get());
    let mut second = Polled::pending(queue.get());
    queue.try_add(1).unwrap();
    clock.advance(millis(4));
    assert!(second.poll().is_pending());
    assert_eq!(*first.ready().unwrap(), 1);
}
