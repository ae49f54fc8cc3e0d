//! What a bucket keeps beside its fill: the ledger of debts that may come back, and a server's pause.
//! Every operation works on a [`Fill`], in the word or behind the lock.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::limiter::core::carry::{CarryOver, QuotaChange};
use crate::limiter::core::denied::Denied;
use crate::limiter::core::fill::{Fill, WordOverflow};
use crate::limiter::core::ledger::{DebtId, Ledger};
use crate::limiter::core::rate::{Rate, View};
use crate::limiter::core::reserved_part::{Debit, ReservedPart};
use crate::quota::Units;

/// The ledger and the pause of a bucket.
///
/// Where an operation returns a result in a result, the outer one says whether the fill can hold the
/// outcome, and the inner one is the decision.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) ledger: Ledger,
    /// Set by `pause_until`; refunds do not shorten it.
    pub(crate) paused: Timestamp,
}

impl Account {
    pub(crate) const fn new(ledger: Ledger) -> Self {
        Self {
            ledger,
            paused: Timestamp::ZERO,
        }
    }

    /// Takes `n` tokens into debt, if they are there after at most `max_wait`.
    pub(crate) fn reserve(
        &mut self,
        fill: &mut impl Fill,
        n: u64,
        max_wait: Duration,
        now: Timestamp,
    ) -> Result<Result<ReservedPart, Denied>, WordOverflow> {
        let decide = |view: &View, now| view.as_update(view.reserve(n, max_wait, now));
        let reserved = fill.update(|| now, decide)?;
        Ok(reserved.map(|(cost, ready_at, full_at)| match cost {
            0 => ReservedPart::free(ready_at),
            cost => {
                let debt = self.ledger.open(cost, full_at);
                ReservedPart::debited(ready_at, Debit::Ledger(debt))
            }
        }))
    }

    /// Gives back what no later taker has built on.
    pub(crate) fn give_back(
        &mut self,
        fill: &mut impl Fill,
        debt: DebtId,
        now: impl Fn() -> Timestamp,
    ) -> Result<(), WordOverflow> {
        let (ledger, paused) = (&self.ledger, self.paused);
        let refund = fill.update(now, |view, now| view.give_back(ledger, debt, paused, now))?;
        if let Some(refund) = refund {
            self.ledger.apply(debt, refund);
        }
        Ok(())
    }

    /// Returns `n` tokens, never above the burst, nor before a pause ends.
    pub(crate) fn refund(
        &mut self,
        fill: &mut impl Fill,
        n: u64,
        now: impl Fn() -> Timestamp,
    ) -> Result<(), WordOverflow> {
        let paused = self.paused;
        let back = fill.update(now, |view, now| view.refund(n, paused, now))?;
        self.ledger.returned += back;
        Ok(())
    }

    /// Takes `n` tokens, whether they are there or not.
    pub(crate) fn charge(fill: &mut impl Fill, n: u64, now: Timestamp) -> Result<(), WordOverflow> {
        fill.update(|| now, |view, now| (view.full_at_after_charge(n, now), ()))
    }

    /// Leaves no more than `remaining` tokens at `now`.
    pub(crate) fn tighten(
        fill: &mut impl Fill,
        remaining: u64,
        now: Timestamp,
    ) -> Result<(), WordOverflow> {
        fill.update(|| now, |view, now| (view.tighten(remaining, now), ()))
    }

    /// Blocks all admissions until `until`, as debt: unlike a pause, refunds pay it off.
    pub(crate) fn pause_as_debt(
        fill: &mut impl Fill,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Result<(), Denied>, WordOverflow> {
        fill.update(
            || now,
            |view, now| view.as_update(view.pause_until(until, now)),
        )
    }

    /// Blocks all admissions until `until`, when the first token is there.
    pub(crate) fn pause_until(
        &mut self,
        fill: &mut impl Fill,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Result<(), Denied>, WordOverflow> {
        let paused = Self::pause_as_debt(fill, until, now)?;
        if paused.is_ok() {
            self.paused = self.paused.max(until);
        }
        Ok(paused)
    }

    /// Puts another quota in force. Leases have `leased` tokens of its burst, before and after.
    pub(crate) fn configure(
        &mut self,
        fill: &mut impl Fill,
        units: Units,
        (carry, leased): (CarryOver, u64),
        now: impl Fn() -> Timestamp,
    ) -> Result<(), WordOverflow> {
        let paused = match carry {
            CarryOver::Full => Timestamp::ZERO,
            _ => self.paused,
        };
        let change = QuotaChange {
            carry,
            leased,
            paused,
        };
        let full_at = |view: &View, rate: &Rate, now| change.full_at(view, rate, now);
        fill.configure(units, now, full_at)?;
        self.paused = paused;
        self.ledger.reset();
        Ok(())
    }

    /// Changes the burst, for a lease that comes or goes.
    pub(crate) fn resize(
        &mut self,
        fill: &mut impl Fill,
        units: Units,
        now: impl Fn() -> Timestamp,
    ) -> Result<(), WordOverflow> {
        let before = fill.read(|view| view.rate.depth);
        // The tokens stay, so a pause, which is debt too, stays as it is.
        let change = QuotaChange::new(CarryOver::Tokens);
        let full_at = |view: &View, rate: &Rate, now| change.full_at(view, rate, now);
        fill.configure(units, now, full_at)?;
        let after = units.depth();
        self.ledger.leased += before.cast_signed() - after.cast_signed();
        Ok(())
    }
}
