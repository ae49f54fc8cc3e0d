//! Series of the `metrics` facade, under the names that dashboards of Kubernetes controllers read.
//!
//! [`MetricsObserver`] follows events; [`Gauges`] reads the state. The names are those of client-go's
//! work queue and of controller-runtime, but for the series marked with a star, which neither has.
//!
//! | series | kind | what it records |
//! |---|---|---|
//! | `workqueue_adds_total` | counter | adds that took effect |
//! | `workqueue_coalesced_total` * | counter | adds of keys that were to run already |
//! | `workqueue_rejected_total` * | counter | adds that a full or closed queue refused |
//! | `workqueue_retries_total` | counter | runs that ended with a requeue or a retry |
//! | `workqueue_deferred_total` * | counter | runs that were deferred |
//! | `workqueue_given_up_total` * | counter | keys that failed their last attempt |
//! | `workqueue_failed_total` * | counter | keys that ended with a terminal failure |
//! | `workqueue_queue_duration_seconds` | histogram | how long a key was ready before its run |
//! | `workqueue_work_duration_seconds` | histogram | how long a run took |
//! | `workqueue_depth` | gauge | ready keys |
//! | `workqueue_delayed_items` * | gauge | delayed keys |
//! | `workqueue_capacity` * | gauge | the largest number of live keys |
//! | `workqueue_unfinished_work_seconds` | gauge | the ages of all runs in process, added up |
//! | `workqueue_longest_running_processor_seconds` | gauge | the age of the oldest run |
//! | `controller_runtime_reconcile_total` | counter | reconciles, by `result` |
//! | `controller_runtime_reconcile_errors_total` | counter | reconciles that failed, panicked or timed out |
//! | `controller_runtime_terminal_reconcile_errors_total` | counter | those with a terminal error |
//! | `controller_runtime_reconcile_panics_total` | counter | those that panicked |
//! | `controller_runtime_reconcile_time_seconds` | histogram | how long a reconcile took |
//! | `controller_runtime_max_concurrent_reconciles` | gauge | the target number of workers |
//! | `controller_runtime_active_workers` | gauge | keys in process |
//!
//! All have the label `controller`; those of the queue also have `name`, with the same value.

use std::time::Duration;

use ::metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use crate::clock::Clock;
use crate::controller::Workers;
use crate::observe::{Observer, ReconcileResult};
use crate::queue::WorkQueue;

/// The bucket bounds of the queue's histograms, in seconds: 12 from 10^-8 by factors of 10, as in
/// client-go. Configure them in the recorder for the two `workqueue_*_duration_seconds`.
pub const QUEUE_BUCKETS: [f64; 12] = [
    1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0, 1000.0,
];

/// Records the events of a queue and its controller in the recorder that is installed when it is
/// created. Every counter starts at 0.
///
/// Counters and histograms follow events. Gauges are read from the queue and the workers by
/// [`Gauges::record`]: call that when the recorder is scraped.
///
/// ```
/// use std::sync::Arc;
/// use tollgate::WorkQueue;
/// use tollgate::integrations::metrics::MetricsObserver;
///
/// let observer = Arc::new(MetricsObserver::new("databases"));
/// let queue = WorkQueue::builder(100).observer(observer).build()?;
/// queue.try_add("key").unwrap();
/// assert_eq!(queue.stats().ready, 1);
/// # Ok::<(), tollgate::QueueError>(())
/// ```
#[derive(Debug)]
pub struct MetricsObserver {
    adds: Counter,
    coalesced: Counter,
    rejected: Counter,
    retries: Counter,
    deferred: Counter,
    given_up: Counter,
    failed: Counter,
    queue_duration: Histogram,
    work_duration: Histogram,
    /// Indexed by [`RESULTS`].
    reconciles: [Counter; 4],
    errors: Counter,
    terminal_errors: Counter,
    panics: Counter,
    reconcile_time: Histogram,
}

const RESULTS: [&str; 4] = ["success", "error", "requeue", "requeue_after"];

impl MetricsObserver {
    /// Creates the observer of the queue and the controller called `name`, the value of their
    /// labels `name` and `controller`.
    pub fn new(name: &str) -> Self {
        let (queue, controller) = labels(name);
        let of_queue = |name: &'static str| started(counter!(name, &queue));
        let of_controller = |name: &'static str| started(counter!(name, &controller));
        Self {
            adds: of_queue("workqueue_adds_total"),
            coalesced: of_queue("workqueue_coalesced_total"),
            rejected: of_queue("workqueue_rejected_total"),
            retries: of_queue("workqueue_retries_total"),
            deferred: of_queue("workqueue_deferred_total"),
            given_up: of_queue("workqueue_given_up_total"),
            failed: of_queue("workqueue_failed_total"),
            queue_duration: histogram!("workqueue_queue_duration_seconds", &queue),
            work_duration: histogram!("workqueue_work_duration_seconds", &queue),
            reconciles: RESULTS.map(|result| {
                let labels = [controller[0].clone(), ("result", result.to_owned())];
                started(counter!("controller_runtime_reconcile_total", &labels))
            }),
            errors: of_controller("controller_runtime_reconcile_errors_total"),
            terminal_errors: of_controller("controller_runtime_terminal_reconcile_errors_total"),
            panics: of_controller("controller_runtime_reconcile_panics_total"),
            reconcile_time: histogram!("controller_runtime_reconcile_time_seconds", &controller),
        }
    }
}

