//! Takes of a bucket with stripes.
//!
//! Far from its limit the burst is *carved*: a part of it lies in the stripes, which takers go by, and the
//! fill is behind the lock. Near the limit the stripes are swept: all tokens are in the word again, and
//! takers go by that as in any bucket. So a word that is not held proves that all stripes are empty.
//!
//! Never over: while a part of the burst is carved, the fill is capped at the rest. The cap is applied
//! whenever the lock's holder looks, at a time that is read after the last take from a stripe, and
//! before another token can come back.

use crate::clock::{Clock, Timestamp};
use crate::limiter::core::account::Account;
use crate::limiter::core::denied::Denied;
use crate::limiter::core::fill::never_overflows;
use crate::limiter::core::tokens::{TokenCount, Tokens};
use crate::limiter::shell::bucket::{BucketOps, BucketState};
use crate::limiter::shell::line_shell::LineShell;
use crate::limiter::shell::stripes::Stripes;
use crate::limiter::shell::word_cell::WordCell;
use crate::quota::Units;
use crate::sync::MutexGuard;
use crate::unwind::unless_panics;

impl BucketState {
    /// Caps the fill at what is not carved out of the burst.
    fn cap(&mut self, now: Timestamp) {
        let tokens = &mut self.line.tokens;
        let now = now.max(tokens.fill.known_since);
        let rest = tokens.burst().saturating_sub(self.carved);
        never_overflows(Account::tighten(&mut tokens.fill, rest, now));
    }

    /// Puts tokens from stripes back into the fill.
    fn put_back(&mut self, n: u64, now: Timestamp) {
        let tokens = &mut self.line.tokens;
        never_overflows(tokens.account.refund(&mut tokens.fill, n, || now));
    }

    /// Takes `n` tokens if `floor` remain, of what is not in stripes.
    fn take_of_rest(&mut self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied> {
        self.cap(now);
        self.line.tokens.take(n, floor, now)
    }
}

impl<C: Clock> BucketOps<'_, C> {
    /// Takes `n` tokens: from the caller's stripe, or else by the word.
    #[expect(clippy::inline_always, reason = "a call would cost as much as a take")]
    #[inline(always)]
    pub(crate) fn take_striped(
        self,
        word: &WordCell,
        stripes: &Stripes,
        n: u64,
    ) -> Result<(), Denied> {
        if stripes.take(n) {
            return Ok(());
        }
        let now = self.clock_now();
        match word.take(n, 0, now) {
            Some(Ok(left)) => {
                if stripes.is_worth_carving(left) {
                    self.carve(stripes);
                }
                Ok(())
            }
            Some(Err(denied)) => Err(denied),
            None => self.take_carved(stripes, n, now),
        }
    }

    /// Carves a part of the burst out for the stripes, if the bucket has twice as many tokens.
    #[cold]
    fn carve(&self, stripes: &Stripes) {
        // Any thread may do it later.
        let Some(mut state) = self.shell.state.try_lock() else {
            return;
        };
        if state.is_held {
            return;
        }
        self.hold(&mut state);
        let now = self.clock_now();
        stripes.fit(state.line.tokens.fill.rate.units);
        let carved = stripes.share_of(state.line.tokens.burst());
        if carved > 0 && state.line.tokens.take(carved, carved, now).is_ok() {
            state.carved = carved;
            stripes.fill(carved);
        }
        self.release(&mut state, now);
    }

    /// Takes where the word has not decided. Refills the caller's stripe, or sweeps all of them if the
    /// rest of the bucket has too few tokens for that.
    #[cold]
    fn take_carved(self, stripes: &Stripes, n: u64, now: Timestamp) -> Result<(), Denied> {
        let mut state = self.shell.state.lock();
        if state.carved == 0 {
            drop(state);
            return self.take_undecided(n, 0, now);
        }
        // Another thread with this stripe may have refilled it.
        if stripes.take(n) {
            return Ok(());
        }
        // Under the lock, so that no token is moved at a time before other threads have spent those that
        // were moved before.
        let now = self.clock_now();
        let batch = stripes.batch_of(state.carved);
        // A caller that wants more than a batch never goes by its stripe.
        let refills = n <= batch;
        let wanted = if refills { n + batch } else { n };
        let taken = state.take_of_rest(wanted, 0, now);
        if taken.is_ok() && refills {
            let left = stripes.refill(batch);
            state.put_back(left, now);
        }
        self.or_sweep(state, taken, n, 0, now)
    }

    /// Takes `n` tokens where part of the burst is carved; `None` if none is. Goes by the caller's time,
    /// so past the stripes.
    pub(super) fn take_past_stripes(
        &self,
        n: u64,
        floor: u64,
        now: Timestamp,
    ) -> Option<Result<(), Denied>> {
        self.stripes?;
        let mut state = self.shell.state.lock();
        if state.carved == 0 {
            return None;
        }
        let taken = state.take_of_rest(n, floor, now);
        Some(self.or_sweep(state, taken, n, floor, now))
    }

    /// Returns what was taken of the rest; if that had too few tokens, sweeps the stripes and decides
    /// again.
    fn or_sweep(
        &self,
        mut state: MutexGuard<'_, BucketState>,
        taken: Result<(), Denied>,
        n: u64,
        floor: u64,
        now: Timestamp,
    ) -> Result<(), Denied> {
        if taken.is_ok() {
            return taken;
        }
        // Nothing that a sweep finds helps a caller that wants more than the burst.
        state.line.tokens.check_burst(n, floor)?;
        self.sweep(&mut state);
        self.on_line(state, now, |line| line.take(n, floor, now))
    }

    /// Tells the stripes that another quota is in force.
    pub(super) fn fit_stripes(&self, units: Units) {
        if let Some(stripes) = self.stripes {
            stripes.fit(units);
        }
    }

    /// Moves all tokens from the stripes to the fill, which is in the line.
    ///
    /// If the caller's clock panics, what was taken from the stripes stays carved out. What reads the clock
    /// next panics too.
    #[inline]
    pub(super) fn sweep(&self, state: &mut BucketState) {
        if let Some(stripes) = self.stripes
            && state.carved > 0
        {
            self.sweep_carved(stripes, state);
        }
    }

    #[cold]
    fn sweep_carved(&self, stripes: &Stripes, state: &mut BucketState) {
        let swept = stripes.sweep();
        // Read after the sweep, so that no take from a stripe is later: what accrued above the cap by
        // then is lost, and what accrues from then on is not.
        let now = unless_panics(|| self.clock_now());
        if let Some(now) = now {
            state.cap(now);
            state.carved = 0;
        } else {
            state.carved -= swept;
        }
        state.put_back(swept, now.unwrap_or(state.line.tokens.fill.known_since));
    }
}
