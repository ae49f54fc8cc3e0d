//! The report, in Markdown.

use std::fmt;

use crate::contender::{self, Contender};
use crate::machine::Machine;
use crate::workload::{self, Figure, Size};

/// The figures of one contender in one workload.
#[derive(Debug)]
pub struct Measured {
    /// The workload's name.
    pub workload: &'static str,
    /// The contender.
    pub contender: Contender,
    /// Its figures, in the order of the columns.
    pub figures: Vec<Figure>,
}

/// All that was measured.
#[derive(Debug)]
pub struct Report {
    /// Where.
    pub machine: Machine,
    /// On how much.
    pub size: Size,
    /// Why controller-runtime did not take part.
    pub without_go: Option<String>,
    /// The figures.
    pub measured: Vec<Measured>,
}

/// The longest backoff of a watch of `tollgate-kube`, in seconds.
const WATCH_BACKOFF: f64 = 5.0;
/// The default budget of `tollgate-kube`: a second, and at once.
const BUDGET: (f64, f64) = (20.0, 30.0);

/// A bar: what was measured, and what it may be at most.
struct Bar {
    about: &'static str,
    value: f64,
    most: f64,
}

impl Report {
    fn value(&self, workload: &str, contender: Contender, figure: &str) -> Option<f64> {
        let mut measured = self.measured.iter();
        let found =
            measured.find(|each| each.workload == workload && each.contender == contender)?;
        let mut figures = found.figures.iter();
        Some(figures.find(|each| each.name == figure)?.value)
    }

    fn bars(&self) -> Vec<Bar> {
        let ours = |workload, figure| self.value(workload, Contender::Tollgate, figure);
        let kubes = |workload, figure| self.value(workload, Contender::Kube, figure);
        let bar = |about, value: Option<f64>, most: Option<f64>| {
            Some(Bar {
                about,
                value: value?,
                most: most?,
            })
        };
        let live = ("live", "p99, ms");
        let memory = ("cold", "bytes an object");
        let calls = BUDGET.0 * self.size.outage.as_secs_f64() / 2.0 + BUDGET.1;
        let lines = |contender: Contender| Some(lines_of_code(contender.user_code()) as f64);
        let bars = [
            bar(
                "live edits during a relist: p99, ms",
                ours(live.0, live.1),
                Some(50.0),
            ),
            bar(
                "the same, and a tenth of kube's",
                ours(live.0, live.1),
                kubes(live.0, live.1).map(|p99| p99 * 0.1),
            ),
            bar(
                "outage: seconds until its edit is reconciled, and the longest backoff of a watch",
                ours("outage", "edit reconciled after, s"),
                Some(WATCH_BACKOFF),
            ),
            bar(
                "outage with work under way: calls, and the budget over its length",
                ours("backlog", "calls meanwhile"),
                Some(calls),
            ),
            bar(
                "bytes an object, and kube's",
                ours(memory.0, memory.1),
                kubes(memory.0, memory.1),
            ),
            bar(
                "lines of user code, and kube's",
                lines(Contender::Tollgate),
                lines(Contender::Kube),
            ),
        ];
        bars.into_iter().flatten().collect()
    }
}

/// The lines that are neither blank nor comments.
fn lines_of_code(text: &str) -> usize {
    let lines = text.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with("//"))
        .count()
}

/// Three digits, or all of a whole part.
fn digits(value: f64) -> String {
    match value {
        value if value.fract() == 0.0 || value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine {
            date,
            commit,
            processor,
            versions,
            load,
        } = &self.machine;
        writeln!(f, "# tollgate-kube beside its peers\n")?;
        writeln!(
            f,
            "`cargo run --release -p kube-bench` printed this report. Each contender runs the same reconcile in a"
        )?;
        writeln!(
            f,
            "process of its own, three objects at once, on ConfigMaps of a server in another process. The reconcile"
        )?;
        writeln!(
            f,
            "waits for 1 ms, and writes one annotation if it differs. All figures are of one run.\n"
        )?;
        writeln!(
            f,
            "{date}, commit {commit}; {processor}, load {load} before the run; {}.",
            versions.join(", ")
        )?;
        writeln!(
            f,
            "{} objects, an outage of {} s.",
            self.size.objects,
            self.size.outage.as_secs()
        )?;
        if let Some(line) = &self.without_go {
            writeln!(f, "{line}")?;
        }

        writeln!(
            f,
            "\n## Bars\n\n| bar | tollgate-kube | at most | |\n|---|---:|---:|---|"
        )?;
        for Bar { about, value, most } in self.bars() {
            let verdict = if value <= most { "met" } else { "missed" };
            writeln!(
                f,
                "| {about} | {} | {} | {verdict} |",
                digits(value),
                digits(most)
            )?;
        }

        for workload in &workload::ALL {
            let measured = self
                .measured
                .iter()
                .filter(|each| each.workload == workload.name);
            let measured: Vec<_> = measured.collect();
            let Some(first) = measured.first() else {
                continue;
            };
            writeln!(f, "\n## {}\n\n{}\n", workload.title, workload.about)?;
            let names: Vec<_> = first.figures.iter().map(|figure| figure.name).collect();
            writeln!(f, "| | {} |", names.join(" | "))?;
            writeln!(f, "|---|{}", "---:|".repeat(names.len()))?;
            for each in measured {
                let values: Vec<_> = each
                    .figures
                    .iter()
                    .map(|figure| digits(figure.value))
                    .collect();
                writeln!(f, "| {} | {} |", each.contender.name(), values.join(" | "))?;
            }
        }

        writeln!(
            f,
            "\n## User code\n\nLines of the operator's file that are neither blank nor comments.\n"
        )?;
        writeln!(f, "| | lines |\n|---|---:|")?;
        for contender in contender::ALL {
            writeln!(
                f,
                "| {} | {} |",
                contender.name(),
                lines_of_code(contender.user_code())
            )?;
        }
        Ok(())
    }
}
