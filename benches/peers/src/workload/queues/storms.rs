//! What an operator's queue goes through now and then: a pause of the API, and a resync.

use std::time::{Duration, Instant};

use super::rounds::{keys, nanos_each, number};
use crate::measure::Sample;
use crate::queue::{Delays, Queue};
use crate::workload::Bench;
use crate::workload::drive::latencies;

/// Returns the keys that wait, and the length of the pause: long enough to put each key back.
pub fn paused(bench: &Bench) -> (usize, Duration) {
    let keys = bench.effort.queued / 8;
    (keys, Duration::from_micros(4) * keys as u32)
}

/// Counts the worker's time during the pause, and the time from its end until the last key is
/// finished.
pub fn pause<Q: Delays>(bench: &Bench) -> f64 {
    let (n, length) = paused(bench);
    let mut queue = Q::new(n);
    keys(n).into_iter().for_each(|key| queue.add(key));
    queue.settle();
    let start = Instant::now();
    let end = start + length;
    let worked = queue.wait_out(n, end);
    // Putting keys back may take longer than the pause.
    let resumed = end.max(start + worked);
    queue.drain(n, |_| {});
    nanos_each(worked + (Instant::now() - resumed), n)
}

/// One live key comes in for that many keys of a resync.
pub const A_LIVE_KEY_IN: usize = 100;

/// Returns the keys of a resync.
pub fn resynced(bench: &Bench) -> usize {
    bench.effort.queued / 2
}

/// Adds all keys again while most wait and live keys come in, and takes two keys for each live one;
/// takes all in the end.
pub fn resync<Q: Queue>(bench: &Bench) -> Sample {
    let n = resynced(bench);
    let live = keys(n + n / A_LIVE_KEY_IN).split_off(n);
    let total = n + live.len();
    let mut queue = Q::new(total);
    let waiting = keys(n / 10 * 9).into_iter();
    waiting.for_each(|key| queue.add_low(key));
    queue.settle();
    let again = keys(n);
    let (mut added, mut waits) = (Vec::with_capacity(live.len()), latencies());
    let mut take = |queue: &mut Q, added: &[Instant]| {
        queue.take(|key| {
            if let Some(nth) = number(key).checked_sub(n) {
                waits.saturating_record(added[nth].elapsed().as_nanos() as u64);
            }
        });
    };
    let (mut live, mut taken) = (live.into_iter(), 0);
    let start = Instant::now();
    for (nth, key) in (1..).zip(again) {
        queue.add_low(key);
        if nth % A_LIVE_KEY_IN == 0
            && let Some(key) = live.next()
        {
            added.push(Instant::now());
            queue.add(key);
            (0..2).for_each(|_| take(&mut queue, &added));
            taken += 2;
        }
    }
    (taken..total).for_each(|_| take(&mut queue, &added));
    Sample {
        nanos: nanos_each(start.elapsed(), total),
        each: Some(waits),
        ..Sample::default()
    }
}
