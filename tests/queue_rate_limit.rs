//! A queue whose dispatch is limited: who is woken when there is a token.
#![cfg(not(tollgate_loom))]

#[allow(dead_code, reason = "shared with the tests of the limiters")]
#[path = "model/tasks.rs"]
mod tasks;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use tasks::Polled;
use tollgate::{
    AllOf, CarryOver, Clock, LockedTokenBucket, ManualClock, Observer, Quota, RateLimiter,
    WorkQueue,
};

/// One token a second, and so many at first.
fn limited(burst: u64) -> (WorkQueue<u64, ManualClock>, ManualClock) {
    let clock = ManualClock::new();
    let quota = Quota::per_second(1).unwrap().burst(burst).unwrap();
    let limiter = LockedTokenBucket::with_clock(quota, clock.clone()).unwrap();
    let builder = WorkQueue::builder(1_000).clock(clock.clone());
    (
        builder.rate_limit(Arc::new(limiter)).build().unwrap(),
        clock,
    )
}

fn add(queue: &WorkQueue<u64, ManualClock>, keys: std::ops::Range<u64>) {
    for key in keys {
        queue.try_add(key).unwrap();
    }
}

#[test]
fn a_queue_that_was_out_of_tokens_wakes_consumers_again() {
    let (queue, clock) = limited(2);
    add(&queue, 1..4);
    let taken: Vec<_> = std::iter::from_fn(|| queue.try_get()).collect();
    assert_eq!(taken.len(), 2);
    clock.advance(Duration::from_secs(1));
    queue.try_get().unwrap().done();
    clock.advance(Duration::from_secs(2));
    let [first, mut second] = [(); 2].map(|()| Polled::pending(queue.get()));
    add(&queue, 4..6);
    // The second is asked once to look out for the first, and gets nothing by that.
    assert_eq!((first.woken(), second.woken()), (1, 1));
    assert!(second.poll().is_pending());
    first.ready().unwrap().done();
    assert_eq!(second.woken(), 2, "by the one before, who had a token");
    second.ready().unwrap().done();
}

#[test]
fn a_token_wakes_no_herd() {
    let (queue, clock) = limited(1);
    add(&queue, 0..500);
    queue.try_get().unwrap().done();
    let mut waiting: Vec<_> = (0..100).map(|_| Polled::pending(queue.get())).collect();
    let mut served = Vec::new();
    for _ in 0..50 {
        let before: usize = waiting.iter().map(Polled::woken).sum();
        clock.advance(Duration::from_secs(1));
        // Whoever was woken looks, until nobody is any more.
        let mut looks = 0;
        let mut seen: Vec<_> = waiting.iter().map(|_| 0).collect();
        while let Some(n) = (0..waiting.len()).find(|&n| waiting[n].woken() > seen[n]) {
            seen[n] = waiting[n].woken();
            looks += usize::from(looks < 1_000);
            if let std::task::Poll::Ready(work) = waiting[n].poll() {
                served.push(n);
                work.unwrap().done();
                waiting.remove(n);
                seen.remove(n);
            }
        }
        let woken: usize = waiting.iter().map(Polled::woken).sum();
        assert!(woken <= before + 2, "{woken} after {before}");
    }
    // Always the first in line.
    assert_eq!(served, [0; 50]);
}

#[test]
fn who_is_back_at_the_head_of_the_line_is_the_one_that_looks() {
    const SECOND: Duration = Duration::from_secs(1);
    let (queue, clock) = limited(1);
    add(&queue, 0..9);
    queue.try_add_after(9, Duration::MAX).unwrap();
    queue.try_get().unwrap().done();
    let [first, mut second, mut third] = [(); 3].map(|()| Polled::pending(queue.get()));
    clock.advance(SECOND);
    first.ready().unwrap().done();
    // It has woken the second, and the third leads, for the delayed key.
    assert!(third.poll().is_pending());
    assert!(second.poll().is_pending(), "there is no token yet");
    let before = third.woken();
    for _ in 0..3 {
        let seen = second.woken();
        clock.advance(SECOND);
        assert_eq!(second.woken(), seen + 1);
        // Somebody else is faster.
        queue.try_get().unwrap().done();
        assert!(second.poll().is_pending());
        if third.woken() > before {
            assert!(third.poll().is_pending());
        }
    }
    assert_eq!(
        third.woken(),
        before + 1,
        "once, to look out for the second"
    );
}

type Bucket = LockedTokenBucket<ManualClock>;

const HOUR: Duration = Duration::from_hours(1);

fn bucket(quota: &str, clock: &ManualClock) -> Arc<Bucket> {
    Arc::new(LockedTokenBucket::with_clock(quota.parse().unwrap(), clock.clone()).unwrap())
}

