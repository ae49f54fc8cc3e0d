//! The cost of each limiter, beside its bound in the same run: a clock read, a bare
//! compare-and-swap, a lock pair.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a bench uses the clocks and locks that the library wraps"
)]
#![allow(
    missing_docs,
    clippy::cast_possible_truncation,
    clippy::semicolon_if_nothing_returned
)]

use std::cell::RefCell;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, LazyLock};
use std::thread;
use std::time::{Duration, Instant};

use criterion::{
    BenchmarkGroup, Criterion, criterion_group, criterion_main, measurement::WallTime,
};
use crossbeam_utils::CachePadded;
use parking_lot::{Mutex, RwLock};
use tollgate::{
    AtomicTokenBucket, Clock, LockedTokenBucket, Quota, RateLimiter, StripedTokenBucket,
    SystemClock, Timestamp, TokenLease,
};

/// Never denies within a benchmark.
fn generous() -> Quota {
    Quota::per_second(1_000_000_000)
        .unwrap()
        .burst(1_000_000_000)
        .unwrap()
}

/// Empties a bucket, which then denies for the rest of the benchmark.
fn spent<L: RateLimiter>(limiter: L) -> L {
    limiter.try_acquire(1).unwrap();
    limiter
}

fn stingy() -> Quota {
    Quota::per_day(1).unwrap()
}

/// A bare compare-and-swap loop: the bound of every change of a shared word.
fn bare_cas(word: &AtomicU64) {
    let mut seen = word.load(Ordering::Relaxed);
    while let Err(actual) =
        word.compare_exchange_weak(seen, seen + 1, Ordering::Relaxed, Ordering::Relaxed)
    {
        seen = actual;
    }
}

fn bounds(group: &mut BenchmarkGroup<'_, WallTime>) {
    let clock = SystemClock::new();
    let word = AtomicU64::new(0);
    let lock = Mutex::new(0_u64);
    group.bench_function("bound: clock read", |b| b.iter(|| black_box(clock.now())));
    group.bench_function("bound: CAS", |b| {
        b.iter_custom(|n| time(n, |_| bare_cas(black_box(&word))));
    });
    group.bench_function("bound: clock read + CAS", |b| {
        b.iter(|| {
            black_box(clock.now());
            bare_cas(black_box(&word));
        });
    });
    group.bench_function("bound: clock read + lock pair", |b| {
        b.iter(|| {
            black_box(clock.now());
            *black_box(&lock).lock() += 1;
        });
    });
    // Bounds of a denial: a comparison that depends on the clock read, and a wait computed from it.
    let until = Timestamp::from_nanos(black_box(u64::MAX));
    group.bench_function("for comparison: clock read, and whether it is then", |b| {
        b.iter(|| clock.now() >= until);
    });
    group.bench_function("for comparison: clock read, and how long until then", |b| {
        b.iter(|| Duration::from_nanos(black_box(u64::MAX) - clock.now().as_nanos()));
    });
    // Shows what a reader-writer lock would cost instead of a mutex; the guide explains the choice.
    let readers = RwLock::new(0_u64);
    group.bench_function("for comparison: clock read + RwLock read pair", |b| {
        b.iter(|| {
            black_box(clock.now());
            *black_box(&readers).read()
        });
    });
    group.bench_function("for comparison: clock read + RwLock write pair", |b| {
        b.iter(|| {
            black_box(clock.now());
            *black_box(&readers).write() += 1;
        });
    });
}

fn one_thread(c: &mut Criterion) {
    let mut group = c.benchmark_group("one thread");
    bounds(&mut group);
    let atomic = AtomicTokenBucket::new(generous()).unwrap();
    let locked = LockedTokenBucket::new(generous()).unwrap();
    let spent_atomic = spent(AtomicTokenBucket::new(stingy()).unwrap());
    let pair = stingy().burst(2).unwrap();
    let spent_pair = spent(AtomicTokenBucket::new(pair).unwrap());
    let spent_locked = spent(LockedTokenBucket::new(stingy()).unwrap());

    group.bench_function("atomic: admit", |b| {
        b.iter(|| black_box(&atomic).try_acquire(1).is_ok())
    });
    group.bench_function("atomic: deny", |b| {
        b.iter(|| black_box(&spent_atomic).try_acquire(1).is_ok())
    });
    group.bench_function("atomic: deny, and its wait", |b| {
        b.iter(|| wait_of(black_box(&spent_atomic)))
    });
    // The bucket caches no denial of several tokens, so this one is computed.
    group.bench_function("atomic: deny two", |b| {
        b.iter(|| black_box(&spent_pair).try_acquire(2).is_ok())
    });
    group.bench_function("atomic: admit at a given time", |b| {
        b.iter_custom(|n| {
            let start = atomic_now().as_nanos();
            time(n, |i| {
                let now = Timestamp::from_nanos(start + i);
                black_box(black_box(&atomic).at(now).try_acquire(1).is_ok());
            })
        });
    });
    group.bench_function("lease: admit", |b| {
        let mut lease = atomic.lease(10_000).unwrap();
        b.iter(|| black_box(&mut lease).try_acquire(1).is_ok())
    });
    group.bench_function("bound: fetch_sub on a line of its own", |b| {
        let line = CachePadded::new(AtomicU64::new(u64::MAX));
        b.iter(|| black_box(&line).fetch_sub(1, Ordering::Relaxed))
    });
    group.bench_function("striped: admit from its stripe", |b| {
        let striped = StripedTokenBucket::new(generous()).unwrap();
        b.iter(|| black_box(&striped).try_acquire(1).is_ok())
    });
    group.bench_function("striped: admit without stripes", |b| {
        let striped = StripedTokenBucket::new(generous()).unwrap().carve(0);
        b.iter(|| black_box(&striped).try_acquire(1).is_ok())
    });
    group.bench_function("striped: deny", |b| {
        let spent_striped = spent(StripedTokenBucket::new(stingy()).unwrap());
        b.iter(|| black_box(&spent_striped).try_acquire(1).is_ok())
    });
    group.bench_function("locked: admit", |b| {
        b.iter(|| black_box(&locked).try_acquire(1).is_ok())
    });
    group.bench_function("locked: deny", |b| {
        b.iter(|| black_box(&spent_locked).try_acquire(1).is_ok())
    });
    group.bench_function("locked: deny, and its wait", |b| {
        b.iter(|| wait_of(black_box(&spent_locked)))
    });
    group.finish();
}

