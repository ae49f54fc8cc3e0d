//! Resting keys: the minimum interval between two runs, and keys that were given up and are remembered.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tollgate::queue::{KeyState, QueueBuilder, Revive};
use tollgate::{
    AddError, AddOptions, Clock, ExponentialBackoff, ManualClock, Priority, Timestamp, Work,
    WorkQueue,
};

use crate::tasks::Polled;

type Queue = WorkQueue<u32, ManualClock>;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);

fn queue(
    capacity: usize,
    set: impl FnOnce(QueueBuilder<u32>) -> QueueBuilder<u32>,
) -> (Queue, ManualClock) {
    let clock = ManualClock::new();
    clock.advance(HOUR);
    let backoff = ExponentialBackoff::new(SECOND, 1_000 * SECOND).jitter(0);
    let builder = set(WorkQueue::builder(capacity)).backoff(backoff);
    (builder.clock(clock.clone()).build().unwrap(), clock)
}

/// Ends a run, and adds the key again in one of several ways.
type Again = fn(&Queue, Work<u32, ManualClock>);

#[test]
fn two_runs_of_a_key_are_apart_however_it_is_added_again() {
    let (queue, clock) = queue(8, |builder| builder.min_interval(10 * SECOND));
    let ways: [Again; 7] = [
        |queue, work| {
            work.done();
            queue.try_add(7).unwrap();
        },
        |queue, work| {
            queue.try_add_with(7, Priority::HIGH).unwrap();
            work.done();
        },
        |_, work| work.requeue(),
        |_, work| work.requeue_after(SECOND),
        |_, work| assert!(work.retry().is_none()),
        |_, work| work.defer(Duration::ZERO),
        |queue, work| {
            work.requeue_after(HOUR);
            queue.try_add(7).unwrap();
        },
    ];
    queue.try_add(7).unwrap();
    for again in ways {
        let work = queue.try_get().expect("at once");
        clock.advance(SECOND);
        again(&queue, work);
        assert!(queue.try_get().is_none());
        // An add while the key waits does not start it earlier.
        queue.try_add_with(7, Priority::HIGH).unwrap();
        clock.advance(9 * SECOND - Duration::from_nanos(1));
        assert!(queue.try_get().is_none());
        clock.advance(Duration::from_nanos(1));
    }
    queue.try_get().unwrap().requeue_after(HOUR);
    clock.advance(HOUR);
    assert!(queue.try_get().is_some(), "a longer delay stays as it is");
}

#[test]
fn a_resting_key_is_evicted_for_a_new_one() {
    let (queue, clock) = queue(2, |builder| builder.min_interval(10 * SECOND));
    for key in [1, 2] {
        queue.try_add(key).unwrap();
        queue.try_get().unwrap().done();
        clock.advance(SECOND);
    }
    let shown = queue.snapshot();
    assert!(shown.iter().all(|key| key.state == KeyState::Resting));
    assert_eq!((queue.stats().ready, queue.stats().delayed), (0, 0));
    queue.try_add(3).unwrap();
    // Key 1, whose rest would have ended first, was evicted, and starts at once. Key 2 still rests.
    queue.try_add(2).unwrap();
    queue.try_get().unwrap().done();
    assert!(queue.try_get().is_none());
    queue.try_add(1).unwrap();
    assert_eq!(*queue.try_get().unwrap(), 1);
    assert_eq!(
        queue.try_add(4),
        Err(AddError::Full(4)),
        "both keys are live and do not rest"
    );
}

#[test]
fn a_resting_key_counts_as_absent() {
    let (queue, clock) = queue(1, |builder| builder.min_interval(10 * SECOND));
    queue.try_add(1).unwrap();
    let work = queue.try_get().unwrap();
    let adder = Polled::pending(queue.add(2));
    work.done();
    assert_eq!(
        adder.ready(),
        Ok(()),
        "a resting key makes room for a blocked adder"
    );
    queue.try_get().unwrap().done();
    assert!(!queue.remove(&2), "a resting key is not live");
    queue.try_add(2).unwrap();
    queue.try_get().expect("the key was forgotten").done();
    clock.advance(10 * SECOND);
    assert_eq!(queue.snapshot(), [], "the rest is over");
    let mut consumer = Polled::pending(queue.get());
    let drained = queue.close();
    assert!(drained.complete() && drained.returned.is_empty());
    assert!(consumer.poll().is_ready());
}

