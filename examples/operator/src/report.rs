//! The table at the end of a run, and its picture.

pub mod svg;
pub mod timeline;

use std::sync::atomic::Ordering;
use std::time::Duration;

use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{CellAlignment, Table};
use tollgate_kube::{Left, Report};

use crate::measure::Measure;

/// A name and its value.
pub type Row = (&'static str, String);

/// The rows as a table.
pub fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY);
    for (name, value) in rows {
        table.add_row([*name, value.as_str()]);
    }
    if let Some(values) = table.column_mut(1) {
        values.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// The rows of the queue and the controller.
pub fn of_measure(measure: &Measure) -> Vec<Row> {
    let count =
        |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed).to_string();
    vec![
        ("reconciles", count(&measure.reconciles)),
        ("retries after a failure", count(&measure.failures)),
        ("requeues in all", count(&measure.retries)),
        ("queue time p50 / p95 / p99", durations(measure.queued())),
        ("reconcile time p50 / p95 / p99", durations(measure.took())),
    ]
}

fn durations(percentiles: [Duration; 3]) -> String {
    percentiles
        .map(|duration| format!("{duration:.1?}"))
        .join(" / ")
}

/// The line about what a stopped operator left undone.
pub fn stopped(report: &Report) -> String {
    let sum = |part: fn(&Left) -> usize| report.controllers.iter().map(part).sum::<usize>();
    let lease = if report.released {
        "the lease is released"
    } else {
        "no lease was held"
    };
    format!(
        "stopped: {} objects waited for a worker, {} were delayed, {} were still in flight; {lease}",
        sum(|left| left.ready),
        sum(|left| left.delayed),
        sum(|left| left.in_flight),
    )
}
