//! The workloads.

pub mod changes;
pub mod drive;
pub mod fairness;
pub mod keys;
pub mod limits;
pub mod queues;
pub mod service;

use crate::measure::Effort;
use crate::progress::Progress;
use crate::report::Table;

/// The parameters of every workload.
pub struct Bench<'a> {
    /// How much to measure.
    pub effort: Effort,
    /// The largest number of threads.
    pub threads: usize,
    /// Where progress is shown.
    pub progress: &'a Progress,
}

/// A workload and its name.
pub struct Workload {
    /// The name that `--only` takes.
    pub name: &'static str,
    /// Runs it.
    pub run: fn(&Bench) -> anyhow::Result<Vec<Table>>,
}

/// All workloads, in the order of the report.
pub const ALL: &[Workload] = &[
    Workload {
        name: "correctness",
        run: limits::correctness,
    },
    Workload {
        name: "changes",
        run: changes::changes,
    },
    Workload {
        name: "admit",
        run: limits::admit,
    },
    Workload {
        name: "deny",
        run: limits::deny,
    },
    Workload {
        name: "mixed-1x",
        run: limits::mixed_1x,
    },
    Workload {
        name: "mixed-10x",
        run: limits::mixed_10x,
    },
    Workload {
        name: "weights",
        run: limits::weights,
    },
    Workload {
        name: "contention",
        run: limits::contention,
    },
    Workload {
        name: "fairness",
        run: fairness::fairness,
    },
    Workload {
        name: "latency",
        run: limits::latency,
    },
    Workload {
        name: "keyed-1k",
        run: keys::small,
    },
    Workload {
        name: "keyed-1m",
        run: keys::large,
    },
    Workload {
        name: "keyed-zipf",
        run: keys::zipf,
    },
    Workload {
        name: "keyed-zipf-contention",
        run: keys::zipf_contention,
    },
    Workload {
        name: "keyed-deny",
        run: keys::deny,
    },
    Workload {
        name: "keyed-strings",
        run: keys::strings,
    },
    Workload {
        name: "keyed-flood",
        run: keys::flood,
    },
    Workload {
        name: "keyed-memory",
        run: keys::memory,
    },
    Workload {
        name: "queue-cycle",
        run: queues::cycles,
    },
    Workload {
        name: "queue-batch",
        run: queues::batches,
    },
    Workload {
        name: "queue-duplicate",
        run: queues::duplicates,
    },
    Workload {
        name: "queue-fill-drain",
        run: queues::fill_drains,
    },
    Workload {
        name: "queue-delay-insert",
        run: queues::delay_inserts,
    },
    Workload {
        name: "queue-delays",
        run: queues::delays,
    },
    Workload {
        name: "queue-many",
        run: queues::manies,
    },
    Workload {
        name: "queue-pause",
        run: queues::pauses,
    },
    Workload {
        name: "queue-resync",
        run: queues::resyncs,
    },
    Workload {
        name: "queue-backlog",
        run: queues::backlogs,
    },
    Workload {
        name: "queue-workers",
        run: queues::crowds,
    },
    Workload {
        name: "queue-memory",
        run: queues::memories,
    },
    Workload {
        name: "service",
        run: service::service,
    },
];
