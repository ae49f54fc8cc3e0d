//! Go's `golang.org/x/time/rate`, in its own process (`go/limiter.go`). Its admissions are judged
//! here, like those of the other contenders.

use std::time::Duration;

use anyhow::Context;
use hdrhistogram::Histogram;

use crate::go::Go;
use crate::judge::{Admission, Change, Course, Kept, Record, judge, judge_changing};
use crate::measure::Sample;
use crate::quota::Quota;
use crate::subject::{About, Family};
use crate::workload::changes::{Changeable, LARGE, SMALL};
use crate::workload::drive::{Driven, Load, Pattern, Tally, Weights, latencies};
use crate::workload::fairness::Fair;

/// `rate.Limiter`.
pub struct XTimeRate {
    about: About,
    go: &'static Go,
}

impl XTimeRate {
    /// Returns it, if Go takes part.
    pub fn running() -> Option<Self> {
        let about = About::new("Go x/time/rate", Family::Peer, "Go");
        Go::running().map(|go| Self { about, go })
    }

    /// Runs one slice and returns the words that the program answers.
    fn run(
        &self,
        workload: &str,
        load: Load,
        slice: Duration,
        pace: Duration,
    ) -> anyhow::Result<Vec<u64>> {
        let Load {
            quota:
                Quota {
                    tokens,
                    period,
                    burst,
                },
            weights,
            threads,
            spent,
        } = load;
        let weight = match weights {
            Weights::Same(n) => n,
            Weights::Mixed => 0,
        };
        let (period, slice, pace) = (period.as_nanos(), slice.as_nanos(), pace.as_nanos());
        self.go.ask(&format!(
            "{workload} -tokens={tokens} -period={period} -burst={burst} -weight={weight} -threads={threads} -spent={spent} -slice={slice} -pace={pace}"
        ))
    }
}

/// What all its callers saw.
fn recorded(last_denial: u64, admissions: &[u64]) -> Vec<Record> {
    let admissions = admissions.chunks_exact(3).map(|words| Admission {
        before: words[0],
        after: words[1],
        n: words[2],
    });
    vec![Record {
        admissions: admissions.collect(),
        last_denial: Some(last_denial).filter(|stamp| *stamp > 0),
    }]
}

impl Changeable for XTimeRate {
    /// Each change takes two calls: no single one sets both rate and burst.
    fn change(&self, threads: usize, slice: Duration) -> anyhow::Result<Option<Kept>> {
        let load = Load {
            threads,
            ..Load::of(SMALL)
        };
        let words = self.run("changes", load, slice, Duration::ZERO)?;
        let (head, words) = words.split_at_checked(2).context("it recorded nothing")?;
        let (last_denial, changes) = (head[0], head[1] as usize);
        let (stamps, admissions) = words
            .split_at_checked(changes * 2)
            .context("it recorded too few changes")?;
        let quotas = [LARGE, SMALL].into_iter().cycle();
        let changes = quotas.zip(stamps.chunks_exact(2));
        let changes = changes.map(|(quota, stamps)| Change {
            quota,
            before: stamps[0],
            after: stamps[1],
        });
        let course = Course::changing(0, SMALL, &changes.collect::<Vec<_>>());
        Ok(Some(judge_changing(
            &course,
            recorded(last_denial, admissions),
        )))
    }
}

impl Fair for XTimeRate {
    /// Its goroutines are not counted.
    fn fair(&self) -> Option<Sample> {
        None
    }
}

impl Driven for XTimeRate {
    fn about(&self) -> &About {
        &self.about
    }

    fn spin(&self, load: Load, slice: Duration) -> anyhow::Result<Tally> {
        let words = self.run("spin", load, slice, Duration::ZERO)?;
        let (spent, callers) = words.split_first().context("it counted nothing")?;
        let mut tally = Tally {
            spent: *spent,
            ..Tally::default()
        };
        for caller in callers.chunks_exact(4) {
            let (calls, admitted, took, lived) = (caller[0], caller[1], caller[2], caller[3]);
            tally.per_nano += calls as f64 / took as f64;
            tally.asked += load.weights.asked(calls);
            tally.admitted += admitted;
            tally.lived = tally.lived.max(lived);
        }
        Ok(tally)
    }

    fn record(&self, load: Load, pattern: Pattern, slice: Duration) -> anyhow::Result<Kept> {
        let mode = match pattern {
            Pattern::Saturate => "saturate",
            Pattern::OneRestAll => "one-rest-all",
        };
        let words = self.run(mode, load, slice, Duration::ZERO)?;
        let (last_denial, admissions) = words.split_first().context("it recorded nothing")?;
        Ok(judge(load.quota, recorded(*last_denial, admissions)))
    }

    fn pace(&self, load: Load, pace: Duration, slice: Duration) -> anyhow::Result<Histogram<u64>> {
        let mut histogram = latencies();
        for nanos in self.run("pace", load, slice, pace)? {
            histogram.saturating_record(nanos);
        }
        Ok(histogram)
    }
}
