//! What the queue costs: 30-byte string keys, one thread, and one producer with workers.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a bench measures with what the library hides"
)]
#![allow(missing_docs, clippy::cast_possible_truncation)]

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tollgate::WorkQueue;

const MANY: usize = 200_000;

/// 30 bytes, as `namespace/name` often is.
fn key(n: usize) -> String {
    format!("namespace-{:04}/name-{n:010}", n % 10_000)
}

fn keys(n: usize) -> Vec<String> {
    (0..n).map(key).collect()
}

fn cycle(c: &mut Criterion) {
    let mut group = c.benchmark_group("queue");
    let queue = WorkQueue::<String>::new(1_000).unwrap();
    group.bench_function("add, get, finish", |b| {
        b.iter_batched(
            || key(7),
            |key| {
                queue.try_add(key).unwrap();
                queue.try_get().unwrap().done();
            },
            BatchSize::SmallInput,
        );
    });
    queue.try_add(key(1)).unwrap();
    group.bench_function("duplicate add", |b| {
        b.iter_batched(
            || key(1),
            |key| queue.try_add(key).unwrap(),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn fill_and_drain(c: &mut Criterion) {
    let mut group = c.benchmark_group("queue of 200k");
    group
        .sample_size(10)
        .throughput(Throughput::Elements(MANY as u64));
    group.bench_function("fill, drain", |b| {
        b.iter_batched(
            || (WorkQueue::<String>::new(MANY).unwrap(), keys(MANY)),
            |(queue, keys)| {
                for key in keys {
                    queue.try_add(key).unwrap();
                }
                while let Some(work) = queue.try_get() {
                    work.done();
                }
            },
            BatchSize::PerIteration,
        );
    });
    group.bench_function("insert delays", |b| {
        b.iter_batched(
            || (WorkQueue::<String>::new(MANY).unwrap(), keys(MANY)),
            |(queue, keys)| {
                for (n, key) in (1..).zip(keys) {
                    queue
                        .try_add_after(key, Duration::from_millis(n * 37 % 100_000 + 1))
                        .unwrap();
                }
                queue
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn workers(c: &mut Criterion) {
    let mut group = c.benchmark_group("one producer");
    group.throughput(Throughput::Elements(1));
    group.bench_function("four workers", |b| {
        b.iter_custom(|n| {
            let queue = WorkQueue::<String>::new(1_000).unwrap();
            let keys = keys(n as usize);
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        while let Some(work) = queue.get().wait() {
                            black_box(&*work);
                            work.done();
                        }
                    });
                }
                let start = Instant::now();
                for key in keys {
                    queue.add(key).wait().unwrap();
                }
                black_box(queue.drain(Duration::MAX).wait());
                start.elapsed()
            })
        });
    });
    group.finish();
}

criterion_group!(benches, cycle, fill_and_drain, workers);
criterion_main!(benches);
