//! Allocations of the queue: none in a run of a key, in an add of a live key or in a wake-up; none left behind.
#![cfg(not(tollgate_loom))]

#[allow(dead_code, reason = "shared with other tests")]
#[path = "model/tasks.rs"]
mod tasks;

use std::time::Duration;

use allocation_counter::measure;
use tasks::Polled;
use tollgate::{ManualClock, Priority, Work, WorkQueue};

type Held = Work<u64, ManualClock>;
type Outcome = fn(Held);

#[test]
fn no_outcome_of_a_run_allocates() {
    let clock = ManualClock::new();
    let backoff = |_: u32, _: u64| Duration::from_millis(5);
    let builder = WorkQueue::builder(1_000).clock(clock.clone());
    let queue = builder.backoff(backoff).build().unwrap();
    let outcomes: [(&str, Outcome); 7] = [
        ("done", Held::done),
        ("fail", |work| {
            let _ = work.fail();
        }),
        ("defer", |work| work.defer(Duration::from_secs(1))),
        ("requeue", Held::requeue),
        ("requeue_after", |work| {
            work.requeue_after(Duration::from_secs(1 << 30))
        }),
        ("retry", |work| assert!(work.retry().is_none())),
        ("drop", drop),
    ];
    for (name, finish) in outcomes {
        for added_during_the_run in [false, true] {
            for key in 0..900 {
                queue.try_add_with(key, Priority::LOW).unwrap();
            }
            let held: Vec<_> = std::iter::from_fn(|| queue.try_get()).collect();
            let allocated = measure(|| {
                for work in held {
                    if added_during_the_run {
                        queue.try_add_with(*work, Priority::HIGH).unwrap();
                    }
                    finish(work);
                }
            });
            assert_eq!(allocated.count_total, 0, "{name}, {added_during_the_run}");
            // All keys stayed live, so no step needed new room.
            for key in 0..900 {
                queue.remove(&key);
            }
        }
    }
}

#[test]
fn handing_out_a_key_that_owns_memory_does_not_clone_it() {
    let queue = WorkQueue::new(8).unwrap();
    queue.try_add(String::from("key")).unwrap();
    let allocated = measure(|| {
        let work = queue.try_get().unwrap();
        assert_eq!(*work, "key");
        work.requeue();
        let work = queue.try_get().unwrap();
        assert!(work.done_and_get().is_none());
    });
    assert_eq!(allocated.count_total, 0);
}

#[test]
fn a_dropped_queue_frees_all_its_memory() {
    for keys in [1, 16, 17, 1_000] {
        let left = measure(|| {
            let queue = WorkQueue::new(2_000).unwrap();
            for key in 0..keys {
                queue.try_add(key.to_string()).unwrap();
            }
            queue.try_get().unwrap().done();
        });
        assert_eq!((left.count_current, left.bytes_current), (0, 0), "{keys}");
    }
}

#[test]
fn waking_a_waiter_allocates_nothing() {
    let clock = ManualClock::new();
    let queue = WorkQueue::builder(8).clock(clock).build().unwrap();
    queue.try_add(1_u64).unwrap();
    let work = queue.try_get().unwrap();
    let dirtied = Polled::pending(work.dirtied());
    let getter = Polled::pending(queue.get());
    let allocated = measure(|| queue.try_add(1).unwrap());
    assert_eq!((allocated.count_total, dirtied.woken()), (0, 1));
    drop(dirtied);
    let allocated = measure(|| work.done());
    assert_eq!((allocated.count_total, getter.woken()), (0, 1));
}
