//! The cost of a limit for each key, beside its bounds in the same run: a clock read, the hash of a
//! key, a plain map behind a lock.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a bench uses the clocks and locks that the library wraps"
)]
#![allow(
    missing_docs,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    clippy::float_arithmetic,
    clippy::semicolon_if_nothing_returned
)]

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{
    BenchmarkGroup, Criterion, criterion_group, criterion_main, measurement::WallTime,
};
use parking_lot::Mutex;
use tollgate::{Clock, KeyedLimiter, Quota, RateLimiter, SystemClock};

/// Never denies within a benchmark, and is never full again in it.
fn generous() -> Quota {
    Quota::per_hour(1_000_000_000).unwrap()
}

/// A pseudo-random generator with a fixed seed, so that runs repeat.
struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        ((self.0 >> 33) as usize) % below
    }
}

const PICKS: usize = 1 << 20;

fn uniform(keys: usize) -> Vec<u32> {
    let mut random = Random(1);
    (0..PICKS).map(|_| random.next(keys) as u32).collect()
}

/// Draws ranks by Zipf's law with s = 1.1, by inverting the cumulative weights.
fn zipf(keys: usize) -> Vec<u32> {
    let mut sum = 0.0;
    let sums: Vec<f64> = (1..=keys)
        .map(|rank| {
            sum += (rank as f64).powf(-1.1);
            sum
        })
        .collect();
    let mut random = Random(2);
    let picks = (0..PICKS).map(|_| random.next(1 << 30) as f64 / f64::from(1 << 30) * sum);
    // Scattered, so that keys of neighbouring ranks are not neighbours in memory.
    picks
        .map(|at| (sums.partition_point(|sum| *sum < at).min(keys - 1) * 7_919 % keys) as u32)
        .collect()
}

/// Returns the keys in the order of the requests, side by side: a request carries its key.
fn asked<K: Clone>(keys: &[K], picks: &[u32]) -> Vec<K> {
    let picked = picks.iter().map(|pick| &keys[*pick as usize]);
    picked.cloned().collect()
}

fn cycle<'a, K>(asked: &'a [K]) -> impl FnMut() -> &'a K {
    let mut at = 0;
    move || {
        at = (at + 1) & (PICKS - 1);
        &asked[at]
    }
}

fn filled<K: Hash + Eq + Clone + Send + Sync>(keys: &[K], quota: Quota) -> KeyedLimiter<K> {
    let limiter = KeyedLimiter::new(quota, keys.len()).unwrap();
    for key in keys {
        assert!(limiter.key(key).try_acquire(1).is_ok());
    }
    limiter
}

fn on_keys<K: Hash + Eq + Clone + Send + Sync>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    keys: &[K],
) {
    let hasher = RandomState::new();
    let map: HashMap<K, u64> = keys.iter().map(|key| (key.clone(), 0)).collect();
    let map = Mutex::new(map);
    let admits = filled(keys, generous());
    let denies = filled(keys, Quota::per_day(1).unwrap());
    for (law, picks) in [("uniform", uniform(keys.len())), ("Zipf", zipf(keys.len()))] {
        let asked = asked(keys, &picks);
        group.bench_function(format!("bound: hash, {name}, {law}"), |b| {
            let mut next = cycle(&asked);
            b.iter(|| hasher.hash_one(next()))
        });
        group.bench_function(format!("bound: map behind a lock, {name}, {law}"), |b| {
            let mut next = cycle(&asked);
            b.iter(|| *map.lock().get_mut(next()).unwrap() += 1)
        });
        group.bench_function(format!("admit, {name}, {law}"), |b| {
            let mut next = cycle(&asked);
            b.iter(|| admits.key(next()).try_acquire(1).is_ok())
        });
        group.bench_function(format!("deny, {name}, {law}"), |b| {
            let mut next = cycle(&asked);
            b.iter(|| denies.key(next()).try_acquire(1).is_err())
        });
        group.bench_function(format!("admit, two threads, {name}, {law}"), |b| {
            b.iter_custom(|n| {
                two_threads(n, &|at| {
                    black_box(admits.key(&asked[at & (PICKS - 1)]).try_acquire(1).is_ok());
                })
            })
        });
    }
}

/// Runs `iterations` calls on two threads, so that the time of one call is that of both threads
/// divided by the calls of both.
fn two_threads(iterations: u64, work: &(impl Fn(usize) + Sync)) -> Duration {
    let start = Instant::now();
    thread::scope(|scope| {
        for thread in 0..2 {
            let calls = iterations as usize / 2 + 1;
            scope.spawn(move || (0..calls).for_each(|i| work(i + thread * PICKS / 2)));
        }
    });
    start.elapsed()
}

fn keyed(c: &mut Criterion) {
    let mut group = c.benchmark_group("keyed");
    let clock = SystemClock::new();
    group.bench_function("bound: clock read", |b| b.iter(|| clock.now()));
    for (name, count) in [("1,000", 1_000), ("1,000,000", 1_000_000)] {
        let numbers: Vec<u64> = (0..count).collect();
        on_keys(&mut group, &format!("{name} u64"), &numbers);
        let strings: Vec<String> = (0..count).map(|i| format!("tenant-{i:023}")).collect();
        on_keys(&mut group, &format!("{name} strings"), &strings);
    }
    group.finish();
}

/// New keys at capacity. A limiter whose keys are in use denies them; one whose keys are full again
/// evicts.
fn flood(c: &mut Criterion) {
    let mut group = c.benchmark_group("keyed, flood of new keys at a capacity of 1,000,000");
    let keys: Vec<u64> = (0..1_000_000).collect();
    let (busy, idle) = (
        filled(&keys, generous()),
        filled(&keys, Quota::per_second(1_000_000_000).unwrap()),
    );
    let mut fresh = 1 << 40;
    let asked = asked(&keys, &uniform(keys.len()));
    group.bench_function("hit", |b| {
        let mut next = cycle(&asked);
        b.iter(|| busy.key(next()).try_acquire(1).is_ok())
    });
    group.bench_function("denied", |b| {
        b.iter(|| {
            fresh += 1;
            busy.key(&fresh).try_acquire(1).is_err()
        })
    });
    group.bench_function("evicting", |b| {
        b.iter(|| {
            fresh += 1;
            idle.key(&fresh).try_acquire(1).is_ok()
        })
    });
    group.finish();
}

criterion_group!(benches, keyed, flood);
criterion_main!(benches);
