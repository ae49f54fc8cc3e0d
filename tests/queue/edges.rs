//! Edge cases: the last free room, the largest capacity, the end of time, stale clock reads, an observer that
//! calls the queue.

use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tollgate::{
    AddOptions, FixedBackoff, LockedTokenBucket, ManualClock, Merge, Observer, QueueError,
    Timestamp, WorkQueue,
};

use crate::late_clock::LateClock;
use crate::tasks::Polled;
use crate::{builder, millis};

#[test]
fn a_worker_does_not_take_promised_room() {
    let (builder, _) = builder(3);
    let queue = builder.reserve(1).build().unwrap();
    queue.try_add(1).unwrap();
    queue.try_add(2).unwrap();
    let (one, two) = (queue.try_get().unwrap(), queue.try_get().unwrap());
    let first = Polled::pending(queue.add(3));
    let second = Polled::pending(queue.add(4));
    one.done();
    assert_eq!(first.woken(), 1);
    two.add_related(10).unwrap(); // takes the reserve
    assert_eq!(first.ready(), Ok(()), "its room was promised");
    assert_eq!(second.woken(), 0);
    two.done();
    assert_eq!(second.woken(), 0, "only the reserve has room again");
    queue.try_get().unwrap().done();
    assert_eq!(second.ready(), Ok(()));
}

#[test]
fn the_capacity_named_by_an_error_is_accepted() {
    let Err(QueueError::CapacityTooLarge { max }) = WorkQueue::<u64>::new(usize::MAX) else {
        panic!("the capacity is too large")
    };
    // Every slot has a 32-bit number, and one number means none.
    assert_eq!(max, u32::MAX as usize - 1);
    assert_eq!(WorkQueue::<u64>::new(max).unwrap().stats().capacity, max);
    assert!(WorkQueue::<u64>::new(max + 1).is_err());
}

#[test]
fn two_queues_do_not_retry_in_step() {
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
fn an_observer_may_call_its_queue() {
    /// Queries the queue at each event, and adds a key at the end of a run.
    #[derive(Default)]
    struct Queries {
        queue: OnceLock<WorkQueue<u64, ManualClock>>,
        events: AtomicU64,
    }
    impl Queries {
        fn query(&self) {
            self.events.fetch_add(1, Ordering::SeqCst);
            let queue = self.queue.get().expect("the test sets it");
            assert!(queue.stats().ready <= 8);
            assert!(queue.snapshot().len() <= 8);
        }
    }
    impl Observer for Queries {
        fn added(&self) {
            self.query();
        }
        fn coalesced(&self) {
            self.query();
        }
        fn rejected(&self) {
            self.query();
        }
        fn started(&self, _: Duration) {
            self.query();
        }
        fn finished(&self, _: Duration) {
            self.query();
            // This add is an event as well.
            self.queue.get().unwrap().try_add(7).unwrap();
        }
        fn retried(&self) {
            self.query();
        }
        fn gave_up(&self) {
            self.query();
        }
    }
    let (builder, _) = builder(2);
    let queries = Arc::new(Queries::default());
    let queue = builder.max_attempts(1).observer(queries.clone());
    let queue = queue.build().unwrap();
    queries.queue.get_or_init(|| queue.clone());
    queue.try_add(1).unwrap();
    queue.try_add(1).unwrap();
    queue.try_add(2).unwrap();
    assert!(queue.try_add(3).is_err());
    queue.try_get().unwrap().done();
    assert_eq!(queue.try_get().unwrap().retry(), Some(2));
    queue.try_get().unwrap().requeue();
    // The test: two keys added, one add coalesced, one refused. Three runs with their ends, one of them
    // given up, one requeued. The observer: three adds, of which two are coalesced.
    assert_eq!(queries.events.load(Ordering::SeqCst), 15);
}

#[test]
fn a_zero_backoff_retries_at_once() {
    let (builder, clock) = builder(8);
    let queue = builder.backoff(|_: u32, _: u64| Duration::ZERO);
    let queue = queue.build().unwrap();
    // Between two ticks of a millisecond.
    clock.set(Timestamp::from_nanos(1_500_000));
    queue.try_add(1).unwrap();
    let _ = queue.try_get().unwrap().retry();
    let again = queue.try_get().expect("at once");
    assert_eq!(again.failures(), 1);
    let _ = again.retry();
    assert_eq!(queue.try_get().unwrap().failures(), 2);
}

#[test]
fn a_hash_of_which_only_the_low_bits_vary_makes_no_collisions() {
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
fn every_delayed_key_is_due_at_the_end_of_time() {
    let (builder, clock) = builder(8);
    let limiter =
        LockedTokenBucket::with_clock("0/s burst 1".parse().unwrap(), clock.clone()).unwrap();
    let queue = builder.rate_limit(Arc::new(limiter)).build().unwrap();
    queue.try_add_after(1, Duration::MAX).unwrap();
    queue.try_add_after(2, Duration::MAX).unwrap();
    clock.set(Timestamp::MAX);
    assert_eq!(*queue.get().wait().unwrap(), 1);
    // No later time brings another token: the consumer sleeps, and does not spin.
    assert_eq!(Polled::pending(queue.get()).woken(), 0);
}

#[test]
fn a_drain_that_times_out_is_not_complete() {
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
fn requeue_after_at_the_debounced_time_keeps_the_debounce() {
    let (builder, clock) = builder(8);
    let queue = builder.debounce(millis(5), millis(8)).build().unwrap();
    queue.try_add(1).unwrap();
    clock.advance(millis(5));
    let work = queue.try_get().unwrap();
    queue.try_add(1).unwrap();
    work.requeue_after(millis(5));
    clock.advance(millis(4));
    queue.try_add(1).unwrap();
    // 5 ms of quiet, but no later than 8 ms after the first of these adds.
    assert_eq!(queue.snapshot()[0].due_in, Some(millis(4)));
}

const HOUR: Duration = Duration::from_secs(3_600);

#[test]
fn merge_holds_for_an_add_whose_delay_is_over_once_it_has_the_lock() {
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
    assert!(
        !work.is_dirty(),
        "the add has a delay, though no time of it is left"
    );
    work.done();
    queue.try_get().unwrap().done();
    assert!(queue.snapshot().is_empty());
}

#[test]
fn a_delayed_add_is_not_debounced_though_its_delay_is_over_once_it_has_the_lock() {
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
fn a_failure_counts_though_the_worker_read_the_clock_before_its_backoff_ended() {
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