/// A queue of two keys, and the token for the first is used.
fn held_back(limiter: Arc<dyn RateLimiter>, clock: &ManualClock) -> WorkQueue<u64, ManualClock> {
    let builder = WorkQueue::builder(8).clock(clock.clone());
    let queue = builder.rate_limit(limiter).build().unwrap();
    add(&queue, 0..3);
    queue.try_get().unwrap().done();
    queue
}

#[test]
fn a_raised_quota_is_heard_of_at_once() {
    let clock = ManualClock::new();
    let limiter = bucket("1/day", &clock);
    let queue = held_back(limiter.clone(), &clock);
    let mut consumer = Polled::pending(queue.get());
    let seen = consumer.woken();
    let carry = CarryOver::Full;
    limiter
        .set_quota("100/s burst 1".parse().unwrap(), carry)
        .unwrap();
    assert_eq!(consumer.woken(), seen + 1);
    let work = consumer.poll();
    assert!(work.is_ready());
}

#[test]
fn the_end_of_a_rate_of_zero_is_heard_of() {
    let clock = ManualClock::new();
    let limiter = bucket("0/s burst 1", &clock);
    let queue = held_back(limiter.clone(), &clock);
    let mut consumer = Polled::pending(queue.get());
    clock.advance(10 * HOUR);
    assert!(consumer.poll().is_pending());
    let carry = CarryOver::Full;
    limiter.set_quota("1/h".parse().unwrap(), carry).unwrap();
    // Nobody can wait for what never comes, so there is no place in line.
    clock.advance(Duration::from_secs(1));
    assert!(consumer.ready().is_some());
}

#[test]
fn a_pause_holds_a_queue_that_waits_and_no_longer() {
    let clock = ManualClock::new();
    let limiter = bucket("1/s", &clock);
    let queue = held_back(limiter.clone(), &clock);
    let mut consumer = Polled::pending(queue.get());
    limiter.pause_until(clock.now() + HOUR).unwrap();
    for _ in 0..2 {
        clock.advance(HOUR / 2 - Duration::from_nanos(1));
        assert!(consumer.poll().is_pending());
    }
    clock.advance(Duration::from_nanos(2));
    assert!(consumer.ready().is_some());
}

#[test]
fn a_queue_stands_in_line_like_any_waiter() {
    let clock = ManualClock::new();
    let limiter = bucket("1/h", &clock);
    let queue = held_back(limiter.clone(), &clock);
    let mut before = Polled::pending(limiter.acquire(1));
    let mut consumer = Polled::pending(queue.get());
    let mut after = Polled::pending(limiter.acquire(1));
    clock.advance(HOUR);
    assert!(consumer.poll().is_pending(), "another waited before");
    assert!(after.poll().is_pending());
    assert!(before.poll().is_ready());
    clock.advance(HOUR);
    assert!(consumer.ready().is_some(), "the queue waited before");
    assert!(after.poll().is_pending());
    clock.advance(HOUR);
    assert!(after.poll().is_ready());
}

#[test]
fn a_token_at_the_queues_turn_is_kept_until_a_consumer_looks() {
    let clock = ManualClock::new();
    let limiter = bucket("1/h", &clock);
    let queue = held_back(limiter.clone(), &clock);
    let consumer = Polled::pending(queue.get());
    let mut after = Polled::pending(limiter.acquire(1));
    clock.advance(HOUR);
    assert!(after.poll().is_pending(), "the queue waited before");
    assert!(limiter.try_acquire(1).is_err());
    assert!(consumer.ready().is_some());
    clock.advance(HOUR);
    assert!(after.poll().is_ready());
}

#[test]
fn a_token_that_was_kept_for_long_adds_nothing_to_a_burst() {
    let clock = ManualClock::new();
    let limiter = bucket("1/h burst 3", &clock);
    let builder = WorkQueue::builder(16).clock(clock.clone());
    let queue = builder.rate_limit(limiter.clone()).build().unwrap();
    add(&queue, 0..10);
    let taken = || std::iter::from_fn(|| queue.try_get()).map(|work| work.done());
    assert_eq!(taken().count(), 3);
    let set_aside = Polled::pending(queue.get());
    // Another use of the limiter gives the queue its token, and no consumer looks.
    clock.advance(HOUR);
    assert!(limiter.try_acquire(1).is_err());
    clock.advance(10 * HOUR);
    assert_eq!(taken().count(), 3);
    drop(set_aside);
}

