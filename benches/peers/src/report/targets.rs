//! The targets of the library, and the figures measured for them.

use serde::Serialize;

use super::{Body, Report, Table};

/// A target and its figure.
#[derive(Clone, Debug, Serialize)]
pub struct Target {
    /// What is measured.
    pub what: &'static str,
    /// The upper bound.
    pub at_most: f64,
    /// The median of the rounds.
    pub measured: f64,
}

impl Target {
    /// Whether the figure is within the bound.
    pub fn met(&self) -> bool {
        self.measured <= self.at_most
    }
}

const OURS: &str = "AtomicTokenBucket";

/// Returns the targets whose figures these tables hold.
pub fn compare(tables: &[Table]) -> Vec<Target> {
    let value = |table: &str, name: &str| {
        let row = Report::find(tables, table)?
            .iter()
            .find(|row| row.about.name == name)?;
        Some(row.nanos.median)
    };
    let over =
        |table: &str, ours: &str, bound: &str| Some(value(table, ours)? / value(table, bound)?);
    let slowest = |table: &str, name: &str| {
        tables
            .iter()
            .find(|found| found.name == table)
            .and_then(|found| match &found.body {
                Body::Percentiles(rows) => rows.iter().find(|row| row.about.name == name),
                _ => None,
            })
    };
    let target = |what, at_most, measured: Option<f64>| {
        measured.map(|measured| Target {
            what,
            at_most,
            measured,
        })
    };
    [
        target(
            "admit, over a clock read and a CAS",
            1.10,
            over("admit", OURS, "clock read + CAS"),
        ),
        target(
            "deny, over a clock read",
            1.10,
            over("deny", OURS, "clock read"),
        ),
        target(
            "admit at a given time, over a CAS",
            1.30,
            over("admit", "AtomicTokenBucket, given time", "CAS"),
        ),
        target(
            "admit at a given time by two threads, over a CAS by two threads",
            1.20,
            over("contention-2", "AtomicTokenBucket, given time", "CAS"),
        ),
        target(
            "TokenLease, one thread, ns",
            1.5,
            value("admit", "TokenLease"),
        ),
        target(
            "TokenLease, two threads, ns in each",
            1.5,
            value("contention-2", "TokenLease").map(|nanos| nanos * 2.0),
        ),
        target(
            "LockedTokenBucket, over a clock read and a lock pair",
            1.30,
            over("admit", "LockedTokenBucket", "clock read + lock pair"),
        ),
        target(
            "keyed, 1 000 000 keys, over governor",
            0.5,
            over("keyed-1m", "KeyedLimiter", "governor, dashmap"),
        ),
        target(
            "keyed, 1 000 keys, over governor",
            1.0,
            over("keyed-1k", "KeyedLimiter", "governor, dashmap"),
        ),
        target(
            "keyed, bytes per key at 1 000 000 keys",
            24.0,
            value("keyed-memory", "KeyedLimiter"),
        ),
        target(
            "keyed, a flood of new keys over known ones",
            2.0,
            value("keyed-flood", "KeyedLimiter")
                .zip(value("keyed-1m", "KeyedLimiter"))
                .map(|(flood, hit)| flood / hit),
        ),
        target(
            "queue, add, get, finish, ns",
            70.0,
            value("queue-cycle", "WorkQueue"),
        ),
        target(
            "queue, add, get, finish, in batches of 32, ns/key",
            45.0,
            value("queue-batch", "WorkQueue"),
        ),
        target(
            "queue, fill and drain, ns/key",
            110.0,
            value("queue-fill-drain", "WorkQueue"),
        ),
        target(
            "queue, fill and drain, over kube-runtime's scheduler",
            0.25,
            over("queue-fill-drain", "WorkQueue", "kube-runtime scheduler"),
        ),
        target(
            "queue, duplicate add, ns",
            30.0,
            value("queue-duplicate", "WorkQueue"),
        ),
        target(
            "queue, insert of a delay, ns",
            100.0,
            value("queue-delay-insert", "WorkQueue"),
        ),
        target(
            "queue, insert of a delay, over DelayQueue",
            1.0,
            over("queue-delay-insert", "WorkQueue", "DelayQueue + set"),
        ),
        target(
            "queue, lateness of the last delayed key, ms",
            50.0,
            slowest("queue-delays", "WorkQueue").map(|row| row.max as f64 / 1e6),
        ),
        target(
            "queue, bytes per key beyond the key",
            64.0,
            value("queue-memory", "WorkQueue"),
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}
