//! The controller: what becomes of a key by each way a reconcile can end, on threads and as tasks,
//! and how the pool of workers grows, shrinks and ends.

#![allow(missing_docs)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use tollgate::{
    Action, Clock, Controller, ManualClock, Observer, ReconcileError, ReconcileResult, Reconciler,
    Request, WorkQueue, Workers,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// Does what the key says.
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
            "terminal" => Err(ReconcileError::terminal("no sense")),
            "panics" => std::panic::resume_unwind(Box::new("on purpose")),
            "hangs" => std::future::pending().await,
            _ => Ok(Action::done()),
        }
    }
}

#[derive(Default)]
struct Results(Mutex<Vec<ReconcileResult>>);

impl Observer for Results {
    fn reconciled(&self, result: ReconcileResult, _: Duration) {
        self.0.lock().unwrap().push(result);
    }
}

struct Scene {
    queue: WorkQueue<&'static str, ManualClock>,
    clock: ManualClock,
    results: Arc<Results>,
}

impl Scene {
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

    /// Runs one key once; says how it ended and whether it will run again.
    fn once(key: &'static str) -> (ReconcileResult, bool) {
        let scene = Self::new();
        let workers = scene.controller().spawn_threads(1);
        scene.queue.try_add(key).unwrap();
        if key == "hangs" {
            // The limit is the only thing that waits for a time.
            spin_until(|| scene.clock.next_deadline().is_some());
            scene.clock.advance(Duration::from_secs(5));
        }
        spin_until(|| !scene.results.0.lock().unwrap().is_empty());
        let again = !scene.queue.close().returned.is_empty();
        workers.stopped().wait();
        let first = scene.results.0.lock().unwrap()[0];
        (first, again)
    }
}

/// Waits for what another thread is about to do.
fn spin_until(condition: impl Fn() -> bool) {
    while !condition() {
        std::thread::yield_now();
    }
}

#[test]
fn each_way_to_end() {
    assert_eq!(Scene::once("done"), (ReconcileResult::Success, false));
    assert_eq!(Scene::once("later"), (ReconcileResult::RequeueAfter, true));
    assert_eq!(Scene::once("fails"), (ReconcileResult::Error, true));
    assert_eq!(
        Scene::once("terminal"),
        (ReconcileResult::TerminalError, false)
    );
    assert_eq!(Scene::once("panics"), (ReconcileResult::Panic, true));
    assert_eq!(Scene::once("hangs"), (ReconcileResult::Timeout, true));
}

#[test]
fn a_retry_succeeds_and_clears_the_failures() {
    let scene = Scene::new();
    let workers = scene.controller().spawn_threads(2);
    scene.queue.try_add("fails once").unwrap();
    spin_until(|| scene.clock.next_deadline().is_some());
    scene.clock.advance(Duration::from_millis(5));
    spin_until(|| scene.results.0.lock().unwrap().len() == 2);
    assert_eq!(
        *scene.results.0.lock().unwrap(),
        [ReconcileResult::Error, ReconcileResult::Success]
    );
    assert!(workers.drain(PATIENCE).wait().returned.is_empty());
}

#[test]
fn the_pool_grows_and_shrinks_while_it_runs() {
    let scene = Scene::new();
    let workers = scene.controller().spawn_threads(2);
    workers.resize(6);
    assert_eq!((workers.target(), workers.running()), (6, 6));
    // Idle workers end without a key to wake them; exactly as many as are too many.
    workers.resize(3);
    spin_until(|| workers.running() == 3);
    workers.resize(0);
    workers.stopped().wait();
    scene.queue.try_add("done").unwrap();
    assert_eq!(scene.queue.stats().ready, 1, "nobody works");
    workers.resize(1);
    assert!(workers.drain(PATIENCE).wait().complete());
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
    assert!(workers.drain(PATIENCE).wait().complete());
    workers.stopped().wait();
    assert_eq!(workers.requests(), 5);
}

#[test]
fn threads_and_tasks_do_the_same() {
    let scene = Scene::new();
    assert_all_run(&scene.queue, &scene.controller().spawn_threads(3));

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
    assert_eq!(queue.close().returned, ["hangs"], "as a retry");
}

