//! All windows that hold an instant, and the first instant with room in each of them.

use crate::clock::Timestamp;
use crate::limiter::core::window::log::Log;

/// Whether no window that ends at `end` or later holds `at`, which is no later.
pub(crate) fn has_passed(at: Timestamp, period: u64, end: Timestamp) -> bool {
    end.as_nanos() - at.as_nanos() >= period
}

/// How many whole periods after `at` no window that holds `next` begins.
fn periods_before(next: Timestamp, at: Timestamp, period: u64) -> u64 {
    ((next.as_nanos() - at.as_nanos()) / period).saturating_sub(1)
}

/// The windows over two logs: the admissions, and what is planned beside them.
#[derive(Clone, Copy)]
pub(crate) struct Windows<'a> {
    pub(crate) logs: [&'a Log; 2],
    pub(crate) limit: u64,
    pub(crate) period: u64,
}

impl Windows<'_> {
    fn through(&self, at: Timestamp) -> u64 {
        self.logs[0].through(at) + self.logs[1].through(at)
    }

    /// The tokens in the window that ends at `end`.
    fn load(&self, end: Timestamp) -> u64 {
        let before = match end.as_nanos().checked_sub(self.period) {
            Some(before) => self.through(Timestamp::from_nanos(before)),
            None => 0,
        };
        self.through(end) - before
    }

    pub(crate) fn next_after(&self, at: Timestamp) -> Option<Timestamp> {
        let [log, planned] = self.logs.map(|log| log.next_after(at));
        log.into_iter().chain(planned).min()
    }

    /// The instant by which there are `target` tokens in the logs.
    fn reached(&self, target: u64) -> Option<Timestamp> {
        let [log, planned] = self.logs;
        let in_log = log.reached(target, planned);
        in_log.into_iter().chain(planned.reached(target, log)).min()
    }

    /// The tokens that can be had at `at`.
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

    /// The first instant from `from` on at which `n` tokens can be had; `None` if the clock ends
    /// first. `n` is at most the limit.
    pub(crate) fn fit(&self, n: u64, from: Timestamp) -> Option<Timestamp> {
        let most = self.limit - n;
        // Windows that hold `at` and end before `end` have room.
        let (mut at, mut end) = (from, from);
        loop {
            if self.load(end) > most {
                // Until so many have left, each window is too full, whatever enters. All instants
                // before lie in a window that is.
                let last = self.reached(self.through(end) - most)?;
                at = later(last, self.period.into())?;
                end = at;
            } else {
                match self.next_after(end) {
                    Some(next) if !has_passed(at, self.period, next) => end = next,
                    _ => return Some(at),
                }
            }
        }
    }

    /// The first instant from `from` on by which `n` tokens are had, if each is taken as soon as
    /// there is room; `None` if the clock ends first. The limit is not zero.
    pub(crate) fn fit_in_parts(&self, mut n: u128, from: Timestamp) -> Option<Timestamp> {
        let (mut planned, mut at) = (Log::default(), from);
        loop {
            let windows = Windows {
                logs: [self.logs[0], &planned],
                ..*self
            };
            at = windows.fit(1, at)?;
            let room = windows.room(at);
            if n <= room.into() {
                return Some(at);
            }
            n -= u128::from(room);
            planned.add(at, room, 0);
            let windows = Windows {
                logs: [self.logs[0], &planned],
                ..*self
            };
            // Until something that lies ahead is in a window, each period is as the one before it.
            let periods = match windows.next_after(at) {
                Some(next) => periods_before(next, at, self.period),
                None => u64::MAX,
            };
            let had = u128::from(periods) * u128::from(self.limit);
            if n <= had {
                return windows.repeat(n, at);
            }
            if periods > 0 {
                n -= had;
                let nanos = u128::from(periods) * u128::from(self.period);
                planned = windows.shifted(at, nanos)?;
                at = later(at, nanos)?;
            }
        }
    }

    /// When the last of `n` more tokens is had, if the window that ends at `at` is full, nothing
    /// lies ahead, and each is taken as soon as one leaves: each comes a period after that which is
    /// `limit` before it.
    fn repeat(&self, n: u128, at: Timestamp) -> Option<Timestamp> {
        let limit = u128::from(self.limit);
        let (periods, place) = ((n - 1) / limit + 1, (n - 1) % limit + 1);
        let first = self.through(at) - self.limit;
        let model = self.reached(first + u64::try_from(place).ok()?)?;
        later(model, periods.checked_mul(self.period.into())?)
    }

    /// The window that ends at `at`, so many nanoseconds later.
    fn shifted(&self, at: Timestamp, nanos: u128) -> Option<Log> {
        let before = at.as_nanos().checked_sub(self.period);
        let mut shifted = Log::default();
        for log in self.logs {
            for entry in log.between(before.map(Timestamp::from_nanos), at) {
                shifted.add(later(entry.at, nanos)?, entry.tokens, 0);
            }
        }
        Some(shifted)
    }
}

fn later(at: Timestamp, nanos: u128) -> Option<Timestamp> {
    let nanos = u64::try_from(nanos).ok()?;
    Some(Timestamp::from_nanos(at.as_nanos().checked_add(nanos)?))
}
