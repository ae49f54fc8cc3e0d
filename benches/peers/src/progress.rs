//! Shows progress on standard error.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

/// One redrawn line on a terminal; elsewhere one line for each workload.
pub struct Progress(Option<ProgressBar>);

impl Progress {
    /// Starts a bar for that many workloads.
    pub fn new(workloads: usize) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style =
                ProgressStyle::with_template("{bar:24} {pos}/{len} {prefix}: {msg} [{elapsed}]");
            ProgressBar::new(workloads as u64).with_style(style.expect("the template is valid"))
        });
        Self(bar)
    }

    /// A bar that shows nothing.
    #[cfg(test)]
    pub fn hidden() -> Self {
        Self(Some(ProgressBar::hidden()))
    }

    /// Announces a workload.
    pub fn begin(&self, name: &str) {
        match &self.0 {
            Some(bar) => bar.set_prefix(name.to_owned()),
            None => eprintln!("{name}"),
        }
    }

    /// Announces the subject that runs now.
    pub fn step(&self, subject: &'static str) {
        if let Some(bar) = &self.0 {
            bar.set_message(subject);
        }
    }

    /// Marks the workload as finished.
    pub fn end(&self) {
        if let Some(bar) = &self.0 {
            bar.inc(1);
        }
    }

    /// Removes the line.
    pub fn clear(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