#[test]
fn the_next_add_of_any_kind_drops_a_key_whose_rest_is_over() {
    let clock = ManualClock::new();
    let builder = WorkQueue::builder(8).min_interval(SECOND);
    let queue = builder.clock(clock.clone()).build().unwrap();
    let first = Arc::new(1);
    let weak = Arc::downgrade(&first);
    queue.try_add(first).unwrap();
    queue.try_get().unwrap().done();
    assert!(weak.upgrade().is_some(), "the key rests");
    clock.advance(SECOND);
    queue
        .try_add_or_resync(Arc::new(2), AddOptions::new())
        .unwrap();
    assert!(weak.upgrade().is_none());
}

/// Retries the key until it is given up.
fn give_up(queue: &Queue, clock: &ManualClock) {
    loop {
        let work = queue.try_get().unwrap();
        let last = work.failures() == 2;
        let given_up = work.retry();
        assert_eq!(given_up, last.then_some(7));
        if last {
            return;
        }
        clock.advance(4 * SECOND);
    }
}

#[test]
fn revive_never_drops_events_for_a_key_given_up() {
    let set = |builder: QueueBuilder<u32>| {
        builder
            .max_attempts(3)
            .remember_given_up(Revive::Never, HOUR)
    };
    let (queue, clock) = queue(8, set);
    queue.try_add(7).unwrap();
    give_up(&queue, &clock);
    queue.try_add(7).unwrap();
    clock.advance(HOUR / 2);
    queue.try_add_with(7, Priority::HIGH).unwrap();
    assert!(queue.try_get().is_none());
    // Neither does an event during the last run revive the key.
    assert!(!queue.remove(&7));
    queue.try_add(7).unwrap();
    let work = queue.try_get().expect("the key was forgotten");
    assert_eq!(work.failures(), 0);
    queue.try_add(7).unwrap();
    assert_eq!(work.fail(), Some(7));
    assert!(queue.try_get().is_none());
    clock.advance(HOUR);
    queue.try_add(7).unwrap();
    assert_eq!(
        queue.try_get().unwrap().failures(),
        0,
        "the key is no longer remembered"
    );
}

#[test]
fn revive_once_gives_a_key_one_more_attempt_for_an_event() {
    let set = |builder: QueueBuilder<u32>| {
        builder
            .max_attempts(3)
            .remember_given_up(Revive::Once, HOUR)
    };
    let (queue, clock) = queue(8, set);
    queue.try_add(7).unwrap();
    give_up(&queue, &clock);
    queue.try_add(7).unwrap();
    clock.advance(4 * SECOND - Duration::from_nanos(1));
    assert!(queue.try_get().is_none(), "the backoff still runs");
    clock.advance(Duration::from_nanos(1));
    assert_eq!(queue.try_get().unwrap().retry(), Some(7), "given up again");
    queue.try_add(7).unwrap();
    assert!(queue.try_get().is_none(), "the backoff has doubled");
    clock.advance(8 * SECOND);
    let work = queue.try_get().unwrap();
    work.done();
    queue.try_add(7).unwrap();
    assert_eq!(
        queue.try_get().unwrap().failures(),
        0,
        "success clears the failures"
    );
}

