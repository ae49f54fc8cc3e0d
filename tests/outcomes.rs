//! What each way to end the work on a key does to its failures, and what the failures that operators
//! report about other queues do here.
#![cfg(not(tollgate_loom))]

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tollgate::controller::Cause;
use tollgate::queue::QueueBuilder;
use tollgate::{
    Action, AddOptions, Controller, ExponentialBackoff, FixedBackoff, KeyedLimiter, ManualClock,
    Merge, Observer, Priority, Quota, RateLimiter, ReconcileError, ReconcileResult, Request, Work,
    WorkQueue,
};

type Held = Work<&'static str, ManualClock>;

const SECOND: Duration = Duration::from_secs(1);

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// With a backoff of a second, doubled with each failure.
fn builder() -> (QueueBuilder<&'static str, ManualClock>, ManualClock) {
    let clock = ManualClock::new();
    let backoff = ExponentialBackoff::new(SECOND, Duration::from_secs(1000)).jitter(0);
    let builder = WorkQueue::builder(8).backoff(backoff);
    (builder.clock(clock.clone()), clock)
}

#[test]
fn each_outcome_has_its_delay_and_its_failures() {
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
fn a_failure_for_good_counts_if_the_key_was_added_meanwhile() {
    let (builder, _) = builder();
    let queue = builder.build().unwrap();
    queue.try_add("key").unwrap();
    let work = queue.try_get().unwrap();
    queue.try_add("key").unwrap();
    assert_eq!(work.fail(), None, "it runs again");
    let work = queue.try_get().unwrap();
    assert_eq!(work.failures(), 1);
    assert_eq!(work.fail(), Some("key"));
    queue.try_add("key").unwrap();
    assert_eq!(queue.try_get().unwrap().failures(), 0, "it was absent");
}

#[test]
fn a_key_that_a_limiter_puts_off_is_given_up_after_its_attempts() {
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
    assert!(deferred > 0, "the limiter was in the way");
}

/// How often a key runs in a minute that fails, and whose status write brings an event.
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
        assert!(runs < 100, "it runs without its backoff");
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
fn a_held_backoff_is_not_cut_short_by_the_events_of_the_key_itself() {
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
                // After 0, 1, 3, 7, 15 and 31 s; debounced, a second later.
                assert_eq!(runs, 6, "{options:?}, {in_run}, {debounced}");
            }
        }
    }
}

#[test]
fn an_event_that_is_held_is_not_lost() {
    let (builder, clock) = builder();
    let queue = builder.hold_backoff().max_attempts(1).build().unwrap();
    queue.try_add("key").unwrap();
    let work = queue.try_get().unwrap();
    queue.try_add("key").unwrap();
    assert_eq!(work.retry(), None, "its last attempt, but it was added");
    assert!(queue.try_get().is_none());
    clock.advance(SECOND);
    let work = queue.try_get().unwrap();
    assert_eq!(work.failures(), 1);
    // A success has no backoff.
    queue.try_add("key").unwrap();
    work.done();
    assert_eq!(queue.try_get().unwrap().failures(), 0);
}

#[test]
fn an_urgent_add_cuts_a_held_backoff() {
    let (builder, _) = builder();
    let queue = builder.hold_backoff().build().unwrap();
    queue.try_add("key").unwrap();
    assert!(queue.try_get().unwrap().retry().is_none());
    let urgent = AddOptions::new().cut_backoff();
    queue.try_add_with("key", urgent).unwrap();
    let work = queue.try_get().unwrap();
    // One event is held and one is not: the urgent one counts.
    queue.try_add("key").unwrap();
    queue.try_add_with("key", urgent).unwrap();
    queue.try_add("key").unwrap();
    assert!(work.retry().is_none());
    assert!(queue.try_get().is_some());
}

#[test]
fn one_add_can_be_held_where_others_are_not() {
    let (builder, clock) = builder();
    let held = AddOptions::new().hold_backoff();
    assert_eq!(runs_in_a_minute(builder, &clock, held, false), 6);
    let (builder, clock) = self::builder();
    assert_eq!(runs_in_a_minute(builder, &clock, held, true), 6);
}

