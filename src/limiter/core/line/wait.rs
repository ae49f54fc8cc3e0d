//! Waiting in a line: a turn joins it, is polled, sets its timer, and leaves.
//!
//! Each waiter sets its timer to its own turn, not to that of the first. So a waiter that is not polled
//! holds up no other (no futurelock), and no tick wakes more than one waiter (no thundering herd). A change
//! that brings turns forward has only the first two set their timers anew, each woken once until its poll.

use std::task::Waker;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::limiter::core::acquire_turn::{AcquireTurn, OnTurn};
use crate::limiter::core::denied::Denied;
use crate::limiter::core::line::Line;
use crate::limiter::core::line::waiter::LineWaiter;
use crate::limiter::core::reserved_part::ReservedPart;
use crate::limiter::core::tokens::Tokens;
use crate::wait::{Progress, WaitId};
use crate::wake::Wakers;

/// How many waiters are counted one by one to find what is ahead of a waiter; beyond, it is estimated.
const COUNTED: usize = 64;

impl<T: Tokens> Line<T> {
    /// Polls a turn: joins the line if its tokens are not there, and returns its end, or the instant at
    /// which it has to be polled again. A turn that ends has left the line.
    pub(crate) fn poll_turn(
        &mut self,
        turn: &mut AcquireTurn,
        now: Timestamp,
        waker: &Waker,
        wakers: &mut Wakers,
        stale: &mut Option<Waker>,
    ) -> Progress<Result<(), Denied>> {
        let deadline = turn.deadline(self.bounds.max_wait, now);
        self.grant(turn.place, now, wakers, stale);
        let ended = match turn.place {
            Some(place) => self.poll_in_line(turn, place, deadline, now, waker, stale),
            None => self.join(turn, deadline, now, waker),
        };
        match ended {
            Some(decided) => Progress::Done(decided),
            None => Progress::Waiting(self.arm(turn, now)),
        }
    }

    fn join(
        &mut self,
        turn: &mut AcquireTurn,
        deadline: Timestamp,
        now: Timestamp,
        waker: &Waker,
    ) -> Option<Result<(), Denied>> {
        let (n, floor) = (turn.n, turn.floor);
        if n == 0 {
            return Some(Ok(()));
        }
        let retry_after = match self.wait_of(turn, now) {
            Ok(Duration::ZERO) => {
                match turn.on_turn {
                    OnTurn::Notify => {}
                    OnTurn::Claim => {
                        let debit = self.tokens.debit_now(n, now);
                        turn.claimed = Some(ReservedPart::debited(now, debit));
                    }
                    OnTurn::Take | OnTurn::TakeInParts => self.tokens.take_now(n, now),
                }
                return Some(Ok(()));
            }
            Ok(retry_after) => retry_after,
            Err(denied) => return Some(Err(denied)),
        };
        if now.saturating_add(retry_after) > deadline {
            return Some(Err(Denied::TooLong { retry_after }));
        }
        if let Err(full) = self.bounds.check_room(self.waiters.in_line_len()) {
            return Some(Err(full));
        }
        let is_back = turn.order().is_some();
        let order = (floor, turn.arrival());
        // The caller's own code, which may panic: before anything is changed.
        let waker = waker.clone();
        let waiter = LineWaiter::new(turn, self.totals.join(n, floor, is_back), None);
        turn.place = Some(self.waiters.join(order, waker, waiter));
        None
    }

    /// Returns how long a turn waits that is not in line: behind all waiters, or, if it comes back,
    /// behind those that arrived before it.
    fn wait_of(&self, turn: &AcquireTurn, now: Timestamp) -> Result<Duration, Denied> {
        self.check_open()?;
        let (n, floor) = (turn.n, turn.floor);
        let at_once = match turn.on_turn {
            OnTurn::TakeInParts if T::IN_PARTS && n > self.tokens.burst() => 1,
            _ => n,
        };
        self.tokens.check_burst(at_once, floor)?;
        let Some(order) = turn.order() else {
            return self.wait_at_the_end(n, floor, now);
        };
        let before = || {
            let before = self.waiters.before(order);
            before.filter(|other| other.ready_at.is_none())
        };
        let sum = || before().map(|other| u128::from(other.left)).sum::<u128>();
        let sum = || sum() + self.totals.reserved();
        let each = before().map(LineWaiter::wanted);
        self.tokens.wait_behind(sum, each, n, floor, now)
    }

