//! The result of each way a reconcile can end, on threads and as tasks; and how the pool of workers grows,
//! shrinks and survives panics.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use tollgate::{
    Action, Clock, Controller, ManualClock, Observer, ReconcileError, ReconcileResult, Reconciler,
    Request, WorkQueue, Workers,
};

use crate::Results;

/// Only a hang takes this long.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(60);

/// A reconciler whose result is named by the key.
#[derive(Default)]
struct Scripted {
    runs: AtomicUsize,
}

impl Reconciler<&'static str> for Scripted {
    async fn reconcile(
        &self,
        request: Request<'_, &'static str>,
    ) -> Result<Action, ReconcileError> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        match *request.key() {
            "done" => Ok(Action::done()),
            "later" => Ok(Action::requeue_after(Duration::from_secs(30))),
            "fails" => Err("busy".into()),
            "fails once" if request.failures() == 0 => Err("busy".into()),
            "terminal" => Err(ReconcileError::terminal("invalid")),
            "panics" => std::panic::resume_unwind(Box::new("injected")),
            "hangs" => std::future::pending().await,
            _ => Ok(Action::done()),
        }
    }
}

struct Setup {
    queue: WorkQueue<&'static str, ManualClock>,
    clock: ManualClock,
    results: Arc<Results>,
}

impl Setup {
    fn new() -> Self {
        let clock = ManualClock::new();
        let queue = WorkQueue::builder(100)
            .clock(clock.clone())
            .build()
            .unwrap();
        Self {
            queue,
            clock,
            results: Arc::default(),
        }
    }

    fn controller(&self) -> Controller<&'static str, Scripted, ManualClock> {
        let controller = Controller::new(self.queue.clone(), Scripted::default());
        controller
            .timeout(Duration::from_secs(5))
            .observer(self.results.clone())
    }

    /// Runs one key once; returns the result, and whether the key is to run again.
    fn once(key: &'static str) -> (ReconcileResult, bool) {
        let setup = Self::new();
        let workers = setup.controller().spawn_threads(1);
        setup.queue.try_add(key).unwrap();
        if key == "hangs" {
            // Only the timeout of the reconcile sets a timer.
            spin_until(|| setup.clock.next_deadline().is_some());
            setup.clock.advance(Duration::from_secs(5));
        }
        spin_until(|| !setup.results.0.lock().unwrap().is_empty());
        let again = !setup.queue.close().returned.is_empty();
        workers.stopped().wait();
        let first = setup.results.0.lock().unwrap()[0];
        (first, again)
    }
}

/// Spins until another thread makes the condition true.
fn spin_until(condition: impl Fn() -> bool) {
    while !condition() {
        std::thread::yield_now();
    }
}

#[test]
fn each_outcome_has_its_result_and_its_requeue() {
    assert_eq!(Setup::once("done"), (ReconcileResult::Success, false));
    assert_eq!(Setup::once("later"), (ReconcileResult::RequeueAfter, true));
    assert_eq!(Setup::once("fails"), (ReconcileResult::Error, true));
    assert_eq!(
        Setup::once("terminal"),
        (ReconcileResult::TerminalError, false)
    );
    assert_eq!(Setup::once("panics"), (ReconcileResult::Panic, true));
    assert_eq!(Setup::once("hangs"), (ReconcileResult::Timeout, true));
}

#[test]
fn a_retry_succeeds_and_clears_the_failures() {
    let setup = Setup::new();
    let workers = setup.controller().spawn_threads(2);
    setup.queue.try_add("fails once").unwrap();
    spin_until(|| setup.clock.next_deadline().is_some());
    setup.clock.advance(Duration::from_millis(5));
    spin_until(|| setup.results.0.lock().unwrap().len() == 2);
    assert_eq!(
        *setup.results.0.lock().unwrap(),
        [ReconcileResult::Error, ReconcileResult::Success]
    );
    assert!(workers.drain(DRAIN_TIMEOUT).wait().returned.is_empty());
}

#[test]
fn the_pool_grows_and_shrinks_while_it_runs() {
    let setup = Setup::new();
    let workers = setup.controller().spawn_threads(2);
    workers.resize(6);
    assert_eq!((workers.target(), workers.running()), (6, 6));
    // Surplus workers end though they are idle, and no other worker ends.
    workers.resize(3);
    spin_until(|| workers.running() == 3);
    workers.resize(0);
    workers.stopped().wait();
    setup.queue.try_add("done").unwrap();
    assert_eq!(setup.queue.stats().ready, 1, "the pool is empty");
    workers.resize(1);
    assert!(workers.drain(DRAIN_TIMEOUT).wait().complete());
    workers.stopped().wait();
    assert_eq!(workers.running(), 0);
}

fn assert_all_run<C: Clock>(
    queue: &WorkQueue<&'static str, C>,
    workers: &Workers<&'static str, C>,
) {
    for key in ["a", "b", "c", "d", "e"] {
        queue.try_add(key).unwrap();
    }
    assert!(workers.drain(DRAIN_TIMEOUT).wait().complete());
    workers.stopped().wait();
    assert_eq!(workers.requests(), 5);
}

#[test]
fn threads_and_tasks_process_all_keys() {
    let setup = Setup::new();
    assert_all_run(&setup.queue, &setup.controller().spawn_threads(3));

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    let queue = WorkQueue::new(100).unwrap();
    let controller = Controller::new(queue.clone(), Scripted::default());
    let handle = runtime.handle().clone();
    let workers = controller.spawn_tasks(3, move |worker| {
        handle.spawn(worker);
    });
    assert_all_run(&queue, &workers);
}

