//! A [`Line`] behind a lock: the shell of the sliding window and of the bucket that refills at intervals.

use crate::clock::{Clock, Timestamp};
use crate::limiter::core::bounds::Bounds;
use crate::limiter::core::denied::Denied;
use crate::limiter::core::line::Line;
use crate::limiter::core::reserved_part::ReservedPart;
use crate::limiter::core::status::Status;
use crate::limiter::core::tokens::dated::DatedTokens;
use crate::limiter::shell::line_shell::LineShell;
use crate::limiter::shell::ordered_lock::OrderedLock;
use crate::sync::{Mutex, MutexGuard};

pub(crate) struct LockedLine<T, C> {
    line: Mutex<Line<T>>,
    pub(crate) clock: C,
    pub(crate) ordered_lock: OrderedLock,
}

impl<T, C> LockedLine<T, C> {
    pub(crate) fn new(tokens: T, clock: C) -> Self {
        Self {
            line: Mutex::new(Line::with_tokens(tokens)),
            clock,
            ordered_lock: OrderedLock::new(),
        }
    }

    pub(crate) fn bounds_mut(&mut self) -> &mut Bounds {
        &mut self.line.get_mut().bounds
    }
}

impl<T: DatedTokens, C: Clock> LineShell for LockedLine<T, C> {
    type Tokens = T;
    type State = Line<T>;

    fn clock_now(&self) -> Timestamp {
        self.clock.now()
    }

    #[inline]
    fn lock(&self) -> MutexGuard<'_, Line<T>> {
        self.line.lock()
    }

    #[inline]
    fn hold(&self, _line: &mut Line<T>) {}

    #[inline]
    fn release(&self, _line: &mut Line<T>, _now: Timestamp) {}

    fn latest(_line: &Line<T>) -> Timestamp {
        // An older time counts as the latest.
        Timestamp::ZERO
    }
}

impl<T: DatedTokens, C: Clock> LockedLine<T, C> {
    #[inline]
    fn locked<O>(&self, now: Timestamp, op: impl FnOnce(&mut Line<T>) -> O) -> O {
        self.on_line(self.lock(), now, op)
    }

    pub(crate) fn take(&self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied> {
        if n == 0 {
            return Ok(());
        }
        self.locked(now, |line| line.take(n, floor, now))
    }

    pub(crate) fn try_acquire_up_to_at(&self, n: u64, now: Timestamp) -> u64 {
        self.locked(now, |line| line.take_up_to(n, now))
    }

    pub(crate) fn try_acquire_with_status_at(
        &self,
        n: u64,
        now: Timestamp,
    ) -> (Result<(), Denied>, Status) {
        self.locked(now, |line| (line.take(n, 0, now), line.status(n, now)))
    }

    pub(crate) fn ask(&self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied> {
        self.locked(now, |line| line.ask(n, floor, now))
    }

    pub(crate) fn available_at(&self, now: Timestamp) -> u64 {
        self.locked(now, |line| line.tokens.available(now))
    }

    pub(crate) fn status_at(&self, n: u64, now: Timestamp) -> Status {
        self.locked(now, |line| line.status(n, now))
    }

    pub(crate) fn give_back(&self, part: &ReservedPart, now: Option<Timestamp>) {
        self.leave_line(now, |line, now, _| line.give_back(part, now));
    }

    pub(crate) fn refund_at(&self, n: u64, now: Timestamp) {
        self.change_tokens(Some(now), |tokens, now| tokens.refund(n, now));
    }

    pub(crate) fn charge_at(&self, n: u64, now: Timestamp) {
        self.change_tokens(Some(now), |tokens, now| tokens.charge(n, now));
    }

    pub(crate) fn tighten_at(&self, remaining: u64, now: Timestamp) {
        self.change_tokens(Some(now), |tokens, now| tokens.tighten(remaining, now));
    }

    /// Never refused: whatever the rate, tokens can be had once the pause is over.
    #[expect(clippy::unnecessary_wraps, reason = "a bucket can refuse")]
    pub(crate) fn pause_until_at(&self, until: Timestamp, now: Timestamp) -> Result<(), Denied> {
        self.change_tokens(Some(now), |tokens, _| tokens.pause_until(until));
        Ok(())
    }

    /// Changes the tokens themselves. Then serves the waiters, and times the others anew.
    pub(crate) fn change_tokens<O>(
        &self,
        now: Option<Timestamp>,
        op: impl FnOnce(&mut T, Timestamp) -> O,
    ) -> O {
        self.change(now, |line, now, _| op(&mut line.tokens, now))
    }
}
