//! The results and how they are written.

mod markdown;
mod plot;
mod targets;
mod wrong;

use std::fmt;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

use anyhow::Context;
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::judge::Kept;
use crate::machine::Machine;
use crate::measure::Row;
use crate::subject::About;

pub use targets::Target;

const TEXT: &str = "report.md";
const DATA: &str = "report.json";

/// All results of one run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The machine, commit and date.
    pub machine: Machine,
    /// "quick" or "full".
    pub effort: &'static str,
    /// What was not measured, and the reason.
    pub skipped: Vec<String>,
    /// The results, one table or more for each workload.
    pub tables: Vec<Table>,
    /// The library's targets and the figures measured.
    pub targets: Vec<Target>,
    /// Broken quotas, lost keys and missed floors: these fail the command.
    pub failures: Vec<String>,
}

/// The results of a workload.
#[derive(Debug, Serialize)]
pub struct Table {
    /// The name that floors and targets use.
    pub name: String,
    /// The heading.
    pub title: String,
    /// A note for the reader, or nothing.
    pub note: String,
    /// The rows.
    #[serde(flatten)]
    pub body: Body,
}

/// The rows of a table, all of one kind.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Body {
    /// One figure for each contender.
    Rows(Unit, Vec<Row>),
    /// One distribution for each contender.
    Percentiles(Vec<Percentiles>),
    /// What each contender admitted in each pattern, relative to its quota.
    Probed(Vec<Pattern>, Vec<Probed>),
}

/// The unit of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// The time of all threads divided by the calls of all.
    NanosACall,
    /// The time of one key.
    NanosAKey,
    /// Bytes that stay allocated.
    BytesAKey,
    /// A time in milliseconds.
    Millis,
    /// The calls of the faster of two threads over those of the slower.
    FasterOverSlower,
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NanosACall => "ns/call",
            Self::NanosAKey => "ns/key",
            Self::BytesAKey => "bytes/key",
            Self::Millis => "ms",
            Self::FasterOverSlower => "faster/slower",
        })
    }
}

/// A latency distribution, in nanoseconds.
#[derive(Debug, Serialize)]
pub struct Percentiles {
    /// The contender.
    #[serde(flatten)]
    pub about: About,
    /// The median.
    pub p50: u64,
    /// The 99th percentile.
    pub p99: u64,
    /// The 99.9th percentile.
    pub p999: u64,
    /// The 99.99th percentile.
    pub p9999: u64,
    /// The maximum.
    pub max: u64,
    /// The number of calls.
    pub count: u64,
}

impl Percentiles {
    /// Returns each percentile with its name.
    pub const fn named(&self) -> [(&'static str, u64); 5] {
        [
            ("p50", self.p50),
            ("p99", self.p99),
            ("p99.9", self.p999),
            ("p99.99", self.p9999),
            ("max", self.max),
        ]
    }

    /// Reads the percentiles of a histogram.
    pub fn of(about: About, histogram: &Histogram<u64>) -> Self {
        Self {
            about,
            p50: histogram.value_at_quantile(0.5),
            p99: histogram.value_at_quantile(0.99),
            p999: histogram.value_at_quantile(0.999),
            p9999: histogram.value_at_quantile(0.9999),
            max: histogram.max(),
            count: histogram.len(),
        }
    }
}

/// A pattern of calls for judging a limiter.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Pattern {
    /// The head of its column.
    pub name: &'static str,
    /// Whether it polls without a pause, so that a correct limiter admits its full rate.
    pub saturates: bool,
}

/// A limiter, judged in each pattern that it supports.
#[derive(Debug, Serialize)]
pub struct Probed {
    /// The limiter.
    #[serde(flatten)]
    pub about: About,
    /// The result in each pattern; `None` where it is not supported.
    pub kept: Vec<Option<Kept>>,
}

impl Report {
    /// Compares the tables with the targets.
    pub fn compare(&mut self) {
        self.targets = targets::compare(&self.tables);
    }

    /// Returns the rows of a table, if it was measured.
    pub fn find<'a>(tables: &'a [Table], name: &str) -> Option<&'a [Row]> {
        tables
            .iter()
            .find(|table| table.name == name)
            .and_then(|table| match &table.body {
                Body::Rows(_, rows) => Some(rows.as_slice()),
                _ => None,
            })
    }

    /// Makes the folder and checks that a report can be written there.
    ///
    /// # Errors
    /// A folder or file that cannot be created.
    pub fn prepare(folder: &Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        for file in [TEXT, DATA] {
            let path = folder.join(file);
            // Opened for appending: an earlier report stays until a new one replaces it.
            let mut options = OpenOptions::new();
            options
                .append(true)
                .create(true)
                .open(&path)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }

    /// Writes report.md, report.json and the plots into a folder; returns the paths.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write(&self, folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
        let (text, data) = (folder.join(TEXT), folder.join(DATA));
        let write = |path: &Path, content: String| {
            std::fs::write(path, content)
                .with_context(|| format!("cannot write {}", path.display()))
        };
        write(&data, serde_json::to_string_pretty(self)?)?;
        let plots = plot::all(&self.tables, folder)?;
        write(&text, markdown::whole(self, &plots))?;
        let mut paths = vec![text, data];
        paths.extend(plots.into_iter().map(|plot| folder.join(plot.file)));
        Ok(paths)
    }
}
