//! The rounds of one thread on one queue.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::measure::Sample;
use crate::memory;
use crate::queue::{Delays, Queue};
use crate::workload::Bench;
use crate::workload::drive::latencies;

/// Returns a key of 30 bytes, the length of many a `namespace/name`.
pub fn key(n: usize) -> String {
    let key = format!("namespace-{:04}/name-{n:010}", n % 10_000);
    debug_assert_eq!(key.len(), 30);
    // Without spare capacity.
    key.as_str().to_owned()
}

/// Returns the number of a key.
pub fn number(key: &str) -> usize {
    key[20..].parse().expect("a key ends with its number")
}

/// Returns the first `n` keys.
pub fn keys(n: usize) -> Vec<String> {
    (0..n).map(key).collect()
}

/// Returns the time of each of `n` keys, in nanoseconds.
pub fn nanos_each(took: Duration, n: usize) -> f64 {
    took.as_nanos() as f64 / n as f64
}

/// Works on 1, 2, 4 ... at most 4096 keys until the time is up: some queues sleep at every key.
fn more_and_more(slice: Duration, work: impl FnMut(usize) -> Duration) -> f64 {
    up_to(4096, slice, work)
}

fn up_to(most: usize, slice: Duration, mut work: impl FnMut(usize) -> Duration) -> f64 {
    let (mut took, mut done, mut size) = (Duration::ZERO, 0, 1);
    while took < slice {
        took += work(size);
        done += size;
        size = (size * 2).min(most);
    }
    nanos_each(took, done)
}

/// Adds, takes and finishes one key at a time.
pub fn cycle<Q: Queue>(bench: &Bench) -> f64 {
    let mut queue = Q::new(1_000);
    more_and_more(bench.effort.slice, |size| {
        let keys = keys(size);
        let start = Instant::now();
        for key in keys {
            queue.add(key);
            queue.take(|key| {
                black_box(key);
            });
        }
        start.elapsed()
    })
}

/// The keys of a batch.
pub const BATCH: usize = 32;

/// Adds, takes and finishes a batch at a time.
pub fn batch<Q: Queue>(bench: &Bench) -> f64 {
    let mut queue = Q::new(1_000);
    // As many keys between two clock reads as in `cycle`.
    let nanos = up_to(4096 / BATCH, bench.effort.slice, |batches| {
        let batches: Vec<_> = (0..batches).map(|_| keys(BATCH)).collect();
        let start = Instant::now();
        for keys in batches {
            queue.batch(keys, |key| {
                black_box(key);
            });
        }
        start.elapsed()
    });
    nanos / BATCH as f64
}

/// Adds the same key over and over while it waits.
pub fn duplicate<Q: Queue>(bench: &Bench) -> f64 {
    let mut queue = Q::new(1_000);
    queue.add(key(7));
    queue.settle();
    more_and_more(bench.effort.slice, |size| {
        let keys = vec![key(7); size];
        let start = Instant::now();
        for key in keys {
            queue.add(key);
        }
        queue.settle();
        start.elapsed()
    })
}

/// Drops keys, as a queue does with a duplicate.
pub fn drops(bench: &Bench) -> f64 {
    more_and_more(bench.effort.slice, |size| {
        let keys = vec![key(7); size];
        let start = Instant::now();
        for key in keys {
            drop(black_box(key));
        }
        start.elapsed()
    })
}

/// Adds all keys, then takes and finishes all.
pub fn fill_drain<Q: Queue>(bench: &Bench) -> f64 {
    let n = bench.effort.queued;
    let (mut queue, keys) = (Q::new(n), keys(n));
    let start = Instant::now();
    for key in keys {
        queue.add(key);
    }
    queue.drain(n, |key| {
        black_box(key);
    });
    nanos_each(start.elapsed(), n)
}

/// Adds keys with delays.
pub fn insert_delays<Q: Delays>(bench: &Bench) -> f64 {
    let n = bench.effort.queued;
    let (mut queue, keys) = (Q::new(n), keys(n));
    let start = Instant::now();
    for (n, key) in (1..).zip(keys) {
        queue.add_after(key, Duration::from_millis(n * 37 % 100_000 + 1));
    }
    queue.settle();
    nanos_each(start.elapsed(), n)
}

/// Returns the bytes, not nanoseconds, of a waiting key.
pub fn memory_a_key<Q: Queue>(bench: &Bench) -> f64 {
    let n = bench.effort.queued;
    let mut keys = keys(n);
    let (queue, bytes) = memory::left_by(|| {
        let mut queue = Q::new(n);
        // Settled now and then, so that the list of deferred requests stays short.
        for chunk in keys.chunks_mut(1_000) {
            chunk
                .iter_mut()
                .for_each(|key| queue.add(std::mem::take(key)));
            queue.settle();
        }
        queue
    });
    drop(queue);
    // The text was allocated before; the `String` itself belongs to the key as well.
    bytes as f64 / n as f64 - size_of::<String>() as f64
}

/// Hands out delayed keys: each one's lateness, and the largest in milliseconds.
pub fn lateness<Q: Delays>(bench: &Bench) -> Sample {
    let (n, within) = (bench.effort.many, bench.effort.due_within);
    let (mut queue, keys) = (Q::new(n), keys(n));
    // Late enough that all keys are added before the first is due.
    let first = Instant::now() + Duration::from_nanos(1_000) * n as u32;
    let due = |n_th: usize| first + within.mul_f64(n_th as f64 / n as f64);
    for (n, key) in keys.into_iter().enumerate() {
        queue.add_after(key, due(n).saturating_duration_since(Instant::now()));
    }
    let (mut each, mut latest) = (latencies(), Duration::ZERO);
    for _ in 0..n {
        queue.take(|key| {
            let late = Instant::now().saturating_duration_since(due(number(key)));
            each.saturating_record(late.as_nanos() as u64);
            latest = latest.max(late);
        });
    }
    Sample {
        nanos: latest.as_secs_f64() * 1e3,
        each: Some(each),
        ..Sample::default()
    }
}
