//! Waiting on the work queue: who is woken, and when; what a waiter that gives up leaves to the
//! others; how it ends.
#![cfg(not(tollgate_loom))]

#[allow(dead_code, reason = "shared with the tests of the limiters")]
#[path = "model/tasks.rs"]
mod tasks;

use std::cell::OnceCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::thread;
use std::time::Duration;

use tasks::{Polled, poll_once};
use tollgate::{AddError, AddOptions, Clock, ManualClock, TimedOut, Timestamp, WorkQueue};

type Queue = WorkQueue<u64, ManualClock>;

fn queue(capacity: usize) -> (Queue, ManualClock) {
    let clock = ManualClock::new();
    let backoff = |_: u32, _: u64| millis(5);
    let queue = WorkQueue::builder(capacity)
        .backoff(backoff)
        .clock(clock.clone());
    (queue.build().unwrap(), clock)
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The wake-ups of each.
fn woken<F: Future>(waiting: &[Polled<F>]) -> Vec<usize> {
    waiting.iter().map(Polled::woken).collect()
}

#[test]
fn one_added_key_wakes_one_consumer_the_first() {
    let (queue, _) = queue(1_000);
    let mut waiting: Vec<_> = (0..100).map(|_| Polled::pending(queue.get())).collect();
    // Once, the last two are woken to look out for a consumer that is not polled.
    let mut expected = vec![0; 100];
    expected[98..].fill(1);
    for n in 0..100 {
        queue.try_add(n).unwrap();
        expected[n as usize] += 1;
        assert_eq!(woken(&waiting), expected);
    }
    for (n, getter) in waiting.drain(..).enumerate() {
        getter.ready().expect("a key").done();
        assert_eq!(queue.stats().ready, 99 - n);
    }
}

#[test]
fn whoever_stops_waiting_leaves_nothing_behind() {
    /// Whether the waker of an operation outlives it.
    fn outlived(waiting: impl Future) -> bool {
        let waiting = Polled::pending(waiting);
        let wakes = Arc::clone(&waiting.wakes);
        drop(waiting);
        Arc::strong_count(&wakes) > 1
    }
    let (queue, _) = queue(1);
    assert!(!outlived(queue.get()), "get");
    queue.try_add(1).unwrap();
    assert!(!outlived(queue.add(2)), "add");
    assert!(!outlived(queue.resync()), "resync");
    let work = queue.try_get().unwrap();
    assert!(!outlived(work.dirtied()), "dirtied");
    assert!(!outlived(queue.drain(millis(5))), "drain");
    work.done();
}

#[test]
fn a_cancelled_consumer_passes_its_wake_up_on() {
    let (queue, _) = queue(8);
    let (first, second, third) = (
        Polled::pending(queue.get()),
        Polled::pending(queue.get()),
        Polled::pending(queue.get()),
    );
    queue.try_add(1).unwrap();
    // The others look out for the first.
    assert_eq!((first.woken(), second.woken(), third.woken()), (1, 1, 1));
    drop(first);
    assert_eq!((second.woken(), third.woken()), (2, 1));
    drop(second);
    assert_eq!(third.woken(), 2);
    assert_eq!(*third.ready().unwrap(), 1);
}

#[test]
fn a_consumer_that_finds_its_key_taken_waits_at_the_head() {
    let (queue, _) = queue(8);
    let (mut first, second) = (Polled::pending(queue.get()), Polled::pending(queue.get()));
    queue.try_add(1).unwrap();
    let barged = queue.try_get().unwrap();
    assert!(first.poll().is_pending());
    assert_eq!(second.woken(), 1, "it looks out for the first");
    queue.try_add(2).unwrap();
    assert_eq!((first.woken(), second.woken()), (2, 1));
    assert_eq!(*first.ready().unwrap(), 2);
    barged.done();
}

#[test]
fn consumers_that_find_their_keys_taken_go_back_to_their_places() {
    let (queue, _) = queue(8);
    let mut waiting = [(); 5].map(|()| Polled::pending(queue.get()));
    queue.try_add(1).unwrap();
    queue.try_add(2).unwrap();
    queue.try_get_batch(2).unwrap().done();
    // In whatever order they are scheduled.
    for n in [1, 0] {
        assert!(waiting[n].poll().is_pending());
    }
    // The last two look out.
    queue.try_add(3).unwrap();
    assert_eq!(woken(&waiting), [2, 1, 0, 1, 1]);
    queue.try_add(4).unwrap();
    assert_eq!(woken(&waiting), [2, 2, 0, 1, 1]);
    queue.try_add(5).unwrap();
    assert_eq!(woken(&waiting), [2, 2, 1, 1, 1]);
}

#[test]
fn threads_and_tasks_stand_in_one_line() {
    let (queue, clock) = queue(8);
    // For which the first in line sets a timer, so that it shows when the thread is there.
    queue.try_add_after(9, millis(50)).unwrap();
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let work = queue.get().wait().unwrap();
            let key = *work;
            work.done();
            key
        });
        while clock.next_deadline().is_none() {
            thread::yield_now();
        }
        let task = Polled::pending(queue.get());
        queue.try_add(1).unwrap();
        // Nobody else would wake it.
        assert_eq!(thread.join().unwrap(), 1);
        queue.try_add(2).unwrap();
        assert_eq!(*task.ready().unwrap(), 2);
    });
}

