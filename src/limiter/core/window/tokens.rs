//! The operations of a sliding window.

use crate::clock::Timestamp;
use crate::limiter::core::tokens::dated::DatedTokens;
use crate::limiter::core::tokens::log::Log;
use crate::limiter::core::tokens::{TokenCount, Tokens};
use crate::limiter::core::window::Window;
use crate::limiter::core::window::window_set::has_passed;

impl TokenCount for Window {
    fn burst(&self) -> u64 {
        self.limit
    }

    fn available(&self, now: Timestamp) -> u64 {
        let start = self.effective_now(now);
        if self.open_from(now) > start {
            return 0;
        }
        self.room(start)
    }

    fn take_now(&mut self, n: u64, now: Timestamp) {
        let at = self.effective_now(now);
        self.latest = at;
        self.log.forget(at, n, self.remembered);
        self.log.add(at, n, 0);
    }
}

impl DatedTokens for Window {
    fn effective_now(&self, now: Timestamp) -> Timestamp {
        now.max(self.latest)
    }

    fn full_at(&self, now: Timestamp) -> Option<Timestamp> {
        self.fit_behind(std::iter::empty(), self.limit, 0, now)
    }

    /// The sum of what the waiters want would be too short a wait: three takes of 6 from a limit of 10
    /// need three windows, and 18 tokens need two.
    fn fit_behind(
        &self,
        ahead: impl Iterator<Item = (u64, u64)>,
        n: u64,
        floor: u64,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let mut planned = Log::default();
        let mut at = self.open_from(now);
        for (n, floor) in ahead {
            if n > 0 && self.check_burst(n, floor).is_ok() {
                at = self.windows(&planned, floor).fit(n, at)?;
                planned.add(at, n, 0);
            }
        }
        self.windows(&planned, floor).fit(n, at)
    }

    /// At most `MAX_AHEAD` entries can lie ahead.
    fn has_place_at(&self, at: Timestamp, start: Timestamp) -> bool {
        self.log.has_place_at(at, start)
    }

    fn reserve_at(&mut self, n: u64, at: Timestamp, start: Timestamp) {
        self.latest = start;
        self.log.add(at, n, n);
        self.log.forget(start, 0, self.remembered);
    }

    fn cancel(&mut self, ready_at: Timestamp, n: u64) {
        if let Some((index, entry)) = self.log.find(ready_at) {
            self.log.remove(index, 0, n.min(entry.reserved));
            self.loosen(ready_at);
        }
    }

    fn commit_at(&mut self, _ready_at: Timestamp, _n: u64) {
        // Only the holder of a reservation could give it back. Committed, it stays a reservation, which
        // neither a refund before its instant nor another limit removes.
    }

    /// Removes the newest tokens of the windows that end at `now` or later, except those of reservations
    /// still to come.
    fn refund(&mut self, n: u64, now: Timestamp) {
        let start = self.effective_now(now);
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
                self.loosen(entry.at);
            }
        }
    }

    /// Takes as many as there are now, and the rest at the first instants with room. What is left when
    /// `MAX_AHEAD` entries lie ahead, or the clock ends, is dropped.
    fn charge(&mut self, n: u64, now: Timestamp) {
        if n == 0 {
            return;
        }
        let start = self.effective_now(now);
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
            // Each part is as large as it can be, so no instant before this one has room.
            self.full_until = at;
        }
        self.latest = start;
        self.log.forget(start, 0, self.remembered);
    }

    fn tighten(&mut self, remaining: u64, now: Timestamp) {
        let room = self.room(self.effective_now(now));
        if room > remaining {
            self.take_now(room - remaining, now);
        }
    }

    fn pause_until(&mut self, until: Timestamp) {
        self.paused = self.paused.max(until);
    }
}