#[test]
fn a_backoff_that_panics_loses_nothing() {
    let backoff =
        |_: u32, _: u64| -> Duration { std::panic::resume_unwind(Box::new("on purpose")) };
    let queue = WorkQueue::builder(8).backoff(backoff).build().unwrap();
    queue.try_add("key").unwrap();
    let work = queue.try_get().unwrap();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work.retry()));
    assert!(panicked.is_err());
    assert_eq!(
        queue.close().returned,
        ["key"],
        "it waits by the default backoff"
    );
}

/// Wakes itself, and then parks: the token of the wake-up is gone when the worker looks for it.
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
    assert!(workers.drain(PATIENCE).wait().complete());
}

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        std::panic::resume_unwind(Box::new("on purpose"));
    }
}

/// Of its first key, waits for ever with something that panics when it is dropped.
#[derive(Default)]
struct Booby(AtomicUsize);

impl Reconciler<&'static str> for Booby {
    async fn reconcile(&self, _: Request<'_, &'static str>) -> Result<Action, ReconcileError> {
        if self.0.fetch_add(1, Ordering::SeqCst) == 0 {
            let _bomb = Bomb;
            std::future::pending::<()>().await;
        }
        Ok(Action::done())
    }
}

#[test]
fn a_worker_outlives_a_future_that_panics_when_it_is_dropped() {
    let scene = Scene::new();
    let controller = Controller::new(scene.queue.clone(), Booby::default());
    let controller = controller.timeout(Duration::from_secs(5));
    let workers = controller.observer(scene.results.clone()).spawn_threads(1);
    scene.queue.try_add("first").unwrap();
    spin_until(|| scene.clock.next_deadline().is_some());
    scene.clock.advance(Duration::from_secs(5));
    scene.queue.try_add("second").unwrap();
    spin_until(|| scene.results.0.lock().unwrap().len() == 2);
    assert_eq!(
        *scene.results.0.lock().unwrap(),
        [ReconcileResult::Panic, ReconcileResult::Success]
    );
    assert_eq!(workers.drain(PATIENCE).wait().returned, ["first"]);
}

/// Panics at the first thing that it is told.
#[derive(Default)]
struct Fragile(AtomicUsize);

impl Observer for Fragile {
    fn started(&self, _: Duration) {
        if self.0.fetch_add(1, Ordering::SeqCst) == 0 {
            std::panic::resume_unwind(Box::new("on purpose"));
        }
    }

    fn reconciled(&self, _: ReconcileResult, _: Duration) {
        if self.0.fetch_add(1, Ordering::SeqCst) == 0 {
            std::panic::resume_unwind(Box::new("on purpose"));
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
    // Once as the controller's observer, and once as the queue's.
    for (threads, of_the_queue) in [(true, false), (false, false), (true, true), (false, true)] {
        let mut builder = WorkQueue::builder(8).backoff(|_: u32, _: u64| Duration::ZERO);
        if of_the_queue {
            builder = builder.observer(Arc::new(Fragile::default()));
        }
        let queue = builder.build().unwrap();
        let mut controller = Controller::new(queue.clone(), Scripted::default());
        if !of_the_queue {
            controller = controller.observer(Arc::new(Fragile::default()));
        }
        let handle = handle.clone();
        let workers = if threads {
            controller.spawn_threads(1)
        } else {
            controller.spawn_tasks(1, move |worker| drop(handle.spawn(worker)))
        };
        queue.try_add("done").unwrap();
        queue.try_add("then").unwrap();
        assert!(workers.drain(PATIENCE).wait().complete());
        assert_eq!(workers.requests(), 2);
    }
}

#[test]
fn workers_that_cannot_be_started_are_not_counted() {
    let scene = Scene::new();
    let started = Arc::new(AtomicUsize::new(0));
    let count = started.clone();
    let workers = scene.controller().spawn_tasks(2, move |worker| {
        assert!(count.fetch_add(1, Ordering::SeqCst) < 3, "no more");
        std::thread::spawn(move || futures_executor::block_on(worker));
    });
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| workers.resize(6)));
    assert!(panicked.is_err());
    assert_eq!((workers.target(), workers.running()), (6, 3));
    workers.resize(0);
    workers.stopped().wait();
    assert_eq!(workers.running(), 0);
}
