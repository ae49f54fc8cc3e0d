//! The set of all windows over a log: those that hold an instant, and the first instant with room in
//! each of them.

use crate::clock::Timestamp;
use crate::limiter::core::tokens::log::Log;

/// Returns whether no window that ends at `end` or later holds `at`, which is no later than `end`.
pub(crate) fn has_passed(at: Timestamp, period: u64, end: Timestamp) -> bool {
    end.as_nanos() - at.as_nanos() >= period
}

/// The windows over two logs: the admissions, and what is planned beside them.
#[derive(Clone, Copy)]
pub(crate) struct WindowSet<'a> {
    pub(crate) logs: [&'a Log; 2],
    pub(crate) limit: u64,
    pub(crate) period: u64,
}

impl WindowSet<'_> {
    /// Returns the tokens in the logs up to `at`.
    fn through(&self, at: Timestamp) -> u64 {
        self.logs[0].through(at) + self.logs[1].through(at)
    }

    /// Returns the tokens in the window that ends at `end`.
    fn load(&self, end: Timestamp) -> u64 {
        let before = match end.as_nanos().checked_sub(self.period) {
            Some(before) => self.through(Timestamp::from_nanos(before)),
            None => 0,
        };
        self.through(end) - before
    }

    /// Returns the instant of the first entry after `at`.
    fn next_after(&self, at: Timestamp) -> Option<Timestamp> {
        let [log, planned] = self.logs.map(|log| log.next_after(at));
        log.into_iter().chain(planned).min()
    }

    /// Returns the instant by which there are `target` tokens in the logs.
    fn reached(&self, target: u64) -> Option<Timestamp> {
        let [log, planned] = self.logs;
        let in_log = log.reached(target, planned);
        in_log.into_iter().chain(planned.reached(target, log)).min()
    }

    /// Returns the tokens that can be had at `at`.
    pub(crate) fn room(&self, at: Timestamp) -> u64 {
        let mut end = at;
        let mut most = self.load(end);
        while let Some(next) = self.next_after(end)
            && !has_passed(at, self.period, next)
        {
            end = next;
            most = most.max(self.load(end));
        }
        self.limit.saturating_sub(most)
    }

    /// Returns the first instant from `from` on at which `n` tokens can be had; `None` if the clock ends
    /// first. `n` is at most the limit.
    pub(crate) fn fit(&self, n: u64, from: Timestamp) -> Option<Timestamp> {
        let most = self.limit - n;
        // Invariant: the windows that hold `at` and end before `end` have room.
        let (mut at, mut end) = (from, from);
        loop {
            if self.load(end) > most {
                // Until the oldest tokens above `most` have left, every window that ends later is too
                // full, and every instant before lies in such a window.
                let last = self.reached(self.through(end) - most)?;
                at = Timestamp::from_nanos(last.as_nanos().checked_add(self.period)?);
                end = at;
            } else {
                match self.next_after(end) {
                    Some(next) if !has_passed(at, self.period, next) => end = next,
                    _ => return Some(at),
                }
            }
        }
    }
}
