//! The work queue under loom: in every interleaving no key is lost, no key is held twice, and every waiter
//! is woken.
//!
//! A lost wake-up shows as a deadlock. Every model is explored to its end, or to the bound on preemptions that
//! it names, and prints its number of executions.
#![cfg(tollgate_loom)]

mod closing;
#[path = "../model/explore.rs"]
mod explore;
mod limits;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use explore::{block_on, explore};
use loom::thread;
use tollgate::{ManualClock, Work, WorkQueue};

type Queue = WorkQueue<u8, ManualClock>;

fn queue(capacity: usize) -> (Queue, ManualClock) {
    let clock = ManualClock::new();
    let backoff = |_: u32, _: u64| Duration::from_millis(1);
    let queue = WorkQueue::builder(capacity)
        .backoff(backoff)
        .clock(clock.clone());
    (queue.build().unwrap(), clock)
}

/// Runs `run` on another thread, with a handle of the queue.
fn beside<T: 'static>(
    queue: &Queue,
    run: impl FnOnce(Queue) -> T + 'static,
) -> thread::JoinHandle<T> {
    let queue = queue.clone();
    thread::spawn(move || run(queue))
}

/// Polls once, and drops the future if it is not ready.
fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future)
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
}

/// Counts the holders of a key, with an atomic of std, which loom does not model.
#[derive(Default)]
struct Held(AtomicUsize);

impl Held {
    fn finish(&self, work: Work<u8, ManualClock>) {
        assert_eq!(self.0.fetch_add(1, Ordering::Relaxed), 0, "held twice");
        thread::yield_now();
        self.0.fetch_sub(1, Ordering::Relaxed);
        work.done();
    }
}

#[test]
fn a_key_added_while_its_run_finishes_runs_again() {
    explore("add x finish", None, || {
        let (queue, _) = queue(1);
        queue.try_add(1).unwrap();
        let work = queue.try_get().unwrap();
        let adder = beside(&queue, move |queue| queue.try_add(1).unwrap());
        work.done();
        adder.join().unwrap();
        assert_eq!(queue.stats().ready, 1, "the key was added during its run");
    });
}

#[test]
fn a_worker_may_read_its_key_while_others_compare_it() {
    explore("read x add, remove", None, || {
        let (queue, _) = queue(2);
        queue.try_add(1).unwrap();
        let work = queue.try_get().unwrap();
        let other = beside(&queue, move |queue| {
            queue.try_add(1).unwrap();
            queue.try_add(2).unwrap();
            queue.remove(&1);
        });
        assert_eq!(*work, 1);
        work.done();
        if let Some(work) = queue.try_get() {
            assert!([1, 2].contains(&*work));
            work.done();
        }
        other.join().unwrap();
    });
}

#[test]
fn two_workers_never_hold_one_key() {
    explore("add, get x finish, get", None, || {
        let (queue, _) = queue(1);
        let held = Arc::new(Held::default());
        queue.try_add(1).unwrap();
        let other = {
            let (queue, held) = (queue.clone(), Arc::clone(&held));
            thread::spawn(move || {
                queue.try_add(1).unwrap();
                queue.try_get().map(|work| held.finish(work)).is_some()
            })
        };
        let mut runs = 0;
        while let Some(work) = queue.try_get() {
            held.finish(work);
            runs += 1;
        }
        runs += u32::from(other.join().unwrap());
        while let Some(work) = queue.try_get() {
            held.finish(work);
            runs += 1;
        }
        assert!((1..=2).contains(&runs), "{runs}");
    });
}

#[test]
fn a_waiting_consumer_gets_an_added_key() {
    explore("add x get", None, || {
        let (queue, _) = queue(1);
        let consumer = beside(&queue, move |queue| *block_on(queue.get()).unwrap());
        queue.try_add(7).unwrap();
        assert_eq!(consumer.join().unwrap(), 7);
    });
    explore("add, add x get x get", Some(3), || {
        let (queue, _) = queue(2);
        let consumers = [(); 2].map(|()| {
            let queue = queue.clone();
            thread::spawn(move || {
                let work = block_on(queue.get()).unwrap();
                let key = *work;
                work.done();
                key
            })
        });
        queue.try_add(1).unwrap();
        queue.try_add(2).unwrap();
        let mut got = consumers.map(|consumer| consumer.join().unwrap());
        got.sort_unstable();
        assert_eq!(got, [1, 2]);
    });
}

#[test]
fn a_cancelled_consumer_hands_its_wake_up_on() {
    explore("add x cancelled get x get", None, || {
        let (queue, _) = queue(1);
        let cancelled = beside(&queue, move |queue| {
            if let Poll::Ready(Some(work)) = poll_once(queue.get()) {
                work.requeue();
            }
        });
        let consumer = beside(&queue, move |queue| block_on(queue.get()).unwrap().done());
        queue.try_add(1).unwrap();
        consumer.join().unwrap();
        cancelled.join().unwrap();
    });
}

#[test]
fn a_cancelled_leader_hands_the_lead_on() {
    explore("advance x cancelled leader x get", None, || {
        let (queue, clock) = queue(1);
        queue.try_add_after(1, Duration::from_millis(1)).unwrap();
        let cancelled = beside(&queue, move |queue| {
            if let Poll::Ready(Some(work)) = poll_once(queue.get()) {
                work.requeue();
            }
        });
        let consumer = beside(&queue, move |queue| block_on(queue.get()).unwrap().done());
        clock.advance(Duration::from_millis(1));
        consumer.join().unwrap();
        cancelled.join().unwrap();
    });
}