#[derive(Default)]
struct Results(Mutex<Vec<ReconcileResult>>);

impl Observer for Results {
    fn reconciled(&self, result: ReconcileResult, _: Duration) {
        self.0.lock().unwrap().push(result);
    }
}

impl Results {
    fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

#[test]
fn an_error_with_its_own_delay_counts() {
    let (builder, clock) = builder();
    let queue = builder.max_attempts(4).build().unwrap();
    let (results, seen) = (Arc::new(Results::default()), Arc::new(Mutex::new(vec![])));
    let told = Arc::clone(&seen);
    let busy = async |_: Request<'_, &'static str>| {
        let error = ReconcileError::retry_after(30 * SECOND, "503");
        Err::<Action, _>(error)
    };
    let workers = Controller::new(queue.clone(), busy)
        .observer(results.clone())
        .on_failure(move |failure| {
            let told = &mut told.lock().unwrap();
            told.push((failure.attempt(), failure.retry_after()));
        })
        .spawn_threads(1);
    queue.try_add("key").unwrap();
    for run in 1..=4 {
        while results.len() < run {
            thread::yield_now();
        }
        clock.advance(30 * SECOND);
    }
    let delay = Some(30 * SECOND);
    let expected = [(1, delay), (2, delay), (3, delay), (4, None)];
    assert_eq!(*seen.lock().unwrap(), expected);
    assert_eq!(*results.0.lock().unwrap(), [ReconcileResult::Error; 4]);
    assert!(queue.snapshot().is_empty(), "given up");
    assert!(queue.close().returned.is_empty());
    workers.stopped().wait();
}

#[test]
fn a_program_can_see_which_key_failed_and_why() {
    let (failures, dead) = (Arc::new(Mutex::new(vec![])), Arc::new(Mutex::new(vec![])));
    let (told, letters) = (Arc::clone(&failures), Arc::clone(&dead));
    let backoff = FixedBackoff::new(Duration::ZERO);
    let builder = WorkQueue::builder(100).max_attempts(2).backoff(backoff);
    let queue = builder.build().unwrap();
    let reconcile = async |request: Request<'_, u32>| match *request {
        7 => panic!("no probe in object {}", *request),
        8 => Err("not ready".into()),
        9 => Err(ReconcileError::terminal("no such zone")),
        _ => Ok(Action::done()),
    };
    let workers = Controller::new(queue.clone(), reconcile)
        .on_failure(move |failure| {
            let panicked = matches!(failure.cause(), Cause::Panic(_));
            let line = format!("{} {}", failure.key(), failure.cause());
            told.lock().unwrap().push((line, panicked));
        })
        .dead_letters(move |key| letters.lock().unwrap().push(key))
        .spawn_threads(1);
    assert!(queue.try_add_batch(0..10, AddOptions::new()).is_empty());
    while !queue.snapshot().is_empty() {
        thread::yield_now();
    }
    assert!(queue.close().returned.is_empty());
    workers.stopped().wait();
    let mut failures = std::mem::take(&mut *failures.lock().unwrap());
    failures.sort();
    let panicked = ("7 panicked: no probe in object 7".to_owned(), true);
    let failed = ("8 not ready".to_owned(), false);
    assert_eq!(
        failures[..4],
        [panicked.clone(), panicked, failed.clone(), failed]
    );
    assert_eq!(failures[4..], [("9 no such zone".to_owned(), false)]);
    let mut dead = std::mem::take(&mut *dead.lock().unwrap());
    dead.sort_unstable();
    assert_eq!(dead, [7, 8, 9]);
}

#[test]
fn a_hook_that_panics_loses_no_key() {
    let (builder, _) = builder();
    let queue = builder.max_attempts(1).build().unwrap();
    let fails = async |_: Request<'_, &'static str>| Err::<Action, _>("busy".into());
    let workers = Controller::new(queue.clone(), fails)
        .on_failure(|_| panic!("on purpose"))
        .spawn_threads(1);
    queue.try_add("key").unwrap();
    while queue.stats().delayed == 0 {
        thread::yield_now();
    }
    assert_eq!(queue.close().returned, ["key"], "it is retried");
    workers.stopped().wait();
}
