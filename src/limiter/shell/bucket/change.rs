//! Changes of a bucket: refunds, charges, pauses, quotas, leases, and its state across a restart.
//!
//! Each changes the word where that can hold the result, and the fill in the line otherwise.
//! Reservations in line keep their instants: their tokens are debited before what would move their
//! turns back.

use std::time::SystemTime;

use crate::clock::{Clock, Timestamp};
use crate::limiter::core::account::Account;
use crate::limiter::core::carry::CarryOver;
use crate::limiter::core::denied::Denied;
use crate::limiter::core::fill::Fill;
use crate::limiter::core::rate::{View, burst_without};
use crate::limiter::core::saved::Saved;
use crate::limiter::core::word::WordQuota;
use crate::limiter::shell::bucket::BucketOps;
use crate::limiter::shell::bucket::fill::BucketFill;
use crate::limiter::shell::line_shell::LineShell;
use crate::quota::{Quota, QuotaError, Units};

impl<C: Clock> BucketOps<'_, C> {
    pub(crate) fn refund_at(&self, n: u64, now: Timestamp) {
        self.on_fill(Some(now), false, |state, fill, now| {
            state.account().refund(fill, n, now)
        });
    }

    pub(crate) fn charge_at(&self, n: u64, now: Timestamp) {
        self.on_fill(Some(now), true, |_, fill, now| {
            Account::charge(fill, n, now())
        });
    }

    pub(crate) fn tighten_at(&self, remaining: u64, now: Timestamp) {
        self.on_fill(Some(now), true, |_, fill, now| {
            Account::tighten(fill, remaining, now())
        });
    }

    pub(crate) fn pause_until_at(&self, until: Timestamp, now: Timestamp) -> Result<(), Denied> {
        self.on_fill(Some(now), true, |state, fill, now| {
            state.account().pause_until(fill, until, now())
        })
    }

    /// Puts a quota in force. `carry` says how the fill carries over; what leases hold counts as
    /// taken.
    pub(crate) fn set_quota_from(
        &self,
        quota: Quota,
        carry: CarryOver,
        now: Option<Timestamp>,
    ) -> Result<(), QuotaError> {
        let whole = quota.units()?;
        if self.word.is_some() {
            // Also the burst without leases has to fit the word.
            WordQuota::new(whole)?;
        }
        self.on_fill(now, true, |state, fill, now| {
            let leased = state.quota.max_burst() - fill.read(|view| view.rate.units.burst);
            let Ok(burst) = burst_without(whole.burst, leased) else {
                return Ok(Err(QuotaError::ZeroBurst));
            };
            let units = Units { burst, ..whole };
            let account = state.account();
            account.configure(fill, units, (carry, leased), now)?;
            state.quota = quota;
            self.fit_stripes(units);
            Ok(Ok(()))
        })
    }

    /// Changes the burst, for a lease that comes or goes.
    pub(crate) fn resize<E>(&self, burst: impl Fn(u64) -> Result<u64, E>) -> Result<(), E> {
        self.on_fill(None, true, |state, fill, now| {
            let mut units = fill.read(|view| view.rate.units);
            match burst(units.burst) {
                Ok(burst) => units.burst = burst,
                Err(refused) => return Ok(Err(refused)),
            }
            state.account().resize(fill, units, now)?;
            self.fit_stripes(units);
            Ok(Ok(()))
        })
    }

    /// Returns how full the bucket is, as of the wall time `wall`.
    pub(crate) fn save(&self, wall: SystemTime) -> Saved {
        let now = self.shell.clock.now();
        let mut state = self.lock_swept();
        let (quota, paused) = (state.quota, state.line.tokens.account.paused);
        let read = |view: &View| {
            let leased = quota.max_burst() - view.rate.units.burst;
            let missing = view.full_at.saturating_sub(view.rate.at(now));
            missing + view.rate.cost(leased)
        };
        let missing = match self.word {
            Some(word) if !state.is_held => BucketFill::Word(word).read(read),
            _ => read(&state.line.tokens.fill.view()),
        };
        self.release(&mut state, now);
        Saved::new(quota, missing, paused.saturating_since(now), wall)
    }

    /// Takes what a saved bucket lacked, less what has accrued since. Only tightens.
    pub(crate) fn restore(&self, saved: &Saved, wall: SystemTime) {
        let now = self.shell.clock.now();
        self.on_fill(Some(now), true, |_, fill, now| {
            fill.update(now, |view, now| {
                let full_at = view.full_at.max(saved.full_at(&view.rate, now, wall));
                (full_at, ())
            })
        });
        let until = now.saturating_add(saved.paused(wall));
        // A bucket whose rate is zero refuses a pause, and needs none: it never gains a token.
        let _ = self.pause_until_at(until, now);
    }
}
