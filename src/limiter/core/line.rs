//! The tokens of a limiter behind its lock, with the callers that wait for them, ordered by reserve
//! floor and then by arrival. Sequential. What the tokens are is the limiter's: see [`Tokens`].
//!
//! A waiter takes nothing before its turn; what it wants is only counted. So when one gives up, or
//! the quota changes, every waiter behind moves up, and nothing has to be undone.

mod lanes;
mod waiter;

use crate::limiter::core::fill::Held;
use std::task::Waker;
use std::time::Duration;

use smallvec::SmallVec;

use crate::clock::Timestamp;
use crate::limiter::core::account::Account;
use crate::limiter::core::bounds::Bounds;
use crate::limiter::core::denied::Denied;
use crate::limiter::core::fill::Beyond;
use crate::limiter::core::line::lanes::Lanes;
use crate::limiter::core::line::waiter::Waiter;
use crate::limiter::core::status::Status;
use crate::limiter::core::taken::Debit;
use crate::limiter::core::taken::Taken;
use crate::limiter::core::tokens::{BucketTokens, Tokens};
use crate::limiter::core::turn::{Kind, Turn};
use crate::quota::Units;
use crate::wait::{WaitId, WaitList};
use crate::wake::Wakers;

/// What the turn of a waiter brings.
enum Given {
    /// All that it wants: the debit that it can give back, if it took anything.
    All(Option<Debit>),
    /// Of more than the burst, a part.
    Part,
}

/// To find how much is ahead of a waiter, so many are counted one by one.
const COUNTED: usize = 64;

#[derive(Debug)]
pub(crate) struct Line<T = BucketTokens> {
    pub(crate) tokens: T,
    pub(crate) bounds: Bounds,
    waiters: WaitList<Waiter>,
    lanes: Lanes,
    /// Reservations that were made behind waiters, by their instants.
    booked: SmallVec<[(Timestamp, WaitId); 0]>,
    closed: bool,
}

impl Line {
    /// The line of a full bucket.
    pub(crate) const fn new(units: Units) -> Self {
        Self::of(BucketTokens::new(units))
    }

    pub(crate) fn units(&self) -> Units {
        self.tokens.held.rate.units
    }

    /// Runs `op` on the fill.
    pub(crate) fn on_fill<T>(
        &mut self,
        op: impl FnOnce(&mut Account, &mut Held) -> Result<T, Beyond>,
    ) -> T {
        let tokens = &mut self.tokens;
        let done = op(&mut tokens.account, &mut tokens.held);
        done.unwrap_or_else(|Beyond| unreachable!("only a word is too small"))
    }
}

impl<T> Line<T> {
    pub(crate) const fn of(tokens: T) -> Self {
        Self {
            tokens,
            bounds: Bounds::NONE,
            waiters: WaitList::new(),
            lanes: Lanes::new(),
            booked: SmallVec::new_const(),
            closed: false,
        }
    }

    /// Whether takes need not know of it: nobody stands in line.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.waiters.in_line_len() == 0 && !self.closed
    }

    /// Whether nobody will come back to it either.
    pub(crate) fn is_left(&self) -> bool {
        self.waiters.len() == 0 && self.is_idle()
    }

    pub(crate) const fn is_closed(&self) -> bool {
        self.closed
    }
}

impl<T: Tokens> Line<T> {
    /// How full the limiter is, as a newcomer that wants `n` tokens finds it.
    pub(crate) fn status(&self, n: u64, now: Timestamp) -> Status {
        Status {
            retry_after: self.wait_for(n, 0, now).ok(),
            waiting: self.waiters.in_line_len(),
            ..self.tokens.status(now)
        }
    }

    fn check_open(&self) -> Result<(), Denied> {
        if self.closed {
            Err(Denied::Closed)
        } else {
            Ok(())
        }
    }

    /// Tokens that a newcomer without a floor can have at once.
    fn free(&self, now: Timestamp) -> u64 {
        let ahead = u64::try_from(self.lanes.ahead(0)).unwrap_or(u64::MAX);
        self.tokens.available(now).saturating_sub(ahead)
    }

    /// How long after `now` a newcomer can have `n` tokens while `floor` remain, if all who are
    /// ahead of it stay.
    #[inline]
    pub(crate) fn wait_for(&self, n: u64, floor: u64, now: Timestamp) -> Result<Duration, Denied> {
        if n == 0 {
            return Ok(Duration::ZERO);
        }
        self.check_open()?;
        self.tokens.check_burst(n, floor)?;
        self.wait_at_the_end(n, floor, now)
    }

