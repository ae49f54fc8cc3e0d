//! What the types say of themselves: their names, what matters of their state, and nothing that
//! would have to be waited for.
#![cfg(not(tollgate_loom))]

use std::fmt::Debug;
use std::hash::BuildHasher;
use std::time::Duration;

use tollgate::queue::FastHash;
use tollgate::{
    AddOptions, AtomicTokenBucket, Clock, KeyedLimiter, LockedTokenBucket, ManualClock, Priority,
    Quota, RateLimiter, Timestamp, WorkQueue,
};

/// Its name first, and each of these somewhere.
fn says(what: &dyn Debug, name: &str, parts: &[&str]) {
    let text = format!("{what:?}");
    assert!(text.starts_with(name), "{text}");
    for part in parts {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn of_the_queue() {
    let clock = ManualClock::new();
    let builder = WorkQueue::<u64>::builder(8).clock(clock);
    says(&builder, "QueueBuilder", &["8"]);
    let queue = builder.build().unwrap();
    says(&queue, "WorkQueue", &[]);
    says(&queue.get(), "Wait", &["Get", "in_line: false"]);
    says(&queue.get_batch(7), "Wait", &["GetBatch", "max: 7"]);
    says(&queue.add(1), "Wait", &["Add", "in_line: false"]);
    says(&queue.drain(Duration::ZERO), "Wait", &["Drain", "deadline"]);
    says(&queue.resync(), "Wait", &["Resync"]);
    assert!(queue.try_add_batch([5, 6, 7], AddOptions::new()).is_empty());
    let work = queue.try_get().unwrap();
    says(&work, "Work", &["5"]);
    says(&work.dirtied(), "Wait", &["Dirtied"]);
    let batch = queue.try_get_batch(2).unwrap();
    says(&batch, "[6, 7]", &[]);
    let mut rest = batch.into_iter();
    rest.next().unwrap().done();
    says(&rest, "[7]", &[]);
    work.done();
    says(&Priority::LOW, "Priority", &["-16"]);
    assert_eq!(Priority::LOW.to_string(), "-16");
    says(&FastHash::default().build_hasher(), "FastHasher", &[]);
}

#[test]
fn of_the_limiters() {
    let quota: Quota = "1/s burst 5".parse().unwrap();
    let clock = ManualClock::new();
    let locked = LockedTokenBucket::with_clock(quota, clock.clone()).unwrap();
    let atomic = AtomicTokenBucket::with_clock(quota, clock.clone()).unwrap();
    says(&locked, "LockedTokenBucket", &[]);
    says(&atomic, "AtomicTokenBucket", &[]);
    says(&locked.acquire(3), "Wait", &["Acquire", "n: 3"]);
    says(
        &atomic.acquire(3),
        "Wait",
        &["Acquire", "n: 3", "in_line: false"],
    );
    says(
        &locked.lease(2).unwrap(),
        "TokenLease",
        &["batch: 2", "held: 2"],
    );
    let reservation = atomic.reserve(1, Duration::ZERO).unwrap();
    says(&reservation, "Reservation", &["ready_at: Timestamp(0)"]);
    let builder = KeyedLimiter::<u64>::builder(quota, 77).clock(clock);
    says(&builder, "KeyedBuilder", &["77"]);
    let keyed = builder.build().unwrap();
    says(&keyed, "KeyedLimiter", &[]);
    says(&keyed.key(&1), "KeyHandle", &[]);
}

#[test]
fn of_the_clocks() {
    let clock = ManualClock::new();
    clock.advance(Duration::from_nanos(42));
    says(&clock, "ManualClock", &["42"]);
    says(&clock.sleep_until(Timestamp::MAX), "Sleep", &[]);
    says(&tollgate::SystemClock::new(), "SystemClock", &[]);
    assert_eq!(clock.now().as_nanos(), 42);
}
