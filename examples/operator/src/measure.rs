//! Counts and latencies of a run, for the table at its end.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use tollgate::{Observer, ReconcileResult};

/// Counts the events of the queue and of the controller.
#[derive(Debug)]
pub struct Measure {
    /// Reconciles.
    pub reconciles: AtomicU64,
    /// Failed reconciles.
    pub failures: AtomicU64,
    /// Reconciles that were retried or requeued.
    pub retries: AtomicU64,
    queued: Mutex<Histogram<u64>>,
    took: Mutex<Histogram<u64>>,
}

impl Measure {
    /// Empty counts and histograms.
    pub fn new() -> Self {
        // Microseconds up to an hour; a longer time counts as an hour.
        let histogram = || {
            let bounds = Histogram::new_with_max(3_600_000_000, 3);
            Mutex::new(bounds.expect("the bounds are valid"))
        };
        Self {
            reconciles: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            queued: histogram(),
            took: histogram(),
        }
    }

    /// The time from ready to handed out: p50, p95, p99.
    pub fn queued(&self) -> [Duration; 3] {
        percentiles(&self.queued)
    }

    /// The time of a reconcile: p50, p95, p99.
    pub fn took(&self) -> [Duration; 3] {
        percentiles(&self.took)
    }
}

impl Default for Measure {
    fn default() -> Self {
        Self::new()
    }
}

impl Observer for Measure {
    fn started(&self, queued: Duration) {
        record(&self.queued, queued);
    }

    fn retried(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    fn reconciled(&self, result: ReconcileResult, took: Duration) {
        self.reconciles.fetch_add(1, Ordering::Relaxed);
        if result.label() == "error" {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
        record(&self.took, took);
    }
}

fn record(histogram: &Mutex<Histogram<u64>>, duration: Duration) {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    histogram
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .saturating_record(micros);
}

fn percentiles(histogram: &Mutex<Histogram<u64>>) -> [Duration; 3] {
    let histogram = histogram.lock().unwrap_or_else(PoisonError::into_inner);
    [0.50, 0.95, 0.99].map(|quantile| Duration::from_micros(histogram.value_at_quantile(quantile)))
}
