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

/// One line for an error with the chain of its causes, without those that it has said already.
pub fn one_line(error: &anyhow::Error) -> String {
    let mut line = error.to_string();
    for cause in error.chain().skip(1) {
        let said = cause.to_string();
        if !line.contains(&said) {
            line = format!("{line}: {said}");
        }
    }
    // An excerpt of a file has many lines.
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn an_error_is_one_line_that_says_each_cause_once() {
        let missing = anyhow!("no such file");
        let repeated = missing.context("cannot read x: no such file\n  |\n1 | x");
        let error = repeated.context("no cluster");
        assert_eq!(
            one_line(&error),
            "no cluster: cannot read x: no such file | 1 | x"
        );
    }
}
