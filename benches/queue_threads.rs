//! The queue under many threads: the time of a key with producers and consumers at once, and the
//! latency of an add while a million keys wait and workers sleep in their work.
//!
//! `cargo bench --bench queue_threads`; a number sets the rounds, names choose rows: `2+2` is two
//! producers and two consumers. Prints the median, the least and the greatest of the rounds. To
//! compare two commits, run their binaries in turns, one round each.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a bench uses the clocks and threads that the library wraps"
)]
#![allow(clippy::float_arithmetic, reason = "a bench prints figures")]
#![allow(clippy::cast_precision_loss, reason = "figures are rounded anyway")]
#![allow(missing_docs)]

use std::hash::Hash;
use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tollgate::WorkQueue;

const KEYS: usize = 400_000;
const WAITING: usize = 1_000_000;
const ADDS: usize = 100_000;
/// How long a worker sleeps in its work.
const WORK: Duration = Duration::from_millis(5);

/// Returns a key of 30 bytes, the length of many a `namespace/name`.
fn key(n: usize) -> String {
    let key = format!("namespace-{:04}/name-{n:010}", n % 10_000);
    key.as_str().to_owned()
}

/// A key without memory of its own: what is left is the queue.
fn number(n: usize) -> u64 {
    n as u64
}

fn queue<K: Hash + Eq>(capacity: usize) -> WorkQueue<K> {
    WorkQueue::new(capacity).expect("the capacity is not zero")
}

/// Takes keys until the queue is closed and empty.
fn consume<K: Hash + Eq>(queue: &WorkQueue<K>) {
    let mut next = queue.get().wait();
    while let Some(work) = next {
        black_box(&*work);
        next = work.done_and_get().or_else(|| queue.get().wait());
    }
}

/// Returns the nanoseconds of a key, from the first add to the end of the last consumer.
fn crowd<K>(producers: usize, consumers: usize, keys: usize, key: fn(usize) -> K) -> f64
where
    K: Hash + Eq + Send + Sync,
{
    let each = keys / producers;
    let queue = queue(keys);
    let barrier = Barrier::new(producers + consumers);
    let (queue, barrier) = (&queue, &barrier);
    let took = thread::scope(|scope| {
        let producers: Vec<_> = (0..producers)
            .map(|producer| {
                let keys: Vec<_> = (producer * each..).take(each).map(key).collect();
                scope.spawn(move || {
                    barrier.wait();
                    let start = Instant::now();
                    for key in keys {
                        assert!(queue.try_add(key).is_ok(), "there is room");
                    }
                    start
                })
            })
            .collect();
        let consumers: Vec<_> = (0..consumers)
            .map(|_| {
                scope.spawn(move || {
                    barrier.wait();
                    consume(queue);
                    Instant::now()
                })
            })
            .collect();
        // The threads' own clock reads: this one may wake up late.
        let starts = producers.into_iter().map(|thread| thread.join().unwrap());
        let start = starts.min().expect("there are producers");
        drop(queue.close());
        let ends = consumers.into_iter().map(|thread| thread.join().unwrap());
        ends.max().expect("there are consumers") - start
    });
    took.as_nanos() as f64 / (each * producers) as f64
}

/// One thread fills the queue and drains it: the bound of a queue with one lock.
fn alone<K: Hash + Eq>(keys: usize, key: fn(usize) -> K) -> f64 {
    let (queue, all): (_, Vec<_>) = (queue(keys), (0..keys).map(key).collect());
    let start = Instant::now();
    for key in all {
        assert!(queue.try_add(key).is_ok(), "there is room");
    }
    let mut next = queue.try_get();
    while let Some(work) = next {
        black_box(&*work);
        next = work.done_and_get();
    }
    start.elapsed().as_nanos() as f64 / keys as f64
}

