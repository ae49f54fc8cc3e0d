//! What the work queue does beyond adding, getting and finishing: priorities, overflow, batches,
//! debounce, attempts, and so on.
#![cfg(not(tollgate_loom))]

#[allow(dead_code, reason = "shared with other tests")]
#[path = "model/tasks.rs"]
mod tasks;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use tasks::Polled;
use tollgate::queue::{KeyState, QueueBuilder};
use tollgate::{
    AddError, AddOptions, ManualClock, Merge, Observer, Priority, PriorityError, QueueError,
    WorkQueue,
};

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn builder(capacity: usize) -> (QueueBuilder<u64, ManualClock>, ManualClock) {
    let clock = ManualClock::new();
    let builder = WorkQueue::builder(capacity).backoff(|_: u32, _: u64| millis(5));
    (builder.clock(clock.clone()), clock)
}

type Queue = WorkQueue<u64, ManualClock>;

fn queue(capacity: usize) -> (Queue, ManualClock) {
    let (builder, clock) = builder(capacity);
    (builder.build().unwrap(), clock)
}

/// What is handed out, in order, until nothing is.
fn take_all(queue: &Queue) -> Vec<u64> {
    let done = |work: tollgate::Work<u64, ManualClock>| {
        let key = *work;
        work.done();
        key
    };
    std::iter::from_fn(|| queue.try_get().map(done)).collect()
}

#[test]
fn bad_input_is_a_typed_error() {
    assert_eq!(Priority::new(-33), Err(PriorityError::OutOfRange(-33)));
    assert_eq!(
        Priority::new(i32::MAX),
        Err(PriorityError::OutOfRange(i32::MAX))
    );
    let build = |change: fn(QueueBuilder<u64, ManualClock>) -> QueueBuilder<u64, ManualClock>| {
        change(builder(8).0).build().err()
    };
    assert_eq!(build(|b| b.max_attempts(0)), Some(QueueError::ZeroAttempts));
    assert_eq!(build(|b| b.reserve(8)), Some(QueueError::NothingButReserve));
    assert_eq!(
        build(|b| b.debounce(millis(1), Duration::ZERO)),
        Some(QueueError::ZeroDebounceMaximum)
    );
    assert_eq!(builder(0).0.build().unwrap_err(), QueueError::ZeroCapacity);
    assert!(matches!(
        builder(usize::MAX).0.build(),
        Err(QueueError::CapacityTooLarge { .. })
    ));
}

#[test]
fn a_promoted_key_goes_to_the_tail_of_its_new_band_and_keeps_its_priority() {
    let (queue, _) = queue(8);
    for (key, priority) in [
        (1, Priority::LOW),
        (2, Priority::HIGH),
        (3, Priority::DEFAULT),
    ] {
        queue.try_add_with(key, priority).unwrap();
    }
    queue.try_add_with(1, Priority::HIGH).unwrap();
    queue.try_add_with(1, Priority::MIN).unwrap();
    queue.try_get().unwrap().requeue();
    assert_eq!(take_all(&queue), [1, 2, 3]);
    queue.try_add_with(1, Priority::LOW).unwrap();
    assert_eq!(
        queue.try_get().unwrap().priority(),
        Priority::LOW,
        "it was absent"
    );
}

#[test]
fn the_delay_that_counts_is_chosen() {
    for (merge, second, due) in [
        (Merge::Earlier, 3, 3),
        (Merge::Earlier, 9, 5),
        (Merge::Keep, 3, 5),
        (Merge::Keep, 9, 5),
    ] {
        let options = AddOptions::new().after(millis(second)).merge(merge);
        let due = Some(millis(due));
        let (queue, clock) = queue(8);
        queue.try_add_after(1, millis(5)).unwrap();
        queue.try_add_with(1, options).unwrap();
        assert_eq!(queue.snapshot()[0].due_in, due, "delayed, {merge:?}");
        clock.advance(millis(10));
        let work = queue.try_get().unwrap();
        queue.try_add_after(1, millis(5)).unwrap();
        queue.try_add_with(1, options).unwrap();
        let snapshot = queue.snapshot();
        assert_eq!(
            (snapshot[0].state, snapshot[0].due_in),
            (KeyState::Processing, due)
        );
        work.done();
        assert_eq!(queue.snapshot()[0].due_in, due, "held, {merge:?}");
    }
}

