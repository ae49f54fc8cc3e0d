//! A rate-limited queue: its place in the limiter's line, and the consumers that a token wakes.

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use tollgate::{
    AllOf, CarryOver, Clock, LockedTokenBucket, ManualClock, Quota, RateLimiter, WorkQueue,
};

use crate::Queue;
use crate::tasks::Polled;

/// A queue with one token a second and this burst.
fn limited(burst: u64) -> (Queue, ManualClock) {
    let clock = ManualClock::new();
    let quota = Quota::per_second(1).unwrap().burst(burst).unwrap();
    let limiter = LockedTokenBucket::with_clock(quota, clock.clone()).unwrap();
    let builder = WorkQueue::builder(1_000).clock(clock.clone());
    (
        builder.rate_limit(Arc::new(limiter)).build().unwrap(),
        clock,
    )
}

pub(crate) fn add(queue: &Queue, keys: std::ops::Range<u64>) {
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
    // The second is woken once as a watchdog, and gets no key.
    assert_eq!((first.woken(), second.woken()), (1, 1));
    assert!(second.poll().is_pending());
    first.ready().unwrap().done();
    assert_eq!(
        second.woken(),
        2,
        "the first had a token and wakes the next"
    );
    second.ready().unwrap().done();
}

#[test]
fn a_token_causes_no_thundering_herd() {
    let (queue, clock) = limited(1);
    add(&queue, 0..500);
    queue.try_get().unwrap().done();
    let mut waiting: Vec<_> = (0..100).map(|_| Polled::pending(queue.get())).collect();
    let mut served = Vec::new();
    for _ in 0..50 {
        let before: usize = waiting.iter().map(Polled::woken).sum();
        clock.advance(Duration::from_secs(1));
        // Poll the consumers that were woken, until none is.
        let mut seen: Vec<_> = waiting.iter().map(|_| 0).collect();
        while let Some(n) = (0..waiting.len()).find(|&n| waiting[n].woken() > seen[n]) {
            seen[n] = waiting[n].woken();
            if let Poll::Ready(work) = waiting[n].poll() {
                served.push(n);
                work.unwrap().done();
                waiting.remove(n);
                seen.remove(n);
            }
        }
        let woken: usize = waiting.iter().map(Polled::woken).sum();
        assert!(woken <= before + 2, "{woken} after {before}");
    }
    // Each time the first in line.
    assert_eq!(served, [0; 50]);
}

#[test]
fn the_consumer_back_at_the_head_of_the_line_is_woken_for_the_token() {
    const SECOND: Duration = Duration::from_secs(1);
    let (queue, clock) = limited(1);
    add(&queue, 0..9);
    queue.try_add_after(9, Duration::MAX).unwrap();
    queue.try_get().unwrap().done();
    let [first, mut second, mut third] = [(); 3].map(|()| Polled::pending(queue.get()));
    clock.advance(SECOND);
    first.ready().unwrap().done();
    // The first has woken the second; the third leads, for the delayed key.
    assert!(third.poll().is_pending());
    assert!(second.poll().is_pending(), "there is no token yet");
    let before = third.woken();
    for _ in 0..3 {
        let seen = second.woken();
        clock.advance(SECOND);
        assert_eq!(second.woken(), seen + 1);
        // Another call takes the token first.
        queue.try_get().unwrap().done();
        assert!(second.poll().is_pending());
        if third.woken() > before {
            assert!(third.poll().is_pending());
        }
    }
    assert_eq!(
        third.woken(),
        before + 1,
        "once, as a watchdog of the second"
    );
}

type Bucket = LockedTokenBucket<ManualClock>;

pub(crate) const HOUR: Duration = Duration::from_secs(3_600);

pub(crate) fn bucket(quota: &str, clock: &ManualClock) -> Arc<Bucket> {
    Arc::new(LockedTokenBucket::with_clock(quota.parse().unwrap(), clock.clone()).unwrap())
}

/// A queue of two ready keys without a token: a third key took it.
fn held_back(limiter: Arc<dyn RateLimiter>, clock: &ManualClock) -> Queue {
    let builder = WorkQueue::builder(8).clock(clock.clone());
    let queue = builder.rate_limit(limiter).build().unwrap();
    add(&queue, 0..3);
    queue.try_get().unwrap().done();
    queue
}