#[test]
fn the_leader_that_is_cancelled_hands_the_lead_on() {
    let (queue, clock) = queue(8);
    queue.try_add_after(1, millis(5)).unwrap();
    let (leader, mut next) = (Polled::pending(queue.get()), Polled::pending(queue.get()));
    assert_eq!(
        clock.next_deadline(),
        Some(Timestamp::from_nanos(5_000_000))
    );
    drop(leader);
    assert_eq!(next.woken(), 1);
    assert!(next.poll().is_pending());
    clock.advance(millis(5));
    assert_eq!(*next.ready().unwrap(), 1);
}

#[test]
fn the_leader_that_takes_a_key_hands_the_lead_on() {
    let (queue, clock) = queue(8);
    queue.try_add_after(1, millis(5)).unwrap();
    let (leader, mut next) = (Polled::pending(queue.get()), Polled::pending(queue.get()));
    queue.try_add(2).unwrap();
    assert_eq!(next.woken(), 1, "it looks out for the leader");
    assert_eq!(*leader.ready().unwrap(), 2);
    assert_eq!(next.woken(), 2);
    assert!(next.poll().is_pending());
    clock.advance(millis(5));
    assert_eq!(*next.ready().unwrap(), 1);
}

#[test]
fn the_leader_that_is_not_the_first_lets_the_first_go_before() {
    let (queue, clock) = queue(8);
    let mut batch = Polled::pending(queue.get_batch(2));
    let waiting = [(); 2].map(|()| Polled::pending(queue.get()));
    queue.try_add_after(3, millis(1)).unwrap();
    assert!(queue.try_add_batch([1, 2], AddOptions::new()).is_empty());
    // They look out too, for the leader.
    assert_eq!(woken(&waiting), [2, 2], "the batch has the other");
    // It takes both keys, and leaves the lead to the only one that sleeps.
    assert!(batch.poll().is_ready());
    let [mut first, mut second] = waiting;
    assert!(first.poll().is_pending());
    clock.advance(millis(1));
    assert!(second.poll().is_pending(), "the first has come before");
    assert_eq!(*first.ready().unwrap(), 3);
}

#[test]
fn an_earlier_key_re_arms_the_leader_and_its_lookouts_and_nobody_else() {
    let (queue, clock) = queue(8);
    let mut leader = Polled::pending(queue.get());
    let other = Polled::pending(queue.get());
    let mut lookouts = [(); 2].map(|()| Polled::pending(queue.get()));
    for (i, delay) in [50, 20, 3].into_iter().enumerate() {
        queue.try_add_after(delay, millis(delay)).unwrap();
        assert_eq!((leader.woken(), other.woken()), (i + 1, 0));
        assert_eq!(woken(&lookouts), [i + 1; 2]);
        assert!(leader.poll().is_pending());
        for lookout in &mut lookouts {
            assert!(lookout.poll().is_pending());
        }
        assert_eq!(
            clock.next_deadline(),
            Some(Timestamp::ZERO.saturating_add(millis(delay)))
        );
    }
    // A later one changes nothing.
    queue.try_add_after(60, millis(60)).unwrap();
    assert_eq!((leader.woken(), woken(&lookouts)), (3, vec![3; 2]));
    clock.advance(millis(3));
    assert_eq!(*leader.ready().unwrap(), 3);
}

#[test]
fn delays_of_all_lengths_end_on_the_tick_with_one_consumer_waiting() {
    for delay in [
        1,
        63,
        64,
        65,
        4_095,
        4_096,
        5_000,
        262_144,
        1 << 24,
        (1 << 24) + 1,
        1 << 40,
    ] {
        let (queue, clock) = queue(8);
        queue.try_add_after(1, millis(delay)).unwrap();
        let mut tasks = tasks::Tasks::new(&clock);
        tasks.start(async { drop(queue.get().await) });
        tasks.run_until(u64::MAX);
        assert_eq!(tasks.ended, [(0, delay * 1_000_000, ())]);
        assert!(tasks.wakes() <= 8, "one a level of the wheel at most");
    }
}

