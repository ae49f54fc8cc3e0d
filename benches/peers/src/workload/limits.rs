//! The workloads of single-bucket limiters.

use std::time::Duration;

use super::Bench;
use super::drive::{Driven, Load, Pattern, Tally, Weights, latencies};
use crate::floors;
use crate::judge::{Answers, Kept};
use crate::limiter;
use crate::measure::{Check, Contender, Sample, interleave};
use crate::quota::Quota;
use crate::report::{self, Body, Percentiles, Probed, Table, Unit};

/// A pattern of calls and a quota, for judging a limiter.
struct Probe {
    name: &'static str,
    rate: u64,
    weight: u32,
    /// The burst fills in the recorded time divided by this.
    burst_part: u32,
    all_threads: bool,
    pattern: Pattern,
}

impl Probe {
    fn told(&self) -> report::Pattern {
        report::Pattern {
            name: self.name,
            saturates: self.pattern.saturates(),
        }
    }
}

/// Each catches a fault of some published limiter.
const PROBES: &[Probe] = &[
    Probe {
        name: "100 000/s, polled by one thread",
        rate: 100_000,
        weight: 1,
        burst_part: 4,
        all_threads: false,
        pattern: Pattern::Saturate,
    },
    Probe {
        name: "100 000/s, polled by all threads",
        rate: 100_000,
        weight: 1,
        burst_part: 4,
        all_threads: true,
        pattern: Pattern::Saturate,
    },
    Probe {
        name: "600 000 000/s, 1 000 tokens a call",
        rate: 600_000_000,
        weight: 1_000,
        burst_part: 4,
        all_threads: false,
        pattern: Pattern::Saturate,
    },
    Probe {
        name: "100 000/s, one call, a rest, then polled",
        rate: 100_000,
        weight: 1,
        burst_part: 20,
        all_threads: false,
        pattern: Pattern::OneRestAll,
    },
];

/// Judges every limiter in every pattern.
pub fn correctness(bench: &Bench) -> anyhow::Result<Vec<Table>> {
    let mut rows = Vec::new();
    for limiter in limiter::all() {
        let about = limiter.about();
        if !about.judged {
            continue;
        }
        bench.progress.step(about.name);
        let probe = |probe: &Probe| {
            let quota = Quota::per_second(probe.rate, bench.effort.watch / probe.burst_part);
            let load = Load {
                weights: Weights::Same(probe.weight),
                threads: if probe.all_threads { bench.threads } else { 1 },
                ..Load::of(quota)
            };
            (about.weights || probe.weight == 1)
                .then(|| watched(limiter.as_ref(), load, probe.pattern, bench.effort.watch))
                .transpose()
        };
        rows.push(Probed {
            about: about.clone(),
            kept: PROBES.iter().map(probe).collect::<Result<_, _>>()?,
        });
    }
    Ok(vec![Table {
        name: "correctness".into(),
        title: "Correctness: tokens admitted, relative to the quota".into(),
        note: String::new(),
        body: Body::Probed(PROBES.iter().map(Probe::told).collect(), rows),
    }])
}

/// Judges a limiter, up to three times if it falls short. A caller that is descheduled for longer
/// than the bucket takes to fill loses tokens with any limiter; a wrong limiter falls short each
/// time.
fn watched(
    limiter: &dyn Driven,
    load: Load,
    pattern: Pattern,
    slice: Duration,
) -> anyhow::Result<Kept> {
    let mut kept = limiter.record(load, pattern, slice)?;
    for _ in 0..2 {
        if kept.achieved >= floors::ACHIEVED || !pattern.saturates() {
            break;
        }
        kept = kept.and(limiter.record(load, pattern, slice)?);
    }
    Ok(kept)
}

/// One thread, always enough tokens.
pub fn admit(bench: &Bench) -> anyhow::Result<Vec<Table>> {
    let load = Load::of(Quota::GENEROUS);
    times(bench, "admit", "Admitted, one thread", |limiter| {
        speed(bench, limiter, load)
    })
}