#[test]
fn a_raised_quota_wakes_the_consumer_at_once() {
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
fn a_waiting_consumer_notices_a_raised_quota_within_a_second() {
    let (builder, clock) = crate::builder(8);
    let limiter = LockedTokenBucket::with_clock(Quota::per_day(1).unwrap(), clock.clone()).unwrap();
    let limiter = Arc::new(limiter);
    let queue = builder.rate_limit(limiter.clone()).build().unwrap();
    queue.try_add(1).unwrap();
    queue.try_add(2).unwrap();
    queue.try_get().unwrap().done();
    let waiting = Polled::pending(queue.get());
    limiter
        .set_quota(Quota::per_second(1_000).unwrap(), CarryOver::default())
        .unwrap();
    clock.advance(Duration::from_secs(1));
    assert_eq!(*waiting.ready().unwrap(), 2);
}

#[test]
fn a_consumer_notices_the_end_of_a_zero_rate_within_a_second() {
    let clock = ManualClock::new();
    let limiter = bucket("0/s burst 1", &clock);
    let queue = held_back(limiter.clone(), &clock);
    let mut consumer = Polled::pending(queue.get());
    clock.advance(10 * HOUR);
    assert!(consumer.poll().is_pending());
    let carry = CarryOver::Full;
    limiter.set_quota("1/h".parse().unwrap(), carry).unwrap();
    // A queue has no place in the line of a limiter whose rate is zero.
    clock.advance(Duration::from_secs(1));
    assert!(consumer.ready().is_some());
}

#[test]
fn a_paused_limiter_holds_the_queue_exactly_until_its_end() {
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
fn a_queue_waits_in_the_limiters_line_like_any_waiter() {
    let clock = ManualClock::new();
    let limiter = bucket("1/h", &clock);
    let queue = held_back(limiter.clone(), &clock);
    let mut before = Polled::pending(limiter.acquire(1));
    let mut consumer = Polled::pending(queue.get());
    let mut after = Polled::pending(limiter.acquire(1));
    clock.advance(HOUR);
    assert!(
        consumer.poll().is_pending(),
        "another waiter is ahead of the queue"
    );
    assert!(after.poll().is_pending());
    assert!(before.poll().is_ready());
    clock.advance(HOUR);
    assert!(
        consumer.ready().is_some(),
        "the queue is ahead of this waiter"
    );
    assert!(after.poll().is_pending());
    clock.advance(HOUR);
    assert!(after.poll().is_ready());
}

#[test]
fn a_token_granted_to_the_queue_is_kept_until_a_consumer_polls() {
    let clock = ManualClock::new();
    let limiter = bucket("1/h", &clock);
    let queue = held_back(limiter.clone(), &clock);
    let consumer = Polled::pending(queue.get());
    let mut after = Polled::pending(limiter.acquire(1));
    clock.advance(HOUR);
    assert!(
        after.poll().is_pending(),
        "the queue is ahead of this waiter"
    );
    assert!(limiter.try_acquire(1).is_err());
    assert!(consumer.ready().is_some());
    clock.advance(HOUR);
    assert!(after.poll().is_ready());
}

#[test]
fn a_token_kept_for_long_does_not_enlarge_the_burst() {
    let clock = ManualClock::new();
    let limiter = bucket("1/h burst 3", &clock);
    let builder = WorkQueue::builder(16).clock(clock.clone());
    let queue = builder.rate_limit(limiter.clone()).build().unwrap();
    add(&queue, 0..10);
    let taken = || std::iter::from_fn(|| queue.try_get()).map(|work| work.done());
    assert_eq!(taken().count(), 3);
    let unpolled = Polled::pending(queue.get());
    // Another use of the limiter grants the queue its token, and no consumer polls.
    clock.advance(HOUR);
    assert!(limiter.try_acquire(1).is_err());
    clock.advance(10 * HOUR);
    assert_eq!(taken().count(), 3);
    drop(unpolled);
}

#[test]
fn a_queue_leaves_the_limiters_line_when_it_needs_no_token() {
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
    // A consumer that is not polled at its turn, and is dropped.
    let unpolled = Polled::pending(queue.get());
    clock.advance(HOUR);
    assert!(after.poll().is_ready());
    let mut last = Polled::pending(limiter.acquire(1));
    clock.advance(HOUR);
    assert!(last.poll().is_pending(), "the token is kept for the queue");
    drop(unpolled);
    assert!(last.poll().is_ready(), "the token was given back");
    drop(queue);
    assert_eq!(limiter.status(1).waiting, 0);
}

#[test]
fn several_limits_hold_a_queue_exactly_until_all_admit() {
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

#[test]
fn closing_the_limiter_ends_a_drain() {
    let clock = ManualClock::new();
    let limiter = bucket("1/h", &clock);
    let queue = held_back(limiter.clone(), &clock);
    let mut consumer = Polled::pending(queue.get());
    let mut drain = Polled::pending(queue.drain(HOUR));
    limiter.close();
    assert!(consumer.poll().is_ready());
    let Poll::Ready(drained) = drain.poll() else {
        panic!("the drain waits for keys that cannot start")
    };
    assert_eq!(drained.returned.len(), 2);
}

/// A waker that adds a key, which would deadlock under the queue's lock.
struct AddsKey(Queue);

impl Wake for AddsKey {
    fn wake(self: Arc<Self>) {
        let _ = self.0.try_add(7);
    }
}

#[test]
fn other_waiters_of_the_limiter_are_woken_outside_the_queues_lock() {
    let clock = ManualClock::new();
    let limiter = bucket("1/h", &clock);
    let queue = held_back(limiter.clone(), &clock);
    let waker = Waker::from(Arc::new(AddsKey(queue.clone())));
    let mut waiter = Box::pin(limiter.acquire(1));
    let polled = waiter.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(polled.is_pending());
    let mut consumer = Polled::pending(queue.get());
    clock.advance(HOUR);
    // The poll serves the limiter's line, whose first is the other waiter.
    assert!(consumer.poll().is_pending());
    assert!(queue.remove(&7), "the waker ran, and added its key");
}
