//! Waits for several limiters as for one: see [`AllOf`](crate::AllOf#waiting).

use std::task::Waker;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::limiter::core::acquire_turn::{AcquireTurn, OnTurn};
use crate::limiter::core::denied::Denied;
use crate::limiter::ops::all_of::members::Members;
use crate::wait::Progress;

impl Members<'_> {
    pub(crate) fn poll_turn(
        &self,
        turn: &mut AcquireTurn,
        now: Timestamp,
        waker: &Waker,
    ) -> Progress<Result<(), Denied>> {
        let deadline = turn.deadline(Duration::MAX, now);
        // Each round moves the turn to the line of another member, or ends.
        loop {
            if turn.is_in_line() {
                match self.poll_line(turn, now, waker) {
                    Progress::Done(Ok(())) => {}
                    ended => return ended,
                }
            }
            let retry_after = match self.decide(turn, now) {
                Err(Denied::NotYet { retry_after }) => retry_after,
                decided => return Progress::Done(decided),
            };
            let ready_at = now.saturating_add(retry_after);
            if ready_at > deadline {
                return Progress::Done(Err(Denied::TooLong { retry_after }));
            }
            let Some((last, _)) = self.longest_denial(turn.n, turn.floor, now) else {
                // Each member alone would admit: one is named twice, or another thread has just given
                // tokens back.
                return Progress::Waiting(Some(ready_at));
            };
            turn.member = last;
            match self.poll_line(turn, now, waker) {
                // Its tokens have come since `longest_denial`.
                Progress::Done(Ok(())) => {}
                ended => return ended,
            }
        }
    }

    /// Decides a turn that stands in no line.
    fn decide(&self, turn: &mut AcquireTurn, now: Timestamp) -> Result<(), Denied> {
        let (n, floor) = (turn.n, turn.floor);
        if turn.on_turn == OnTurn::Notify {
            return self.ask(n, floor, now);
        }
        let _locks = self.lock_all();
        match turn.claimed.take() {
            Some(claimed) => self.take_with_claim((turn.member, claimed), n, floor, now),
            None => self.take(n, floor, now),
        }
    }

    /// Polls a turn in the line of its member. When its turn has come, the member's tokens are set aside
    /// for it in `claimed`, unless it only asks for a wake-up.
    fn poll_line(
        &self,
        turn: &mut AcquireTurn,
        now: Timestamp,
        waker: &Waker,
    ) -> Progress<Result<(), Denied>> {
        // A claim can be given back: another member may still deny.
        if turn.on_turn != OnTurn::Notify {
            turn.on_turn = OnTurn::Claim;
        }
        self.0[turn.member].poll_turn(turn, now, waker)
    }

    pub(crate) fn leave_turn(&self, turn: &mut AcquireTurn) {
        self.0[turn.member].leave_turn(turn);
    }
}
