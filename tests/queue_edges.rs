//! The edges of the work queue: the last free place, the end of time, and what ends or changes while
//! somebody counts on it.
#![cfg(not(tollgate_loom))]

#[allow(dead_code, reason = "shared with other tests")]
#[path = "model/tasks.rs"]
mod tasks;

#[allow(dead_code, reason = "shared with other tests")]
#[path = "model/late_clock.rs"]
mod late_clock;

use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use late_clock::LateClock;
use tasks::Polled;
use tollgate::queue::QueueBuilder;
use tollgate::{
    AddOptions, CarryOver, FixedBackoff, LockedTokenBucket, ManualClock, Merge, Observer,
    QueueError, Quota, Timestamp, WorkQueue,
};

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn builder(capacity: usize) -> (QueueBuilder<u64, ManualClock>, ManualClock) {
    let clock = ManualClock::new();
    (WorkQueue::builder(capacity).clock(clock.clone()), clock)
}

#[test]
fn room_that_was_promised_is_not_taken_by_a_worker() {
    let (builder, _) = builder(3);
    let queue = builder.reserve(1).build().unwrap();
    queue.try_add(1).unwrap();
    queue.try_add(2).unwrap();
    let (one, two) = (queue.try_get().unwrap(), queue.try_get().unwrap());
    let first = Polled::pending(queue.add(3));
    let second = Polled::pending(queue.add(4));
    one.done();
    assert_eq!(first.woken(), 1);
    two.add_related(10).unwrap(); // the reserve
    assert_eq!(first.ready(), Ok(()), "as it was promised");
    assert_eq!(second.woken(), 0);
    two.done();
    assert_eq!(second.woken(), 0, "the reserve has room again, and no more");
    queue.try_get().unwrap().done();
    assert_eq!(second.ready(), Ok(()));
}

#[test]
fn the_capacity_that_an_error_names_can_be_had() {
    let Err(QueueError::CapacityTooLarge { max }) = WorkQueue::<u64>::new(usize::MAX) else {
        panic!("it is too large")
    };
    // Every place has a number of 32 bits, and one number means none.
    assert_eq!(max, u32::MAX as usize - 1);
    assert_eq!(WorkQueue::<u64>::new(max).unwrap().stats().capacity, max);
    assert!(WorkQueue::<u64>::new(max + 1).is_err());
}