/// One thread, never a token.
pub fn deny(bench: &Bench) -> anyhow::Result<Vec<Table>> {
    let load = Load {
        spent: true,
        ..Load::of(Quota::STINGY)
    };
    times(bench, "deny", "Denied, one thread", |limiter| {
        speed(bench, limiter, load)
    })
}

/// One thread, a rate equal to what it requests.
pub fn mixed_1x(bench: &Bench) -> anyhow::Result<Vec<Table>> {
    times(
        bench,
        "mixed-1x",
        "Mixed: rate equal to what one thread asks for",
        |limiter| mixed(bench, limiter, 1),
    )
}

/// One thread, a rate of a tenth of what it requests.
pub fn mixed_10x(bench: &Bench) -> anyhow::Result<Vec<Table>> {
    times(
        bench,
        "mixed-10x",
        "Mixed: rate a tenth of what one thread asks for",
        |limiter| mixed(bench, limiter, 10),
    )
}

/// One thread, 1 to 16 tokens a call.
pub fn weights(bench: &Bench) -> anyhow::Result<Vec<Table>> {
    let load = Load {
        weights: Weights::Mixed,
        ..Load::of(Quota::GENEROUS)
    };
    times(
        bench,
        "weights",
        "Admitted, 1 to 16 tokens a call, one thread",
        |limiter| {
            limiter
                .about()
                .weights
                .then(|| speed(bench, limiter, load))
                .flatten()
        },
    )
}

/// Several threads on one bucket.
pub fn contention(bench: &Bench) -> anyhow::Result<Vec<Table>> {
    let mut tables = Vec::new();
    for threads in thread_counts(bench.threads) {
        let load = Load {
            threads,
            ..Load::of(Quota::GENEROUS)
        };
        let plural = if threads == 1 { "" } else { "s" };
        let title = format!("Contention: admitted, {threads} thread{plural} on one bucket");
        let name = format!("contention-{threads}");
        tables.extend(times(bench, &name, &title, |limiter| {
            speed(bench, limiter, load)
        })?);
    }
    Ok(tables)
}

/// Returns 1, 2, 4, 8 ... and `most`.
pub fn thread_counts(most: usize) -> Vec<usize> {
    let mut counts: Vec<usize> = std::iter::successors(Some(1), |n| Some(n * 2))
        .take_while(|n| *n < most)
        .collect();
    counts.push(most);
    counts
}

/// Open-loop latency: calls at fixed instants.
pub fn latency(bench: &Bench) -> anyhow::Result<Vec<Table>> {
    const PACE: Duration = Duration::from_micros(10);
    let load = Load {
        threads: bench.threads,
        ..Load::of(Quota::GENEROUS)
    };
    let limiters = limiter::all();
    let mut histograms: Vec<_> = limiters.iter().map(|_| latencies()).collect();
    for round in 0..=bench.effort.rounds {
        for (limiter, histogram) in limiters.iter().zip(&mut histograms) {
            bench.progress.step(limiter.about().name);
            let latencies = limiter.pace(load, PACE, bench.effort.slice)?;
            if round > 0 {
                histogram.add(latencies)?;
            }
        }
    }
    let rows = limiters
        .iter()
        .zip(&histograms)
        .map(|(limiter, histogram)| Percentiles::of(limiter.about().clone(), histogram));
    Ok(vec![Table {
        name: "latency".into(),
        title: format!("Latency: a call every {PACE:?} in each of {} threads", bench.threads),
        note: "Measured from the instant at which a call was due to its return, a clock read included. A delayed call also delays the calls behind it.".into(),
        body: Body::Percentiles(rows.collect()),
    }])
}

type Round<'a> = Box<dyn FnMut() -> anyhow::Result<Sample> + 'a>;

