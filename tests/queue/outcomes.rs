//! The outcomes of a run: the delay and the failure count that each gives its key, and held backoffs.

use std::time::Duration;

use tollgate::queue::QueueBuilder;
use tollgate::{
    AddOptions, ExponentialBackoff, KeyedLimiter, ManualClock, Merge, Priority, Quota, RateLimiter,
    Work, WorkQueue,
};

use crate::millis;

type Held = Work<&'static str, ManualClock>;

const SECOND: Duration = Duration::from_secs(1);

/// A builder of a queue on a manual clock, whose backoff doubles from 1 s.
fn builder() -> (QueueBuilder<&'static str, ManualClock>, ManualClock) {
    let clock = ManualClock::new();
    let backoff = ExponentialBackoff::new(SECOND, Duration::from_secs(1000)).jitter(0);
    let builder = WorkQueue::builder(8).backoff(backoff);
    (builder.clock(clock.clone()), clock)
}

#[test]
fn each_outcome_has_its_delay_and_its_failure_count() {
    type End = fn(Held);
    let ends: [(&str, End, Option<u64>, u32); 7] = [
        ("done", Held::done, None, 0),
        ("requeue", Held::requeue, Some(0), 0),
        (
            "requeue after",
            |work| work.requeue_after(3 * SECOND),
            Some(3000),
            0,
        ),
        ("defer", |work| work.defer(3 * SECOND), Some(3000), 2),
        (
            "retry",
            |work| assert!(work.retry().is_none()),
            Some(4000),
            3,
        ),
        (
            "retry after",
            |work| assert!(work.retry_after(30 * SECOND).is_none()),
            Some(30_000),
            3,
        ),
        ("drop", drop, Some(4000), 3),
    ];
    for (name, end, delay, failures) in ends {
        let (builder, clock) = builder();
        let queue = builder.build().unwrap();
        queue.try_add("key").unwrap();
        for _ in 0..2 {
            assert!(queue.try_get().unwrap().retry().is_none());
            clock.advance(2 * SECOND);
        }
        end(queue.try_get().unwrap());
        let Some(delay) = delay else {
            assert!(queue.snapshot().is_empty(), "{name}");
            continue;
        };
        let due_in = queue.snapshot()[0].due_in.unwrap_or_default();
        assert_eq!(due_in, millis(delay), "{name}");
        clock.advance(due_in);
        assert_eq!(queue.try_get().unwrap().failures(), failures, "{name}");
    }
}

#[test]
fn fail_counts_as_a_failure_if_the_key_was_added_during_the_run() {
    let (builder, _) = builder();
    let queue = builder.build().unwrap();
    queue.try_add("key").unwrap();
    let work = queue.try_get().unwrap();
    queue.try_add("key").unwrap();
    assert_eq!(work.fail(), None, "the add during the run starts another");
    let work = queue.try_get().unwrap();
    assert_eq!(work.failures(), 1);
    assert_eq!(work.fail(), Some("key"));
    queue.try_add("key").unwrap();
    assert_eq!(queue.try_get().unwrap().failures(), 0, "the key was absent");
}

#[test]
fn deferrals_by_a_limiter_do_not_count_as_attempts() {
    let (builder, clock) = builder();
    let queue = builder.max_attempts(5).build().unwrap();
    let quota: Quota = "2/min burst 2".parse().unwrap();
    let tenants = KeyedLimiter::<&str>::builder(quota, 10).clock(clock.clone());
    let tenants = tenants.build().unwrap();
    queue.try_add("key").unwrap();
    let (mut calls, mut deferred) = (0, 0);
    loop {
        let Some(work) = queue.try_get() else {
            clock.advance(millis(100));
            continue;
        };
        match tenants.key(&"ada").try_acquire(1) {
            Err(denied) => {
                deferred += 1;
                work.defer(denied.retry_after().unwrap());
            }
            Ok(()) => {
                calls += 1;
                if work.retry().is_some() {
                    break;
                }
            }
        }
    }
    assert_eq!(calls, 5);
    assert!(deferred > 0, "the limiter denied some attempts");
}

/// How often a key runs in a minute if each run fails and writes a status, which adds the key again.
fn runs_in_a_minute(
    builder: QueueBuilder<&'static str, ManualClock>,
    clock: &ManualClock,
    options: AddOptions,
    in_run: bool,
) -> u32 {
    let queue = builder.build().unwrap();
    queue.try_add("key").unwrap();
    let event = || queue.try_add_with("key", options).unwrap();
    let (mut runs, mut now) = (0, 0);
    let mut wait = |by: u64| {
        now += by;
        clock.advance(millis(by));
        now
    };
    loop {
        let Some(work) = queue.try_get() else {
            if wait(5) >= 60_000 {
                return runs;
            }
            continue;
        };
        runs += 1;
        assert!(runs < 100, "the key runs without its backoff");
        wait(10);
        if in_run {
            event();
        }
        let _ = work.retry();
        if !in_run {
            wait(5);
            event();
        }
    }
}

#[test]
fn a_keys_own_status_writes_do_not_cut_a_held_backoff_short() {
    let soon = AddOptions::new().after(millis(1));
    let all = [
        AddOptions::new(),
        Priority::LOW.into(),
        soon,
        soon.merge(Merge::Keep),
    ];
    for options in all {
        for in_run in [false, true] {
            for debounced in [false, true] {
                let (mut builder, clock) = builder();
                if debounced {
                    builder = builder.debounce(SECOND, 10 * SECOND);
                }
                let runs = runs_in_a_minute(builder.hold_backoff(), &clock, options, in_run);
                // Runs at 0, 1, 3, 7, 15 and 31 s; a second later each with debounce.
                assert_eq!(runs, 6, "{options:?}, {in_run}, {debounced}");
            }
        }
    }
}

#[test]
fn a_held_event_is_not_lost() {
    let (builder, clock) = builder();
    let queue = builder.hold_backoff().max_attempts(1).build().unwrap();
    queue.try_add("key").unwrap();
    let work = queue.try_get().unwrap();
    queue.try_add("key").unwrap();
    assert_eq!(
        work.retry(),
        None,
        "an add during the last attempt keeps the key"
    );
    assert!(queue.try_get().is_none());
    clock.advance(SECOND);
    let work = queue.try_get().unwrap();
    assert_eq!(work.failures(), 1);
    // A success ends without a backoff.
    queue.try_add("key").unwrap();
    work.done();
    assert_eq!(queue.try_get().unwrap().failures(), 0);
}

#[test]
fn cut_backoff_ends_a_held_backoff() {
    let (builder, _) = builder();
    let queue = builder.hold_backoff().build().unwrap();
    queue.try_add("key").unwrap();
    assert!(queue.try_get().unwrap().retry().is_none());
    let urgent = AddOptions::new().cut_backoff();
    queue.try_add_with("key", urgent).unwrap();
    let work = queue.try_get().unwrap();
    // Of a held and an urgent add during a run the urgent one decides.
    queue.try_add("key").unwrap();
    queue.try_add_with("key", urgent).unwrap();
    queue.try_add("key").unwrap();
    assert!(work.retry().is_none());
    assert!(queue.try_get().is_some());
}

#[test]
fn hold_backoff_of_one_add_holds_for_that_add() {
    let (builder, clock) = builder();
    let held = AddOptions::new().hold_backoff();
    assert_eq!(runs_in_a_minute(builder, &clock, held, false), 6);
    let (builder, clock) = self::builder();
    assert_eq!(runs_in_a_minute(builder, &clock, held, true), 6);
}