#[test]
fn a_missed_key_makes_a_resync_certain() {
    let (queue, _) = queue(1);
    let mut resync = Polled::pending(queue.resync());
    queue.try_add(1).unwrap();
    for key in [2, 3] {
        let missed = queue.try_add_or_resync(key, AddOptions::new());
        assert_eq!(missed, Err(AddError::Full(key)));
    }
    assert_eq!(resync.woken(), 0);
    // A blocked adder is served first.
    let adder = Polled::pending(queue.add(4));
    queue.try_get().unwrap().done();
    assert_eq!(adder.ready(), Ok(()));
    assert!(resync.poll().is_pending());
    queue.try_get().unwrap().done();
    assert_eq!(resync.woken(), 1);
    // It gives up; nobody else waits; the next one gets it.
    drop(resync);
    assert_eq!(Polled::pending(queue.get()).woken(), 0);
    assert_eq!(queue.resync().wait(), Some(2));
    assert_eq!(queue.try_resync(), None);
}

#[test]
fn the_reserve_is_for_workers() {
    let (builder, _) = builder(3);
    let queue = builder.reserve(1).build().unwrap();
    let refused = queue.try_add_batch([1, 2, 3], AddOptions::new());
    assert_eq!(refused, [AddError::Full(3)]);
    let adder = Polled::pending(queue.add(3));
    let work = queue.try_get().unwrap();
    work.add_related(10).unwrap();
    work.add_related(2).unwrap(); // live
    assert_eq!(work.add_related(11), Err(AddError::Full(11)));
    work.done();
    assert_eq!(adder.woken(), 0, "the room is the reserve's again");
    queue.try_get().unwrap().done();
    assert_eq!(adder.ready(), Ok(()));
}

#[test]
fn the_length_counts_live_keys_in_every_state_but_rest() {
    let (builder, _) = builder(8);
    let queue = builder.min_interval(millis(10)).build().unwrap();
    let states = || -> Vec<_> { queue.snapshot().iter().map(|key| key.state).collect() };
    assert!(queue.is_empty());
    queue.try_add_after(1, millis(50)).unwrap();
    assert_eq!((queue.len(), states()), (1, vec![KeyState::Delayed]));
    queue.try_add(1).unwrap();
    assert_eq!((queue.len(), states()), (1, vec![KeyState::Ready]));
    let work = queue.try_get().unwrap();
    assert_eq!((work.key(), queue.len()), (&1, 1));
    assert_eq!(states(), [KeyState::Processing]);
    queue.try_add(1).unwrap();
    assert_eq!((queue.len(), states()), (1, vec![KeyState::Dirty]));
    assert!(queue.remove(&1));
    queue.try_add(2).unwrap();
    assert_eq!(queue.clone().len(), 2, "a clone is a handle");
    work.done();
    assert_eq!(queue.len(), 1, "a key at rest does not count");
    queue.try_get().unwrap().done();
    assert!(queue.is_empty());
    assert_eq!(states(), [KeyState::Resting; 2]);
}

#[test]
#[deny(unfulfilled_lint_expectations)]
fn ignoring_keys_that_come_back_is_a_warning() {
    let (builder, _) = builder(8);
    let queue = builder.max_attempts(1).build().unwrap();
    assert!(queue.try_add_batch([1, 2], AddOptions::new()).is_empty());
    #[expect(unused_must_use, reason = "the warning is what is tested")]
    let refused = || {
        queue.try_add_batch([3], AddOptions::new());
    };
    #[expect(unused_must_use, reason = "the warning is what is tested")]
    let retried = || {
        queue.try_get().unwrap().retry();
    };
    #[expect(unused_must_use, reason = "the warning is what is tested")]
    let failed = || {
        queue.try_get().unwrap().fail();
    };
    #[expect(unused_must_use, reason = "the warning is what is tested")]
    let closed = || {
        queue.close();
    };
    refused();
    retried();
    failed();
    closed();
}

