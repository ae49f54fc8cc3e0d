//! A [`Line`] behind a lock: what a limiter is whose every operation takes the lock.

use std::task::Waker;
use std::time::Duration;

use crate::clock::{Clock, Timestamp};
use crate::limiter::core::bounds::Bounds;
use crate::limiter::core::denied::Denied;
use crate::limiter::core::line::Line;
use crate::limiter::core::status::Status;
use crate::limiter::core::taken::Taken;
use crate::limiter::core::tokens::DatedTokens;
use crate::limiter::core::turn::Turn;
use crate::limiter::shell::gate::Gate;
use crate::sync::Mutex;
use crate::unwind::Panics;
use crate::wait::Progress;
use crate::wake::Wakers;

pub(crate) struct LockedLine<T, C> {
    line: Mutex<Line<T>>,
    pub(crate) clock: C,
    pub(crate) gate: Gate,
}

impl<T, C> LockedLine<T, C> {
    pub(crate) fn new(tokens: T, clock: C) -> Self {
        Self {
            line: Mutex::new(Line::of(tokens)),
            clock,
            gate: Gate::new(),
        }
    }

    pub(crate) fn bounds_mut(&mut self) -> &mut Bounds {
        &mut self.line.get_mut().bounds
    }
}

impl<T: DatedTokens, C: Clock> LockedLine<T, C> {
    /// Runs `op`, at the caller's time or at one that is read under the lock, so that no taker before
    /// has used a later one. Then serves those whose turn has come, and has the first of the others
    /// look at its timer.
    fn change<O>(
        &self,
        now: Option<Timestamp>,
        op: impl FnOnce(&mut Line<T>, Timestamp, &mut Wakers) -> O,
    ) -> O {
        let now_in_line = |_: &mut Panics| now.unwrap_or_else(|| self.clock.now());
        self.change_at(now_in_line, op)
    }

    /// As [`change`](Self::change), of what leaves the line: it goes also if the caller's clock panics,
    /// at the time of the latest take. Else it would stand there for ever.
    fn leave_line<O>(
        &self,
        now: Option<Timestamp>,
        op: impl FnOnce(&mut Line<T>, Timestamp, &mut Wakers) -> O,
    ) -> O {
        let now_in_line = |panics: &mut Panics| {
            let now = now.or_else(|| panics.catch(|| self.clock.now()));
            // An older time counts as the latest.
            now.unwrap_or(Timestamp::ZERO)
        };
        self.change_at(now_in_line, op)
    }

    fn change_at<O>(
        &self,
        now: impl FnOnce(&mut Panics) -> Timestamp,
        op: impl FnOnce(&mut Line<T>, Timestamp, &mut Wakers) -> O,
    ) -> O {
        // Goes on once all is done.
        let mut panics = Panics::default();
        // Woken when the lock is released.
        let mut wakers = Wakers::default();
        let mut line = self.line.lock();
        let now = now(&mut panics);
        let output = op(&mut line, now, &mut wakers);
        line.serve(now, &mut wakers);
        drop(line);
        drop(wakers);
        output
    }

    /// Runs `op` once those whose turn has come have been served.
    #[inline]
    fn on_line<O>(&self, now: Timestamp, op: impl FnOnce(&mut Line<T>) -> O) -> O {
        let mut wakers = Wakers::default();
        let mut line = self.line.lock();
        if !line.is_idle() {
            line.serve(now, &mut wakers);
        }
        let output = op(&mut line);
        drop(line);
        drop(wakers);
        output
    }

    pub(crate) fn take(&self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied> {
        if n == 0 {
            return Ok(());
        }
        self.on_line(now, |line| line.take(n, floor, now))
    }

    pub(crate) fn take_up_to(&self, n: u64, now: Timestamp) -> u64 {
        self.on_line(now, |line| line.take_up_to(n, now))
    }

    pub(crate) fn take_with_status(&self, n: u64, now: Timestamp) -> (Result<(), Denied>, Status) {
        self.on_line(now, |line| (line.take(n, 0, now), line.status(n, now)))
    }

    pub(crate) fn ask(&self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied> {
        self.on_line(now, |line| line.ask(n, floor, now))
    }

    pub(crate) fn available(&self, now: Timestamp) -> u64 {
        self.on_line(now, |line| line.tokens.available(now))
    }

    pub(crate) fn status(&self, n: u64, now: Timestamp) -> Status {
        self.on_line(now, |line| line.status(n, now))
    }

    pub(crate) fn reserve(
        &self,
        n: u64,
        max_wait: Duration,
        now: Timestamp,
    ) -> Result<Taken, Denied> {
        self.on_line(now, |line| line.reserve(n, max_wait, now))
    }

    pub(crate) fn give_back(&self, taken: &Taken, now: Option<Timestamp>) {
        self.leave_line(now, |line, now, _| line.give_back(taken, now));
    }

    pub(crate) fn keep(&self, taken: &Taken) {
        match taken.debt {
            Some(debit) => self.line.lock().tokens.keep(debit),
            None => self.leave_line(None, |line, _, _| line.keep(taken)),
        }
    }

    pub(crate) fn refund(&self, n: u64, now: Timestamp) {
        self.change_tokens(Some(now), |tokens, now| tokens.refund(n, now));
    }

    pub(crate) fn charge(&self, n: u64, now: Timestamp) {
        self.change_tokens(Some(now), |tokens, now| tokens.charge(n, now));
    }

    pub(crate) fn tighten(&self, keep: u64, now: Timestamp) {
        self.change_tokens(Some(now), |tokens, now| tokens.tighten(keep, now));
    }

    /// Never refused: tokens come back once the pause is over, at any rate.
    #[expect(clippy::unnecessary_wraps, reason = "a bucket can refuse")]
    pub(crate) fn pause_until(&self, until: Timestamp, now: Timestamp) -> Result<(), Denied> {
        self.change_tokens(Some(now), |tokens, _| tokens.pause_until(until));
        Ok(())
    }

    /// Changes the tokens themselves; those who wait are served and timed by what they are then.
    pub(crate) fn change_tokens<O>(
        &self,
        now: Option<Timestamp>,
        op: impl FnOnce(&mut T, Timestamp) -> O,
    ) -> O {
        self.change(now, |line, now, _| op(&mut line.tokens, now))
    }

    pub(crate) fn close(&self) {
        self.change(None, |line, now, _| line.close(now));
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.line.lock().is_closed()
    }

    pub(crate) fn poll_turn(
        &self,
        turn: &mut Turn,
        now: Timestamp,
        waker: &Waker,
    ) -> Progress<Result<(), Denied>> {
        // Woken, and dropped, once the lock is released.
        let (mut wakers, mut replaced) = (Wakers::default(), None);
        let mut line = self.line.lock();
        let progress = match line.poll(turn, now, waker, &mut wakers, &mut replaced) {
            Some(decided) => Progress::Done(decided),
            None => Progress::Waiting(line.arm(turn, now)),
        };
        wakers.extend(line.nudge_first(now));
        drop(line);
        drop(wakers);
        drop(replaced);
        progress
    }

    pub(crate) fn leave(&self, turn: &mut Turn) {
        let left = self.leave_line(None, |line, now, wakers| {
            let (left, behind) = line.leave(turn, now);
            wakers.extend(behind);
            left
        });
        drop(left);
    }
}
