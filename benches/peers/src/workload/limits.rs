//! What limiters of one bucket are put through.

use std::time::Duration;

use super::Bench;
use super::drive::{Driven, Load, Pattern, Tally, Weights, latencies};
use crate::floors;
use crate::judge::{Answers, Kept};
use crate::limiter;
use crate::measure::{Check, Contender, Sample, interleave};
use crate::quota::Quota;
use crate::report::{self, Body, Percentiles, Probed, Table, Unit};

/// A pattern that a limiter is judged by.
struct Probe {
    name: &'static str,
    rate: u64,
    weight: u32,
    /// The burst fills in this part of the time for which it is watched.
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

/// Each catches something that is sold.
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

/// Who keeps the quota.
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

/// Judged, and again if it fell short: a caller that is held up for longer than the bucket takes to
/// fill loses what comes meanwhile, whoever limits it. What is wrong is wrong each time.
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

/// Always enough tokens.
pub fn admit(bench: &Bench) -> anyhow::Result<Vec<Table>> {
    let load = Load::of(Quota::GENEROUS);
    times(bench, "admit", "Admitted, one thread", |limiter| {
        speed(bench, limiter, load)
    })
}

/// Never any.
pub fn deny(bench: &Bench) -> anyhow::Result<Vec<Table>> {
    let load = Load {
        spent: true,
        ..Load::of(Quota::STINGY)
    };
    times(bench, "deny", "Denied, one thread", |limiter| {
        speed(bench, limiter, load)
    })
}

/// As much as comes.
pub fn mixed_1x(bench: &Bench) -> anyhow::Result<Vec<Table>> {
    times(
        bench,
        "mixed-1x",
        "Mixed: rate equal to what one thread asks for",
        |limiter| mixed(bench, limiter, 1),
    )
}

/// A tenth of what comes.
pub fn mixed_10x(bench: &Bench) -> anyhow::Result<Vec<Table>> {
    times(
        bench,
        "mixed-10x",
        "Mixed: rate a tenth of what one thread asks for",
        |limiter| mixed(bench, limiter, 10),
    )
}

/// Several tokens at once.
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

/// All on one bucket.
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

/// 1, 2, 4, 8 ... and all.
pub fn thread_counts(most: usize) -> Vec<usize> {
    let mut counts: Vec<usize> = std::iter::successors(Some(1), |n| Some(n * 2))
        .take_while(|n| *n < most)
        .collect();
    counts.push(most);
    counts
}

/// How long a call takes that comes at its own time.
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

/// As fast as it goes.
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
        })
    }))
}

/// All that is asked for is there, or nothing is.
fn all_or_none(load: Load, tally: Tally) -> Check {
    let excess = excess(load.quota, tally);
    if load.spent {
        return Check::Excess(excess);
    }
    // A great many threads may ask for more than there is.
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

/// Tokens that were admitted over what a full bucket and its rate can give meanwhile.
fn excess(quota: Quota, tally: Tally) -> f64 {
    beyond_burst(quota, tally) - quota.per_nano() * tally.lived as f64
}

fn beyond_burst(quota: Quota, tally: Tally) -> f64 {
    (tally.spent + tally.admitted) as f64 - quota.burst as f64
}

/// At a rate that is a part of what it can answer; judged by what it admitted meanwhile.
fn mixed<'a>(bench: &Bench, limiter: &'a dyn Driven, part: u64) -> Option<Round<'a>> {
    let slice = bench.effort.slice;
    // Too long for a caller to be held up until it is full. A fixed window has no burst but itself,
    // and admits in every one.
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
            })
        })
    })
}

/// A rate with not too many digits, so that it can be told to everybody.
fn rate_for(per_nano: f64, fills_in: Duration) -> Quota {
    let rate = ((per_nano * 1e4) as u64).max(1) * 100_000;
    Quota::per_second(rate, fills_in)
}

/// If no more is asked for than the rate gives, only an excess says anything.
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