#[test]
fn aging_serves_one_in_so_many_and_zero_is_strict() {
    let turn_of_the_low_one = |one_in: u32| {
        let (builder, _) = builder(100);
        let queue = builder.aging(one_in).build().unwrap();
        queue.try_add_with(0, Priority::LOW).unwrap();
        assert!(queue.try_add_batch(1..40, Priority::HIGH).is_empty());
        let order = take_all(&queue);
        1 + order.iter().position(|&key| key == 0).unwrap()
    };
    assert_eq!(turn_of_the_low_one(16), 16);
    assert_eq!(turn_of_the_low_one(4), 4);
    assert_eq!(turn_of_the_low_one(0), 40);
}

#[test]
fn the_seed_repeats_the_jitter() {
    let due_in = |seed| {
        let (builder, _) = builder(8);
        let jitter = |_: u32, random: u64| Duration::from_nanos(random >> 8);
        let queue = builder.seed(seed).backoff(jitter).build().unwrap();
        queue.try_add(1).unwrap();
        assert_eq!(queue.try_get().unwrap().retry(), None);
        queue.snapshot()[0].due_in
    };
    assert_eq!(due_in(7), due_in(7));
    assert_ne!(due_in(7), due_in(8));
}

#[test]
fn batches_are_handed_out_and_finished_whole_or_one_by_one() {
    let (queue, clock) = queue(100);
    assert!(queue.try_add_batch(0..10, AddOptions::new()).is_empty());
    assert!(queue.try_get_batch(0).is_none());
    let batch = queue.try_get_batch(4).unwrap();
    assert!(batch.keys().eq(&[0, 1, 2, 3]));
    queue.try_add(2).unwrap();
    batch.done();
    let mut works = queue.get_batch(4).wait().unwrap().into_iter();
    works.next().unwrap().done();
    assert_eq!(*works.next().unwrap(), 5);
    drop(works);
    let stats = queue.stats();
    assert_eq!(
        (stats.ready, stats.delayed, stats.processing),
        (3, 3, 0),
        "dropped: retried"
    );
    clock.advance(millis(5));
    assert_eq!(take_all(&queue), [8, 9, 2, 5, 6, 7]);

    let waiting = Polled::pending(queue.get_batch(4));
    assert!(queue.try_add_batch([1, 2], AddOptions::new()).is_empty());
    assert_eq!(waiting.woken(), 1);
    assert_eq!(waiting.ready().unwrap().len(), 2);
    drop(queue.close());
    drop(queue.shutdown_now());
    assert!(queue.get_batch(4).wait().is_none());
}

#[test]
fn done_and_get_takes_the_next() {
    let (queue, _) = queue(8);
    assert!(queue.try_add_batch([1, 2], AddOptions::new()).is_empty());
    let work = queue.try_get().unwrap();
    queue.try_add(1).unwrap();
    let work = work.done_and_get().unwrap();
    assert_eq!(*work, 2);
    let work = work.done_and_get().unwrap();
    assert_eq!(*work, 1, "it had become dirty");
    assert!(work.done_and_get().is_none());
    assert_eq!(queue.stats().processing, 0);
}

#[test]
fn a_worker_learns_that_its_key_is_dirty() {
    let (queue, _) = queue(8);
    assert!(queue.try_add_batch([1, 2], AddOptions::new()).is_empty());
    let (one, two) = (queue.try_get().unwrap(), queue.try_get().unwrap());
    let (watch, mut other) = (
        Polled::pending(one.dirtied()),
        Polled::pending(two.dirtied()),
    );
    queue.try_add_after(1, millis(5)).unwrap();
    assert_eq!(watch.woken(), 0, "delayed is not dirty");
    queue.try_add(1).unwrap();
    assert_eq!((watch.woken(), other.woken()), (1, 0));
    watch.ready();
    assert!(other.poll().is_pending());
    drop(other);
    two.done();
    one.done();
    assert_eq!(take_all(&queue), [1]);
}