    /// How long after `now` a newcomer can have `n` tokens, if it ever can.
    #[inline]
    fn wait_at_the_end(&self, n: u64, floor: u64, now: Timestamp) -> Result<Duration, Denied> {
        let ahead = self.waiters.in_line().map(|(_, other)| other);
        let ahead = ahead.take_while(|other| other.floor <= floor);
        let sum = || self.lanes.ahead(floor);
        self.tokens
            .wait_behind(sum, ahead.map(Waiter::wanted), n, floor, now)
    }

    /// How long after `now` one in line has its tokens.
    fn wait_at(&self, place: WaitId, now: Timestamp) -> Result<Duration, Denied> {
        let waiter = self.waiters.wants(place);
        let ahead = self.waiters.in_line().take_while(|(id, _)| *id != place);
        let each = ahead.map(|(_, other)| other.wanted());
        let sum = || self.ahead_of(place);
        self.tokens
            .wait_behind(sum, each, waiter.left, waiter.floor, now)
    }

    /// As [`take`](Self::take), where nobody stands in line.
    #[inline]
    pub(crate) fn take_idle(&mut self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied> {
        self.tokens.take(n, floor, now)
    }

    /// Takes `n` tokens at once, or none.
    pub(crate) fn take(&mut self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied> {
        if n == 0 {
            return Ok(());
        }
        if self.is_idle() {
            return self.take_idle(n, floor, now);
        }
        self.settle_booked(now);
        match self.wait_for(n, floor, now)? {
            Duration::ZERO => {
                self.tokens.take_now(n, now);
                Ok(())
            }
            retry_after => Err(Denied::NotYet { retry_after }),
        }
    }

    /// Takes what there is for a newcomer, at most `n`.
    pub(crate) fn take_up_to(&mut self, n: u64, now: Timestamp) -> u64 {
        self.settle_booked(now);
        let free = if self.closed {
            0
        } else {
            self.free(now).min(n)
        };
        self.tokens.take_now(free, now);
        free
    }

    /// What [`take`](Self::take) would say.
    pub(crate) fn ask(&self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied> {
        match self.wait_for(n, floor, now)? {
            Duration::ZERO => Ok(()),
            retry_after => Err(Denied::NotYet { retry_after }),
        }
    }

    /// Reserves `n` tokens: at once if nobody waits, or the tokens keep it by its instant; else at a
    /// place in line with a fixed instant.
    pub(crate) fn reserve(
        &mut self,
        n: u64,
        max_wait: Duration,
        now: Timestamp,
    ) -> Result<Taken, Denied> {
        self.settle_booked(now);
        let retry_after = self.wait_for(n, 0, now)?;
        if retry_after > max_wait {
            return Err(Denied::TooLong { retry_after });
        }
        let ready_at = now.saturating_add(retry_after);
        if self.tokens.is_free(n) {
            return Ok(Taken::nothing(now));
        }
        if T::DATED || retry_after.is_zero() || self.lanes.is_empty() {
            let debit = self.tokens.owe_at(n, ready_at, now)?;
            return Ok(Taken::owed(ready_at, debit));
        }
        self.bounds.check_room(self.waiters.in_line_len())?;
        let mut turn = Turn::new(n, 0, Kind::Take, max_wait);
        // It stands where it arrived, among those without a floor.
        let order = (0, turn.arrival());
        let waiter = Waiter::new(&turn, self.lanes.book(n), Some(ready_at));
        let place = self.waiters.join(order, Waker::noop().clone(), waiter);
        let at = self.booked.partition_point(|(other, _)| *other <= ready_at);
        self.booked.insert(at, (ready_at, place));
        Ok(Taken::booked(ready_at, place))
    }

    /// Takes the tokens of reservations in line whose instants have come, as of these.
    pub(crate) fn settle_booked(&mut self, now: Timestamp) {
        while let Some(&(ready_at, place)) = self.booked.first()
            && ready_at <= now
        {
            self.debit(place, ready_at);
        }
    }

    /// Takes the tokens of all reservations in line now, before what would move their turns back.
    pub(crate) fn settle_all_booked(&mut self, now: Timestamp) {
        while let Some(&(_, place)) = self.booked.first() {
            self.debit(place, now);
        }
    }

    fn debit(&mut self, place: WaitId, now: Timestamp) {
        self.booked.retain(|(_, other)| *other != place);
        let waiter = *self.waiters.wants_mut(place);
        let debt = self.tokens.owe_now(waiter.n, now);
        self.lanes.remove(&waiter);
        self.waiters.wants_mut(place).outcome = Some(Ok(Some(debt)));
        // Nobody is to be woken: a reservation is not polled.
        drop(self.waiters.wake(place));
        if waiter.is_committed {
            drop(self.waiters.leave(place));
            self.tokens.keep(debt);
        }
    }

    /// Gives a reservation back.
    pub(crate) fn give_back(&mut self, taken: &Taken, now: Timestamp) {
        let debt = taken.debt.or_else(|| self.unbook(taken.place?));
        if let Some(debt) = debt {
            self.tokens.give_back(debt, now);
        }
    }

    /// A reservation is used. While waiters are before it, it stays in line: its tokens, taken now,
    /// would delay them.
    pub(crate) fn keep(&mut self, taken: &Taken) {
        if let Some(place) = taken.place
            && self.waiters.wants(place).outcome.is_none()
        {
            self.waiters.wants_mut(place).is_committed = true;
            return;
        }
        let debt = taken.debt.or_else(|| self.unbook(taken.place?));
        if let Some(debt) = debt {
            self.tokens.keep(debt);
        }
    }

    /// Takes a reservation out of the line: its debt, if it has been debited.
    fn unbook(&mut self, place: WaitId) -> Option<Debit> {
        let waiter = self.waiters.leave(place).wanted;
        if waiter.outcome.is_none() {
            self.booked.retain(|(_, other)| *other != place);
            self.lanes.remove(&waiter);
        }
        waiter.outcome?.ok()?
    }

    /// Serves each waiter whose turn has come, and sends away those that wait in vain, since the
    /// quota has changed: nobody is to wait behind them. The one that is asking, if it is among
    /// them, need not be woken: its waker is stale.
    pub(crate) fn grant(
        &mut self,
        asking: Option<WaitId>,
        now: Timestamp,
        wakers: &mut Wakers,
        stale: &mut Option<Waker>,
    ) {
        self.settle_booked(now);
        while let Some((id, first)) = self.waiters.first().map(|(id, first)| (id, *first)) {
            let due = self.first_due(&first, now);
            match due {
                _ if self.closed => {}
                // Before a reservation that will be used no waiter is left to be delayed.
                Ok(at) if at > now && !first.is_committed => break,
                Ok(_) if first.ready_at.is_some() => {
                    self.debit(id, now);
                    continue;
                }
                _ => {}
            }
            let outcome = match due {
                _ if self.closed => Err(Denied::Closed),
                Err(denied) => Err(denied),
                Ok(_) => match self.give(id, first, now) {
                    Given::All(debt) => Ok(debt),
                    Given::Part => continue,
                },
            };
            let waiter = self.waiters.wants_mut(id);
            waiter.outcome = Some(outcome);
            let waiter = *waiter;
            self.lanes.remove(&waiter);
            let waker = self.waiters.wake_first();
            if asking == Some(id) {
                *stale = waker;
            } else {
                wakers.extend(waker);
            }
        }
    }

    /// Serves those whose turn has come, and has the first of the others look at its timer.
    pub(crate) fn serve(&mut self, now: Timestamp, wakers: &mut Wakers) {
        self.grant(None, now, wakers, &mut None);
        wakers.extend(self.nudge_first(now));
    }

    /// Gives the first in line what its turn brings.
    fn give(&mut self, id: WaitId, first: Waiter, now: Timestamp) -> Given {
        match first.kind {
            Kind::Call => Given::All(None),
            Kind::Take | Kind::Claim => Given::All(Some(self.tokens.owe_now(first.n, now))),
            Kind::TakeInParts => {
                let part = first.next_part(self.tokens.burst());
                let debt = Some(self.tokens.owe_now(part, now));
                self.lanes.shrink(&first, part);
                let waiter = self.waiters.wants_mut(id);
                waiter.left -= part;
                waiter.earlier = std::mem::replace(&mut waiter.later, debt);
                if waiter.left > 0 {
                    return Given::Part;
                }
                Given::All(debt)
            }
        }
    }

    /// When the first in line is served; an error if it never will be, since the quota has changed.
    fn first_due(&self, first: &Waiter, now: Timestamp) -> Result<Timestamp, Denied> {
        let n = match first.kind {
            Kind::TakeInParts if T::IN_PARTS => first.next_part(self.tokens.burst()),
            _ => first.n,
        };
        self.tokens.check_burst(n, first.floor)?;
        let nobody = std::iter::empty();
        let wait = self.tokens.wait_behind(|| 0, nobody, n, first.floor, now)?;
        Ok(now.saturating_add(wait))
    }

    /// Has the first in line look again, if its timer is set too late.
    pub(crate) fn nudge_first(&self, now: Timestamp) -> Option<Waker> {
        let (id, first) = self.waiters.first()?;
        let due = self.first_due(first, now).ok()?;
        if due < first.armed && first.ready_at.is_none() {
            self.waiters.waker_of(id)
        } else {
            None
        }
    }

    /// Polls a turn: joins the line if its tokens are not there, and says what has become of it.
    /// What ends has left the line.
    pub(crate) fn poll(
        &mut self,
        turn: &mut Turn,
        now: Timestamp,
        waker: &Waker,
        wakers: &mut Wakers,
        stale: &mut Option<Waker>,
    ) -> Option<Result<(), Denied>> {
        let deadline = turn.deadline(self.bounds.longest, now);
        self.grant(turn.place, now, wakers, stale);
        match turn.place {
            Some(place) => self.look(turn, place, deadline, now, waker, stale),
            None => self.join(turn, deadline, now, waker),
        }
    }

    fn join(
        &mut self,
        turn: &mut Turn,
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
                match turn.kind {
                    Kind::Call => {}
                    Kind::Claim => {
                        let debit = self.tokens.owe_now(n, now);
                        turn.claimed = Some(Taken::owed(now, debit));
                    }
                    Kind::Take | Kind::TakeInParts => self.tokens.take_now(n, now),
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
        // The caller's own code, so before anything is changed.
        let waker = waker.clone();
        let waiter = Waiter::new(turn, self.lanes.join(n, floor, is_back), None);
        turn.place = Some(self.waiters.join(order, waker, waiter));
        None
    }

    /// How long a turn waits that is not in line: behind all who are there, or, if it comes back, behind
    /// those who came before it.
    fn wait_of(&self, turn: &Turn, now: Timestamp) -> Result<Duration, Denied> {
        self.check_open()?;
        let (n, floor) = (turn.n, turn.floor);
        let at_once = match turn.kind {
            Kind::TakeInParts if T::IN_PARTS && n > self.tokens.burst() => 1,
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
        let sum = || sum() + self.lanes.booked();
        let each = before().map(Waiter::wanted);
        self.tokens.wait_behind(sum, each, n, floor, now)
    }

    fn look(
        &mut self,
        turn: &mut Turn,
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
            return Some(outcome.map(|debt| match (turn.kind, debt) {
                (Kind::Claim, Some(debt)) => turn.claimed = Some(Taken::owed(now, debt)),
                (_, debt) => waiter.keep(debt, &mut self.tokens),
            }));
        }
        if now < deadline {
            *stale = self.waiters.wait(&mut Some(place), waker, waiter);
            return None;
        }
        let retry_after = self.wait_at(place, now).unwrap_or(Duration::MAX);
        *stale = self.leave(turn, now).0;
        Some(Err(Denied::TooLong { retry_after }))
    }

    /// When a waiter looks again: each when its own turn comes, so that one before it that is not
    /// polled holds up nobody.
    pub(crate) fn arm(&mut self, turn: &mut Turn, now: Timestamp) -> Option<Timestamp> {
        let deadline = turn.deadline(self.bounds.longest, now);
        let place = turn.place?;
        let waiter = *self.waiters.wants_mut(place);
        let is_first = self.waiters.first().is_some_and(|(id, _)| id == place);
        let due = if is_first {
            self.first_due(&waiter, now).ok()
        } else {
            let wait = self.wait_at(place, now);
            wait.ok().map(|wait| now.saturating_add(wait))
        };
        let deadline = Some(deadline).filter(|deadline| *deadline < Timestamp::MAX);
        let timer = due.into_iter().chain(deadline).min();
        self.waiters.wants_mut(place).armed = timer.unwrap_or(Timestamp::MAX);
        timer
    }

    /// Tokens that those ahead of a waiter want: exact for the first few, and at least so many for
    /// those far behind, where it is an estimate that its next look corrects.
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
            Some(_) => self.lanes.estimate(self.waiters.wants(place)).max(counted),
            None => counted,
        }
    }

    /// Takes a turn out of the line, as if it had never been there: its waker, and that of the one
    /// behind it if that is the second now, which looks at its timer should the first not be polled.
    /// The first is told in any case.
    pub(crate) fn leave(
        &mut self,
        turn: &mut Turn,
        now: Timestamp,
    ) -> (Option<Waker>, Option<Waker>) {
        let Some(place) = turn.place.take() else {
            return (None, None);
        };
        let first = self.waiters.first().map(|(id, _)| id);
        let is_second = first.and_then(|first| self.waiters.behind(first)) == Some(place);
        let behind = self.waiters.behind(place).filter(|_| is_second);
        let left = self.waiters.leave(place);
        let waiter = left.wanted;
        if waiter.outcome.is_none() {
            self.lanes.remove(&waiter);
        }
        let got = waiter.outcome.and_then(Result::ok).flatten();
        // The later first, which was built on the earlier.
        for debt in got.or(waiter.later).into_iter().chain(waiter.earlier) {
            self.tokens.give_back(debt, now);
        }
        (
            left.waker,
            behind.and_then(|next| self.waiters.waker_of(next)),
        )
    }

    /// Ends all waits, and refuses all that comes later.
    pub(crate) fn close(&mut self, now: Timestamp) {
        self.settle_all_booked(now);
        self.closed = true;
    }
}
