//! What was measured, and how it is told.

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

/// Everything.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Where and when.
    pub machine: Machine,
    /// How much was measured.
    pub effort: &'static str,
    /// What was not measured, and why.
    pub skipped: Vec<String>,
    /// What was.
    pub tables: Vec<Table>,
    /// What it was to be.
    pub targets: Vec<Target>,
    /// What it must be.
    pub failures: Vec<String>,
}

/// The rows of a workload.
#[derive(Debug, Serialize)]
pub struct Table {
    /// For floors and targets.
    pub name: String,
    /// For readers.
    pub title: String,
    /// What must be known to read it.
    pub note: String,
    /// The rows.
    #[serde(flatten)]
    pub body: Body,
}

/// Rows of one of these kinds.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Body {
    /// A figure each.
    Rows(Unit, Vec<Row>),
    /// A distribution each.
    Percentiles(Vec<Percentiles>),
    /// By these patterns, what was admitted of what was configured.
    Probed(Vec<Pattern>, Vec<Probed>),
}

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Nanoseconds, all threads together.
    NanosACall,
    /// Nanoseconds.
    NanosAKey,
    /// Bytes.
    BytesAKey,
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NanosACall => "ns/call",
            Self::NanosAKey => "ns/key",
            Self::BytesAKey => "bytes/key",
        })
    }
}

/// A distribution of nanoseconds.
#[derive(Debug, Serialize)]
pub struct Percentiles {
    /// Whose.
    #[serde(flatten)]
    pub about: About,
    /// Half were faster.
    pub p50: u64,
    /// 99 of 100 were.
    pub p99: u64,
    /// 999 of 1 000.
    pub p999: u64,
    /// 9 999 of 10 000.
    pub p9999: u64,
    /// The slowest.
    pub max: u64,
    /// How many.
    pub count: u64,
}

impl Percentiles {
    /// Each by its name.
    pub const fn named(&self) -> [(&'static str, u64); 5] {
        [
            ("p50", self.p50),
            ("p99", self.p99),
            ("p99.9", self.p999),
            ("p99.99", self.p9999),
            ("max", self.max),
        ]
    }

    /// Of a histogram.
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

/// How a limiter was polled to be judged.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Pattern {
    /// In a word.
    pub name: &'static str,
    /// Whether it was polled all the time, so that it should admit all that its rate gives.
    pub saturates: bool,
}

/// A limiter, judged by each pattern that it can be put to.
#[derive(Debug, Serialize)]
pub struct Probed {
    /// Who.
    #[serde(flatten)]
    pub about: About,
    /// How it did.
    pub kept: Vec<Option<Kept>>,
}

impl Report {
    /// Compares the tables with what they were to be.
    pub fn compare(&mut self) {
        self.targets = targets::compare(&self.tables);
    }

    /// The rows of a table, if it was measured.
    pub fn find<'a>(tables: &'a [Table], name: &str) -> Option<&'a [Row]> {
        tables
            .iter()
            .find(|table| table.name == name)
            .and_then(|table| match &table.body {
                Body::Rows(_, rows) => Some(rows.as_slice()),
                _ => None,
            })
    }

    /// Makes the folder, and sees that a report can be written there.
    ///
    /// # Errors
    /// What can't be made.
    pub fn prepare(folder: &Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        for file in [TEXT, DATA] {
            let path = folder.join(file);
            // An earlier report stays until there is a new one.
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
    /// What can't be written.
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
