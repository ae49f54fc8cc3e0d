//! The sliding window as sequential arithmetic: at most N tokens in any window of P, exactly.
//!
//! The algorithm is the sliding window log: each admission is kept with its instant, and a take
//! counts those of the last P. A window is half-open: one that ends at t holds what was admitted
//! in (t - P, t]. Of what was admitted before the latest take, the log keeps the newest N tokens:
//! a window that reaches further back is full without the others.
//!
//! Entries can lie ahead: reservations, which count at `ready_at`, and charges that did not fit. A
//! take at x lies in every window that ends in [x, x + P), so the fullest of these decides. Within
//! them the load grows only at an entry, and so only x itself and the entries ahead are looked at.
//!
//! # Cost
//! An entry is 24 bytes. The log holds at most N entries up to the latest take, where N is the
//! largest limit since the history was last forgotten, and at most [`MAX_AHEAD`] after it. Its buffer
//! grows by doubling, so it takes up to twice as many bytes.
//!
//! While nothing lies ahead, an operation is a few binary searches. Otherwise it is one for each
//! entry ahead that it passes, and an insertion moves the entries ahead of it.

mod error;
mod log;
#[cfg(all(test, not(tollgate_loom)))]
mod tests;
mod tokens;
mod view;
mod wait;

use std::time::Duration;

use crate::clock::Timestamp;
use crate::limiter::core::denied::Denied;
pub(crate) use crate::limiter::core::window::error::MAX_LIMIT;
pub use crate::limiter::core::window::error::WindowError;
use crate::limiter::core::window::error::check_limit;
use crate::limiter::core::window::log::Log;
use crate::limiter::core::window::view::{Windows, has_passed};

/// The most entries ahead, for reservations and charges together: 1.5 MiB. So the largest debt is
/// no less than this many tokens, and up to N times as many.
pub(crate) const MAX_AHEAD: usize = 1 << 16;

/// What becomes of past admissions when a [`SlidingWindow`](crate::SlidingWindow) or an
/// [`IntervalTokenBucket`](crate::IntervalTokenBucket) changes its limit. Reservations still to come
/// stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum History {
    /// Past admissions count under the new limit, charges still to come included.
    Kept,
    /// Past admissions, charges and a pause are forgotten: a grant.
    Forgotten,
}

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
    /// No token can be had before.
    paused: Timestamp,
    /// The largest limit since the history was last forgotten.
    remembered: u64,
    /// A lower bound on the first instant with room for one token. Without it each denial would
    /// walk the whole of a large debt.
    full_until: Timestamp,
}

impl Window {
    /// An empty window.
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

    pub(crate) const fn limit(&self) -> u64 {
        self.limit
    }

    /// What `now` counts as.
    fn start(&self, now: Timestamp) -> Timestamp {
        now.max(self.latest)
    }

    /// The windows with `floor` tokens less, and with `planned` beside the log.
    fn windows<'a>(&'a self, planned: &'a Log, floor: u64) -> Windows<'a> {
        Windows {
            logs: [&self.log, planned],
            limit: self.limit.saturating_sub(floor),
            period: self.period,
        }
    }

    /// Checks that `n` tokens can ever be had at once above `floor`.
    pub(crate) const fn check_burst(&self, n: u64, floor: u64) -> Result<(), Denied> {
        let burst = self.limit.saturating_sub(floor);
        if n > burst {
            return Err(Denied::ExceedsBurst { burst });
        }
        Ok(())
    }

    /// The first instant at which an admission may be looked for.
    fn open_from(&self, now: Timestamp) -> Timestamp {
        self.start(now).max(self.paused).max(self.full_until)
    }

    /// The first instant from `now` on at which `n` tokens can be had above `floor`.
    fn fit(&self, n: u64, floor: u64, now: Timestamp) -> Option<Timestamp> {
        let nothing = Log::default();
        self.windows(&nothing, floor).fit(n, self.open_from(now))
    }

    /// How long after `now` the instant `at` is; zero if `now` counts as that.
    fn wait_until(&self, at: Timestamp, now: Timestamp) -> Duration {
        if at == self.start(now) {
            return Duration::ZERO;
        }
        at.saturating_since(now)
    }

