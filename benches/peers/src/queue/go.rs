//! client-go's and controller-runtime's queues, in a process of their own (`go/queues.go`).

use std::time::Duration;

use anyhow::Context;

use crate::go::Go;
use crate::measure::{Check, Sample};
use crate::subject::{About, Family};
use crate::workload::Bench;
use crate::workload::drive::latencies;
use crate::workload::queues::{Loads, backlog, sides, storms, workers};

/// The names of the queues, here and there.
const QUEUES: [&str; 2] = ["client-go", "controller-runtime"];

/// The bytes of a string's header in Go: they belong to the key.
const HEADER: f64 = 16.0;

/// Returns both, if Go takes part.
pub fn all() -> Vec<Loads> {
    let go = Go::running();
    go.into_iter()
        .flat_map(|go| QUEUES.map(|queue| loads(go, queue)))
        .collect()
}

fn loads(go: &'static Go, queue: &'static str) -> Loads {
    let loads = Loads::none(About::new(queue, Family::Peer, ""));
    let timed = [
        "queue-cycle",
        "queue-batch",
        "queue-duplicate",
        "queue-fill-drain",
        "queue-delay-insert",
        "queue-many",
        "queue-pause",
    ];
    let recorded = ["queue-resync", "queue-workers"];
    let loads = timed
        .into_iter()
        .chain(recorded)
        .fold(loads, |loads, workload| {
            loads.with(workload, move |bench| {
                let words = ask(go, workload, queue, bench)?;
                let (head, each) = words.split_at_checked(2).context("no time")?;
                Ok(Sample {
                    nanos: head[0] as f64 / head[1] as f64,
                    each: recorded.contains(&workload).then(|| histogram(each)),
                    ..Sample::default()
                })
            })
        });
    loads
        .with("queue-memory", move |bench| {
            let words = ask(go, "queue-memory", queue, bench)?;
            let (bytes, keys) = words.first().zip(words.get(1)).context("no bytes")?;
            Ok((*bytes as f64 / *keys as f64 - HEADER).into())
        })
        .with("queue-delays", move |bench| {
            let late = ask(go, "queue-delays", queue, bench)?;
            let latest = late.iter().max().context("no keys")?;
            Ok(Sample {
                nanos: *latest as f64 / 1e6,
                each: Some(histogram(&late)),
                ..Sample::default()
            })
        })
        .with("queue-backlog", move |bench| {
            Ok(backlog::of(histogram(&ask(
                go,
                "queue-backlog",
                queue,
                bench,
            )?)))
        })
        .judged(move |sides| {
            let request = format!("queue-check -queue={queue} -sides={sides}");
            let words = go.ask(&request)?;
            let (lost, twice) = words.first().zip(words.get(1)).context("no counts")?;
            Ok(Check::Keys {
                lost: *lost,
                twice: *twice,
            })
        })
}

fn histogram(nanos: &[u64]) -> hdrhistogram::Histogram<u64> {
    let mut histogram = latencies();
    nanos
        .iter()
        .for_each(|nanos| histogram.saturating_record(*nanos));
    histogram
}

fn ask(go: &Go, workload: &str, queue: &str, bench: &Bench) -> anyhow::Result<Vec<u64>> {
    let effort = &bench.effort;
    let (mut keys, mut within, mut crowd) = (effort.queued, Duration::ZERO, sides(bench));
    match workload {
        "queue-delays" => (keys, within) = (effort.many, effort.due_within),
        "queue-pause" => (keys, within) = storms::paused(bench),
        "queue-resync" => keys = storms::resynced(bench),
        "queue-backlog" => (keys, crowd) = (effort.many, backlog::WORKERS),
        "queue-workers" => (keys, crowd) = (workers::keys_in_all(bench), workers::WORKERS),
        _ => {}
    }
    let (slice, within) = (effort.slice.as_nanos(), within.as_nanos());
    go.ask(&format!(
        "{workload} -queue={queue} -slice={slice} -keys={keys} -sides={crowd} -within={within}"
    ))
}
