//! The controller: its workers, and what it reports of failures.
#![cfg(not(tollgate_loom))]

mod failures;
mod workers;

use std::sync::Mutex;
use std::time::Duration;

use tollgate::{Observer, ReconcileResult};

/// Records the result of each run.
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