    /// Takes `n` tokens if at least `floor` could be had as well.
    ///
    /// # Errors
    /// [`Denied`]; nothing was changed.
    pub(crate) fn take(&mut self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied> {
        if n == 0 {
            return Ok(());
        }
        self.check_burst(n, floor)?;
        let start = self.start(now);
        match self.fit(n, floor, now) {
            Some(at) if at == start => {
                self.count(n, start);
                Ok(())
            }
            at => Err(Denied::after(at.map(|at| at.saturating_since(now)))),
        }
    }

    /// Takes what there is, at most `n`.
    pub(crate) fn take_up_to(&mut self, n: u64, now: Timestamp) -> u64 {
        let there = self.available(now).min(n);
        if there > 0 {
            self.count(there, self.start(now));
        }
        there
    }

    /// Notes that `n` tokens were taken at `at`.
    fn count(&mut self, n: u64, at: Timestamp) {
        self.latest = at;
        self.log.forget(at, n, self.remembered);
        self.log.add(at, n, 0);
    }

    /// Takes `n` tokens at the first instant at which they can be had, if that is at most `max_wait`
    /// away: they count at that instant.
    ///
    /// # Errors
    /// [`Denied`]; nothing was changed. [`Denied::TooLong`] also if [`MAX_AHEAD`] entries lie ahead.
    pub(crate) fn reserve(
        &mut self,
        n: u64,
        max_wait: Duration,
        now: Timestamp,
    ) -> Result<Timestamp, Denied> {
        if n == 0 {
            return Ok(now);
        }
        self.check_burst(n, 0)?;
        let at = self.fit(n, 0, now).ok_or(Denied::Exhausted)?;
        let retry_after = self.wait_until(at, now);
        if retry_after > max_wait {
            return Err(Denied::TooLong { retry_after });
        }
        self.reserve_at(n, at, now)?;
        Ok(at)
    }

    /// Reserves `n` tokens at `ready_at`, an instant that the caller has computed: behind waiters,
    /// from [`wait_behind`](Self::wait_behind). A `ready_at` that has passed counts as `now`.
    ///
    /// # Errors
    /// [`Denied::TooLong`] if [`MAX_AHEAD`] entries lie ahead; nothing was changed.
    pub(crate) fn reserve_at(
        &mut self,
        n: u64,
        ready_at: Timestamp,
        now: Timestamp,
    ) -> Result<(), Denied> {
        let start = self.start(now);
        let at = ready_at.max(start);
        if !self.has_place_at(at, start) {
            let retry_after = at.saturating_since(now);
            return Err(Denied::TooLong { retry_after });
        }
        self.latest = start;
        self.log.add(at, n, n);
        self.log.forget(start, 0, self.remembered);
        Ok(())
    }

    /// Whether an entry at `at` is none ahead, or one that is allowed.
    fn has_place_at(&self, at: Timestamp, start: Timestamp) -> bool {
        at == start || self.log.len_after(start) < MAX_AHEAD || self.log.find(at).is_some()
    }

    /// Gives back `n` tokens that were reserved for `ready_at`, as far as the log still holds them. An
    /// admission less breaks no promise, so all of them come back.
    pub(crate) fn cancel(&mut self, ready_at: Timestamp, n: u64) {
        let Some(index) = self.log.find(ready_at) else {
            return;
        };
        let reserved = self.log.get(index).map_or(0, |entry| entry.reserved);
        self.log.remove(index, 0, n.min(reserved));
        self.loosened(ready_at);
    }

    /// Gives back the newest `n` tokens of the windows that end at `now` or later, except those of
    /// reservations still to come.
    pub(crate) fn refund(&mut self, n: u64, now: Timestamp) {
        let start = self.start(now);
        let mut left = n;
        let mut index = self.log.len();
        while left > 0
            && let Some(entry) = index.checked_sub(1).and_then(|last| self.log.get(last))
            && !(entry.at <= start && has_passed(entry.at, self.period, start))
        {
            index -= 1;
            let plain = left.min(entry.tokens - entry.reserved);
            let reserved = if entry.at > start {
                0
            } else {
                entry.reserved.min(left - plain)
            };
            left -= plain + reserved;
            if plain + reserved > 0 {
                self.log.remove(index, plain, reserved);
                self.loosened(entry.at);
            }
        }
    }

    /// Notes that there is room again in the windows that hold `at`.
    fn loosened(&mut self, at: Timestamp) {
        let first = at.as_nanos().saturating_sub(self.period - 1);
        self.full_until = self.full_until.min(Timestamp::from_nanos(first));
    }

    /// Takes `n` tokens whether they are there or not: as many as there are now, and the rest at the
    /// first instants that have room. Cannot be refused; a pause does not matter. What is left when [`MAX_AHEAD`]
    /// entries lie ahead, or the clock ends, is dropped.
    pub(crate) fn charge(&mut self, n: u64, now: Timestamp) {
        if n == 0 {
            return;
        }
        let start = self.start(now);
        let nothing = Log::default();
        let mut at = start.max(self.full_until);
        let mut left = n;
        while left > 0 {
            let windows = self.windows(&nothing, 0);
            let Some(next) = windows.fit(1, at) else {
                break;
            };
            if !self.has_place_at(next, start) {
                break;
            }
            let part = windows.room(next).min(left);
            at = next;
            left -= part;
            self.log.add(at, part, 0);
            // The parts are as large as can be, so no instant before this one has room.
            self.full_until = at;
        }
        self.latest = start;
        self.log.forget(start, 0, self.remembered);
    }

    /// Lets no more than `keep` tokens be there at `now`.
    pub(crate) fn tighten(&mut self, keep: u64, now: Timestamp) {
        let start = self.start(now);
        let room = self.room(start);
        if room > keep {
            self.count(room - keep, start);
        }
    }

    /// Blocks all admissions until `until`. Nothing shortens it but [`History::Forgotten`].
    pub(crate) fn pause_until(&mut self, until: Timestamp) {
        self.paused = self.paused.max(until);
    }

    /// The tokens that can be had at `now`.
    pub(crate) fn available(&self, now: Timestamp) -> u64 {
        let start = self.start(now);
        if self.open_from(now) > start {
            return 0;
        }
        self.room(start)
    }

    fn room(&self, at: Timestamp) -> u64 {
        let nothing = Log::default();
        self.windows(&nothing, 0).room(at)
    }

    /// When all `limit` tokens can be had at once, if nothing else is taken; `None` if the clock ends
    /// first.
    pub(crate) fn full_at(&self, now: Timestamp) -> Option<Timestamp> {
        self.fit(self.limit, 0, now)
    }

    /// Changes the limit, for takes from now on. Reservations keep their instants.
    ///
    /// Of the history the newest tokens are known, as many as the largest limit since it was last
    /// forgotten. So a limit that goes back and forth mints nothing.
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
                let start = self.start(now);
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
}
