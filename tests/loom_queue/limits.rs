//! Groups and limiters of the queue.

use std::sync::Arc;
use std::task::Poll;

use loom::thread;
use tollgate::queue::Groups;
use tollgate::{LockedTokenBucket, ManualClock, Quota, RateLimiter, Work, WorkQueue};

use crate::explore::{block_on, explore};
use crate::{Held, Queue, beside, poll_once};

/// A queue of two groups, by the parity of a key.
fn grouped(groups: Groups<u8, u8>) -> Queue {
    let builder = WorkQueue::builder(4).clock(ManualClock::new());
    builder.groups(groups).build().unwrap()
}

fn by_parity() -> Groups<u8, u8> {
    Groups::by(|key| key % 2)
}

#[test]
fn a_key_of_a_group_at_its_bound_starts_once_another_finishes() {
    explore("finish x get x get, of one group", Some(3), || {
        let queue = grouped(by_parity().max_processing(1));
        for key in [2, 4] {
            queue.try_add(key).unwrap();
        }
        let held = Arc::new(Held::default());
        let worker = {
            let held = Arc::clone(&held);
            beside(&queue, move |queue| {
                held.finish(block_on(queue.get()).unwrap())
            })
        };
        held.finish(block_on(queue.get()).unwrap());
        worker.join().unwrap();
    });
}

#[test]
fn an_adder_of_a_full_group_gets_the_freed_room() {
    explore("finish x blocked add, of a full group", None, || {
        let queue = grouped(by_parity().max_live(1));
        queue.try_add(2).unwrap();
        let work = queue.try_get().unwrap();
        let adder = beside(&queue, move |queue| block_on(queue.add(4)).unwrap());
        work.done();
        adder.join().unwrap();
        assert_eq!(*queue.try_get().unwrap(), 4);
    });
    explore(
        "finish x cancelled add x blocked add, of a full group",
        Some(3),
        || {
            let queue = grouped(by_parity().max_live(1));
            queue.try_add(2).unwrap();
            let work = queue.try_get().unwrap();
            let cancelled = beside(&queue, move |queue| {
                if poll_once(queue.add(6)).is_ready() {
                    assert!(queue.remove(&6));
                }
            });
            let adder = beside(&queue, move |queue| block_on(queue.add(4)).unwrap());
            work.done();
            adder.join().unwrap();
            cancelled.join().unwrap();
            assert_eq!(*queue.try_get().unwrap(), 4);
        },
    );
}

#[test]
fn a_token_of_a_group_wakes_a_consumer() {
    explore("refund x get, of a group", None, || {
        let (_, limiter) = held_back();
        let of = limiter.clone();
        let queue = grouped(by_parity().rate_limit(move |_| Some(of.clone())));
        queue.try_add(2).unwrap();
        let consumer = beside(&queue, move |queue| *block_on(queue.get()).unwrap());
        limiter.refund(1);
        assert_eq!(consumer.join().unwrap(), 2);
    });
}

/// A queue whose limiter has no token left and gains none by itself.
fn held_back() -> (Queue, Arc<LockedTokenBucket<ManualClock>>) {
    let clock = ManualClock::new();
    let quota = Quota::per_day(1).unwrap();
    let limiter = Arc::new(LockedTokenBucket::with_clock(quota, clock.clone()).unwrap());
    limiter.try_acquire(1).unwrap();
    let builder = WorkQueue::builder(2).clock(clock);
    let queue = builder.rate_limit(limiter.clone()).build().unwrap();
    (queue, limiter)
}

#[test]
fn a_token_wakes_a_consumer_that_the_limiter_held_back() {
    explore("refund x get", None, || {
        let (queue, limiter) = held_back();
        queue.try_add(7).unwrap();
        let consumer = beside(&queue, move |queue| *block_on(queue.get()).unwrap());
        limiter.refund(1);
        assert_eq!(consumer.join().unwrap(), 7);
    });
    explore("refund x add x get", Some(3), || {
        let (queue, limiter) = held_back();
        let consumer = beside(&queue, move |queue| *block_on(queue.get()).unwrap());
        let giver = thread::spawn(move || limiter.refund(1));
        queue.try_add(7).unwrap();
        assert_eq!(consumer.join().unwrap(), 7);
        giver.join().unwrap();
    });
}

#[test]
fn a_cancelled_consumer_gives_its_token_back() {
    explore("refund x get, cancel", Some(3), || {
        let (queue, limiter) = held_back();
        queue.try_add(7).unwrap();
        let cancelled = beside(&queue, |queue| match poll_once(queue.get()) {
            Poll::Ready(work) => drop(work.map(Work::done)),
            Poll::Pending => {}
        });
        limiter.refund(1);
        cancelled.join().unwrap();
        let left = limiter.available() as usize;
        assert_eq!(left, queue.stats().ready, "one token for each ready key");
        assert_eq!(limiter.status(1).waiting, 0);
    });
}
