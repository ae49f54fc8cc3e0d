//! The options of a queue and of an add: delays, overflow, the reserve, debounce, attempts, pause.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tollgate::queue::{KeyState, QueueBuilder};
use tollgate::{
    AddError, AddOptions, ManualClock, Merge, Observer, Priority, PriorityError, QueueError,
};

use crate::tasks::Polled;
use crate::{Queue, builder, millis, queue};

/// Takes and finishes keys until none is ready; returns them in order.
pub(crate) fn take_all(queue: &Queue) -> Vec<u64> {
    let done = |work: tollgate::Work<u64, ManualClock>| {
        let key = *work;
        work.done();
        key
    };
    std::iter::from_fn(|| queue.try_get().map(done)).collect()
}

#[test]
fn invalid_options_are_typed_errors() {
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
fn merge_selects_the_delay_that_holds() {
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
        assert_eq!(queue.snapshot()[0].due_in, due, "processing, {merge:?}");
    }
}

#[test]
fn only_workers_may_use_the_reserve() {
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
    assert_eq!(adder.woken(), 0, "the freed room belongs to the reserve");
    queue.try_get().unwrap().done();
    assert_eq!(adder.ready(), Ok(()));
}

#[test]
fn the_length_counts_live_keys_in_every_state_but_resting() {
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
fn ignoring_returned_keys_is_a_warning() {
    let (builder, _) = builder(8);
    let queue = builder.max_attempts(1).build().unwrap();
    assert!(queue.try_add_batch([1, 2], AddOptions::new()).is_empty());
    #[expect(unused_must_use, reason = "the test is for this warning")]
    let refused = || {
        queue.try_add_batch([3], AddOptions::new());
    };
    #[expect(unused_must_use, reason = "the test is for this warning")]
    let retried = || {
        queue.try_get().unwrap().retry();
    };
    #[expect(unused_must_use, reason = "the test is for this warning")]
    let failed = || {
        queue.try_get().unwrap().fail();
    };
    #[expect(unused_must_use, reason = "the test is for this warning")]
    let closed = || {
        queue.close();
    };
    refused();
    retried();
    failed();
    closed();
}

#[test]
fn equal_seeds_give_equal_jitter() {
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
fn a_debounced_key_waits_for_quiet_up_to_its_maximum() {
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
    // Adds during a run are debounced for the next run, from the first of them on.
    queue.try_add(1).unwrap();
    assert!(work.is_dirty());
    clock.advance(millis(8));
    queue.try_add(1).unwrap();
    work.done();
    assert_eq!(due(), Some(millis(10)));
    clock.advance(millis(8));
    queue.try_add(1).unwrap();
    assert_eq!(due(), Some(millis(9)));
    // Debounce does not put a delayed key off beyond its time.
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
fn only_its_worker_gives_a_key_up_after_its_last_attempt() {
    let (builder, clock) = builder(8);
    let queue = builder.max_attempts(2).build().unwrap();
    queue.try_add(1).unwrap();
    assert_eq!(queue.try_get().unwrap().retry(), None);
    // A run that an event caused does not count as an attempt.
    queue.try_add(1).unwrap();
    assert_eq!(queue.try_get().unwrap().retry(), None);
    for _ in 0..3 {
        clock.advance(millis(5));
        drop(queue.try_get().unwrap());
    }
    clock.advance(millis(5));
    let work = queue.try_get().unwrap();
    queue.try_add(1).unwrap();
    assert_eq!(work.retry(), None, "it was added during its run");
    clock.advance(millis(5));
    assert_eq!(queue.try_get().unwrap().retry(), Some(1));
    assert!(queue.snapshot().is_empty());
    queue.try_add(1).unwrap();
    assert_eq!(
        queue.try_get().unwrap().failures(),
        0,
        "a key that was given up starts without failures"
    );
}

#[test]
fn an_observer_hears_of_retries_and_of_keys_given_up() {
    #[derive(Default)]
    struct Counts {
        retried: AtomicUsize,
        gave_up: AtomicUsize,
    }
    impl Observer for Counts {
        fn retried(&self) {
            self.retried.fetch_add(1, Ordering::SeqCst);
        }
        fn gave_up(&self) {
            self.gave_up.fetch_add(1, Ordering::SeqCst);
        }
    }
    let (builder, clock) = builder(8);
    let counts = Arc::new(Counts::default());
    let queue = builder.max_attempts(2).observer(counts.clone());
    let queue = queue.build().unwrap();
    let seen = || {
        let (retried, gave_up) = (&counts.retried, &counts.gave_up);
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
    // A key that was added during its run is not given up.
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
fn an_observer_hears_which_adds_a_debounce_coalesces() {
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
    queue.try_add(1).unwrap(); // moves the key forward, and debounces it from now on
    assert_eq!(seen(), [2, 0]);
    queue.try_add(1).unwrap();
    assert_eq!(seen(), [2, 1]);
}