#[test]
fn a_runtime_that_drops_its_tasks_loses_no_key() {
    let queue = WorkQueue::new(100).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .unwrap();
    let handle = runtime.handle().clone();
    let workers =
        Controller::new(queue.clone(), Scripted::default()).spawn_tasks(2, move |worker| {
            handle.spawn(worker);
        });
    queue.try_add("hangs").unwrap();
    spin_until(|| queue.stats().processing == 1);
    drop(runtime);
    workers.stopped().wait();
    assert_eq!(
        queue.close().returned,
        ["hangs"],
        "the key of the dropped task is retried"
    );
}

/// Wakes itself and then parks, which consumes the unpark token before the worker parks.
struct Parks;

impl Reconciler<&'static str> for Parks {
    async fn reconcile(&self, _: Request<'_, &'static str>) -> Result<Action, ReconcileError> {
        let mut parked = false;
        std::future::poll_fn(|cx| {
            if std::mem::replace(&mut parked, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            std::thread::park();
            Poll::Pending
        })
        .await;
        Ok(Action::done())
    }
}

#[test]
fn a_reconcile_that_parks_its_thread_is_still_woken() {
    let queue = WorkQueue::new(8).unwrap();
    let workers = Controller::new(queue.clone(), Parks).spawn_threads(1);
    queue.try_add("key").unwrap();
    assert!(workers.drain(DRAIN_TIMEOUT).wait().complete());
}

struct PanicsOnDrop;

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        std::panic::resume_unwind(Box::new("injected"));
    }
}

/// On its first run never completes, and holds a value whose drop panics.
#[derive(Default)]
struct HangsOnce(AtomicUsize);

impl Reconciler<&'static str> for HangsOnce {
    async fn reconcile(&self, _: Request<'_, &'static str>) -> Result<Action, ReconcileError> {
        if self.0.fetch_add(1, Ordering::SeqCst) == 0 {
            let _dropped = PanicsOnDrop;
            std::future::pending::<()>().await;
        }
        Ok(Action::done())
    }
}

#[test]
fn a_worker_outlives_a_future_whose_drop_panics() {
    let setup = Setup::new();
    let controller = Controller::new(setup.queue.clone(), HangsOnce::default());
    let controller = controller.timeout(Duration::from_secs(5));
    let workers = controller.observer(setup.results.clone()).spawn_threads(1);
    setup.queue.try_add("first").unwrap();
    spin_until(|| setup.clock.next_deadline().is_some());
    setup.clock.advance(Duration::from_secs(5));
    setup.queue.try_add("second").unwrap();
    spin_until(|| setup.results.0.lock().unwrap().len() == 2);
    assert_eq!(
        *setup.results.0.lock().unwrap(),
        [ReconcileResult::Panic, ReconcileResult::Success]
    );
    assert_eq!(workers.drain(DRAIN_TIMEOUT).wait().returned, ["first"]);
}

/// An observer that panics at its first event.
#[derive(Default)]
struct PanicsOnce(AtomicUsize);

impl Observer for PanicsOnce {
    fn started(&self, _: Duration) {
        if self.0.fetch_add(1, Ordering::SeqCst) == 0 {
            std::panic::resume_unwind(Box::new("injected"));
        }
    }

    fn reconciled(&self, _: ReconcileResult, _: Duration) {
        if self.0.fetch_add(1, Ordering::SeqCst) == 0 {
            std::panic::resume_unwind(Box::new("injected"));
        }
    }
}

#[test]
fn a_worker_outlives_an_observer_that_panics() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .unwrap();
    let handle = runtime.handle().clone();
    // As the observer of the controller, and as that of the queue.
    for (threads, of_the_queue) in [(true, false), (false, false), (true, true), (false, true)] {
        let mut builder = WorkQueue::builder(8).backoff(|_: u32, _: u64| Duration::ZERO);
        if of_the_queue {
            builder = builder.observer(Arc::new(PanicsOnce::default()));
        }
        let queue = builder.build().unwrap();
        let mut controller = Controller::new(queue.clone(), Scripted::default());
        if !of_the_queue {
            controller = controller.observer(Arc::new(PanicsOnce::default()));
        }
        let handle = handle.clone();
        let workers = if threads {
            controller.spawn_threads(1)
        } else {
            controller.spawn_tasks(1, move |worker| drop(handle.spawn(worker)))
        };
        queue.try_add("done").unwrap();
        queue.try_add("then").unwrap();
        assert!(workers.drain(DRAIN_TIMEOUT).wait().complete());
        assert_eq!(workers.requests(), 2);
    }
}

#[test]
fn workers_that_fail_to_start_are_not_counted() {
    let setup = Setup::new();
    let started = Arc::new(AtomicUsize::new(0));
    let count = started.clone();
    let workers = setup.controller().spawn_tasks(2, move |worker| {
        assert!(
            count.fetch_add(1, Ordering::SeqCst) < 3,
            "the runtime is full"
        );
        std::thread::spawn(move || futures_executor::block_on(worker));
    });
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| workers.resize(6)));
    assert!(panicked.is_err());
    assert_eq!((workers.target(), workers.running()), (6, 3));
    workers.resize(0);
    workers.stopped().wait();
    assert_eq!(workers.running(), 0);
}