#[test]
fn debounce_waits_for_quiet_but_not_for_ever() {
    let (builder, clock) = builder(8);
    let queue = builder.debounce(millis(10), millis(25)).build().unwrap();
    let due = || queue.snapshot()[0].due_in;
    queue.try_add(1).unwrap();
    assert_eq!(due(), Some(millis(10)));
    for left in [10, 9, 1] {
        clock.advance(millis(8));
        queue.try_add(1).unwrap();
        assert_eq!(due(), Some(millis(left)));
    }
    clock.advance(millis(1));
    let work = queue.try_get().unwrap();
    // While it runs: counts for the next run, from the first of these adds on.
    queue.try_add(1).unwrap();
    assert!(work.is_dirty());
    clock.advance(millis(8));
    queue.try_add(1).unwrap();
    work.done();
    assert_eq!(due(), Some(millis(10)));
    clock.advance(millis(8));
    queue.try_add(1).unwrap();
    assert_eq!(due(), Some(millis(9)));
    // One that is delayed anyway is not put off beyond its time.
    queue.remove(&1);
    queue.try_add_after(1, millis(6)).unwrap();
    queue.try_add(1).unwrap();
    assert_eq!(due(), Some(millis(6)));
    queue.remove(&1);
    queue.try_add_after(1, millis(60)).unwrap();
    queue.try_add(1).unwrap();
    assert_eq!(due(), Some(millis(10)));
}

#[test]
fn a_key_is_given_up_after_its_last_attempt_by_its_worker_only() {
    let (builder, clock) = builder(8);
    let queue = builder.max_attempts(2).build().unwrap();
    queue.try_add(1).unwrap();
    assert_eq!(queue.try_get().unwrap().retry(), None);
    // An event: does not count.
    queue.try_add(1).unwrap();
    assert_eq!(queue.try_get().unwrap().retry(), None);
    for _ in 0..3 {
        clock.advance(millis(5));
        drop(queue.try_get().unwrap());
    }
    clock.advance(millis(5));
    let work = queue.try_get().unwrap();
    queue.try_add(1).unwrap();
    assert_eq!(work.retry(), None, "it was added meanwhile");
    clock.advance(millis(5));
    assert_eq!(queue.try_get().unwrap().retry(), Some(1));
    assert!(queue.snapshot().is_empty());
    queue.try_add(1).unwrap();
    assert_eq!(queue.try_get().unwrap().failures(), 0, "a new life");
}

#[test]
fn an_observer_is_told_of_retries_and_of_what_is_given_up() {
    #[derive(Default)]
    struct Ends {
        retried: AtomicUsize,
        gave_up: AtomicUsize,
    }
    impl Observer for Ends {
        fn retried(&self) {
            self.retried.fetch_add(1, Ordering::SeqCst);
        }
        fn gave_up(&self) {
            self.gave_up.fetch_add(1, Ordering::SeqCst);
        }
    }
    let (builder, clock) = builder(8);
    let ends = Arc::new(Ends::default());
    let queue = builder.max_attempts(2).observer(ends.clone());
    let queue = queue.build().unwrap();
    let seen = || {
        let (retried, gave_up) = (&ends.retried, &ends.gave_up);
        (
            retried.load(Ordering::SeqCst),
            gave_up.load(Ordering::SeqCst),
        )
    };
    queue.try_add(1).unwrap();
    let _ = queue.try_get().unwrap().retry();
    assert_eq!(seen(), (1, 0));
    clock.advance(millis(5));
    let _ = queue.try_get().unwrap().retry();
    assert_eq!(seen(), (1, 1));
    // Nor is one given up that was added meanwhile.
    queue.try_add(2).unwrap();
    let _ = queue.try_get().unwrap().retry();
    clock.advance(millis(5));
    let last = queue.try_get().unwrap();
    queue.try_add(2).unwrap();
    assert_eq!(last.retry(), None);
    assert_eq!((seen(), queue.stats().ready), ((2, 1), 1));
}

#[test]
fn a_paused_queue_hands_out_nothing() {
    let (queue, clock) = queue(8);
    queue.pause();
    queue.try_add(1).unwrap();
    queue.try_add_after(2, millis(5)).unwrap();
    let (first, second) = (Polled::pending(queue.get()), Polled::pending(queue.get()));
    clock.advance(millis(5));
    assert_eq!((first.woken(), second.woken()), (0, 0));
    assert_eq!(queue.stats().ready, 2);
    queue.resume();
    assert_eq!((first.woken(), second.woken()), (1, 1));
    assert_eq!((*first.ready().unwrap(), *second.ready().unwrap()), (1, 2));
}