#[test]
fn adders_wait_for_room_in_order() {
    let (queue, _) = queue(2);
    queue.try_add(1).unwrap();
    queue.try_add(2).unwrap();
    let (first, second) = (Polled::pending(queue.add(3)), Polled::pending(queue.add(4)));
    // A live key needs no room.
    assert_eq!(queue.add(1).wait(), Ok(()));
    queue.try_get().unwrap().done();
    assert_eq!((first.woken(), second.woken()), (1, 0));
    assert_eq!(
        queue.try_add(5),
        Err(AddError::Full(5)),
        "the room is promised"
    );
    assert_eq!(first.ready(), Ok(()));
    assert!(queue.remove(&3));
    assert_eq!(second.ready(), Ok(()));
    let ready = [(); 2].map(|()| *queue.try_get().unwrap());
    assert_eq!(ready, [2, 4]);
}

#[test]
fn a_cancelled_adder_passes_the_room_on() {
    let (queue, _) = queue(1);
    queue.try_add(1).unwrap();
    let (first, second) = (Polled::pending(queue.add(2)), Polled::pending(queue.add(3)));
    queue.try_get().unwrap().done();
    drop(first);
    assert_eq!(second.woken(), 1);
    assert_eq!(second.ready(), Ok(()));
    // And with nobody left to take it, it is there for all.
    let third = Polled::pending(queue.add(4));
    queue.try_get().unwrap().done();
    drop(third);
    assert_eq!(queue.try_add(5), Ok(()));
}

#[test]
fn an_adder_whose_key_came_in_meanwhile_leaves_the_room_to_the_next() {
    let (queue, _) = queue(2);
    queue.try_add(1).unwrap();
    queue.try_add(2).unwrap();
    let waiting = [3, 3, 4].map(|key| Polled::pending(queue.add(key)));
    queue.try_get().unwrap().done();
    queue.try_get().unwrap().done();
    assert_eq!(woken(&waiting), [1, 1, 0]);
    let [first, same, other] = waiting;
    assert_eq!(
        (first.ready(), same.ready(), other.ready()),
        (Ok(()), Ok(()), Ok(()))
    );
    assert_eq!(queue.stats().ready, 2);
}

#[test]
fn an_adder_whose_key_comes_in_by_another_way_waits_no_more() {
    let queue = WorkQueue::<u64>::builder(3).reserve(2).build().unwrap();
    queue.try_add(1).unwrap();
    let work = queue.try_get().unwrap();
    let waiting = [2, 3, 2, 4].map(|key| Polled::pending(queue.add(key)));
    // By a worker, from the reserve.
    work.add_related(2).unwrap();
    assert_eq!(woken(&waiting), [1, 0, 1, 0]);
    let [first, other, same, last] = waiting;
    assert_eq!((first.ready(), same.ready()), (Ok(()), Ok(())));
    work.add_related(3).unwrap();
    assert_eq!((other.woken(), last.woken()), (1, 0));
    assert_eq!(other.ready(), Ok(()));
    work.done();
    queue.try_get().unwrap().done();
    assert_eq!(last.woken(), 0, "the reserve is not for it");
    queue.try_get().unwrap().done();
    assert_eq!(last.ready(), Ok(()));
}

#[test]
fn an_adder_that_was_woken_for_nothing_keeps_its_place() {
    let queue = WorkQueue::<u64>::builder(2).reserve(1).build().unwrap();
    queue.try_add(1).unwrap();
    let work = queue.try_get().unwrap();
    let mut first = Polled::pending(queue.add(2));
    let second = Polled::pending(queue.add(3));
    work.add_related(2).unwrap();
    assert!(queue.remove(&2));
    assert_eq!((first.woken(), second.woken()), (1, 0));
    assert!(first.poll().is_pending(), "it has gone again");
    work.done();
    assert_eq!((first.woken(), second.woken()), (2, 0));
    assert_eq!(first.ready(), Ok(()));
}

#[test]
fn closing_wakes_everybody() {
    let (queue, _) = queue(1);
    let getters: Vec<_> = (0..3).map(|_| Polled::pending(queue.get())).collect();
    drop(queue.close());
    assert_eq!(woken(&getters), [1, 1, 1]);
    for getter in getters {
        assert!(getter.ready().is_none());
    }
    let (queue, _) = self::queue(1);
    queue.try_add(1).unwrap();
    let adders: Vec<_> = [2, 3]
        .into_iter()
        .map(|key| Polled::pending(queue.add(key)))
        .collect();
    drop(queue.close());
    assert_eq!(woken(&adders), [1, 1]);
    for (key, adder) in [2, 3].into_iter().zip(adders) {
        assert_eq!(adder.ready(), Err(AddError::Closed(key)));
    }
}

