//! The tokens of a bucket that refills at intervals, for the line of those who wait for them.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::limiter::core::denied::Denied;
use crate::limiter::core::interval::Interval;
use crate::limiter::core::interval::reserved::Reserved;
use crate::limiter::core::status::Status;
use crate::limiter::core::taken::Debit;
use crate::limiter::core::tokens::{DatedTokens, Tokens};

impl Tokens for Interval {
    // A sum of parts does not say when each has accrued: a full bucket loses tokens.
    const IN_PARTS: bool = false;
    // It is debited at its instant, and those who wait are judged by what it needs.
    const DATED: bool = true;

    fn burst(&self) -> u64 {
        u64::try_from(self.burst).unwrap_or(u64::MAX)
    }

    fn check_burst(&self, n: u64, floor: u64) -> Result<(), Denied> {
        self.check_burst(n, floor)
    }

    fn is_free(&self, n: u64) -> bool {
        n == 0
    }

    fn available(&self, now: Timestamp) -> u64 {
        self.available(now)
    }

    fn status(&self, now: Timestamp) -> Status {
        Status {
            limit: self.burst(),
            remaining: self.available(now),
            retry_after: Some(Duration::ZERO),
            full_after: self.full_at(now).map(|at| self.wait_until(at, now)),
            waiting: 0,
        }
    }

    fn wait_behind(
        &self,
        _sum: impl FnOnce() -> u128,
        each: impl Iterator<Item = (u64, u64)>,
        n: u64,
        floor: u64,
        now: Timestamp,
    ) -> Result<Duration, Denied> {
        self.wait_behind(each, n, floor, now)
    }

    fn take(&mut self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied> {
        self.take(n, floor, now)
    }

    fn take_now(&mut self, n: u64, now: Timestamp) {
        if n > 0 {
            self.debit_now(n.into(), self.start(now));
        }
    }

    fn owe_now(&mut self, n: u64, now: Timestamp) -> Debit {
        let at = self.start(now);
        self.settle(at);
        self.debit(Reserved {
            at,
            tokens: n,
            open: n,
        });
        Debit::Dated { at, n }
    }

    fn owe_at(&mut self, n: u64, ready_at: Timestamp, now: Timestamp) -> Result<Debit, Denied> {
        let at = ready_at.max(self.start(now));
        self.reserve_at(n, ready_at, now)?;
        Ok(Debit::Dated { at, n })
    }

    fn give_back(&mut self, debit: Debit, _now: Timestamp) {
        if let Debit::Dated { at, n } = debit {
            self.cancel(at, n);
        }
    }

    fn keep(&mut self, debit: Debit) {
        if let Debit::Dated { at, n } = debit {
            self.keep(at, n);
        }
    }
}

impl DatedTokens for Interval {
    fn refund(&mut self, n: u64, now: Timestamp) {
        self.refund(n, now);
    }

    fn charge(&mut self, n: u64, now: Timestamp) {
        self.charge(n, now);
    }

    fn tighten(&mut self, keep: u64, now: Timestamp) {
        self.tighten(keep, now);
    }

    fn pause_until(&mut self, until: Timestamp) {
        self.pause_until(until);
    }
}