#[test]
fn status_writes_do_not_keep_a_key_running_after_it_was_given_up() {
    for (revive, most) in [(Revive::Never, 3), (Revive::Once, 9)] {
        for in_run in [false, true] {
            let set = |builder: QueueBuilder<u32>| {
                let builder = builder.max_attempts(3).hold_backoff();
                builder.remember_given_up(revive, HOUR)
            };
            let (queue, clock) = queue(8, set);
            queue.try_add(7).unwrap();
            let mut runs = 0;
            for _ in 0..60_000 / 5 {
                if let Some(work) = queue.try_get() {
                    runs += 1;
                    if in_run {
                        queue.try_add(7).unwrap();
                    }
                    let _ = work.retry();
                    if !in_run {
                        clock.advance(Duration::from_millis(5));
                        queue.try_add(7).unwrap();
                    }
                }
                clock.advance(Duration::from_millis(5));
            }
            assert!(
                runs <= most,
                "{revive:?}, in run {in_run}: {runs} in a minute"
            );
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Add(u32, u64),
    Get,
    Done(usize),
    Requeue(usize),
    Retry(usize),
    Remove(u32),
    Advance(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let key = || 0..5_u32;
    prop_oneof![
        4 => (key(), 0..30_u64).prop_map(|(key, millis)| Op::Add(key, millis / 10 * 7)),
        5 => Just(Op::Get),
        3 => any::<usize>().prop_map(Op::Done),
        1 => any::<usize>().prop_map(Op::Requeue),
        2 => any::<usize>().prop_map(Op::Retry),
        1 => key().prop_map(Op::Remove),
        3 => (0..30_u64).prop_map(Op::Advance),
    ]
}

proptest! {
    /// Two starts of a key are apart, unless it was evicted or removed between them; no key is lost; and
    /// there are never more keys than the capacity.
    #[test]
    fn no_key_starts_within_its_interval_and_none_is_lost(
        ops in prop::collection::vec(op(), 1..120),
        capacity in 2..6_usize,
        remembers in prop::option::of(any::<bool>()),
        attempts in 1..4_u16,
    ) {
        let interval = Duration::from_millis(20);
        let set = |builder: QueueBuilder<u32>| {
            let builder = builder.min_interval(interval).max_attempts(attempts);
            match remembers {
                None => builder,
                Some(true) => builder.remember_given_up(Revive::Once, 50 * SECOND / 1_000),
                Some(false) => builder.remember_given_up(Revive::Never, 50 * SECOND / 1_000),
            }
        };
        let (queue, clock) = queue(capacity, set);
        let mut held = Vec::<Work<u32, ManualClock>>::new();
        let mut started: HashMap<u32, Timestamp> = HashMap::new();
        // The number of resting keys, which a shutdown does not return.
        let mut resting = 0;
        for op in ops {
            match op {
                Op::Add(key, millis) => {
                    let delay = Duration::from_millis(millis);
                    let added = queue.try_add_after(key, delay);
                    prop_assert!(added.is_ok() || added == Err(AddError::Full(key)));
                }
                Op::Get => if let Some(work) = queue.try_get() {
                    let now = clock.now();
                    if let Some(before) = started.insert(*work, now) {
                        prop_assert!(now.saturating_since(before) >= interval, "{}", *work);
                    }
                    prop_assert!(held.iter().all(|held| **held != *work));
                    held.push(work);
                }
                Op::Done(at) if !held.is_empty() => held.swap_remove(at % held.len()).done(),
                Op::Requeue(at) if !held.is_empty() => held.swap_remove(at % held.len()).requeue(),
                Op::Retry(at) if !held.is_empty() => {
                    let _ = held.swap_remove(at % held.len()).retry();
                }
                Op::Remove(key) => {
                    queue.remove(&key);
                }
                Op::Advance(millis) => clock.advance(Duration::from_millis(millis)),
                Op::Done(_) | Op::Requeue(_) | Op::Retry(_) => {}
            }
            // A key that was forgotten has no interval.
            let shown = queue.snapshot();
            prop_assert!(shown.len() <= capacity);
            started.retain(|key, _| shown.iter().any(|shown| shown.key == *key));
            resting = shown.iter().filter(|key| key.state == KeyState::Resting).count();
        }
        let pending = queue.snapshot().len() - resting - held.len();
        held.into_iter().for_each(Work::requeue);
        let returned = queue.shutdown_now().returned.len();
        prop_assert!(returned >= pending, "{returned} of {pending}");
    }
}