#[test]
fn an_add_with_a_timeout_gives_the_key_back() {
    let (queue, clock) = queue(1);
    queue.try_add(1).unwrap();
    let (mut late, next) = (
        Polled::pending(queue.add_timeout(2, millis(5))),
        Polled::pending(queue.add(3)),
    );
    clock.advance(millis(5));
    assert_eq!(late.poll(), Poll::Ready(Err(AddError::Full(2))));
    drop(late);
    queue.try_get().unwrap().done();
    assert_eq!(next.ready(), Ok(()));
}

/// Hands out `DEFAULT` keys until another band has its turn by age.
fn next_by_age(queue: &Queue) -> u64 {
    for key in 1_000..1_100 {
        queue.try_add(key).unwrap();
        let work = queue.try_get().unwrap();
        let handed_out = *work;
        work.done();
        if handed_out < 1_000 {
            return handed_out;
        }
    }
    panic!("nobody is served by age")
}

#[test]
fn by_age_goes_who_has_been_first_of_its_band_for_longest() {
    let (queue, _) = queue(2_000);
    queue.try_add_with(100, Priority::LOW).unwrap();
    queue.try_add_with(101, Priority::LOW).unwrap();
    for key in 1_000..1_005 {
        queue.try_add(key).unwrap();
        queue.try_get().unwrap().done();
    }
    queue.try_add_with(200, Priority::MIN).unwrap();
    assert_eq!(next_by_age(&queue), 100);
    // 101 became first now, after 200.
    assert_eq!(next_by_age(&queue), 200);
    queue.try_add_with(102, Priority::LOW).unwrap();
    queue.try_add_with(201, Priority::MIN).unwrap();
    for key in 1_000..1_003 {
        queue.try_add(key).unwrap();
        queue.try_get().unwrap().done();
    }
    queue.remove(&101);
    assert_eq!(next_by_age(&queue), 201);
}

#[test]
fn bands_that_come_later_do_not_overtake_by_age() {
    let (queue, _) = queue(2_000);
    queue.try_add_with(100, Priority::LOW).unwrap();
    // Before anything is handed out, and of lower priorities.
    for band in 1..=16 {
        let lower = Priority::new(-16 - band).unwrap();
        queue
            .try_add_with(200 + u64::try_from(band).unwrap(), lower)
            .unwrap();
    }
    assert_eq!(next_by_age(&queue), 100);
}

#[test]
fn an_observer_is_told_which_adds_a_debounce_coalesces() {
    #[derive(Default)]
    struct Adds([AtomicUsize; 2]);
    impl Observer for Adds {
        fn added(&self) {
            self.0[0].fetch_add(1, Ordering::SeqCst);
        }
        fn coalesced(&self) {
            self.0[1].fetch_add(1, Ordering::SeqCst);
        }
    }
    let (builder, _) = builder(8);
    let adds = Arc::new(Adds::default());
    let queue = builder
        .debounce(millis(10), millis(25))
        .observer(adds.clone());
    let queue = queue.build().unwrap();
    let seen = || adds.0.each_ref().map(|count| count.load(Ordering::SeqCst));
    queue.try_add_after(1, millis(50)).unwrap();
    assert_eq!(seen(), [1, 0]);
    queue.try_add(1).unwrap(); // sooner than it would have been, and debounced from now on
    assert_eq!(seen(), [2, 0]);
    queue.try_add(1).unwrap();
    assert_eq!(seen(), [2, 1]);
}

#[test]
fn a_batch_that_is_dropped_is_retried_in_its_order() {
    let (queue, clock) = queue(100);
    assert!(queue.try_add_batch(0..4, AddOptions::new()).is_empty());
    drop(queue.try_get_batch(4));
    assert_eq!(queue.stats().delayed, 4);
    clock.advance(millis(5));
    assert_eq!(take_all(&queue), [0, 1, 2, 3]);
    let batch = {
        assert!(queue.try_add_batch(0..3, AddOptions::new()).is_empty());
        queue.try_get_batch(4).unwrap().into_iter()
    };
    assert_eq!(batch.len(), 3);
}