/// Returns the latencies of adds in nanoseconds, sorted, while a million keys wait and `workers`
/// sleep for `work` with each key.
fn adds_beside(workers: usize, work: Duration) -> Vec<u64> {
    let queue = queue(WAITING + ADDS);
    for n in 0..WAITING {
        queue.try_add(key(n)).expect("there is room");
    }
    let fresh: Vec<_> = (WAITING..WAITING + ADDS).map(key).collect();
    let (is_over, barrier) = (AtomicBool::new(false), Barrier::new(workers + 1));
    let (queue, is_over, barrier) = (&queue, &is_over, &barrier);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(move || {
                let mut next = queue.try_get();
                barrier.wait();
                while let Some(held) = next
                    && !is_over.load(Ordering::Relaxed)
                {
                    thread::sleep(work);
                    next = held.done_and_get();
                }
            });
        }
        barrier.wait();
        thread::sleep(work);
        let mut latencies = Vec::with_capacity(ADDS);
        for key in fresh {
            let start = Instant::now();
            queue.try_add(key).expect("there is room");
            latencies.push(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX));
            // Spread over several turns of each worker.
            while start.elapsed() < Duration::from_nanos(500) {
                std::hint::spin_loop();
            }
        }
        is_over.store(true, Ordering::Relaxed);
        latencies.sort_unstable();
        latencies
    })
}

/// The quantiles of [`adds_beside`].
const QUANTILES: [(&str, usize); 3] = [("median", 2), ("p99", 100), ("p99.9", 1000)];

type Row = (&'static str, Box<dyn Fn() -> Vec<f64>>);

fn rows(keys: usize) -> Vec<Row> {
    let threads = |producers, consumers| move || vec![crowd(producers, consumers, keys, key)];
    let numbers = |producers, consumers| move || vec![crowd(producers, consumers, keys, number)];
    let adds = |workers, work| {
        move || {
            let sorted = adds_beside(workers, work);
            let at = |(_, parts)| sorted[sorted.len() - 1 - sorted.len() / parts] as f64;
            QUANTILES.map(at).to_vec()
        }
    };
    vec![
        ("alone", Box::new(move || vec![alone(keys, key)])),
        ("1+1", Box::new(threads(1, 1))),
        ("2+2", Box::new(threads(2, 2))),
        ("8+2", Box::new(threads(8, 2))),
        ("8+8", Box::new(threads(8, 8))),
        ("alone,u64", Box::new(move || vec![alone(keys, number)])),
        ("1+1,u64", Box::new(numbers(1, 1))),
        ("2+2,u64", Box::new(numbers(2, 2))),
        ("8+2,u64", Box::new(numbers(8, 2))),
        ("add+2", Box::new(adds(2, WORK))),
        ("add+100", Box::new(adds(100, WORK))),
        // A worker that never sleeps: the owner of the lock, mostly.
        ("add+hot", Box::new(adds(1, Duration::ZERO))),
    ]
}

fn main() {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let rounds = args.iter().find_map(|arg| arg.parse().ok());
    // `cargo test` passes no `--bench`: one short round, to see that it works.
    let is_test = rounds.is_none() && !args.iter().any(|arg| arg == "--bench");
    let (rounds, keys) = if is_test {
        (1, 4_000)
    } else {
        (rounds.unwrap_or(15), KEYS)
    };
    let mut rows = rows(keys);
    rows.retain(|(name, _)| !is_test || !name.starts_with("add"));
    if rows
        .iter()
        .any(|(name, _)| args.iter().any(|arg| arg == name))
    {
        rows.retain(|(name, _)| args.iter().any(|arg| arg == name));
    }
    // All rows in each round, so that a busy spell of the machine meets all alike.
    let round = |_| rows.iter().map(|(_, run)| run()).collect::<Vec<_>>();
    let figures: Vec<_> = (0..rounds).map(round).collect();
    for (at, (name, _)) in rows.iter().enumerate() {
        let columns = figures[0][at].len();
        for column in 0..columns {
            let mut sorted: Vec<_> = figures.iter().map(|round| round[at][column]).collect();
            sorted.sort_unstable_by(f64::total_cmp);
            let what = if columns == 1 {
                "a key"
            } else {
                QUANTILES[column].0
            };
            let (least, most) = (sorted[0], sorted[sorted.len() - 1]);
            let median = sorted[sorted.len() / 2];
            println!("{name:9} {what:6} {median:8.0} ns ({least:.0} to {most:.0})");
        }
    }
}
