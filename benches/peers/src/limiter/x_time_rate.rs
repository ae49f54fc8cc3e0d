//! Go's `golang.org/x/time/rate`, in its own process.
//!
//! The process runs the same loops (`go/main.go`) in the same rounds, measures itself, and prints
//! its records. Its admissions are judged here, like those of the other contenders.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use hdrhistogram::Histogram;

use crate::judge::{Admission, Change, Course, Kept, Record, judge, judge_changing};
use crate::quota::Quota;
use crate::subject::{About, Family};
use crate::workload::changes::{Changeable, LARGE, SMALL};
use crate::workload::drive::{Driven, Load, Pattern, Tally, Weights, latencies};

/// The Go program.
pub struct Go {
    about: About,
}

const PROGRAM: &str = "target/peers/x-time-rate";

impl Go {
    /// Returns the program, if it was built.
    pub fn built() -> Option<Self> {
        let about = About::new("Go x/time/rate", Family::Peer, "Go");
        Path::new(PROGRAM).exists().then_some(Self { about })
    }

    /// Builds the program with Debian's Go and library.
    ///
    /// # Errors
    /// The reason why the build failed.
    pub fn build() -> anyhow::Result<()> {
        // A stale program of an earlier build must not take part.
        let _ = std::fs::remove_file(PROGRAM);
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("go/main.go");
        let built = Command::new("go")
            .args(["build", "-o", PROGRAM])
            .arg(source)
            .env("GO111MODULE", "off")
            .env("GOPATH", "/usr/share/gocode")
            .stdin(Stdio::null())
            .output()
            .context("no `go`: install golang-go and golang-golang-x-time-dev")?;
        ensure!(
            built.status.success(),
            "`go build` failed, is golang-golang-x-time-dev installed? {}",
            String::from_utf8_lossy(&built.stderr).trim()
        );
        Ok(())
    }

    /// Runs one slice and returns the words that the program printed.
    fn run(
        &self,
        mode: &str,
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
        let output = Command::new(PROGRAM)
            .arg(format!("-mode={mode}"))
            .arg(format!("-tokens={tokens}"))
            .arg(format!("-period={}", period.as_nanos()))
            .arg(format!("-burst={burst}"))
            .arg(format!("-weight={weight}"))
            .arg(format!("-threads={threads}"))
            .arg(format!("-spent={spent}"))
            .arg(format!("-slice={}", slice.as_nanos()))
            .arg(format!("-pace={}", pace.as_nanos()))
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("cannot run {PROGRAM}"))?;
        ensure!(
            output.status.success(),
            "{PROGRAM} failed: {}",
            output.status
        );
        let words = output.stdout.chunks_exact(8);
        Ok(words
            .map(|word| u64::from_le_bytes(word.try_into().expect("8 bytes")))
            .collect())
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

impl Changeable for Go {
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

impl Driven for Go {
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
