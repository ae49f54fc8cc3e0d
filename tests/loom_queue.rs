//! The work queue under the model checker: no key is lost, none is held twice, and whoever waits is
//! woken, in whatever order the threads come.
//!
//! Waiting threads that are not woken show as deadlocks. Every model is explored to its end. Each
//! prints how many executions it took.
#![cfg(tollgate_loom)]

#[path = "model/explore.rs"]
mod explore;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use explore::{block_on, explore};
use loom::thread;
use tollgate::queue::Groups;
use tollgate::{AddError, LockedTokenBucket, ManualClock, Quota, RateLimiter, Work, WorkQueue};

type Queue = WorkQueue<u8, ManualClock>;

fn queue(capacity: usize) -> (Queue, ManualClock) {
    let clock = ManualClock::new();
    let backoff = |_: u32, _: u64| Duration::from_millis(1);
    let queue = WorkQueue::builder(capacity)
        .backoff(backoff)
        .clock(clock.clone());
    (queue.build().unwrap(), clock)
}

/// Runs something on another thread.
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

/// Counts who holds a key; std's, so that it is no part of the model.
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
fn a_key_added_while_it_is_finished_runs_again() {
    explore("add x finish", None, || {
        let (queue, _) = queue(1);
        queue.try_add(1).unwrap();
        let work = queue.try_get().unwrap();
        let adder = beside(&queue, move |queue| queue.try_add(1).unwrap());
        work.done();
        adder.join().unwrap();
        assert_eq!(
            queue.stats().ready,
            1,
            "the add came after the key was handed out"
        );
    });
}

#[test]
fn a_key_is_read_by_its_worker_while_others_compare_theirs() {
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
fn a_key_that_two_want_is_held_by_one() {
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
fn a_waiting_consumer_gets_what_is_added() {
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

/// A queue of two groups, by the parity of a key.
fn grouped(groups: Groups<u8, u8>) -> Queue {
    let builder = WorkQueue::builder(4).clock(ManualClock::new());
    builder.groups(groups).build().unwrap()
}

fn by_parity() -> Groups<u8, u8> {
    Groups::by(|key| key % 2)
}

#[test]
fn a_key_of_a_group_at_its_most_starts_once_another_is_finished() {
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
fn an_adder_of_a_full_group_gets_the_room_that_is_freed_in_it() {
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
fn a_consumer_hears_of_a_token_of_a_group() {
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
fn a_consumer_that_a_limiter_holds_back_hears_of_a_token() {
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
fn a_token_that_a_cancelled_consumer_waited_for_comes_back() {
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
        assert_eq!(
            left,
            queue.stats().ready,
            "a token for the key that is left"
        );
        assert_eq!(limiter.status(1).waiting, 0);
    });
}

#[test]
fn the_wake_up_of_a_cancelled_consumer_is_passed_on() {
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
fn the_lead_of_a_cancelled_consumer_is_passed_on() {
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
        // From whichever instant the delay was counted, it is over now.
        clock.advance(Duration::from_millis(1));
        assert_eq!(consumer.join().unwrap(), 1);
    });
}

#[test]
fn a_key_of_a_consumer_that_is_late_goes_to_one_of_the_two() {
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
        // While the first is there, and not polled any more.
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
fn a_blocked_adder_gets_the_room_that_is_freed() {
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
fn a_blocked_adder_whose_key_comes_in_by_another_way_waits_no_more() {
    explore("add_related x blocked add", None, || {
        let builder = WorkQueue::builder(2).reserve(1).clock(ManualClock::new());
        let queue: Queue = builder.build().unwrap();
        queue.try_add(1).unwrap();
        let work = queue.try_get().unwrap();
        let adder = beside(&queue, move |queue| block_on(queue.add(2)).unwrap());
        work.add_related(2).unwrap();
        // While there is no room.
        adder.join().unwrap();
        assert_eq!(*queue.try_get().unwrap(), 2);
        work.done();
    });
}

#[test]
fn a_drain_waits_for_a_key_that_became_dirty() {
    explore("drain x add x finish", None, || {
        let (queue, _) = queue(1);
        queue.try_add(1).unwrap();
        let work = queue.try_get().unwrap();
        let drain = beside(&queue, move |queue| block_on(queue.drain(Duration::MAX)));
        let adder = beside(&queue, move |queue| queue.try_add(1));
        work.done();
        let added = adder.join().unwrap();
        match queue.try_get() {
            Some(work) => work.done(),
            None => assert_eq!(added, Err(AddError::Closed(1)), "an added key runs"),
        }
        let drained = drain.join().unwrap();
        assert!(drained.complete() && drained.returned.is_empty());
    });
    explore("drain x retry", None, || {
        let (queue, _) = queue(1);
        queue.try_add(1).unwrap();
        let work = queue.try_get().unwrap();
        let drain = beside(&queue, move |queue| block_on(queue.drain(Duration::MAX)));
        drop(work);
        let drained = drain.join().unwrap();
        assert!(drained.complete());
        assert_eq!(drained.returned, [1], "reported, not lost");
    });
}

#[test]
fn closing_ends_every_wait() {
    explore("close x get x get", None, || {
        let (queue, _) = queue(1);
        let consumers = [(); 2].map(|()| {
            let queue = queue.clone();
            thread::spawn(move || block_on(queue.get()).is_none())
        });
        assert!(queue.close().returned.is_empty());
        assert!(consumers.map(|consumer| consumer.join().unwrap()) == [true, true]);
    });
    explore("close x blocked add", None, || {
        let (queue, _) = queue(1);
        queue.try_add(1).unwrap();
        let work = queue.try_get().unwrap();
        let adder = beside(&queue, move |queue| block_on(queue.add(2)));
        assert!(queue.close().returned.is_empty());
        // While there is no room.
        assert_eq!(adder.join().unwrap(), Err(AddError::Closed(2)));
        work.done();
    });
    explore("close x blocked add x get", None, || {
        let (queue, _) = queue(1);
        queue.try_add(1).unwrap();
        let adder = beside(&queue, move |queue| block_on(queue.add(2)));
        let consumer = beside(&queue, move |queue| block_on(queue.get()).map(Work::done));
        let left = queue.close();
        assert!(left.returned.is_empty(), "nothing was delayed");
        let added = adder.join().unwrap().is_ok();
        let got = consumer.join().unwrap().is_some();
        // The second key is still there exactly if it came in and only one was taken.
        assert!(got, "a ready key is handed out, closed or not");
        assert_eq!(queue.stats().ready, usize::from(added));
    });
}

#[test]
fn a_consumer_of_a_closed_queue_stays_while_a_held_key_may_come_back() {
    explore("close x requeue x get", None, || {
        let (queue, _) = queue(1);
        queue.try_add(1).unwrap();
        let work = queue.try_get().unwrap();
        let consumer = beside(&queue, move |queue| {
            let work = block_on(queue.get()).expect("it comes back");
            work.done();
            assert!(block_on(queue.get()).is_none());
        });
        let closer = beside(&queue, move |queue| {
            assert!(queue.close().returned.is_empty())
        });
        work.requeue();
        consumer.join().unwrap();
        closer.join().unwrap();
    });
}

#[test]
fn who_waits_for_a_key_to_become_dirty_is_woken() {
    explore("add x dirtied", None, || {
        let (queue, _) = queue(1);
        queue.try_add(1).unwrap();
        let work = queue.try_get().unwrap();
        let adder = beside(&queue, move |queue| queue.try_add(1).unwrap());
        // It needs a timer only to be a `Wait`; there is none to wait for.
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
