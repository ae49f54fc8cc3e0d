//! Consumers, drains and threads that wait: which are woken, and when; what a cancelled waiter hands on;
//! how close ends a wait.

use std::cell::OnceCell;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tollgate::{AddError, AddOptions, Clock, TimedOut, Timestamp};

use crate::tasks::{Polled, Tasks, poll_once};
use crate::{Queue, millis, queue};

/// The number of wake-ups of each waiter.
pub(crate) fn woken<F: Future>(waiting: &[Polled<F>]) -> Vec<usize> {
    waiting.iter().map(Polled::woken).collect()
}

#[test]
fn each_added_key_wakes_the_first_sleeping_consumer() {
    let (queue, _) = queue(1_000);
    let mut waiting: Vec<_> = (0..100).map(|_| Polled::pending(queue.get())).collect();
    // The last two are woken once more, to become watchdogs.
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
fn a_cancelled_wait_leaves_no_waker_behind() {
    /// Whether the queue keeps the waker of a cancelled wait.
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
    // The other two are woken as watchdogs.
    assert_eq!((first.woken(), second.woken(), third.woken()), (1, 1, 1));
    drop(first);
    assert_eq!((second.woken(), third.woken()), (2, 1));
    drop(second);
    assert_eq!(third.woken(), 2);
    assert_eq!(*third.ready().unwrap(), 1);
}

#[test]
fn a_consumer_whose_key_was_taken_waits_at_the_head_again() {
    let (queue, _) = queue(8);
    let (mut first, second) = (Polled::pending(queue.get()), Polled::pending(queue.get()));
    queue.try_add(1).unwrap();
    let barged = queue.try_get().unwrap();
    assert!(first.poll().is_pending());
    assert_eq!(second.woken(), 1, "the second is a watchdog of the first");
    queue.try_add(2).unwrap();
    assert_eq!((first.woken(), second.woken()), (2, 1));
    assert_eq!(*first.ready().unwrap(), 2);
    barged.done();
}

#[test]
fn consumers_whose_keys_were_taken_return_to_their_places() {
    let (queue, _) = queue(8);
    let mut waiting = [(); 5].map(|()| Polled::pending(queue.get()));
    queue.try_add(1).unwrap();
    queue.try_add(2).unwrap();
    queue.try_get_batch(2).unwrap().done();
    // The order in which they are polled does not matter.
    for n in [1, 0] {
        assert!(waiting[n].poll().is_pending());
    }
    // The last two are watchdogs.
    queue.try_add(3).unwrap();
    assert_eq!(woken(&waiting), [2, 1, 0, 1, 1]);
    queue.try_add(4).unwrap();
    assert_eq!(woken(&waiting), [2, 2, 0, 1, 1]);
    queue.try_add(5).unwrap();
    assert_eq!(woken(&waiting), [2, 2, 1, 1, 1]);
}

#[test]
fn threads_and_tasks_wait_in_one_line() {
    let (queue, clock) = queue(8);
    // The first in line sets a timer for this key, which shows that the thread waits.
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
        // Only its place in line wakes the thread.
        assert_eq!(thread.join().unwrap(), 1);
        queue.try_add(2).unwrap();
        assert_eq!(*task.ready().unwrap(), 2);
    });
}

#[test]
fn a_cancelled_leader_hands_the_lead_on() {
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
fn a_leader_that_takes_a_key_hands_the_lead_on() {
    let (queue, clock) = queue(8);
    queue.try_add_after(1, millis(5)).unwrap();
    let (leader, mut next) = (Polled::pending(queue.get()), Polled::pending(queue.get()));
    queue.try_add(2).unwrap();
    assert_eq!(next.woken(), 1, "the next is a watchdog of the leader");
    assert_eq!(*leader.ready().unwrap(), 2);
    assert_eq!(next.woken(), 2);
    assert!(next.poll().is_pending());
    clock.advance(millis(5));
    assert_eq!(*next.ready().unwrap(), 1);
}

#[test]
fn a_leader_that_is_not_first_in_line_yields_to_the_first() {
    let (queue, clock) = queue(8);
    let mut batch = Polled::pending(queue.get_batch(2));
    let waiting = [(); 2].map(|()| Polled::pending(queue.get()));
    queue.try_add_after(3, millis(1)).unwrap();
    assert!(queue.try_add_batch([1, 2], AddOptions::new()).is_empty());
    // Both are watchdogs of the leader as well.
    assert_eq!(
        woken(&waiting),
        [2, 2],
        "the batch was woken for the other key"
    );
    // The batch takes both keys, and the lead goes to the only consumer that sleeps.
    assert!(batch.poll().is_ready());
    let [mut first, mut second] = waiting;
    assert!(first.poll().is_pending());
    clock.advance(millis(1));
    assert!(second.poll().is_pending(), "the first in line goes before");
    assert_eq!(*first.ready().unwrap(), 3);
}

#[test]
fn an_earlier_key_re_arms_only_the_leader_and_its_watchdogs() {
    let (queue, clock) = queue(8);
    let mut leader = Polled::pending(queue.get());
    let other = Polled::pending(queue.get());
    let mut watchdogs = [(); 2].map(|()| Polled::pending(queue.get()));
    for (i, delay) in [50, 20, 3].into_iter().enumerate() {
        queue.try_add_after(delay, millis(delay)).unwrap();
        assert_eq!((leader.woken(), other.woken()), (i + 1, 0));
        assert_eq!(woken(&watchdogs), [i + 1; 2]);
        assert!(leader.poll().is_pending());
        for watchdog in &mut watchdogs {
            assert!(watchdog.poll().is_pending());
        }
        assert_eq!(
            clock.next_deadline(),
            Some(Timestamp::ZERO.saturating_add(millis(delay)))
        );
    }
    // A later key re-arms no consumer.
    queue.try_add_after(60, millis(60)).unwrap();
    assert_eq!((leader.woken(), woken(&watchdogs)), (3, vec![3; 2]));
    clock.advance(millis(3));
    assert_eq!(*leader.ready().unwrap(), 3);
}

#[test]
fn a_delay_of_any_length_ends_on_its_tick() {
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
        let mut tasks = Tasks::new(&clock);
        tasks.start(async { drop(queue.get().await) });
        tasks.run_until(u64::MAX);
        assert_eq!(tasks.ended, [(0, delay * 1_000_000, ())]);
        assert!(
            tasks.wakes() <= 8,
            "at most one wake-up for each level of the wheel"
        );
    }
}

#[test]
fn close_ends_every_get_and_add() {
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
fn a_drain_waits_for_processing_and_dirty_keys() {
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
    assert!(
        drain.poll().is_pending(),
        "the first key became dirty, and is ready again"
    );
    queue.try_get().unwrap().done();
    let drained = drain.ready();
    assert!(drained.complete());
    assert_eq!(drained.returned, [2]);

    // A drain ends at its deadline.
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
fn a_blocked_thread_returns_at_its_deadline() {
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
fn a_thread_may_wait_while_its_thread_locals_are_dropped() {
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
            // The thread-local that `wait` uses is made later than `FIRST`, and dropped earlier.
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