#[test]
fn an_earlier_key_re_arms_the_leader() {
    explore("add_after earlier x get x advance", None, || {
        let (queue, clock) = queue(2);
        queue.try_add_after(9, Duration::from_secs(9)).unwrap();
        let consumer = beside(&queue, move |queue| *block_on(queue.get()).unwrap());
        let adder = beside(&queue, move |queue| {
            queue.try_add_after(1, Duration::from_millis(1)).unwrap()
        });
        clock.advance(Duration::from_millis(1));
        adder.join().unwrap();
        // The delay is over, whichever of the two instants it started from.
        clock.advance(Duration::from_millis(1));
        assert_eq!(consumer.join().unwrap(), 1);
    });
}

#[test]
fn an_unpolled_consumer_or_the_next_gets_the_key() {
    explore("add, advance x poll of the first x get", Some(3), || {
        let (queue, clock) = queue(1);
        let mut first = pin!(queue.get());
        let mut context = Context::from_waker(Waker::noop());
        assert!(first.as_mut().poll(&mut context).is_pending());
        let consumer = beside(&queue, move |queue| block_on(queue.get()).unwrap().done());
        let adder = beside(&queue, move |queue| {
            queue.try_add(1).unwrap();
            clock.advance(Duration::from_millis(5));
        });
        if let Poll::Ready(Some(work)) = first.as_mut().poll(&mut context) {
            work.requeue();
        }
        // The first still waits, and is not polled again.
        consumer.join().unwrap();
        adder.join().unwrap();
    });
    explore("advances x poll of the leader x get", Some(3), || {
        let (queue, clock) = queue(1);
        queue.try_add_after(1, Duration::from_millis(1)).unwrap();
        let mut leader = pin!(queue.get());
        let mut context = Context::from_waker(Waker::noop());
        assert!(leader.as_mut().poll(&mut context).is_pending());
        let consumer = beside(&queue, move |queue| block_on(queue.get()).unwrap().done());
        let time = thread::spawn(move || {
            clock.advance(Duration::from_millis(1));
            clock.advance(Duration::from_millis(5));
        });
        if let Poll::Ready(Some(work)) = leader.as_mut().poll(&mut context) {
            work.requeue();
        }
        consumer.join().unwrap();
        time.join().unwrap();
    });
}

#[test]
fn a_blocked_adder_gets_the_freed_room() {
    explore("finish x blocked add", None, || {
        let (queue, _) = queue(1);
        queue.try_add(1).unwrap();
        let work = queue.try_get().unwrap();
        let adder = beside(&queue, move |queue| block_on(queue.add(2)).unwrap());
        work.done();
        adder.join().unwrap();
        assert_eq!(*queue.try_get().unwrap(), 2);
    });
    explore("finish x cancelled add x blocked add", None, || {
        let (queue, _) = queue(1);
        queue.try_add(1).unwrap();
        let work = queue.try_get().unwrap();
        let cancelled = beside(&queue, move |queue| {
            if poll_once(queue.add(3)).is_ready() {
                assert!(queue.remove(&3));
            }
        });
        let adder = beside(&queue, move |queue| block_on(queue.add(2)).unwrap());
        work.done();
        adder.join().unwrap();
        cancelled.join().unwrap();
        assert_eq!(*queue.try_get().unwrap(), 2);
    });
}

#[test]
fn a_blocked_adder_ends_when_its_key_is_added_by_another() {
    explore("add_related x blocked add", None, || {
        let builder = WorkQueue::builder(2).reserve(1).clock(ManualClock::new());
        let queue: Queue = builder.build().unwrap();
        queue.try_add(1).unwrap();
        let work = queue.try_get().unwrap();
        let adder = beside(&queue, move |queue| block_on(queue.add(2)).unwrap());
        work.add_related(2).unwrap();
        // There is still no room.
        adder.join().unwrap();
        assert_eq!(*queue.try_get().unwrap(), 2);
        work.done();
    });
}

#[test]
fn an_add_wakes_the_waiter_for_a_dirty_key() {
    explore("add x dirtied", None, || {
        let (queue, _) = queue(1);
        queue.try_add(1).unwrap();
        let work = queue.try_get().unwrap();
        let adder = beside(&queue, move |queue| queue.try_add(1).unwrap());
        block_on(work.dirtied());
        assert!(work.is_dirty());
        adder.join().unwrap();
        work.done();
        assert_eq!(queue.stats().ready, 1);
    });
}

#[test]
fn a_resync_fires_once_there_is_room() {
    explore("finish x missed add x resync", None, || {
        let (queue, _) = queue(1);
        queue.try_add(1).unwrap();
        let work = queue.try_get().unwrap();
        let resync = beside(&queue, move |queue| block_on(queue.resync()));
        let adder = beside(&queue, move |queue| {
            queue.try_add_or_resync(2, tollgate::Priority::LOW).is_err()
        });
        work.done();
        if adder.join().unwrap() {
            assert_eq!(resync.join().unwrap(), Some(1));
        } else {
            drop(queue.close());
            assert_eq!(resync.join().unwrap(), None);
        }
    });
}