/// Adds 0 to a counter: a recorder exports a series once it was recorded.
fn started(counter: Counter) -> Counter {
    counter.increment(0);
    counter
}

impl Observer for MetricsObserver {
    fn added(&self) {
        self.adds.increment(1);
    }

    fn coalesced(&self) {
        self.coalesced.increment(1);
    }

    fn rejected(&self) {
        self.rejected.increment(1);
    }

    fn started(&self, queued: Duration) {
        self.queue_duration.record(queued);
    }

    fn finished(&self, worked: Duration) {
        self.work_duration.record(worked);
    }

    fn retried(&self) {
        self.retries.increment(1);
    }

    fn gave_up(&self) {
        self.given_up.increment(1);
    }

    fn deferred(&self) {
        self.deferred.increment(1);
    }

    fn failed(&self) {
        self.failed.increment(1);
    }

    fn reconciled(&self, result: ReconcileResult, took: Duration) {
        self.reconcile_time.record(took);
        let label = result.label();
        let of_result = RESULTS.iter().position(|other| *other == label);
        if let Some(of_result) = of_result {
            self.reconciles[of_result].increment(1);
        }
        if label == "error" {
            self.errors.increment(1);
        }
        match result {
            ReconcileResult::TerminalError => self.terminal_errors.increment(1),
            ReconcileResult::Panic => self.panics.increment(1),
            _ => {}
        }
    }
}

/// The gauges of a queue and its controller.
///
/// ```
/// use tollgate::integrations::metrics::Gauges;
/// use tollgate::{Action, Controller, ReconcileError, Request, WorkQueue};
///
/// async fn reconcile(_: Request<'_, u64>) -> Result<Action, ReconcileError> {
///     Ok(Action::done())
/// }
///
/// let queue = WorkQueue::<u64>::new(100)?;
/// let workers = Controller::new(queue.clone(), reconcile).spawn_threads(2);
/// let gauges = Gauges::new("numbers");
/// gauges.record(&queue, &workers); // whenever the recorder is scraped
/// # Ok::<(), tollgate::QueueError>(())
/// ```
#[derive(Debug)]
pub struct Gauges {
    depth: Gauge,
    delayed: Gauge,
    capacity: Gauge,
    unfinished: Gauge,
    longest: Gauge,
    max_concurrent: Gauge,
    active: Gauge,
}

impl Gauges {
    /// Creates the gauges of the queue and the controller called `name`, in the recorder that is
    /// installed now.
    pub fn new(name: &str) -> Self {
        let (queue, controller) = labels(name);
        Self {
            depth: gauge!("workqueue_depth", &queue),
            delayed: gauge!("workqueue_delayed_items", &queue),
            capacity: gauge!("workqueue_capacity", &queue),
            unfinished: gauge!("workqueue_unfinished_work_seconds", &queue),
            longest: gauge!("workqueue_longest_running_processor_seconds", &queue),
            max_concurrent: gauge!("controller_runtime_max_concurrent_reconciles", &controller),
            active: gauge!("controller_runtime_active_workers", &controller),
        }
    }

    /// Sets the gauges to the current state.
    pub fn record<K, C: Clock, S>(&self, queue: &WorkQueue<K, C, S>, workers: &Workers<K, C, S>) {
        let stats = queue.stats();
        self.depth.set(count(stats.ready));
        self.delayed.set(count(stats.delayed));
        self.capacity.set(count(stats.capacity));
        self.unfinished.set(stats.unfinished);
        self.longest.set(stats.longest_running);
        self.max_concurrent.set(count(workers.target()));
        self.active.set(count(stats.processing));
    }
}

type Labels<const N: usize> = [(&'static str, String); N];

/// Returns the labels of a queue's series, and of a controller's.
fn labels(name: &str) -> (Labels<2>, Labels<1>) {
    let controller = ("controller", name.to_owned());
    (
        [("name", name.to_owned()), controller.clone()],
        [controller],
    )
}

/// Exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
fn count(n: usize) -> f64 {
    n as f64
}
