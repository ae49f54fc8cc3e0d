//! What a program learns of failures: the failure hook, dead letters, and an error with its own delay.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tollgate::controller::Cause;
use tollgate::{
    Action, AddOptions, Controller, FixedBackoff, ManualClock, ReconcileError, ReconcileResult,
    Request, WorkQueue,
};

use crate::Results;

const RETRY_AFTER: Duration = Duration::from_secs(30);

#[test]
fn an_error_with_its_own_delay_counts_as_a_failure() {
    let clock = ManualClock::new();
    let builder = WorkQueue::builder(8).clock(clock.clone());
    let queue = builder.max_attempts(4).build().unwrap();
    let (results, seen) = (Arc::new(Results::default()), Arc::new(Mutex::new(vec![])));
    let seen_by_hook = Arc::clone(&seen);
    let busy = async |_: Request<'_, &'static str>| {
        let error = ReconcileError::retry_after(RETRY_AFTER, "503");
        Err::<Action, _>(error)
    };
    let workers = Controller::new(queue.clone(), busy)
        .observer(results.clone())
        .on_failure(move |failure| {
            let seen_by_hook = &mut seen_by_hook.lock().unwrap();
            seen_by_hook.push((failure.attempt(), failure.retry_after()));
        })
        .spawn_threads(1);
    queue.try_add("key").unwrap();
    for run in 1..=4 {
        while results.len() < run {
            thread::yield_now();
        }
        clock.advance(RETRY_AFTER);
    }
    let delay = Some(RETRY_AFTER);
    let expected = [(1, delay), (2, delay), (3, delay), (4, None)];
    assert_eq!(*seen.lock().unwrap(), expected);
    assert_eq!(*results.0.lock().unwrap(), [ReconcileResult::Error; 4]);
    assert!(queue.snapshot().is_empty(), "the key was given up");
    assert!(queue.close().returned.is_empty());
    workers.stopped().wait();
}

#[test]
fn the_failure_hook_names_key_and_cause_and_dead_letters_get_the_key() {
    let (failures, dead) = (Arc::new(Mutex::new(vec![])), Arc::new(Mutex::new(vec![])));
    let (seen_by_hook, letters) = (Arc::clone(&failures), Arc::clone(&dead));
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
            seen_by_hook.lock().unwrap().push((line, panicked));
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
fn a_panicking_failure_hook_loses_no_key() {
    let builder = WorkQueue::builder(8).clock(ManualClock::new());
    let queue = builder.max_attempts(1).build().unwrap();
    let fails = async |_: Request<'_, &'static str>| Err::<Action, _>("busy".into());
    let workers = Controller::new(queue.clone(), fails)
        .on_failure(|_| panic!("injected"))
        .spawn_threads(1);
    queue.try_add("key").unwrap();
    while queue.stats().delayed == 0 {
        thread::yield_now();
    }
    assert_eq!(queue.close().returned, ["key"], "the key is retried");
    workers.stopped().wait();
}
