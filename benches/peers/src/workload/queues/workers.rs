//! Many workers that block on one queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use tokio::runtime::Builder;

use super::rounds::{keys, nanos_each};
use crate::measure::Sample;
use crate::queue::Awaited;
use crate::workload::Bench;
use crate::workload::drive::latencies;

/// The workers.
pub const WORKERS: usize = 1_000;

/// Returns the keys of a round.
pub fn keys_in_all(bench: &Bench) -> usize {
    bench.effort.queued / 4 / WORKERS * WORKERS
}

/// Adds a burst of keys, one for each worker, and waits until all are finished; and so on.
pub fn bursts<Q: Awaited>(bench: &Bench) -> anyhow::Result<Sample> {
    let runtime = Builder::new_multi_thread().enable_time().build()?;
    let queue = Arc::new(Q::new(WORKERS));
    let (burst_done, wait) = sync_channel(1);
    let finished = Arc::new(AtomicUsize::new(0));
    for _ in 0..WORKERS {
        let (burst_done, finished) = (burst_done.clone(), finished.clone());
        let count = move || {
            if (finished.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(WORKERS) {
                burst_done.send(()).expect("the producer waits");
            }
        };
        runtime.spawn(Arc::clone(&queue).work(count));
    }
    let (mut took, mut each) = (Duration::ZERO, latencies());
    let bursts = keys_in_all(bench) / WORKERS;
    for burst in 0..=bursts {
        let keys = keys(WORKERS);
        let start = Instant::now();
        let mut before = start;
        for key in keys {
            Q::add(&queue, key);
            let after = Instant::now();
            each.saturating_record((after - before).as_nanos() as u64);
            before = after;
        }
        wait.recv()?;
        took += start.elapsed();
        // The first burst finds workers that do not wait yet.
        if burst == 0 {
            took = Duration::ZERO;
            each.reset();
        }
    }
    runtime.shutdown_background();
    Ok(Sample {
        nanos: nanos_each(took, bursts * WORKERS),
        each: Some(each),
        ..Sample::default()
    })
}
