//! The course of a demo run: what its picture shows.

use std::time::{Duration, Instant};

/// The width of a bar of API calls.
pub const BIN: Duration = Duration::from_millis(100);

/// The queues and the objects at one instant.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Since the server started.
    pub at: Duration,
    /// Keys that wait for a worker.
    pub ready: usize,
    /// Keys that wait for their time.
    pub delayed: usize,
    /// Objects that have converged.
    pub converged: usize,
}

/// The samples of a run.
#[derive(Debug)]
pub struct Timeline {
    epoch: Instant,
    /// In the order of time.
    pub samples: Vec<Sample>,
}

impl Timeline {
    /// Starts the time. Call as soon as the server, whose arrivals count from its own start, is there.
    pub fn start() -> Self {
        Self {
            epoch: Instant::now(),
            samples: Vec::new(),
        }
    }

    /// Adds a sample of this instant.
    pub fn add(&mut self, ready: usize, delayed: usize, converged: usize) {
        self.samples.push(Sample {
            at: self.epoch.elapsed(),
            ready,
            delayed,
            converged,
        });
    }
}

/// The number of calls in each [`BIN`], from arrivals in nanoseconds.
pub fn bins(arrivals: &[u64]) -> Vec<u64> {
    let mut bins = Vec::new();
    for arrival in arrivals {
        let at = usize::try_from(u128::from(*arrival) / BIN.as_nanos()).unwrap_or(usize::MAX);
        if at >= bins.len() {
            bins.resize(at + 1, 0);
        }
        bins[at] += 1;
    }
    bins
}

/// What the budget allows in each bin: the tokens that are left at its start, and those that accrue in it. The
/// arrivals are in order, and in nanoseconds.
pub fn allowed(arrivals: &[u64], qps: u64, burst: u64) -> Vec<f64> {
    let (rate, burst) = (qps as f64, burst as f64);
    let mut arrivals = arrivals.iter().map(|nanos| *nanos as f64 / 1e9).peekable();
    let (mut now, mut tokens) = (0.0, burst);
    let mut allowed = Vec::new();
    while arrivals.peek().is_some() {
        let bin = BIN.as_secs_f64();
        allowed.push(tokens + rate * bin);
        let end = allowed.len() as f64 * bin;
        while let Some(at) = arrivals.next_if(|at| *at < end) {
            // A request that was late on its way seems to come without a token.
            tokens = ((tokens + rate * (at - now)).min(burst) - 1.0).max(0.0);
            now = at;
        }
        tokens = (tokens + rate * (end - now)).min(burst);
        now = end;
    }
    allowed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_fall_into_bins() {
        let millis = [0, 99, 100, 350].map(|at| at * 1_000_000);
        assert_eq!(bins(&millis), [2, 1, 0, 1]);
        assert_eq!(bins(&[]), [] as [u64; 0]);
    }

    #[test]
    fn the_budget_allows_what_is_left_and_what_accrues() {
        // 10 tokens accrue in each bin.
        let burst_first = [50, 50, 50, 50, 350].map(|at| at * 1_000_000);
        let allowed = allowed(&burst_first, 100, 4);
        let rounded: Vec<_> = allowed.iter().map(|most| most.round()).collect();
        assert_eq!(rounded, [14.0, 14.0, 14.0, 14.0]);
        let scarce = super::allowed(&burst_first, 10, 4);
        let rounded: Vec<_> = scarce.iter().map(|most| (most * 10.0).round()).collect();
        // Four are taken half-way through the first bin, and one accrues in each.
        assert_eq!(rounded, [50.0, 15.0, 25.0, 35.0]);
    }
}
