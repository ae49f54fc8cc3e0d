//! The progress line.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// The values of a progress line.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moment {
    /// Objects that have converged.
    pub converged: usize,
    /// All objects.
    pub total: usize,
    /// Reconciles so far.
    pub reconciles: u64,
    /// Keys that wait for a worker.
    pub depth: usize,
    /// Keys that are delayed.
    pub delayed: usize,
    /// API calls so far.
    pub calls: usize,
}

/// The interval of plain lines.
const PLAIN_INTERVAL: Duration = Duration::from_secs(2);

/// A progress line: redrawn on a terminal, printed at intervals elsewhere.
pub struct Progress {
    bar: Option<ProgressBar>,
    qps: u64,
    last: (Instant, Moment),
    printed: Instant,
}

impl Progress {
    /// For a budget of `qps` calls a second.
    pub fn new(qps: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:24} {pos}/{len} converged  {msg}");
            ProgressBar::new(0).with_style(style.expect("the template is valid"))
        });
        let now = Instant::now();
        Self {
            bar,
            qps,
            last: (now, Moment::default()),
            printed: now,
        }
    }

    /// Shows these values.
    pub fn show(&mut self, moment: Moment) {
        let now = Instant::now();
        let (then, before) = self.last;
        let millis = u64::try_from((now - then).as_millis())
            .unwrap_or(u64::MAX)
            .max(1);
        let per_second = |count: u64| count * 1000 / millis;
        let calls = (moment.calls - before.calls) as u64;
        let line = format!(
            "{} reconciles/s  {} queued  {} delayed  {} of {} API calls/s",
            per_second(moment.reconciles - before.reconciles),
            moment.depth,
            moment.delayed,
            per_second(calls),
            self.qps,
        );
        match &self.bar {
            Some(bar) => {
                bar.set_length(moment.total as u64);
                bar.set_position(moment.converged as u64);
                bar.set_message(line);
                self.last = (now, moment);
            }
            None if now - self.printed >= PLAIN_INTERVAL => {
                eprintln!("{}/{} converged  {line}", moment.converged, moment.total);
                self.printed = now;
                self.last = (now, moment);
            }
            None => {}
        }
    }

    /// Clears the line.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
