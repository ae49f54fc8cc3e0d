//! What a [`Line`](crate::limiter::core::line::Line) needs of the tokens that its waiters wait for, and
//! the tokens of a bucket.

pub(crate) mod dated;
pub(crate) mod log;

use std::time::Duration;

use crate::clock::Timestamp;
use crate::limiter::core::account::Account;
use crate::limiter::core::denied::Denied;
use crate::limiter::core::fill::{LockedFill, never_overflows};
use crate::limiter::core::ledger::Ledger;
use crate::limiter::core::reserved_part::Debit;
use crate::limiter::core::status::Status;
use crate::quota::Units;

/// Tokens that are counted and taken. `now` is the caller's time.
pub(crate) trait TokenCount {
    /// Returns the most tokens that can be had at once.
    fn burst(&self) -> u64;

    /// Returns the tokens there, whether waiters wait for them or not.
    fn available(&self, now: Timestamp) -> u64;

    /// Takes `n` tokens that are there; `n` is not zero.
    fn take_now(&mut self, n: u64, now: Timestamp);
}

/// Tokens behind a lock.
pub(crate) trait Tokens: TokenCount {
    /// Whether a waiter can take more than the burst, in parts.
    const IN_PARTS: bool;

    /// Whether a reservation can be debited before its instant without a delay for the waiters. Then it
    /// need not stand in line.
    const DATED: bool;

    /// Checks that `n` tokens can ever be had at once above `floor`.
    fn check_burst(&self, n: u64, floor: u64) -> Result<(), Denied>;

    /// Returns whether `n` tokens cost nothing.
    fn is_free(&self, n: u64) -> bool;

    /// Returns the status as if there were no waiters; `retry_after` is that of no tokens.
    fn status(&self, now: Timestamp) -> Status;

    /// Returns how long after `now` `n` tokens can be had above `floor`, once the waiters ahead have
    /// theirs. An implementation uses either `sum`, the tokens of all of them, or `each`, the tokens and
    /// the floor of each, first come, first served.
    fn wait_behind(
        &self,
        sum: impl FnOnce() -> u128,
        each: impl Iterator<Item = (u64, u64)>,
        n: u64,
        floor: u64,
        now: Timestamp,
    ) -> Result<Duration, Denied>;

    /// Takes `n` tokens if `floor` remain.
    fn take(&mut self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied>;

    /// Same as [`take_now`](TokenCount::take_now), for tokens that may come back. A bucket that is not
    /// [`DATED`](Self::DATED) goes into debt for what is not there.
    fn debit_now(&mut self, n: u64, now: Timestamp) -> Debit;

    /// Debits `n` tokens for `ready_at`, when they are there.
    fn debit_at(&mut self, n: u64, ready_at: Timestamp, now: Timestamp) -> Result<Debit, Denied>;

    /// Reverses a debit, as far as it can come back.
    fn give_back(&mut self, debit: Debit, now: Timestamp);

    /// Marks the tokens of a debit as used: they do not come back.
    fn commit(&mut self, debit: Debit);
}

/// The tokens of a bucket whose fill is behind its lock.
#[derive(Debug)]
pub(crate) struct BucketTokens {
    pub(crate) fill: LockedFill,
    pub(crate) account: Account,
}

impl BucketTokens {
    /// Creates a full bucket.
    pub(crate) const fn new(units: Units) -> Self {
        Self {
            fill: LockedFill::new(units),
            account: Account::new(Ledger::new()),
        }
    }
}

impl TokenCount for BucketTokens {
    fn burst(&self) -> u64 {
        self.fill.rate.units.burst
    }

    fn available(&self, now: Timestamp) -> u64 {
        self.fill.view().available(now)
    }

    #[inline]
    fn take_now(&mut self, n: u64, now: Timestamp) {
        self.fill.set(self.fill.view().full_at_after(n, now), now);
    }
}

impl Tokens for BucketTokens {
    const IN_PARTS: bool = true;
    // Debits are one sum: a later one would delay the waiters before it.
    const DATED: bool = false;

    #[inline]
    fn check_burst(&self, n: u64, floor: u64) -> Result<(), Denied> {
        self.fill.rate.check_burst(n, floor)
    }

    fn is_free(&self, n: u64) -> bool {
        self.fill.rate.cost(n) == 0
    }

    fn status(&self, now: Timestamp) -> Status {
        Status::of(&self.fill.view(), now)
    }

    #[inline]
    fn wait_behind(
        &self,
        sum: impl FnOnce() -> u128,
        _each: impl Iterator<Item = (u64, u64)>,
        n: u64,
        floor: u64,
        now: Timestamp,
    ) -> Result<Duration, Denied> {
        let wanted = sum() + u128::from(n) + u128::from(floor);
        self.fill.view().wait_for(wanted, now)
    }

    #[inline]
    fn take(&mut self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied> {
        self.fill
            .take(n, floor, now)
            .map_err(|refused| refused.denied(now))
    }

    fn debit_now(&mut self, n: u64, now: Timestamp) -> Debit {
        self.take_now(n, now);
        let cost = self.fill.rate.cost(n);
        Debit::Ledger(self.account.ledger.open(cost, self.fill.full_at))
    }

    fn debit_at(&mut self, n: u64, _ready_at: Timestamp, now: Timestamp) -> Result<Debit, Denied> {
        Ok(self.debit_now(n, now))
    }

    fn give_back(&mut self, debit: Debit, now: Timestamp) {
        if let Debit::Ledger(debt) = debit {
            never_overflows(self.account.give_back(&mut self.fill, debt, || now));
        }
    }

    fn commit(&mut self, debit: Debit) {
        if let Debit::Ledger(debt) = debit {
            self.account.ledger.commit(debt);
        }
    }
}
