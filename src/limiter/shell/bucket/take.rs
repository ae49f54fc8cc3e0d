//! Takes and reads of a bucket, by its word or by its line.
//!
//! A take that the hot path leaves undecided comes here: the word is held, its base is too old, its
//! generation has just ended, or more than the burst was asked for.

use crate::clock::{Clock, Timestamp};
use crate::limiter::core::denied::Denied;
use crate::limiter::core::line::Line;
use crate::limiter::core::rate::View;
use crate::limiter::core::status::Status;
use crate::limiter::core::tokens::TokenCount;
use crate::limiter::shell::bucket::{BucketOps, BucketState};
use crate::limiter::shell::line_shell::LineShell;
use crate::limiter::shell::word_cell::NeedsWriter;
use crate::quota::Quota;
use crate::sync::MutexGuard;

impl<C: Clock> BucketOps<'_, C> {
    /// Takes `n` tokens if `floor` remain: the hot path, to be inlined.
    #[expect(clippy::inline_always, reason = "a call would cost a third of a take")]
    #[inline(always)]
    pub(crate) fn take(self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied> {
        match self.word {
            None => self.take_locked(n, floor, now),
            Some(word) => match word.take(n, floor, now) {
                Some(taken) => taken.map(|_| ()),
                None => self.take_undecided(n, floor, now),
            },
        }
    }

    /// Takes where the hot path has not decided.
    #[cold]
    fn take_undecided(self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied> {
        if n == 0 {
            // Not even the base moves.
            return Ok(());
        }
        if let Some(taken) = self.take_past_stripes(n, floor, now) {
            return taken;
        }
        self.decide(now, |line| line.take(n, floor, now))
    }

    /// Locks the state, with no token in a stripe.
    pub(super) fn lock_swept(&self) -> MutexGuard<'_, BucketState> {
        let mut state = self.shell.state.lock();
        self.sweep(&mut state);
        state
    }

    /// Decides by the line, or by one without waiters that is made of the word if that has the fill.
    pub(super) fn decide<T>(&self, now: Timestamp, op: impl Fn(&mut Line) -> T) -> T {
        let Some(word) = self.word else {
            return self.on_line(self.shell.state.lock(), now, op);
        };
        let by_word = |view: &View, _| {
            let mut line = Line::of(view, false);
            let output = op(&mut line);
            (line.tokens.fill.full_at, output)
        };
        let mut reach = 1;
        loop {
            match word.try_update(|| now, reach, by_word) {
                Ok(output) => return output,
                Err(NeedsWriter::BaseTooOld) => match self.shell.state.try_lock() {
                    Some(state) if !state.is_held => word.move_base(now),
                    Some(_) => {}
                    // A stalled writer does not block takers: words reach three times as far as the
                    // horizon.
                    None if reach == 1 => reach = 3,
                    None => drop(self.shell.state.lock()),
                },
                Err(NeedsWriter::Held | NeedsWriter::WordOverflow) => {
                    let state = self.lock_swept();
                    if state.is_held {
                        return self.on_line(state, now, op);
                    }
                }
            }
        }
    }

    /// Takes `n` tokens if `floor` remain, of a bucket without a word.
    #[expect(
        clippy::inline_always,
        reason = "a call would store the answer to memory"
    )]
    #[inline(always)]
    fn take_locked(self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied> {
        if n == 0 {
            return Ok(());
        }
        let mut state = self.shell.state.lock();
        if !state.line.is_idle() {
            drop(state);
            return self.take_busy(n, floor, now);
        }
        let taken = state.line.tokens.fill.take(n, floor, now);
        // A denial's wait is computed without the lock.
        drop(state);
        taken.map_err(|refused| refused.denied(now))
    }

    #[cold]
    fn take_busy(self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied> {
        self.on_line(self.shell.state.lock(), now, |line| {
            line.take(n, floor, now)
        })
    }

    pub(crate) fn try_acquire_up_to_at(&self, n: u64, now: Timestamp) -> u64 {
        self.decide(now, |line| line.take_up_to(n, now))
    }

    pub(crate) fn try_acquire_with_status_at(
        &self,
        n: u64,
        now: Timestamp,
    ) -> (Result<(), Denied>, Status) {
        self.decide(now, |line| (line.take(n, 0, now), line.status(n, now)))
    }

    /// Returns what `read` makes of the bucket, as in [`decide`](Self::decide). Takes nothing.
    fn peek<T>(&self, now: Timestamp, read: impl Fn(&Line) -> T) -> T {
        loop {
            if let Some(word) = self.word
                && let Some(output) = word.peek(|view| read(&Line::of(view, false)))
            {
                return output;
            }
            // The word may be released before the lock is taken.
            let state = self.lock_swept();
            if state.is_held {
                return self.on_line(state, now, |line| read(line));
            }
        }
    }

    /// Returns the answer of a take. Takes nothing.
    pub(crate) fn ask(&self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied> {
        self.peek(now, |line| line.ask(n, floor, now))
    }

    pub(crate) fn available_at(&self, now: Timestamp) -> u64 {
        self.peek(now, |line| line.tokens.available(now))
    }

    pub(crate) fn status_at(&self, n: u64, now: Timestamp) -> Status {
        self.peek(now, |line| line.status(n, now))
    }

    /// Returns the burst that leases leave.
    pub(crate) fn burst_left(&self) -> u64 {
        self.peek(Timestamp::ZERO, |line| line.tokens.burst())
    }

    pub(crate) fn quota(&self) -> Quota {
        self.shell.state.lock().quota
    }
}
