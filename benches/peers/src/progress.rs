//! What is being measured, on standard error.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

/// A line that is redrawn on a terminal; one line a workload elsewhere.
pub struct Progress(Option<ProgressBar>);

impl Progress {
    /// For that many workloads.
    pub fn new(workloads: usize) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style =
                ProgressStyle::with_template("{bar:24} {pos}/{len} {prefix}: {msg} [{elapsed}]");
            ProgressBar::new(workloads as u64).with_style(style.expect("the template is valid"))
        });
        Self(bar)
    }

    /// For tests.
    #[cfg(test)]
    pub fn hidden() -> Self {
        Self(Some(ProgressBar::hidden()))
    }

    /// A workload begins.
    pub fn begin(&self, name: &str) {
        match &self.0 {
            Some(bar) => bar.set_prefix(name.to_owned()),
            None => eprintln!("{name}"),
        }
    }

    /// A subject's turn.
    pub fn step(&self, subject: &'static str) {
        if let Some(bar) = &self.0 {
            bar.set_message(subject);
        }
    }

    /// The workload has ended.
    pub fn end(&self) {
        if let Some(bar) = &self.0 {
            bar.inc(1);
        }
    }

    /// Takes the line away.
    pub fn clear(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