/// Returns the wait of a denial, in a register: criterion would get a whole `Result` through
/// memory.
#[inline]
fn wait_of(limiter: &impl RateLimiter) -> Option<Duration> {
    limiter.try_acquire(1).err()?.retry_after()
}

/// Times `n` runs of `work`, and passes each its number. The counter stays in a register, as in a
/// loop of a caller's own.
fn time(n: u64, mut work: impl FnMut(u64)) -> Duration {
    let start = Instant::now();
    for i in 0..n {
        work(i);
    }
    start.elapsed()
}

fn atomic_now() -> Timestamp {
    SystemClock::new().now()
}

/// Times `iterations` calls on `threads` threads that start at a barrier, so that the time of one
/// call is that of all threads divided by the calls of all.
fn contend(threads: u64, iterations: u64, work: &(impl Fn() + Sync)) -> Duration {
    let barrier = Arc::new(Barrier::new(threads as usize));
    let each = iterations / threads + 1;
    thread::scope(|scope| {
        let runs: Vec<_> = (0..threads)
            .map(|_| {
                let barrier = Arc::clone(&barrier);
                scope.spawn(move || {
                    barrier.wait();
                    let start = Instant::now();
                    (0..each).for_each(|_| work());
                    start.elapsed()
                })
            })
            .collect();
        runs.into_iter()
            .map(|run| run.join().unwrap())
            .max()
            .unwrap_or_default()
    })
}

/// The bucket of all leases. Its rate is high: a dozen threads take more than a token a nanosecond.
fn shared() -> &'static AtomicTokenBucket {
    static BUCKET: LazyLock<AtomicTokenBucket> = LazyLock::new(|| {
        let quota = Quota::per_second(1_000_000_000_000).unwrap();
        AtomicTokenBucket::new(quota.burst(1_000_000_000).unwrap()).unwrap()
    });
    &BUCKET
}

thread_local! {
    static LEASED: RefCell<Option<TokenLease<&'static AtomicTokenBucket>>> = const { RefCell::new(None) };
}

fn contended(c: &mut Criterion) {
    let cores = thread::available_parallelism().map_or(2, |n| n.get() as u64);
    for threads in [2, 4, 8, 16]
        .into_iter()
        .filter(|threads| *threads <= cores)
    {
        let mut group = c.benchmark_group(format!("{threads} threads, one bucket"));
        let word = AtomicU64::new(0);
        let atomic = AtomicTokenBucket::new(generous()).unwrap();
        let locked = LockedTokenBucket::new(generous()).unwrap();
        let now = atomic_now();
        group.bench_function("bound: CAS", |b| {
            b.iter_custom(|n| contend(threads, n, &|| bare_cas(&word)))
        });
        group.bench_function("atomic: at a given time", |b| {
            b.iter_custom(|n| {
                contend(threads, n, &|| {
                    black_box(atomic.at(now).try_acquire(1).is_ok());
                })
            });
        });
        group.bench_function("atomic", |b| {
            b.iter_custom(|n| {
                contend(threads, n, &|| {
                    black_box(atomic.try_acquire(1).is_ok());
                })
            });
        });
        let striped = StripedTokenBucket::new(generous()).unwrap();
        group.bench_function("striped", |b| {
            b.iter_custom(|n| {
                contend(threads, n, &|| {
                    black_box(striped.try_acquire(1).is_ok());
                })
            });
        });
        group.bench_function("a lease each", |b| {
            b.iter_custom(|n| {
                contend(threads, n, &|| {
                    LEASED.with_borrow_mut(|held| {
                        // Each sample starts new threads, so no lease outlives its sample.
                        let lease = held.get_or_insert_with(|| shared().lease(10_000).unwrap());
                        black_box(lease.try_acquire(1).is_ok());
                    });
                })
            });
        });
        group.bench_function("locked", |b| {
            b.iter_custom(|n| {
                contend(threads, n, &|| {
                    black_box(locked.try_acquire(1).is_ok());
                })
            });
        });
        group.finish();
    }
}

criterion_group!(benches, one_thread, contended);
criterion_main!(benches);
