//! What a bucket knows beside its fill: who may still give back, and until when a server has paused
//! it. Sequential; it works on a [`Fill`], wherever that is kept.

use std::convert::Infallible;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::limiter::core::carry::CarryOver;
use crate::limiter::core::carry::Change;
use crate::limiter::core::denied::Denied;
use crate::limiter::core::fill::Beyond;
use crate::limiter::core::fill::Fill;
use crate::limiter::core::ledger::{DebtId, Ledger};
use crate::limiter::core::rate::{Rate, View};
use crate::limiter::core::taken::Debit;
use crate::limiter::core::taken::Taken;
use crate::quota::Units;

#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) ledger: Ledger,
    /// Set by `pause_until`: refunds do not shorten it.
    pub(crate) paused: Timestamp,
}

/// A change that nothing refuses.
fn sure<T>(updated: Result<Result<T, Infallible>, Beyond>) -> Result<T, Beyond> {
    updated.map(|Ok(output)| output)
}

impl Account {
    pub(crate) const fn new(ledger: Ledger) -> Self {
        Self {
            ledger,
            paused: Timestamp::ZERO,
        }
    }

    /// Takes `n` tokens into debt, if they are there after at most `max_wait`.
    pub(crate) fn owe(
        &mut self,
        fill: &mut impl Fill,
        n: u64,
        max_wait: Duration,
        now: Timestamp,
    ) -> Result<Result<Taken, Denied>, Beyond> {
        let owed = fill.update(
            || now,
            |view, now| {
                let (full_at, (cost, ready_at)) = view.owe(n, max_wait, now)?;
                Ok((full_at, (cost, ready_at, full_at)))
            },
        )?;
        Ok(owed.map(|(cost, ready_at, full_at)| match cost {
            0 => Taken::nothing(ready_at),
            cost => {
                let debt = self.ledger.open(cost, full_at);
                Taken::owed(ready_at, Debit::Entry(debt))
            }
        }))
    }

    /// Gives back what no later taker has built on.
    pub(crate) fn give_back(
        &mut self,
        fill: &mut impl Fill,
        debt: DebtId,
        now: impl Fn() -> Timestamp,
    ) -> Result<(), Beyond> {
        let (ledger, paused) = (&self.ledger, self.paused);
        let given = fill.update(now, |view, now| {
            view.give_back(ledger, debt, paused, now).ok_or(())
        })?;
        if let Ok(refund) = given {
            self.ledger.commit(debt, refund);
        }
        Ok(())
    }

    /// The tokens are used: they do not come back.
    pub(crate) fn keep(&mut self, debt: DebtId) {
        self.ledger.close(debt);
    }

    /// Returns `n` tokens, never above the burst, nor before a pause ends.
    pub(crate) fn refund(
        &mut self,
        fill: &mut impl Fill,
        n: u64,
        now: impl Fn() -> Timestamp,
    ) -> Result<(), Beyond> {
        let paused = self.paused;
        let back = sure(fill.update(now, |view, now| Ok(view.refund(n, paused, now))))?;
        self.ledger.returned(back);
        Ok(())
    }

    /// Takes `n` tokens, whether they are there or not.
    pub(crate) fn charge(fill: &mut impl Fill, n: u64, now: Timestamp) -> Result<(), Beyond> {
        sure(fill.update(|| now, |view, now| Ok((view.charged(n, now), ()))))
    }

    /// Lets no more than `keep` tokens be there at `now`.
    pub(crate) fn tighten(fill: &mut impl Fill, keep: u64, now: Timestamp) -> Result<(), Beyond> {
        sure(fill.update(|| now, |view, now| Ok((view.tighten(keep, now), ()))))
    }

    /// As [`pause_until`](Self::pause_until), as debt, which refunds pay off.
    pub(crate) fn owe_until(
        fill: &mut impl Fill,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Result<(), Denied>, Beyond> {
        fill.update(|| now, |view, now| view.pause_until(until, now))
    }

    /// Lets the first token be there at `until`, not before.
    pub(crate) fn pause_until(
        &mut self,
        fill: &mut impl Fill,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Result<(), Denied>, Beyond> {
        let paused = Self::owe_until(fill, until, now)?;
        if paused.is_ok() {
            self.paused = self.paused.max(until);
        }
        Ok(paused)
    }

    /// Changes the quota. `carved` tokens of its burst are with leases, before and after.
    pub(crate) fn configure(
        &mut self,
        fill: &mut impl Fill,
        units: Units,
        (carry, carved): (CarryOver, u64),
        now: impl Fn() -> Timestamp,
    ) -> Result<(), Beyond> {
        let paused = match carry {
            CarryOver::Full => Timestamp::ZERO,
            _ => self.paused,
        };
        let change = Change {
            carry,
            carved,
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
    ) -> Result<(), Beyond> {
        let before = fill.read(|view| view.rate.depth);
        // Tokens neither come nor go, so a pause stays what it is.
        let change = Change::new(CarryOver::Tokens);
        let full_at = |view: &View, rate: &Rate, now| change.full_at(view, rate, now);
        fill.configure(units, now, full_at)?;
        let after = units.depth();
        self.ledger
            .carve(before.cast_signed() - after.cast_signed());
        Ok(())
    }
}
