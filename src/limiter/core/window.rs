//! The sliding window as sequential arithmetic: at most N in any window of P, exactly.
//!
//! The algorithm is the sliding window log: each admission is kept with its instant, and a take counts
//! those of the last P. A window is half-open: one that ends at t holds what was admitted in (t - P, t].
//! Of what was admitted before the latest take, the log keeps the newest N tokens: a window that reaches
//! further back is full without the others.
//!
//! Entries can lie ahead: reservations, which count at `ready_at`, and charges that did not fit. A take
//! at x lies in every window that ends in [x, x + P), so the fullest of these decides. Within them the
//! load grows only at an entry, and so only x itself and the entries ahead are looked at.
//!
//! # Cost
//! An entry is 24 bytes. The log holds at most N entries up to the latest take, where N is the largest
//! limit since the history was last forgotten, and at most [`MAX_AHEAD`] after it. Its buffer grows by
//! doubling, so it takes up to twice as many bytes. So the largest debt is at least [`MAX_AHEAD`] tokens, and
//! at most N times as many.
//!
//! While nothing lies ahead, an operation is a few binary searches. Otherwise it is one for each entry
//! ahead that it passes, and an insertion moves the entries ahead of it.

mod error;
mod tokens;
mod window_set;

use crate::clock::Timestamp;
use crate::limiter::core::history::History;
use crate::limiter::core::tokens::dated::DatedTokens;
use crate::limiter::core::tokens::log::Log;
pub(crate) use crate::limiter::core::window::error::MAX_LIMIT;
pub use crate::limiter::core::window::error::WindowError;
use crate::limiter::core::window::error::check_limit;
use crate::limiter::core::window::window_set::WindowSet;

/// At most `limit` tokens in any window of `period` nanoseconds.
///
/// A `now` before the latest operation that added tokens counts as that.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    limit: u64,
    period: u64,
    log: Log,
    /// When tokens were last added, or reserved for later.
    latest: Timestamp,
    /// Until when all admissions are blocked.
    paused: Timestamp,
    /// The largest limit since the history was last forgotten.
    remembered: u64,
    /// A lower bound on the first instant with room for one token. Without it each denial would walk the
    /// whole of a large debt.
    full_until: Timestamp,
}

impl Window {
    /// Creates an empty window.
    ///
    /// # Errors
    /// [`WindowError`], with the bound that was broken.
    pub(crate) fn new(limit: u64, period: u64) -> Result<Self, WindowError> {
        check_limit(limit, period)?;
        Ok(Self {
            limit,
            period,
            log: Log::default(),
            latest: Timestamp::ZERO,
            paused: Timestamp::ZERO,
            remembered: limit,
            full_until: Timestamp::ZERO,
        })
    }

    /// Changes the limit, for takes from now on. Reservations keep their instants.
    ///
    /// Of the history the newest tokens are known, as many as the largest limit since it was last
    /// forgotten. So a limit that changes back and forth mints nothing.
    ///
    /// # Errors
    /// [`WindowError`]; nothing was changed.
    pub(crate) fn set_limit(
        &mut self,
        limit: u64,
        period: u64,
        history: History,
        now: Timestamp,
    ) -> Result<(), WindowError> {
        check_limit(limit, period)?;
        (self.limit, self.period) = (limit, period);
        self.full_until = Timestamp::ZERO;
        match history {
            History::Kept => self.remembered = self.remembered.max(limit),
            History::Forgotten => {
                let mut reserved = Log::default();
                let start = self.effective_now(now);
                for entry in self.log.between(Some(start), Timestamp::MAX) {
                    reserved.add(entry.at, entry.reserved, entry.reserved);
                }
                self.log = reserved;
                self.paused = Timestamp::ZERO;
                self.remembered = limit;
            }
        }
        Ok(())
    }

    /// Returns the windows of a limit that is lower by `floor`, with `planned` beside the log.
    fn windows<'a>(&'a self, planned: &'a Log, floor: u64) -> WindowSet<'a> {
        WindowSet {
            logs: [&self.log, planned],
            limit: self.limit.saturating_sub(floor),
            period: self.period,
        }
    }

    /// Returns the first instant at which an admission may be looked for.
    fn open_from(&self, now: Timestamp) -> Timestamp {
        self.effective_now(now)
            .max(self.paused)
            .max(self.full_until)
    }

    /// Returns the tokens that can be had at `at`, a pause aside.
    fn room(&self, at: Timestamp) -> u64 {
        let nothing = Log::default();
        self.windows(&nothing, 0).room(at)
    }

    /// Notes that there is room again in the windows that hold `at`.
    fn loosen(&mut self, at: Timestamp) {
        let first = at.as_nanos().saturating_sub(self.period - 1);
        self.full_until = self.full_until.min(Timestamp::from_nanos(first));
    }
}

#[cfg(all(test, not(tollgate_loom)))]
mod tests;
