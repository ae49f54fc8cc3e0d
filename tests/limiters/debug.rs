//! `Debug` output: it begins with the type's name and shows the state that matters. It takes no lock.

use std::fmt::Debug;
use std::hash::BuildHasher;
use std::time::Duration;

use tollgate::queue::FastHash;
use tollgate::{
    AddOptions, AtomicTokenBucket, Clock, KeyedLimiter, LockedTokenBucket, ManualClock, Priority,
    Quota, RateLimiter, Timestamp, WorkQueue,
};

/// Asserts that the output begins with `name` and contains each of `parts`.
fn assert_shows(what: &dyn Debug, name: &str, parts: &[&str]) {
    let text = format!("{what:?}");
    assert!(text.starts_with(name), "{text}");
    for part in parts {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn queue_types_show_their_name_and_state() {
    let clock = ManualClock::new();
    let builder = WorkQueue::<u64>::builder(8).clock(clock);
    assert_shows(&builder, "QueueBuilder", &["8"]);
    let queue = builder.build().unwrap();
    assert_shows(&queue, "WorkQueue", &[]);
    assert_shows(&queue.get(), "Wait", &["Get", "in_line: false"]);
    assert_shows(&queue.get_batch(7), "Wait", &["GetBatch", "max: 7"]);
    assert_shows(&queue.add(1), "Wait", &["Add", "in_line: false"]);
    assert_shows(&queue.drain(Duration::ZERO), "Wait", &["Drain", "deadline"]);
    assert_shows(&queue.resync(), "Wait", &["Resync"]);
    assert!(queue.try_add_batch([5, 6, 7], AddOptions::new()).is_empty());
    let work = queue.try_get().unwrap();
    assert_shows(&work, "Work", &["5"]);
    assert_shows(&work.dirtied(), "Wait", &["Dirtied"]);
    let batch = queue.try_get_batch(2).unwrap();
    assert_shows(&batch, "[6, 7]", &[]);
    batch.done();
    work.done();
    assert_shows(&Priority::LOW, "Priority", &["-16"]);
    assert_eq!(Priority::LOW.to_string(), "-16");
    assert_shows(&FastHash::default().build_hasher(), "FastHasher", &[]);
}

#[test]
fn limiters_show_their_name_and_state() {
    let quota: Quota = "1/s burst 5".parse().unwrap();
    let clock = ManualClock::new();
    let locked = LockedTokenBucket::with_clock(quota, clock.clone()).unwrap();
    let atomic = AtomicTokenBucket::with_clock(quota, clock.clone()).unwrap();
    assert_shows(&locked, "LockedTokenBucket", &[]);
    assert_shows(&atomic, "AtomicTokenBucket", &[]);
    assert_shows(&locked.acquire(3), "Wait", &["Acquire", "n: 3"]);
    assert_shows(
        &atomic.acquire(3),
        "Wait",
        &["Acquire", "n: 3", "in_line: false"],
    );
    assert_shows(
        &locked.lease(2).unwrap(),
        "TokenLease",
        &["batch: 2", "held: 2"],
    );
    let reservation = atomic.reserve(1, Duration::ZERO).unwrap();
    assert_shows(&reservation, "Reservation", &["ready_at: Timestamp(0)"]);
    let builder = KeyedLimiter::<u64>::builder(quota, 77).clock(clock);
    assert_shows(&builder, "KeyedBuilder", &["77"]);
    let keyed = builder.build().unwrap();
    assert_shows(&keyed, "KeyedLimiter", &[]);
    assert_shows(&keyed.key(&1), "KeyHandle", &[]);
}

#[test]
fn clocks_show_their_name_and_state() {
    let clock = ManualClock::new();
    clock.advance(Duration::from_nanos(42));
    assert_shows(&clock, "ManualClock", &["42"]);
    assert_shows(&clock.sleep_until(Timestamp::MAX), "Sleep", &[]);
    assert_shows(&tollgate::SystemClock::new(), "SystemClock", &[]);
    assert_eq!(clock.now().as_nanos(), 42);
}
