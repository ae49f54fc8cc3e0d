//! Reservations in a line: made behind waiters, each keeps its place and its instant.
//!
//! Invariant: a reservation in line is debited at its turn, at `ready_at` at the latest, and at once
//! when something would move its turn back.

use std::task::Waker;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::limiter::core::acquire_turn::{AcquireTurn, OnTurn};
use crate::limiter::core::denied::Denied;
use crate::limiter::core::line::Line;
use crate::limiter::core::line::waiter::LineWaiter;
use crate::limiter::core::reserved_part::{Debit, ReservedPart};
use crate::limiter::core::tokens::Tokens;
use crate::wait::WaitId;

impl<T: Tokens> Line<T> {
    /// Reserves `n` tokens: debited at once if there are no waiters, or the tokens keep reservations by
    /// their instants; otherwise by a place in line with a fixed instant.
    pub(crate) fn reserve(
        &mut self,
        n: u64,
        max_wait: Duration,
        now: Timestamp,
    ) -> Result<ReservedPart, Denied> {
        self.debit_due(now);
        let retry_after = self.wait_for(n, 0, now)?;
        if retry_after > max_wait {
            return Err(Denied::TooLong { retry_after });
        }
        let ready_at = now.saturating_add(retry_after);
        if self.tokens.is_free(n) {
            return Ok(ReservedPart::free(now));
        }
        if T::DATED || retry_after.is_zero() || self.totals.is_empty() {
            let debit = self.tokens.debit_at(n, ready_at, now)?;
            return Ok(ReservedPart::debited(ready_at, debit));
        }
        self.bounds.check_room(self.waiters.in_line_len())?;
        let mut turn = AcquireTurn::new(n, 0, OnTurn::Take, max_wait);
        // Among the waiters without a floor, where it arrived.
        let order = (0, turn.arrival());
        let waiter = LineWaiter::new(&turn, self.totals.reserve(n), Some(ready_at));
        let place = self.waiters.join(order, Waker::noop().clone(), waiter);
        let at = self
            .reserved
            .partition_point(|(other, _)| *other <= ready_at);
        self.reserved.insert(at, (ready_at, place));
        Ok(ReservedPart::in_line(ready_at, place))
    }

    /// Debits the reservations whose instants have come, each at its instant.
    pub(crate) fn debit_due(&mut self, now: Timestamp) {
        while let Some(&(ready_at, place)) = self.reserved.first()
            && ready_at <= now
        {
            self.debit(place, ready_at);
        }
    }

    /// Debits all reservations now, before what would move their turns back.
    pub(crate) fn debit_all_reserved(&mut self, now: Timestamp) {
        while let Some(&(_, place)) = self.reserved.first() {
            self.debit(place, now);
        }
    }

    pub(crate) fn debit(&mut self, place: WaitId, now: Timestamp) {
        self.reserved.retain(|(_, other)| *other != place);
        let waiter = *self.waiters.wants_mut(place);
        let debit = self.tokens.debit_now(waiter.n, now);
        self.totals.remove(&waiter);
        self.waiters.wants_mut(place).outcome = Some(Ok(Some(debit)));
        // Takes it out of the line. Its waker does nothing: a reservation is not polled.
        drop(self.waiters.wake(place));
        if waiter.is_committed {
            drop(self.waiters.leave(place));
            self.tokens.commit(debit);
        }
    }

    /// Gives a reservation back.
    pub(crate) fn give_back(&mut self, part: &ReservedPart, now: Timestamp) {
        if let Some(debit) = self.take_debit(part) {
            self.tokens.give_back(debit, now);
        }
    }

    /// Marks a reservation as used. Until it is debited it stays in line: its tokens, taken now, would
    /// delay the waiters before it.
    pub(crate) fn commit(&mut self, part: &ReservedPart) {
        if let Some(place) = part.place
            && self.waiters.wants(place).outcome.is_none()
        {
            self.waiters.wants_mut(place).is_committed = true;
            return;
        }
        if let Some(debit) = self.take_debit(part) {
            self.tokens.commit(debit);
        }
    }

    /// Returns the debit of a reservation, if it has been debited. Takes it out of the line.
    fn take_debit(&mut self, part: &ReservedPart) -> Option<Debit> {
        if part.debit.is_some() {
            return part.debit;
        }
        let place = part.place?;
        let waiter = self.waiters.leave(place).wanted;
        if waiter.outcome.is_none() {
            self.reserved.retain(|(_, other)| *other != place);
            self.totals.remove(&waiter);
        }
        waiter.outcome?.ok()?
    }
}
