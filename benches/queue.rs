//! The cost of the queue beside its bounds: 30-byte string keys, one thread, and one producer with
//! workers. Each row of several keys stands beside a hash set of as many keys.
//!
//! The timed part excludes the allocation of a key, which is the allocator's cost, and includes its
//! drop once the key is done.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a bench uses the clocks and locks that the library wraps"
)]
#![allow(missing_docs, clippy::cast_possible_truncation)]

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::hint::black_box;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use parking_lot::Mutex;
use tollgate::queue::FastHash;
use tollgate::{AddOptions, Clock, Observer, SystemClock, WorkQueue};

const MANY: usize = 200_000;
const MILLION: usize = 1_000_000;
const BATCH: usize = 32;
/// Keys allocated together, outside the timed part: so few that each is still in the cache when it
/// is added, like a key that was just allocated.
const FRESH: BatchSize = BatchSize::NumIterations(64);

/// Returns a key of 30 bytes, the length of many a `namespace/name`.
fn key(n: usize) -> String {
    format!("namespace-{:04}/name-{n:010}", n % 10_000)
}

fn keys(n: usize) -> Vec<String> {
    (0..n).map(key).collect()
}

fn queue(capacity: usize) -> WorkQueue<String> {
    WorkQueue::new(capacity).unwrap()
}

struct Silent;
impl Observer for Silent {}

/// The bounds of any queue with a lock, a clock and owned keys.
fn bounds(c: &mut Criterion) {
    let mut group = c.benchmark_group("bound");
    let clock = SystemClock::new();
    group.bench_function("clock read", |b| b.iter(|| clock.now()));
    let lock = Mutex::new(0_u64);
    group.bench_function("clock read, lock pair", |b| {
        b.iter(|| *lock.lock() = clock.now().as_nanos());
    });
    let (name, fast, sip) = (key(7), FastHash::default(), RandomState::new());
    group.bench_function("hash, foldhash", |b| {
        b.iter(|| fast.hash_one(black_box(&name)))
    });
    group.bench_function("hash, SipHash", |b| {
        b.iter(|| sip.hash_one(black_box(&name)))
    });
    // Three lock pairs, two clock reads, a hash, the drop of the key, and the guard's reference
    // count.
    let handle = Arc::new(());
    group.bench_function("parts of add, get, finish", |b| {
        b.iter_batched(
            || name.clone(),
            |key| {
                let hash = fast.hash_one(&key);
                *lock.lock() = clock.now().as_nanos() ^ hash;
                let guard = Arc::clone(&handle);
                *lock.lock() = clock.now().as_nanos();
                *lock.lock() = 0;
                drop((key, guard));
            },
            FRESH,
        );
    });
    group.finish();
}

type KeySet = HashSet<String, FastHash>;

fn insert(set: &mut KeySet, keys: Vec<String>) {
    for key in keys {
        set.insert(key);
    }
}

fn remove(set: &mut KeySet, keys: &[String]) {
    for key in keys {
        assert!(set.remove(key));
    }
}