#[test]
fn a_drain_waits_for_what_runs_and_for_what_became_dirty() {
    let (queue, clock) = queue(8);
    for key in [1, 2] {
        queue.try_add(key).unwrap();
    }
    let (one, two) = (queue.try_get().unwrap(), queue.try_get().unwrap());
    queue.try_add(1).unwrap();
    let mut drain = Polled::pending(queue.drain(millis(100)));
    assert_eq!(queue.try_add(2), Err(AddError::Closed(2)));
    one.done();
    let _ = two.retry();
    assert!(drain.poll().is_pending(), "the first is ready once more");
    queue.try_get().unwrap().done();
    let drained = drain.ready();
    assert!(drained.complete());
    assert_eq!(drained.returned, [2]);

    // Out of time.
    let (queue, clock2) = self::queue(8);
    queue.try_add(1).unwrap();
    let work = queue.try_get().unwrap();
    let drain = Polled::pending(queue.drain(millis(100)));
    clock2.advance(millis(100));
    assert_eq!(drain.woken(), 1);
    let drained = drain.ready();
    assert_eq!((drained.ready, drained.processing), (0, 1));
    work.done();
    assert!(poll_once(queue.drain(Duration::ZERO)).is_ready());
    assert_eq!(clock.now(), Timestamp::ZERO);
}

#[test]
fn a_thread_waits_until_its_deadline() {
    let (queue, clock) = queue(8);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| queue.get().wait_timeout(millis(10)).map(drop));
        while clock.next_deadline().is_none() {
            thread::yield_now();
        }
        clock.advance(millis(10));
        assert_eq!(waiting.join().unwrap(), Err(TimedOut));
        let waiting = scope.spawn(|| {
            queue
                .get()
                .wait_timeout(millis(10))
                .unwrap()
                .unwrap()
                .done()
        });
        queue.try_add(1).unwrap();
        waiting.join().unwrap();
    });
}

#[test]
fn an_adder_that_is_polled_for_nothing_keeps_its_place() {
    let (queue, _) = queue(1);
    queue.try_add(0).unwrap();
    let mut first = Polled::pending(queue.add(1));
    let second = Polled::pending(queue.add(2));
    assert!(first.poll().is_pending());
    queue.try_get().unwrap().done();
    assert_eq!((first.woken(), second.woken()), (1, 0));
    assert_eq!(first.ready(), Ok(()));
}

#[test]
fn as_many_adders_as_getters_do_not_look_like_nobody() {
    let (queue, _) = queue(1);
    queue.try_add(0).unwrap();
    let work = queue.try_get().unwrap();
    let getter = Polled::pending(queue.get());
    let adder = Polled::pending(queue.add(1));
    work.done();
    assert_eq!(adder.woken(), 1);
    assert_eq!(adder.ready(), Ok(()));
    assert_eq!(getter.woken(), 1);
    assert_eq!(*getter.ready().unwrap(), 1);
}

#[test]
fn an_add_that_has_ended_adds_no_more() {
    let (queue, _) = queue(2);
    let (mut add, mut context) = (queue.add(1), Context::from_waker(Waker::noop()));
    assert!(Pin::new(&mut add).poll(&mut context).is_ready());
    let again = catch_unwind(AssertUnwindSafe(|| Pin::new(&mut add).poll(&mut context)));
    assert!(again.is_err());
    assert_eq!(queue.stats().ready, 1);
}

#[test]
fn a_thread_waits_also_while_its_own_values_are_dropped() {
    struct GetsOneMore(Queue);
    impl Drop for GetsOneMore {
        fn drop(&mut self) {
            self.0.get().wait().unwrap().done();
        }
    }
    thread_local!(static FIRST: OnceCell<GetsOneMore> = const { OnceCell::new() });

    let (queue, clock) = queue(8);
    queue.try_add(1).unwrap();
    queue.try_add_after(2, millis(5)).unwrap();
    let worker = thread::spawn({
        let queue = queue.clone();
        move || {
            FIRST.with(|first| _ = first.set(GetsOneMore(queue.clone())));
            // What it waits with is made after, and dropped before.
            queue.get().wait().unwrap().done();
        }
    });
    while clock.next_deadline().is_none() {
        thread::yield_now();
    }
    clock.advance(millis(5));
    worker.join().unwrap();
    assert_eq!((queue.stats().delayed, queue.stats().processing), (0, 0));
}