    fn poll_in_line(
        &mut self,
        turn: &mut AcquireTurn,
        place: WaitId,
        deadline: Timestamp,
        now: Timestamp,
        waker: &Waker,
        stale: &mut Option<Waker>,
    ) -> Option<Result<(), Denied>> {
        let waiter = *self.waiters.wants_mut(place);
        if let Some(outcome) = waiter.outcome {
            turn.place = None;
            let left = self.waiters.leave(place);
            debug_assert!(left.waker.is_none(), "it was taken with the outcome");
            return Some(outcome.map(|debit| match (turn.on_turn, debit) {
                (OnTurn::Claim, Some(debit)) => {
                    turn.claimed = Some(ReservedPart::debited(now, debit));
                }
                (_, debit) => waiter.commit(debit, &mut self.tokens),
            }));
        }
        if now < deadline {
            *stale = self.waiters.wait(&mut Some(place), waker, waiter);
            return None;
        }
        let retry_after = self.wait_at(place, now).unwrap_or(Duration::MAX);
        *stale = self.leave(turn, now);
        Some(Err(Denied::TooLong { retry_after }))
    }

    /// Sets the timer of a waiter: returns when it has to be polled again.
    fn arm(&mut self, turn: &mut AcquireTurn, now: Timestamp) -> Option<Timestamp> {
        let deadline = turn.deadline(self.bounds.max_wait, now);
        let place = turn.place?;
        let due = self.due(place, now);
        let deadline = Some(deadline).filter(|deadline| *deadline < Timestamp::MAX);
        let timer = due.into_iter().chain(deadline).min();
        let waiter = self.waiters.wants_mut(place);
        waiter.armed = timer.unwrap_or(Timestamp::MAX);
        waiter.is_notified = false;
        timer
    }

    /// Returns when a waiter in line is to be polled for its turn; `None` if its tokens never come.
    pub(super) fn due(&self, place: WaitId, now: Timestamp) -> Option<Timestamp> {
        match self.waiters.first() {
            Some((id, first)) if id == place => self.first_due(first, now).ok(),
            _ => {
                let wait = self.wait_at(place, now);
                wait.ok().map(|wait| now.saturating_add(wait))
            }
        }
    }

    /// Returns how long after `now` a waiter in line has its tokens.
    fn wait_at(&self, place: WaitId, now: Timestamp) -> Result<Duration, Denied> {
        let waiter = self.waiters.wants(place);
        let ahead = self.waiters.in_line().take_while(|(id, _)| *id != place);
        let each = ahead.map(|(_, other)| other.wanted());
        let sum = || self.ahead_of(place);
        self.tokens
            .wait_behind(sum, each, waiter.left, waiter.floor, now)
    }

    /// Returns the tokens that the waiters ahead of a waiter want: exact for the first few, and a lower
    /// bound or an estimate for those far behind, which their next poll corrects.
    fn ahead_of(&self, place: WaitId) -> u128 {
        let mut counted = 0;
        let mut in_line = self.waiters.in_line();
        for (id, other) in in_line.by_ref().take(COUNTED) {
            if id == place {
                return counted;
            }
            counted += u128::from(other.left);
        }
        match in_line.next() {
            Some(_) => self.totals.estimate(self.waiters.wants(place)).max(counted),
            None => counted,
        }
    }

    /// Takes a turn out of the line, as if it had never been there. Returns its waker.
    pub(crate) fn leave(&mut self, turn: &mut AcquireTurn, now: Timestamp) -> Option<Waker> {
        let left = self.waiters.leave(turn.place.take()?);
        let waiter = left.wanted;
        if waiter.outcome.is_none() {
            self.totals.remove(&waiter);
        }
        let got = waiter.outcome.and_then(Result::ok).flatten();
        // The later part first: it was built on the earlier.
        for debit in got.or(waiter.later).into_iter().chain(waiter.earlier) {
            self.tokens.give_back(debit, now);
        }
        left.waker
    }
}
