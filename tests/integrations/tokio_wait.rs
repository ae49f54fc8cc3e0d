//! `wait` on the threads of a tokio runtime: it panics where it would block the runtime, and waits
//! elsewhere.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::task::{block_in_place, spawn_blocking};
use tollgate::{TimedOut, WorkQueue};

fn one_thread() -> Runtime {
    Builder::new_current_thread().build().unwrap()
}

fn many_threads() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap()
}

/// Whether `wait` gets a key that another thread adds.
fn waits() -> bool {
    let queue = WorkQueue::new(8).unwrap();
    let producer = queue.clone();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        producer.add(7).wait().unwrap();
    });
    let got = queue.get().wait().is_some_and(|work| *work == 7);
    thread.join().unwrap();
    got
}

/// Whether a wait that would block panics with its advice.
fn panics() -> bool {
    let says = |wait: &dyn Fn()| {
        let panic = catch_unwind(AssertUnwindSafe(wait)).expect_err("the wait blocks");
        let line = panic.downcast_ref::<&str>().copied().unwrap_or_default();
        line.contains("`.await` the operation") && line.contains("spawn_blocking")
    };
    let queue = WorkQueue::<u32>::new(1).unwrap();
    let soon = Duration::from_millis(5);
    let waits = says(&|| drop(queue.get().wait()));
    let waits_for_a_time = says(&|| drop(queue.get().wait_timeout(soon)));
    // The wait that panicked is cancelled, and an operation that need not wait succeeds.
    queue.add(1).wait().unwrap();
    assert_eq!(*queue.get().wait().unwrap(), 1);
    let none = queue.get().wait_timeout(Duration::ZERO);
    assert_eq!(none.map(drop), Err(TimedOut));
    waits && waits_for_a_time
}

#[test]
fn wait_panics_on_the_thread_of_block_on() {
    assert!(one_thread().block_on(async { panics() }));
    assert!(many_threads().block_on(async { panics() }));
}

#[test]
fn wait_panics_on_a_worker_thread() {
    let runtime = many_threads();
    let task = runtime.spawn(async { panics() });
    assert!(runtime.block_on(task).unwrap());
    let runtime = one_thread();
    let task = runtime.spawn(async { panics() });
    assert!(runtime.block_on(task).unwrap());
}

#[test]
fn wait_blocks_on_a_thread_of_the_blocking_pool() {
    let runtime = many_threads();
    assert!(runtime.block_on(runtime.spawn_blocking(waits)).unwrap());
    let task = runtime.spawn(async { block_in_place(waits) });
    assert!(runtime.block_on(task).unwrap());
    let in_runtime = one_thread().block_on(async { spawn_blocking(waits).await });
    assert!(in_runtime.unwrap());
}

#[test]
fn wait_blocks_on_a_thread_outside_a_runtime() {
    assert!(waits());
    let runtime = one_thread();
    let _entered = runtime.enter();
    assert!(waits());
}