fn times(
    bench: &Bench,
    name: &str,
    title: &str,
    round: impl for<'a> Fn(&'a dyn Driven) -> Option<Round<'a>>,
) -> anyhow::Result<Vec<Table>> {
    let limiters = limiter::all();
    let contenders = limiters
        .iter()
        .filter_map(|limiter| {
            let round = round(limiter.as_ref())?;
            Some(Contender {
                about: limiter.about().clone(),
                round,
            })
        })
        .collect();
    let rows = interleave(contenders, bench.effort.rounds, bench.progress)?;
    Ok(vec![Table {
        name: name.into(),
        title: title.into(),
        note: String::new(),
        body: Body::Rows(Unit::NanosACall, rows),
    }])
}

/// Returns a round at full speed.
fn speed<'a>(bench: &Bench, limiter: &'a dyn Driven, load: Load) -> Option<Round<'a>> {
    let slice = bench.effort.slice;
    let judged = limiter.about().judged;
    Some(Box::new(move || {
        let tally = limiter.spin(load, slice)?;
        Ok(Sample {
            nanos: 1.0 / tally.per_nano,
            check: if judged {
                all_or_none(load, tally)
            } else {
                Check::None
            },
            each: None,
        })
    }))
}

/// Checks a round in which every request must be admitted, or in which none may be.
fn all_or_none(load: Load, tally: Tally) -> Check {
    let excess = excess(load.quota, tally);
    if load.spent {
        return Check::Excess(excess);
    }
    // Very many threads may request more than the burst.
    let enough = tally.asked <= load.quota.burst / 2;
    Check::Answers(Answers {
        admitted: tally.admitted,
        missed: if enough {
            tally.asked - tally.admitted
        } else {
            0
        },
        excess,
    })
}

/// Returns the tokens admitted over burst + rate x time.
fn excess(quota: Quota, tally: Tally) -> f64 {
    beyond_burst(quota, tally) - quota.per_nano() * tally.lived as f64
}

fn beyond_burst(quota: Quota, tally: Tally) -> f64 {
    (tally.spent + tally.admitted) as f64 - quota.burst as f64
}

/// Returns a round at a rate of 1/`part` of the limiter's own speed; judged by its admissions.
fn mixed<'a>(bench: &Bench, limiter: &'a dyn Driven, part: u64) -> Option<Round<'a>> {
    let slice = bench.effort.slice;
    // So long that no caller is descheduled until the bucket is full. A fixed window has no burst
    // beside the window, so it gets short ones.
    let fills_in = Duration::from_millis(if limiter.about().weights { 1_000 } else { 10 });
    let mut quota = None;
    limiter.about().judged.then(|| -> Round<'a> {
        Box::new(move || {
            let quota = match quota {
                Some(quota) => quota,
                None => {
                    let tally = limiter.spin(Load::of(Quota::GENEROUS), slice)?;
                    *quota.insert(rate_for(tally.per_nano / part as f64, fills_in))
                }
            };
            let load = Load {
                spent: true,
                ..Load::of(quota)
            };
            let tally = limiter.spin(load, slice)?;
            Ok(Sample {
                nanos: 1.0 / tally.per_nano,
                check: kept_in_all(quota, tally, part),
                each: None,
            })
        })
    })
}

/// Rounds a rate to a multiple of 100,000, which every peer accepts.
fn rate_for(per_nano: f64, fills_in: Duration) -> Quota {
    let rate = ((per_nano * 1e4) as u64).max(1) * 100_000;
    Quota::per_second(rate, fills_in)
}

/// Checks the quota. Where requests do not exceed the rate, only an excess says anything.
fn kept_in_all(quota: Quota, tally: Tally, part: u64) -> Check {
    let excess = excess(quota, tally);
    match part {
        1 => Check::Excess(excess),
        _ => Check::Quota(Kept {
            achieved: beyond_burst(quota, tally) / (quota.per_nano() * tally.lived as f64),
            excess,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_cores_are_swept() {
        assert_eq!(thread_counts(1), [1]);
        assert_eq!(thread_counts(2), [1, 2]);
        assert_eq!(thread_counts(6), [1, 2, 4, 6]);
        assert_eq!(thread_counts(16), [1, 2, 4, 8, 16]);
    }
}
