//! Takes and reads of a bucket, by its word or by its line.
//!
//! A take that the hot path leaves undecided comes here: the word is held, its base is too old, its
//! generation has just ended, or more than the burst was asked for.

use crate::clock::{Clock, Timestamp};
use crate::limiter::core::denied::Denied;
use crate::limiter::core::line::Line;
use crate::limiter::core::rate::{Instant, View};
use crate::limiter::core::status::Status;
use crate::limiter::shell::bucket::BucketOps;
use crate::limiter::shell::line_shell::LineShell;
use crate::limiter::shell::word_cell::{NeedsWriter, WordCell};
use crate::quota::Quota;

impl<C: Clock> BucketOps<'_, C> {
    /// Takes `n` tokens if `floor` remain, where the hot path has not decided.
    #[cold]
    pub(crate) fn take_by_word(
        self,
        word: &WordCell,
        n: u64,
        floor: u64,
        now: Timestamp,
    ) -> Result<(), Denied> {
        if n == 0 {
            // Not even the base moves.
            return Ok(());
        }
        self.decide_by_word(
            word,
            now,
            |view, now| view.as_update(view.take(n, floor, now)),
            |line| line.take(n, floor, now),
        )
    }

    /// Decides by the word, or by the line if that has the fill.
    fn decide_by_word<T>(
        self,
        word: &WordCell,
        now: Timestamp,
        decide: impl Fn(&View, Timestamp) -> (Instant, T),
        in_line: impl FnOnce(&mut Line) -> T,
    ) -> T {
        let mut reach = 1;
        loop {
            match word.try_update(|| now, reach, &decide) {
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
                    let state = self.shell.state.lock();
                    if state.is_held {
                        return self.on_line(state, now, in_line);
                    }
                }
            }
        }
    }

    /// Takes `n` tokens if `floor` remain, of a bucket without a word.
    #[inline]
    pub(crate) fn take_locked(self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied> {
        if n == 0 {
            return Ok(());
        }
        let mut state = self.shell.state.lock();
        if state.line.is_idle() {
            return state.line.take_idle(n, floor, now);
        }
        drop(state);
        self.take_busy(n, floor, now)
    }

    #[cold]
    fn take_busy(self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied> {
        self.on_line(self.shell.state.lock(), now, |line| {
            line.take(n, floor, now)
        })
    }

    /// Decides by the word if there is one, or by the line.
    fn decide<T>(
        self,
        now: Timestamp,
        by_word: impl Fn(&View, Timestamp) -> (Instant, T),
        in_line: impl FnOnce(&mut Line) -> T,
    ) -> T {
        match self.word {
            Some(word) => self.decide_by_word(word, now, by_word, in_line),
            None => self.on_line(self.shell.state.lock(), now, in_line),
        }
    }

    pub(crate) fn try_acquire_up_to_at(self, n: u64, now: Timestamp) -> u64 {
        self.decide(
            now,
            |view, now| view.take_up_to(n, now),
            |line| line.take_up_to(n, now),
        )
    }

    pub(crate) fn try_acquire_with_status_at(
        self,
        n: u64,
        now: Timestamp,
    ) -> (Result<(), Denied>, Status) {
        self.decide(
            now,
            |view, now| Status::of_take(view, n, now),
            |line| (line.take(n, 0, now), line.status(n, now)),
        )
    }

    /// Returns what `by_word` or `in_line` makes of the bucket. Takes nothing.
    fn peek<T>(
        self,
        now: Timestamp,
        by_word: impl Fn(&View) -> T,
        in_line: impl Fn(&Line) -> T,
    ) -> T {
        loop {
            if let Some(word) = self.word
                && let Some(output) = word.peek(&by_word)
            {
                return output;
            }
            // The word may be released before the lock is taken.
            let state = self.shell.state.lock();
            if state.is_held {
                return self.on_line(state, now, |line| in_line(line));
            }
        }
    }

    /// Returns the answer of a take. Takes nothing.
    pub(crate) fn ask(self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied> {
        if n == 0 {
            return Ok(());
        }
        self.peek(
            now,
            |view| view.take(n, floor, now).map(drop),
            |line| line.ask(n, floor, now),
        )
    }

    pub(crate) fn available_at(self, now: Timestamp) -> u64 {
        self.peek(
            now,
            |view| view.available(now),
            |line| line.tokens.fill.view().available(now),
        )
    }

    pub(crate) fn status_at(self, n: u64, now: Timestamp) -> Status {
        self.peek(
            now,
            |view| Status::of(view, n, now),
            |line| line.status(n, now),
        )
    }

    /// Returns the burst that leases leave.
    pub(crate) fn burst_left(self) -> u64 {
        self.peek(
            Timestamp::ZERO,
            |view| view.rate.units.burst,
            |line| line.tokens.fill.rate.units.burst,
        )
    }

    pub(crate) fn quota(self) -> Quota {
        self.shell.state.lock().quota
    }
}
