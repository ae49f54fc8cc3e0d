//! The series that dashboards read, each by its name and labels, from zero on.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use metrics::{
    Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use tollgate::integrations::metrics::{Gauges, MetricsObserver};
use tollgate::{Action, Controller, ReconcileError, Reconciler, Request, WorkQueue};

/// The value of each series; for a histogram, the number of its records.
#[derive(Default)]
struct SeriesRecorder(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

impl SeriesRecorder {
    fn of(&self, key: &Key) -> Arc<AtomicU64> {
        let mut labels: Vec<_> = key
            .labels()
            .map(|label| format!("{}={}", label.key(), label.value()))
            .collect();
        labels.sort();
        let series = format!("{} {}", key.name(), labels.join(","));
        Arc::clone(self.0.lock().unwrap().entry(series).or_default())
    }
}

struct RecordCount(Arc<AtomicU64>);

impl HistogramFn for RecordCount {
    fn record(&self, _: f64) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Recorder for SeriesRecorder {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.of(key))
    }
    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.of(key))
    }
    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::new(RecordCount(self.of(key))))
    }
}

/// Returns one of each result, chosen by the key.
struct Scripted;

impl Reconciler<&'static str> for Scripted {
    async fn reconcile(
        &self,
        request: Request<'_, &'static str>,
    ) -> Result<Action, ReconcileError> {
        match (*request, request.failures()) {
            ("error", 0) => Err("at first".into()),
            ("terminal", _) => Err(ReconcileError::terminal("for good")),
            ("panic", 0) => std::panic::resume_unwind(Box::new("on purpose")),
            ("later", _) => Ok(Action::requeue_after(Duration::from_secs(3600))),
            _ => Ok(Action::done()),
        }
    }
}

/// The value of each series after the run of `Scripted`; that of a gauge as its bits.
fn expected() -> BTreeMap<String, u64> {
    let (queue, of) = ("controller=d,name=d", "controller=d");
    let whole = |number: f64| number.to_bits();
    [
        (format!("workqueue_adds_total {queue}"), 5),
        (format!("workqueue_coalesced_total {queue}"), 1),
        (format!("workqueue_rejected_total {queue}"), 1),
        (format!("workqueue_retries_total {queue}"), 3),
        (format!("workqueue_deferred_total {queue}"), 0),
        (format!("workqueue_given_up_total {queue}"), 0),
        (format!("workqueue_failed_total {queue}"), 1),
        (format!("workqueue_queue_duration_seconds {queue}"), 7),
        (format!("workqueue_work_duration_seconds {queue}"), 7),
        (format!("workqueue_depth {queue}"), whole(0.0)),
        (format!("workqueue_delayed_items {queue}"), whole(0.0)),
        (format!("workqueue_capacity {queue}"), whole(8.0)),
        (
            format!("workqueue_unfinished_work_seconds {queue}"),
            whole(0.0),
        ),
        (
            format!("workqueue_longest_running_processor_seconds {queue}"),
            whole(0.0),
        ),
        (
            format!("controller_runtime_reconcile_total {of},result=success"),
            3,
        ),
        (
            format!("controller_runtime_reconcile_total {of},result=error"),
            3,
        ),
        (
            format!("controller_runtime_reconcile_total {of},result=requeue"),
            0,
        ),
        (
            format!("controller_runtime_reconcile_total {of},result=requeue_after"),
            1,
        ),
        (format!("controller_runtime_reconcile_errors_total {of}"), 3),
        (
            format!("controller_runtime_terminal_reconcile_errors_total {of}"),
            1,
        ),
        (format!("controller_runtime_reconcile_panics_total {of}"), 1),
        (format!("controller_runtime_reconcile_time_seconds {of}"), 7),
        (
            format!("controller_runtime_max_concurrent_reconciles {of}"),
            whole(1.0),
        ),
        (
            format!("controller_runtime_active_workers {of}"),
            whole(0.0),
        ),
    ]
    .into()
}

#[test]
fn every_series_is_registered_under_its_name_and_counts() {
    let recorder = SeriesRecorder::default();
    let (observer, gauges) = metrics::with_local_recorder(&recorder, || {
        (Arc::new(MetricsObserver::new("d")), Gauges::new("d"))
    });
    let values = || {
        let series = recorder.0.lock().unwrap();
        let values = series
            .iter()
            .map(|(name, number)| (name.clone(), number.load(Ordering::SeqCst)));
        values.collect::<BTreeMap<_, _>>()
    };
    assert!(
        values().values().all(|value| *value == 0),
        "every series begins at zero"
    );

    let backoff = |_: u32, _: u64| Duration::ZERO;
    let queue = WorkQueue::builder(8)
        .backoff(backoff)
        .observer(observer.clone())
        .build()
        .unwrap();
    for key in ["done", "done", "error", "terminal", "panic", "later"] {
        queue.try_add(key).unwrap();
    }
    let workers = Controller::new(queue.clone(), Scripted)
        .observer(observer)
        .spawn_threads(1);
    let drained = workers.drain(Duration::from_secs(10)).wait();
    workers.stopped().wait();
    assert_eq!(
        (drained.complete(), drained.returned),
        (true, vec!["later"])
    );
    assert!(queue.try_add("late").is_err());
    gauges.record(&queue, &workers);

    assert_eq!(values(), expected());
}
