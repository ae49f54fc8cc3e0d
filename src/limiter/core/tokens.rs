//! What a [`Line`](crate::limiter::core::line::Line) needs of the tokens that its waiters wait for, and the tokens
//! of a bucket.

use crate::limiter::core::taken::Debit;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::limiter::core::account::Account;
use crate::limiter::core::denied::Denied;
use crate::limiter::core::fill::Held;
use crate::limiter::core::ledger::Ledger;
use crate::limiter::core::status::Status;
use crate::quota::Units;

/// Tokens behind a lock. `now` is the caller's time.
pub(crate) trait Tokens {
    /// Whether a waiter can take more than the burst, in parts.
    const IN_PARTS: bool;

    /// Whether a reservation can be debited before its instant without a delay for those who wait:
    /// then it need not stand in line.
    const DATED: bool;

    /// The most tokens that can be had at once.
    fn burst(&self) -> u64;

    /// Checks that `n` tokens can ever be had at once above `floor`.
    fn check_burst(&self, n: u64, floor: u64) -> Result<(), Denied>;

    /// Whether `n` tokens cost nothing.
    fn is_free(&self, n: u64) -> bool;

    /// The tokens there, whether others wait for them or not.
    fn available(&self, now: Timestamp) -> u64;

    /// How full the limiter is, as if nobody waited; `retry_after` is that of no tokens.
    fn status(&self, now: Timestamp) -> Status;

    /// How long after `now` `n` tokens can be had above `floor`, once those ahead have theirs: `sum`
    /// tokens together, or each its tokens above its floor, first come, first served.
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

    /// Takes `n` tokens that are there.
    fn take_now(&mut self, n: u64, now: Timestamp);

    /// As [`take_now`](Self::take_now), of tokens that may come back. A bucket that is not
    /// [`DATED`](Self::DATED) goes into debt for what is not there.
    fn owe_now(&mut self, n: u64, now: Timestamp) -> Debit;

    /// Debits `n` tokens for `ready_at`, from which on they are there.
    fn owe_at(&mut self, n: u64, ready_at: Timestamp, now: Timestamp) -> Result<Debit, Denied>;

    /// Reverses a debit, as far as it can come back.
    fn give_back(&mut self, debit: Debit, now: Timestamp);

    /// The tokens of a debit are used: they do not come back.
    fn keep(&mut self, debit: Debit);
}

/// Tokens that keep reservations by their instants, so that a change of what is there moves none.
pub(crate) trait DatedTokens: Tokens {
    /// Gives back `n` tokens.
    fn refund(&mut self, n: u64, now: Timestamp);

    /// Takes `n` tokens whether they are there or not.
    fn charge(&mut self, n: u64, now: Timestamp);

    /// Lets no more than `keep` tokens be there.
    fn tighten(&mut self, keep: u64, now: Timestamp);

    /// Blocks all admissions until `until`.
    fn pause_until(&mut self, until: Timestamp);
}

/// The tokens of a bucket.
#[derive(Debug)]
pub(crate) struct BucketTokens {
    pub(crate) held: Held,
    pub(crate) account: Account,
}

impl BucketTokens {
    /// Of a full bucket.
    pub(crate) const fn new(units: Units) -> Self {
        Self {
            held: Held::new(units),
            account: Account::new(Ledger::new()),
        }
    }
}

impl Tokens for BucketTokens {
    const IN_PARTS: bool = true;
    // A later debit is in the same sum as an earlier one.
    const DATED: bool = false;

    fn burst(&self) -> u64 {
        self.held.rate.units.burst
    }

    #[inline]
    fn check_burst(&self, n: u64, floor: u64) -> Result<(), Denied> {
        self.held.rate.check_burst(n, floor)
    }

    fn is_free(&self, n: u64) -> bool {
        self.held.rate.cost(n) == 0
    }

    fn available(&self, now: Timestamp) -> u64 {
        self.held.view().available(now)
    }

    fn status(&self, now: Timestamp) -> Status {
        Status::of(&self.held.view(), 0, now)
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
        self.held.view().wait_for(wanted, now)
    }

    #[inline]
    fn take(&mut self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied> {
        // Not by a `View`, which would be a copy.
        let Held { rate, full_at, .. } = &self.held;
        let next = rate.take(*full_at, n, floor, now)?;
        self.held.set(next, now);
        Ok(())
    }

    #[inline]
    fn take_now(&mut self, n: u64, now: Timestamp) {
        self.held.set(self.held.view().taken(n, now), now);
    }

    fn owe_now(&mut self, n: u64, now: Timestamp) -> Debit {
        self.take_now(n, now);
        let cost = self.held.rate.cost(n);
        Debit::Entry(self.account.ledger.open(cost, self.held.full_at))
    }

    fn owe_at(&mut self, n: u64, _ready_at: Timestamp, now: Timestamp) -> Result<Debit, Denied> {
        Ok(self.owe_now(n, now))
    }

    fn give_back(&mut self, debit: Debit, now: Timestamp) {
        if let Debit::Entry(debt) = debit {
            let given = self.account.give_back(&mut self.held, debt, || now);
            debug_assert!(given.is_ok(), "only a word is too small");
        }
    }

    fn keep(&mut self, debit: Debit) {
        if let Debit::Entry(debt) = debit {
            self.account.keep(debt);
        }
    }
}
