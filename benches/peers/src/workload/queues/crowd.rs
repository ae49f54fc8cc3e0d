//! The rounds of many threads on one queue.

use std::hint::spin_loop;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::rounds::{key, keys, nanos_each, number};
use crate::measure::Check;
use crate::queue::Shared;
use crate::workload::Bench;

/// Returns the number of producers, which is also that of consumers.
pub fn sides(bench: &Bench) -> usize {
    (bench.threads / 2).max(2)
}

/// Producers add all keys, consumers take them; returns the time of one key.
pub fn many<Q: Shared>(bench: &Bench) -> f64 {
    let (sides, n) = (sides(bench), bench.effort.queued);
    let each = n / sides;
    let mut keys = keys(each * sides);
    let producers = (0..sides)
        .map(|_| keys.split_off(keys.len() - each).into_iter())
        .collect();
    let took = crowd::<Q>(n, producers, sides, |_| {});
    nanos_each(took, each * sides)
}

/// Runs producers and consumers; returns the time from the first add to the last consumer's end.
fn crowd<Q: Shared>(
    capacity: usize,
    producers: Vec<impl Iterator<Item = String> + Send>,
    consumers: usize,
    work: impl Fn(&str) + Sync,
) -> Duration {
    let queue = Q::new(capacity);
    let barrier = Barrier::new(producers.len() + consumers);
    let (queue, barrier, work) = (&queue, &barrier, &work);
    thread::scope(|scope| {
        let producers: Vec<_> = producers
            .into_iter()
            .map(|keys| {
                scope.spawn(move || {
                    barrier.wait();
                    let start = Instant::now();
                    keys.for_each(|key| queue.add(key));
                    start
                })
            })
            .collect();
        let consumers: Vec<_> = (0..consumers)
            .map(|_| {
                scope.spawn(move || {
                    barrier.wait();
                    queue.consume(work)
                })
            })
            .collect();
        // The producers' own clock reads: this thread may wake up late.
        let starts = producers.into_iter().map(|producer| producer.join());
        let start = starts
            .map(|start| start.expect("a producer does not panic"))
            .min();
        queue.close(consumers.len());
        let ends = consumers.into_iter().map(|consumer| consumer.join());
        let end = ends
            .map(|end| end.expect("a consumer does not panic"))
            .max();
        end.zip(start)
            .map_or(Duration::ZERO, |(end, start)| end - start)
    })
}

/// Adds few keys over and over. No key may be held by two consumers at once, and each must be
/// handed out after its last add.
pub fn check<Q: Shared>(sides: usize) -> Check {
    const KEYS: usize = 8;
    const ADDS: usize = 20_000;

    #[derive(Default)]
    struct Seen {
        added: AtomicU64,
        seen: AtomicU64,
        held: AtomicBool,
    }
    let seen: [Seen; KEYS] = Default::default();
    let twice = AtomicU64::new(0);
    let producer = |producer: usize| {
        (0..ADDS).map(move |n| (n + producer) % KEYS).map(|n| {
            seen[n].added.fetch_add(1, Ordering::SeqCst);
            key(n)
        })
    };
    crowd::<Q>(ADDS, (0..sides).map(producer).collect(), sides, |key| {
        let seen = &seen[number(key)];
        if seen.held.swap(true, Ordering::SeqCst) {
            twice.fetch_add(1, Ordering::SeqCst);
        }
        seen.seen
            .fetch_max(seen.added.load(Ordering::SeqCst), Ordering::SeqCst);
        let start = Instant::now();
        while start.elapsed() < Duration::from_micros(1) {
            spin_loop();
        }
        seen.held.store(false, Ordering::SeqCst);
    });
    let unseen =
        |seen: &&Seen| seen.seen.load(Ordering::SeqCst) < seen.added.load(Ordering::SeqCst);
    Check::Keys {
        lost: seen.iter().filter(unseen).count() as u64,
        twice: twice.load(Ordering::SeqCst),
    }
}
