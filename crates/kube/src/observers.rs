//! The events of a controller's queue and workers, for its metrics and for the caller's own observer.

use std::sync::Arc;
use std::time::Duration;

use metrics::{Unit, describe_histogram, histogram};
use tollgate::integrations::metrics::MetricsObserver;
use tollgate::{Observer, ReconcileResult};

/// The histogram of reconciles, by controller and result.
pub(crate) const RECONCILE_SECONDS: &str = "operator_reconcile_duration_seconds";

/// Passes each event to the metrics and to a caller's observer.
pub(crate) struct Observers {
    controller: String,
    both: [Arc<dyn Observer>; 2],
}

impl Observers {
    pub(crate) fn new(controller: &str, custom: Option<Arc<dyn Observer>>) -> Self {
        describe_histogram!(
            RECONCILE_SECONDS,
            Unit::Seconds,
            "The duration of a reconcile"
        );
        let metrics = Arc::new(MetricsObserver::new(controller));
        Self {
            controller: controller.to_owned(),
            both: [metrics, custom.unwrap_or_else(|| Arc::new(Silent))],
        }
    }
}

struct Silent;

impl Observer for Silent {}

impl Observer for Observers {
    fn added(&self) {
        self.both.iter().for_each(|observer| observer.added());
    }

    fn coalesced(&self) {
        self.both.iter().for_each(|observer| observer.coalesced());
    }

    fn rejected(&self) {
        self.both.iter().for_each(|observer| observer.rejected());
    }

    fn started(&self, queued: Duration) {
        self.both
            .iter()
            .for_each(|observer| observer.started(queued));
    }

    fn finished(&self, worked: Duration) {
        self.both
            .iter()
            .for_each(|observer| observer.finished(worked));
    }

    fn retried(&self) {
        self.both.iter().for_each(|observer| observer.retried());
    }

    fn deferred(&self) {
        self.both.iter().for_each(|observer| observer.deferred());
    }

    fn limiter_closed(&self) {
        self.both
            .iter()
            .for_each(|observer| observer.limiter_closed());
    }

    fn gave_up(&self) {
        self.both.iter().for_each(|observer| observer.gave_up());
    }

    fn failed(&self) {
        self.both.iter().for_each(|observer| observer.failed());
    }

    fn reconciled(&self, result: ReconcileResult, took: Duration) {
        let controller = self.controller.clone();
        histogram!(RECONCILE_SECONDS, "controller" => controller, "result" => result.label())
            .record(took);
        self.both
            .iter()
            .for_each(|observer| observer.reconciled(result, took));
    }
}