#[test]
fn a_place_in_line_that_is_of_no_use_holds_up_nobody() {
    let clock = ManualClock::new();
    let limiter = bucket("1/h", &clock);
    let queue = held_back(limiter.clone(), &clock);
    let consumer = Polled::pending(queue.get());
    let mut after = Polled::pending(limiter.acquire(1));
    assert_eq!(limiter.status(1).waiting, 2);
    queue.remove(&1);
    assert_eq!(limiter.status(1).waiting, 2);
    queue.remove(&2);
    assert_eq!(limiter.status(1).waiting, 1, "nothing is ready");
    add(&queue, 3..4);
    drop(consumer);
    assert_eq!(limiter.status(1).waiting, 1, "no consumer waits");
    // A consumer that is not polled at its turn, and leaves.
    let set_aside = Polled::pending(queue.get());
    clock.advance(HOUR);
    assert!(after.poll().is_ready());
    let mut last = Polled::pending(limiter.acquire(1));
    clock.advance(HOUR);
    assert!(last.poll().is_pending(), "the token is the queue's");
    drop(set_aside);
    assert!(last.poll().is_ready(), "it was given back");
    drop(queue);
    assert_eq!(limiter.status(1).waiting, 0);
}

#[test]
fn several_limits_hold_a_queue_for_exactly_as_long_as_they_must() {
    let clock = ManualClock::new();
    let (second, hour) = (bucket("2/s burst 1", &clock), bucket("2/h", &clock));
    let both = Arc::new(AllOf::new((second, hour.clone())));
    let queue = held_back(both, &clock);
    let mut consumer = Polled::pending(queue.get());
    clock.advance(Duration::from_nanos(499_999_999));
    assert!(consumer.poll().is_pending());
    clock.advance(Duration::from_nanos(1));
    consumer.ready().unwrap().done();
    let mut consumer = Polled::pending(queue.get());
    clock.advance(HOUR / 2 - Duration::from_nanos(500_000_001));
    assert!(consumer.poll().is_pending());
    clock.advance(Duration::from_nanos(1));
    consumer.ready().unwrap().done();
    assert_eq!(hour.available(), 0);
}

#[derive(Default)]
struct Told(AtomicUsize);

impl Observer for Told {
    fn limiter_closed(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn keys_behind_a_closed_limiter_come_back() {
    for drains in [false, true] {
        let clock = ManualClock::new();
        let (limiter, told) = (bucket("1/h", &clock), Arc::new(Told::default()));
        let builder = WorkQueue::builder(8)
            .clock(clock.clone())
            .observer(told.clone());
        let queue = builder.rate_limit(limiter.clone()).build().unwrap();
        add(&queue, 0..3);
        let held = queue.try_get().unwrap();
        let mut consumer = Polled::pending(queue.get());
        limiter.close();
        assert!(consumer.poll().is_pending(), "the keys stay");
        assert!(queue.try_get().is_none());
        assert_eq!(told.0.load(Ordering::SeqCst), 1);
        let drained = if drains {
            let mut drain = Polled::pending(queue.drain(HOUR));
            held.requeue();
            let drained = drain.poll();
            let Poll::Ready(drained) = drained else {
                panic!("it waits for keys that cannot start")
            };
            drained
        } else {
            held.requeue();
            queue.close()
        };
        assert!(drained.complete());
        assert_eq!(drained.returned.len(), 3);
        assert!(consumer.ready().is_none());
    }
}

#[test]
fn a_limiter_that_closes_while_a_queue_drains_ends_that() {
    let clock = ManualClock::new();
    let limiter = bucket("1/h", &clock);
    let queue = held_back(limiter.clone(), &clock);
    let mut consumer = Polled::pending(queue.get());
    let mut drain = Polled::pending(queue.drain(HOUR));
    limiter.close();
    assert!(consumer.poll().is_ready());
    let Poll::Ready(drained) = drain.poll() else {
        panic!("it waits for keys that cannot start")
    };
    assert_eq!(drained.returned.len(), 2);
}

/// A waker that adds a key: under the queue's lock it would wait for itself.
struct Adds(WorkQueue<u64, ManualClock>);

impl Wake for Adds {
    fn wake(self: Arc<Self>) {
        let _ = self.0.try_add(7);
    }
}

#[test]
fn who_waits_for_the_same_limiter_is_woken_without_the_queues_lock() {
    let clock = ManualClock::new();
    let limiter = bucket("1/h", &clock);
    let queue = held_back(limiter.clone(), &clock);
    let waker = Waker::from(Arc::new(Adds(queue.clone())));
    let mut waiter = Box::pin(limiter.acquire(1));
    let polled = waiter.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(polled.is_pending());
    let mut consumer = Polled::pending(queue.get());
    clock.advance(HOUR);
    // It serves the line, whose first is the other waiter.
    assert!(consumer.poll().is_pending());
    assert!(queue.remove(&7), "it was woken");
}