#[test]
fn a_quota_that_is_raised_is_noticed_within_a_second() {
    let (builder, clock) = builder(8);
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
fn queues_that_fail_together_do_not_come_back_together() {
    let random = || {
        let seen = Arc::new(AtomicU64::new(0));
        let tells = Arc::clone(&seen);
        let backoff = move |_: u32, random: u64| {
            tells.store(random, Ordering::SeqCst);
            Duration::ZERO
        };
        let queue = WorkQueue::builder(8).backoff(backoff).build().unwrap();
        queue.try_add(1).unwrap();
        let _ = queue.try_get().unwrap().retry();
        seen.load(Ordering::SeqCst)
    };
    assert_ne!(random(), random());
}

#[test]
fn an_observer_may_use_the_queue_it_observes() {
    /// Asks the queue at each event, and adds a key at some.
    #[derive(Default)]
    struct Asks {
        queue: OnceLock<WorkQueue<u64, ManualClock>>,
        events: AtomicU64,
    }
    impl Asks {
        fn ask(&self) {
            self.events.fetch_add(1, Ordering::SeqCst);
            let queue = self.queue.get().expect("it is set");
            assert!(queue.stats().ready <= 8);
            assert!(queue.snapshot().len() <= 8);
        }
    }
    impl Observer for Asks {
        fn added(&self) {
            self.ask();
        }
        fn coalesced(&self) {
            self.ask();
        }
        fn rejected(&self) {
            self.ask();
        }
        fn started(&self, _: Duration) {
            self.ask();
        }
        fn finished(&self, _: Duration) {
            self.ask();
            // Which is one event more.
            self.queue.get().unwrap().try_add(7).unwrap();
        }
        fn retried(&self) {
            self.ask();
        }
        fn gave_up(&self) {
            self.ask();
        }
    }
    let (builder, _) = builder(2);
    let asks = Arc::new(Asks::default());
    let queue = builder.max_attempts(1).observer(asks.clone());
    let queue = queue.build().unwrap();
    asks.queue.get_or_init(|| queue.clone());
    queue.try_add(1).unwrap();
    queue.try_add(1).unwrap();
    queue.try_add(2).unwrap();
    assert!(queue.try_add(3).is_err());
    queue.try_get().unwrap().done();
    assert_eq!(queue.try_get().unwrap().retry(), Some(2));
    queue.try_get().unwrap().requeue();
    // Three adds, one coalesced, and one refused; three runs with their ends, a key given up, one
    // requeued, and three adds of the observer's own, two of them coalesced.
    assert_eq!(asks.events.load(Ordering::SeqCst), 15);
}

#[test]
fn a_backoff_of_nothing_is_over_at_once() {
    let (builder, clock) = builder(8);
    let queue = builder.backoff(|_: u32, _: u64| Duration::ZERO);
    let queue = queue.build().unwrap();
    // Not at a millisecond.
    clock.set(Timestamp::from_nanos(1_500_000));
    queue.try_add(1).unwrap();
    let _ = queue.try_get().unwrap().retry();
    let again = queue.try_get().expect("at once");
    assert_eq!(again.failures(), 1);
    let _ = again.retry();
    assert_eq!(queue.try_get().unwrap().failures(), 2);
}

#[test]
fn a_hasher_may_leave_half_of_the_hash_empty() {
    #[derive(Clone, Default)]
    struct Low(u64);
    impl Hasher for Low {
        fn write(&mut self, _: &[u8]) {}
        fn write_u64(&mut self, n: u64) {
            self.0 = n;
        }
        fn finish(&self) -> u64 {
            self.0
        }
    }
    /// A key that counts how often it is compared.
    #[derive(Clone, Debug)]
    struct Compared(u64);
    impl Hash for Compared {
        fn hash<H: Hasher>(&self, state: &mut H) {
            self.0.hash(state);
        }
    }
    static COMPARED: AtomicU64 = AtomicU64::new(0);
    impl PartialEq for Compared {
        fn eq(&self, other: &Self) -> bool {
            COMPARED.fetch_add(1, Ordering::SeqCst);
            self.0 == other.0
        }
    }
    impl Eq for Compared {}
    let queue = WorkQueue::builder(1_000).hasher(BuildHasherDefault::<Low>::default());
    let queue = queue.build().unwrap();
    for n in 0..1_000 {
        queue.try_add(Compared(n)).unwrap();
    }
    assert_eq!(COMPARED.load(Ordering::SeqCst), 0);
}

#[test]
fn at_the_end_of_time_all_is_due() {
    let (builder, clock) = builder(8);
    let limiter =
        LockedTokenBucket::with_clock("0/s burst 1".parse().unwrap(), clock.clone()).unwrap();
    let queue = builder.rate_limit(Arc::new(limiter)).build().unwrap();
    queue.try_add_after(1, Duration::MAX).unwrap();
    queue.try_add_after(2, Duration::MAX).unwrap();
    clock.set(Timestamp::MAX);
    assert_eq!(*queue.get().wait().unwrap(), 1);
    // No later time will bring another token: it waits, and does not look again and again.
    assert_eq!(Polled::pending(queue.get()).woken(), 0);
}

#[test]
fn a_drain_that_ends_early_is_not_complete() {
    let queue = builder(8).0.build().unwrap();
    queue.try_add(1).unwrap();
    let drained = queue.drain(Duration::ZERO).wait();
    assert_eq!((drained.ready, drained.processing), (1, 0));
    assert!(!drained.complete(), "a key is ready");
    let work = queue.try_get().unwrap();
    let drained = queue.drain(Duration::ZERO).wait();
    assert_eq!((drained.ready, drained.processing), (0, 1));
    assert!(!drained.complete(), "a key is being processed");
    work.done();
    assert!(queue.drain(Duration::ZERO).wait().complete());
}

#[test]
fn a_worker_that_wants_its_key_when_it_is_due_anyway_does_not_hurry_it() {
    let (builder, clock) = builder(8);
    let queue = builder.debounce(millis(5), millis(8)).build().unwrap();
    queue.try_add(1).unwrap();
    clock.advance(millis(5));
    let work = queue.try_get().unwrap();
    queue.try_add(1).unwrap();
    work.requeue_after(millis(5));
    clock.advance(millis(4));
    queue.try_add(1).unwrap();
    // Quiet for 5 ms more, but no later than 8 ms after the first of these adds.
    assert_eq!(queue.snapshot()[0].due_in, Some(millis(4)));
}

const HOUR: Duration = Duration::from_secs(3_600);

#[test]
fn a_delay_is_kept_also_from_an_add_whose_own_is_over_when_it_has_the_lock() {
    let clock = LateClock::default();
    let queue = WorkQueue::builder(8).clock(clock.clone()).build().unwrap();
    let late = |merge| {
        clock.be_behind(Duration::ZERO);
        queue.stats();
        clock.be_behind(millis(10));
        let options = AddOptions::new().after(millis(1)).merge(merge);
        queue.try_add_with(1, options).unwrap();
    };
    clock.advance(millis(10));
    clock.be_behind(millis(10));
    queue.try_add_after(1, HOUR).unwrap();
    late(Merge::Keep);
    assert_eq!(queue.snapshot()[0].due_in, Some(HOUR));
    late(Merge::Earlier);
    let work = queue.try_get().unwrap();
    queue.try_add_after(1, HOUR).unwrap();
    late(Merge::Keep);
    assert!(!work.is_dirty());
    work.done();
    assert_eq!(queue.snapshot()[0].due_in, Some(HOUR));
    late(Merge::Earlier);
    let work = queue.try_get().unwrap();
    late(Merge::Keep);
    assert!(!work.is_dirty(), "it has a delay, if none that is left");
    work.done();
    queue.try_get().unwrap().done();
    assert!(queue.snapshot().is_empty());
}

#[test]
fn an_add_with_a_delay_is_not_debounced_also_if_that_is_over_when_it_has_the_lock() {
    let clock = LateClock::default();
    let builder = WorkQueue::builder(8).clock(clock.clone());
    let queue = builder.debounce(millis(50), HOUR).build().unwrap();
    queue.try_add(1).unwrap();
    clock.advance(millis(10));
    assert_eq!(queue.stats().delayed, 1);
    clock.be_behind(millis(10));
    queue.try_add_after(1, millis(1)).unwrap();
    assert_eq!(queue.stats().ready, 1);
}

#[test]
fn a_failure_counts_also_if_the_worker_read_the_clock_before_the_backoff_was_over() {
    let clock = LateClock::default();
    let builder = WorkQueue::builder(8).clock(clock.clone()).max_attempts(2);
    let queue = builder
        .backoff(FixedBackoff::new(millis(5)))
        .build()
        .unwrap();
    queue.try_add(1).unwrap();
    assert_eq!(queue.try_get().unwrap().retry(), None);
    clock.advance(millis(5));
    assert_eq!(queue.stats().ready, 1);
    clock.be_behind(millis(1));
    assert_eq!(queue.try_get().unwrap().retry(), Some(1));
}