/// The cost of knowing which keys are live: a hash set, without order, time, states, a lock or a
/// guard. Beside it, the least that could be called a queue.
fn sets(c: &mut Criterion) {
    let mut group = c.benchmark_group("bound, a hash set alone");
    let mut warm = KeySet::default();
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("32 in, out", |b| {
        b.iter_batched(
            || (keys(BATCH), keys(BATCH)),
            |(keys, same)| {
                insert(&mut warm, keys);
                remove(&mut warm, &same);
                same
            },
            FRESH,
        );
    });
    group
        .sample_size(10)
        .throughput(Throughput::Elements(MANY as u64));
    group.bench_function("200k in, out", |b| {
        b.iter_batched(
            || (KeySet::default(), keys(MANY), keys(MANY)),
            |(mut set, keys, same)| {
                insert(&mut set, keys);
                remove(&mut set, &same);
                (set, same)
            },
            BatchSize::PerIteration,
        );
    });
    group.bench_function("200k in, out, with a VecDeque, under a lock", |b| {
        b.iter_batched(
            || keys(MANY),
            |keys| {
                let queue = Mutex::new((VecDeque::new(), KeySet::default()));
                for key in keys {
                    let (ready, live) = &mut *queue.lock();
                    if live.insert(key.clone()) {
                        ready.push_back(key);
                    }
                }
                loop {
                    let next = queue.lock().0.pop_front();
                    let Some(key) = next else { break };
                    queue.lock().1.remove(&key);
                }
                queue
            },
            BatchSize::PerIteration,
        );
    });
    group.throughput(Throughput::Elements(MILLION as u64));
    group.bench_function("1M in", |b| {
        b.iter_batched(
            || (KeySet::default(), keys(MILLION)),
            |(mut set, keys)| {
                insert(&mut set, keys);
                set
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn cycle(c: &mut Criterion) {
    let mut group = c.benchmark_group("queue");
    let observed = WorkQueue::builder(1_000).observer(Arc::new(Silent));
    let queues = [
        ("", queue(1_000)),
        (", observed", observed.build().unwrap()),
    ];
    for (name, queue) in &queues {
        group.bench_function(format!("add, get, finish{name}"), |b| {
            b.iter_batched(
                || key(7),
                |key| {
                    queue.try_add(key).unwrap();
                    queue.try_get().unwrap().done();
                },
                FRESH,
            );
        });
    }
    let [(_, plain), _] = &queues;
    group.bench_function("add, get().wait(), finish", |b| {
        b.iter_batched(
            || key(7),
            |key| {
                plain.try_add(key).unwrap();
                plain.get().wait().unwrap().done();
            },
            FRESH,
        );
    });
    group.bench_function("add, finish and get", |b| {
        plain.try_add(key(0)).unwrap();
        let (mut work, mut n) = (plain.try_get(), 0);
        b.iter_batched(
            || {
                // Never the key in flight, which would become dirty instead of queued.
                n ^= 1;
                key(n)
            },
            |key| {
                plain.try_add(key).unwrap();
                work = work.take().unwrap().done_and_get();
            },
            FRESH,
        );
    });
    // The keys are shared strings: a clone and a drop are reference counts only.
    let shared = WorkQueue::<Arc<str>>::new(1_000).unwrap();
    let name: Arc<str> = key(1).into();
    group.bench_function("add, get, finish, shared keys", |b| {
        b.iter(|| {
            shared.try_add(Arc::clone(&name)).unwrap();
            shared.try_get().unwrap().done();
        });
    });
    shared.try_add(Arc::clone(&name)).unwrap();
    group.bench_function("duplicate add", |b| {
        b.iter_batched(
            || Arc::clone(&name),
            |key| shared.try_add(key).unwrap(),
            FRESH,
        );
    });
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("batch of 32: add, get, finish", |b| {
        b.iter_batched(
            || keys(BATCH),
            |keys| {
                let refused = plain.try_add_batch(keys, AddOptions::new());
                assert!(refused.is_empty());
                plain.try_get_batch(BATCH).unwrap().done();
            },
            FRESH,
        );
    });
    group.finish();
}

/// The cost that groups add to a cycle: with one group, and with as many groups as keys.
fn groups(c: &mut Criterion) {
    const KEYS: u64 = 100_000;
    let mut group = c.benchmark_group("queue of groups");
    let plain = || WorkQueue::<u64>::builder(MANY);
    let queues = [
        ("no groups", plain().build()),
        ("one group", plain().group_by(|_| 0_u64).build()),
        (
            "100k groups of one key",
            plain().group_by(|key| *key).build(),
        ),
    ];
    for (name, queue) in queues {
        let (queue, mut next) = (queue.unwrap(), 0);
        group.bench_function(format!("add, get, finish, {name}"), |b| {
            b.iter(|| {
                next = (next + 1) % KEYS;
                queue.try_add(next).unwrap();
                queue.try_get().unwrap().done();
            });
        });
    }
    group.finish();
}

fn fill(queue: &WorkQueue<String>, keys: Vec<String>) {
    for key in keys {
        queue.try_add(key).unwrap();
    }
}

fn drain(queue: &WorkQueue<String>) {
    while let Some(work) = queue.try_get() {
        work.done();
    }
}

/// Drains like a worker that never runs out of work: it finishes a key and gets the next in one
/// call.
fn drain_by_done_and_get(queue: &WorkQueue<String>) {
    let mut next = queue.try_get();
    while let Some(work) = next {
        next = work.done_and_get();
    }
}

fn fill_and_drain(c: &mut Criterion) {
    let mut group = c.benchmark_group("queue of many");
    group
        .sample_size(10)
        .throughput(Throughput::Elements(MANY as u64));
    type Drain = fn(&WorkQueue<String>);
    let in_turn: (&str, Drain) = ("fill 200k, drain", drain);
    let at_once: (&str, Drain) = ("fill 200k, drain, done and get", drain_by_done_and_get);
    for (name, drain) in [in_turn, at_once] {
        group.bench_function(name, |b| {
            b.iter_batched(
                || (queue(MANY), keys(MANY)),
                |(queue, keys)| {
                    fill(&queue, keys);
                    drain(&queue);
                    queue
                },
                BatchSize::PerIteration,
            );
        });
    }
    // Has all its memory already, like a queue that each resync fills.
    let used = queue(MANY);
    fill(&used, keys(MANY));
    drain(&used);
    group.bench_function("fill 200k, drain, the same queue again", |b| {
        b.iter_batched(
            || keys(MANY),
            |keys| {
                fill(&used, keys);
                drain(&used);
            },
            BatchSize::PerIteration,
        );
    });
    group.throughput(Throughput::Elements(MILLION as u64));
    group.bench_function("insert 1M delays", |b| {
        b.iter_batched(
            || (queue(MILLION), keys(MILLION)),
            |(queue, keys)| {
                for (n, key) in (1..).zip(keys) {
                    let delay = Duration::from_millis(n * 37 % 100_000 + 1);
                    queue.try_add_after(key, delay).unwrap();
                }
                queue
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

/// A million keys become due within two seconds, from three seconds after the first add, and are
/// handed out as they do. Measures how long after its due instant the last key is finished.
fn due(c: &mut Criterion) {
    let mut group = c.benchmark_group("1M keys due within 2 s");
    let span = Duration::from_secs(2);
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(20));
    group.bench_function("the last is late by", |b| {
        b.iter_custom(|n| {
            let late = |_| {
                let (queue, keys) = (queue(MILLION), keys(MILLION));
                for (n, key) in (0..).zip(keys) {
                    let delay = Duration::from_secs(3) + span * n / MILLION as u32;
                    queue.try_add_after(key, delay).unwrap();
                }
                // Read before the snapshot, which takes time: so the lateness is an upper bound.
                let start = Instant::now();
                let last = queue
                    .snapshot()
                    .into_iter()
                    .filter_map(|key| key.due_in)
                    .max();
                let last = last.unwrap();
                for _ in 0..MILLION {
                    queue.get().wait().unwrap().done();
                }
                start.elapsed().saturating_sub(last)
            };
            (0..n).map(late).sum()
        });
    });
    group.finish();
}

fn workers(c: &mut Criterion) {
    let mut group = c.benchmark_group("one producer");
    group.throughput(Throughput::Elements(1));
    group.bench_function("four workers", |b| {
        b.iter_custom(|n| {
            let (queue, keys) = (queue(1_000), keys(n as usize));
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        let mut next = queue.get().wait();
                        while let Some(work) = next {
                            black_box(&*work);
                            next = work.done_and_get().or_else(|| queue.get().wait());
                        }
                    });
                }
                let start = Instant::now();
                for key in keys {
                    queue.add(key).wait().unwrap();
                }
                let _ = black_box(queue.drain(Duration::MAX).wait());
                start.elapsed()
            })
        });
    });
    group.finish();
}

criterion_group!(
    benches,
    bounds,
    sets,
    cycle,
    groups,
    fill_and_drain,
    workers,
    due
);
criterion_main!(benches);
