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
use crate::limiter::core::fill::{Fill, never_overflows};
use crate::limiter::core::rate::View;
use crate::limiter::core::tokens::{TokenCount, Tokens};
use crate::limiter::shell::bucket::{BucketOps, BucketShell, BucketState};
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

    /// Puts tokens from stripes back into the fill. No refund: for the ledger they were never taken.
    fn put_back(&mut self, n: u64, now: Timestamp) {
        let tokens = &mut self.line.tokens;
        let paused = tokens.account.paused;
        let decide = |view: &View, now| view.refund(n, paused, now);
        never_overflows(tokens.fill.update(|| now, decide));
    }

    /// Puts tokens back without a time. What was taken from the stripes, at a time that nobody knows, stays
    /// carved out.
    fn put_back_undated(&mut self, n: u64) {
        self.carved -= n;
        self.put_back(n, self.line.tokens.fill.known_since);
    }

    /// Returns whether takers may go by the stripes.
    fn is_carved(&self) -> bool {
        // A sweep that got no time leaves a part carved out, also of a line that is not idle.
        self.carved > 0 && self.line.is_idle()
    }

    /// Takes `n` tokens if `floor` remain, of what is not in stripes.
    fn take_of_rest(&mut self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied> {
        let before = self.line.tokens.fill;
        self.cap(now);
        let taken = self.line.tokens.take(n, floor, now);
        if taken.is_err() {
            // A denial changes nothing: `now` may be any time.
            self.line.tokens.fill = before;
        }
        taken
    }
}

impl<C> BucketShell<C> {
    /// Changes the number of stripes.
    pub(crate) fn set_stripes(&mut self, stripes: &mut Stripes, count: usize) {
        self.state.get_mut().put_back_undated(stripes.sweep());
        stripes.set_count(count);
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
                if stripes.is_worth_carving(left, now) {
                    self.carve(stripes, now);
                }
                Ok(())
            }
            Some(Err(denied)) => Err(denied),
            None => self.take_carved(stripes, n, now),
        }
    }

    /// Carves a part of the burst out for the stripes, if the bucket has twice as many tokens.
    #[cold]
    fn carve(&self, stripes: &Stripes, now: Timestamp) {
        // Any thread may do it later.
        let Some(mut state) = self.shell.state.try_lock() else {
            return;
        };
        if state.is_held {
            return;
        }
        self.hold(&mut state);
        let carved = stripes.fit(state.line.tokens.fill.rate.units);
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
        if !state.is_carved() {
            drop(state);
            return self.decide(now, |line| line.take(n, 0, now));
        }
        // Another thread with this stripe may have refilled it.
        if stripes.take(n) {
            return Ok(());
        }
        // Under the lock, so that no token is moved at a time before other threads have spent those that
        // were moved before.
        let now = self.clock_now();
        let batch = stripes.batch_of(state.carved);
        if n <= batch && state.take_of_rest(n + batch, 0, now).is_ok() {
            let left = stripes.refill(batch);
            state.put_back(left, now);
            return Ok(());
        }
        // A caller that wants more than a batch never goes by its stripe.
        if n > batch && batch > 0 && state.take_of_rest(n, 0, now).is_ok() {
            return Ok(());
        }
        self.sweep_and_take(state, n, 0, |swept_at| now.max(swept_at))
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
        if !state.is_carved() {
            return None;
        }
        let taken = state.take_of_rest(n, floor, now);
        Some(taken.or_else(|_| self.sweep_and_take(state, n, floor, |_| now)))
    }

    /// Sweeps the stripes and takes, at a time that may depend on that of the sweep.
    fn sweep_and_take(
        &self,
        mut state: MutexGuard<'_, BucketState>,
        n: u64,
        floor: u64,
        at: impl FnOnce(Timestamp) -> Timestamp,
    ) -> Result<(), Denied> {
        // Nothing that a sweep finds helps a caller that wants more than the burst.
        state.line.tokens.check_burst(n, floor)?;
        self.sweep(&mut state);
        let now = at(state.line.tokens.fill.known_since);
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
    /// If the caller's clock panics, what was taken from the stripes stays carved out until a sweep gets a
    /// time.
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
        let Some(now) = unless_panics(|| self.clock_now()) else {
            state.put_back_undated(swept);
            return;
        };
        stripes.rest_from(now);
        state.cap(now);
        state.carved = 0;
        state.put_back(swept, now);
    }
}
