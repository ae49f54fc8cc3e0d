//! Whether two threads on one bucket get equal shares of it, and how long a call of theirs takes.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::Bench;
use super::drive::{self, latencies, together};
use crate::clock::{Clock, Os, Tsc};
use crate::limiter::{self, Handle, Limiter};
use crate::measure::{Contender, Sample, interleave_cold};
use crate::quota::Quota;
use crate::report::{Body, Percentiles, Table, Unit};
use crate::subject::Family;

/// Calls between two clock reads while they are counted.
const BATCH: u64 = 64;

/// Calls are counted for each millisecond.
const BIN: u64 = 1_000_000;

/// The milliseconds of a window.
const WINDOW: usize = 10;

/// How long calls are counted: some tens of windows, each a millisecond after the last.
const COUNTED: Duration = Duration::from_millis(40);

/// How long each call is timed.
const TIMED: Duration = Duration::from_millis(10);

/// A limiter that two threads call.
pub trait Fair {
    /// Counts the calls of two threads, then times each call of two threads; `None` if it cannot.
    fn fair(&self) -> Option<Sample>;
}

impl<L: Limiter> Fair for drive::Of<L> {
    fn fair(&self) -> Option<Sample> {
        let counts = counts::<L>(COUNTED);
        Some(Sample {
            nanos: worst(&counts[0], &counts[1], WINDOW)?,
            each: Some(times::<L>(TIMED)),
            ..Sample::default()
        })
    }
}

/// Returns each thread's calls in each millisecond of its run, and nothing before its first.
fn counts<L: Limiter>(slice: Duration) -> Vec<Vec<u64>> {
    let limiter = L::new(Quota::GENEROUS);
    let clock = Os::default();
    let origin = clock.nanos();
    let bins = 2 + (slice.as_nanos() as u64).div_ceil(BIN) as usize;
    together(2, |_| {
        let (mut handle, clock) = (limiter.handle(2), clock);
        move |_| {
            let mut calls = vec![0; bins];
            loop {
                let at = (clock.nanos() - origin) / BIN;
                let Some(bin) = calls.get_mut(at as usize) else {
                    return calls;
                };
                (0..BATCH).for_each(|_| {
                    handle.try_acquire(1);
                });
                *bin += BATCH;
            }
        }
    })
}

/// Returns the calls of the faster thread over those of the slower, in the window where that is
/// largest. The bins of the start and the end are left out: a thread may start late.
fn worst(one: &[u64], two: &[u64], window: usize) -> Option<f64> {
    let starts = |calls: &[u64]| calls.iter().position(|calls| *calls > 0);
    let start = starts(one)?.max(starts(two)?) + 1;
    let end = one.len().min(two.len()) - 1;
    let windows = one.get(start..end)?.windows(window);
    let both = windows.zip(two.get(start..end)?.windows(window));
    let ratios = both.map(|(one, two)| {
        let (one, two): (u64, u64) = (one.iter().sum(), two.iter().sum());
        one.max(two) as f64 / one.min(two).max(1) as f64
    });
    ratios.reduce(f64::max)
}

/// Times each call of two threads.
fn times<L: Limiter>(slice: Duration) -> Histogram<u64> {
    let limiter = L::new(Quota::GENEROUS);
    let clock = Tsc::default();
    let end = clock.nanos() + slice.as_nanos() as u64;
    let callers = together(2, |_| {
        let (mut handle, clock) = (limiter.handle(2), clock.clone());
        move |_| {
            let mut each = latencies();
            let mut before = clock.nanos();
            while before < end {
                handle.try_acquire(1);
                let after = clock.nanos();
                each.saturating_record(after.saturating_sub(before));
                // Recording takes longer than a call, and is not a part of one.
                before = clock.nanos();
            }
            each
        }
    });
    callers.into_iter().fold(latencies(), |mut all, one| {
        all.add(one).expect("their bounds are the same");
        all
    })
}

/// Two threads on each bucket: ours, the peers', the textbook's, and a bare swap.
pub fn fairness(bench: &Bench) -> anyhow::Result<Vec<Table>> {
    if bench.threads < 2 {
        return Ok(Vec::new());
    }
    let limiters = limiter::all();
    let chosen = limiters.iter().filter(|limiter| {
        let about = limiter.about();
        about.family != Family::Bound || about.name.starts_with("clock read + CAS")
    });
    let contenders = chosen.filter_map(|limiter| {
        // Also the round that warms up.
        limiter.fair()?;
        Some(Contender {
            about: limiter.about().clone(),
            round: Box::new(move || Ok(limiter.fair().unwrap_or_default())),
        })
    });
    let rounds = bench.effort.rounds.div_ceil(3);
    let rows = interleave_cold(contenders.collect(), rounds, bench.progress)?;
    let percentiles = rows
        .iter()
        .filter_map(|row| Some(Percentiles::of(row.about.clone(), row.each.as_ref()?)));
    let calls = Body::Percentiles(percentiles.collect());
    Ok(vec![
        Table {
            name: "fairness".into(),
            title: "Fairness: two threads on one bucket, the worst 10 ms".into(),
            note: "The calls of the faster thread over those of the slower, in that window of 10 ms where this is largest: 1 is fair, 1.25 leaves the slower thread 0.8. A thread that the machine stops counts as a slow one.".into(),
            body: Body::Rows(Unit::FasterOverSlower, rows),
        },
        Table {
            name: "fairness-calls".into(),
            title: "Fairness: each call of two threads on one bucket".into(),
            note: "A clock read included. Between two calls a thread records the last one.".into(),
            body: calls,
        },
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_window_counts_and_the_edges_do_not() {
        // The second starts late, and is slow in the third window of two.
        let one = [9, 9, 8, 8, 8, 8, 8, 1];
        let two = [0, 1, 8, 8, 4, 4, 8, 9];
        assert_eq!(worst(&one, &two, 2), Some(2.0));
        assert_eq!(worst(&two, &one, 2), Some(2.0));
        assert_eq!(worst(&one, &two, 5), Some(40.0 / 32.0));
        // No window of that length; a thread that never ran; a thread that starves.
        assert_eq!(worst(&one, &two, 6), None);
        assert_eq!(worst(&one, &[0; 8], 2), None);
        assert_eq!(worst(&[5; 5], &[5, 0, 0, 0, 0], 3), Some(15.0));
    }

    #[test]
    fn both_threads_are_counted_and_timed() {
        use ::tollgate::AtomicTokenBucket;

        // A thread that starts too late has no calls, so the figures are not asserted.
        let slice = Duration::from_millis(2);
        let counts = counts::<AtomicTokenBucket>(slice);
        assert_eq!(counts.iter().map(Vec::len).collect::<Vec<_>>(), [4, 4]);
        let each = times::<AtomicTokenBucket>(slice);
        assert!(each.is_empty() || each.max() > 0);
    }
}
