//! The line of a limiter: its tokens behind the lock, and the callers that wait for them, ordered by
//! reserve floor and then by arrival. Sequential; what the tokens are is the limiter's, see [`Tokens`].
//!
//! Invariant: a waiter takes nothing before its turn; what it wants is only counted. So when a waiter
//! leaves, or the quota changes, the waiters behind it move up, and nothing has to be undone.

mod floor_totals;
mod reserve;
mod wait;
mod waiter;

use std::mem::ManuallyDrop;
use std::task::Waker;
use std::time::Duration;

use smallvec::SmallVec;

use crate::clock::Timestamp;
use crate::limiter::core::account::Account;
use crate::limiter::core::acquire_turn::OnTurn;
use crate::limiter::core::bounds::Bounds;
use crate::limiter::core::denied::Denied;
use crate::limiter::core::fill::{LockedFill, WordOverflow, never_overflows};
use crate::limiter::core::line::floor_totals::FloorTotals;
use crate::limiter::core::line::waiter::LineWaiter;
use crate::limiter::core::rate::View;
use crate::limiter::core::reserved_part::Debit;
use crate::limiter::core::status::Status;
use crate::limiter::core::tokens::{BucketTokens, Tokens};
use crate::quota::Units;
use crate::wait::{WaitId, WaitList};
use crate::wake::Wakers;

/// What the first waiter is served.
enum Served {
    /// All that it wants: the debit that it can give back, if it took anything.
    All(Option<Debit>),
    /// A part, of more than the burst.
    Part,
}

/// How many of the first in line have timers that are never set too late.
const REARMED: usize = 2;

#[derive(Debug)]
pub(crate) struct Line<T = BucketTokens> {
    pub(crate) tokens: T,
    pub(crate) bounds: Bounds,
    waiters: WaitList<LineWaiter>,
    totals: FloorTotals,
    /// The reservations that were made behind waiters, by their instants.
    reserved: SmallVec<[(Timestamp, WaitId); 0]>,
    closed: bool,
}

impl<T> AsMut<Self> for Line<T> {
    fn as_mut(&mut self) -> &mut Self {
        self
    }
}

impl Line {
    /// Creates the line of a full bucket.
    #[inline]
    pub(crate) const fn new(units: Units) -> Self {
        Self::with_tokens(BucketTokens::new(units))
    }

    /// Creates a line for one decision on a bucket. It never has a waiter or an open debt, so it
    /// allocates nothing, and to drop it would only cost time.
    #[inline]
    pub(crate) fn of(view: &View, closed: bool) -> ManuallyDrop<Self> {
        let mut line = Self::new(view.rate.units);
        (line.tokens.fill, line.closed) = (LockedFill::of(view), closed);
        ManuallyDrop::new(line)
    }

    /// Runs `op` on the fill.
    pub(crate) fn on_fill<T>(
        &mut self,
        op: impl FnOnce(&mut Account, &mut LockedFill) -> Result<T, WordOverflow>,
    ) -> T {
        let BucketTokens { fill, account } = &mut self.tokens;
        never_overflows(op(account, fill))
    }
}

impl<T> Line<T> {
    #[inline]
    pub(crate) const fn with_tokens(tokens: T) -> Self {
        Self {
            tokens,
            bounds: Bounds::NONE,
            waiters: WaitList::new(),
            totals: FloorTotals::new(),
            reserved: SmallVec::new_const(),
            closed: false,
        }
    }

    /// Returns whether takes can pass by it: no waiter stands in line, and it is not closed.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.waiters.in_line_len() == 0 && !self.closed
    }

    /// Returns whether it is idle, and no served waiter will come back to it either.
    pub(crate) fn is_unused(&self) -> bool {
        self.waiters.len() == 0 && self.is_idle()
    }

    pub(crate) const fn is_closed(&self) -> bool {
        self.closed
    }
}

/// Takes and reads.
impl<T: Tokens> Line<T> {
    /// Returns the status that a newcomer finds that wants `n` tokens.
    #[inline]
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

    /// Returns how long after `now` a newcomer can have `n` tokens while `floor` remain, if all waiters
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

    /// Same as [`wait_for`](Self::wait_for), of tokens that can ever be had.
    #[inline]
    fn wait_at_the_end(&self, n: u64, floor: u64, now: Timestamp) -> Result<Duration, Denied> {
        let ahead = self.waiters.in_line().map(|(_, other)| other);
        let ahead = ahead.take_while(|other| other.floor <= floor);
        let sum = || self.totals.ahead(floor);
        self.tokens
            .wait_behind(sum, ahead.map(LineWaiter::wanted), n, floor, now)
    }

    /// Same as [`take`](Self::take), where no waiter stands in line.
    #[inline]
    pub(crate) fn take_idle(&mut self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied> {
        self.tokens.take(n, floor, now)
    }

    /// Takes `n` tokens now, or none.
    pub(crate) fn take(&mut self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied> {
        if n == 0 {
            return Ok(());
        }
        if self.is_idle() {
            return self.take_idle(n, floor, now);
        }
        self.debit_due(now);
        self.ask(n, floor, now)?;
        self.tokens.take_now(n, now);
        Ok(())
    }

    /// Takes what there is for a newcomer, at most `n`; returns how many.
    #[inline]
    pub(crate) fn take_up_to(&mut self, n: u64, now: Timestamp) -> u64 {
        self.debit_due(now);
        if self.closed {
            return 0;
        }
        let ahead = u64::try_from(self.totals.ahead(0)).unwrap_or(u64::MAX);
        let there = self.tokens.available(now).saturating_sub(ahead).min(n);
        if there > 0 {
            self.tokens.take_now(there, now);
        }
        there
    }

    /// Returns the answer of [`take`](Self::take). Takes nothing.
    pub(crate) fn ask(&self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied> {
        match self.wait_for(n, floor, now)? {
            Duration::ZERO => Ok(()),
            retry_after => Err(Denied::NotYet { retry_after }),
        }
    }
}

/// Serving the waiters.
impl<T: Tokens> Line<T> {
    /// Serves each waiter whose turn has come. A waiter that can never be served, since the quota has
    /// changed, is refused: the waiters behind it must not wait for it. The waiter `asking`, which is
    /// being polled, need not be woken: its waker is stale.
    pub(crate) fn grant(
        &mut self,
        asking: Option<WaitId>,
        now: Timestamp,
        wakers: &mut Wakers,
        stale: &mut Option<Waker>,
    ) {
        self.debit_due(now);
        while let Some((id, first)) = self.waiters.first().map(|(id, first)| (id, *first)) {
            let due = self.first_due(&first, now);
            match due {
                _ if self.closed => {}
                // A committed reservation at the head delays no waiter: it is debited at once.
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
                Ok(_) => match self.serve_first(id, first, now) {
                    Served::All(debit) => Ok(debit),
                    Served::Part => continue,
                },
            };
            let waiter = self.waiters.wants_mut(id);
            waiter.outcome = Some(outcome);
            let waiter = *waiter;
            self.totals.remove(&waiter);
            let waker = self.waiters.wake_first();
            if asking == Some(id) {
                *stale = waker;
            } else {
                wakers.extend(waker);
            }
        }
    }

    /// Serves the waiters whose turn has come, and has the first of the others set their timers anew.
    pub(crate) fn serve(&mut self, now: Timestamp, wakers: &mut Wakers) {
        self.grant(None, now, wakers, &mut None);
        self.rearm(now, wakers);
    }

    /// Gives the first in line what its turn brings.
    fn serve_first(&mut self, id: WaitId, first: LineWaiter, now: Timestamp) -> Served {
        match first.on_turn {
            OnTurn::Notify => Served::All(None),
            OnTurn::Take | OnTurn::Claim => Served::All(Some(self.tokens.debit_now(first.n, now))),
            OnTurn::TakeInParts => {
                let part = first.next_part(self.tokens.burst());
                let debit = Some(self.tokens.debit_now(part, now));
                self.totals.shrink(&first, part);
                let waiter = self.waiters.wants_mut(id);
                waiter.left -= part;
                waiter.earlier = std::mem::replace(&mut waiter.later, debit);
                if waiter.left > 0 {
                    return Served::Part;
                }
                Served::All(debit)
            }
        }
    }

    /// Returns when the first in line is served; an error if that is never, since the quota has changed.
    fn first_due(&self, first: &LineWaiter, now: Timestamp) -> Result<Timestamp, Denied> {
        let n = match first.on_turn {
            OnTurn::TakeInParts if T::IN_PARTS => first.next_part(self.tokens.burst()),
            _ => first.n,
        };
        self.tokens.check_burst(n, first.floor)?;
        let none = std::iter::empty();
        let wait = self.tokens.wait_behind(|| 0, none, n, first.floor, now)?;
        Ok(now.saturating_add(wait))
    }

    /// Wakes the first two in line if their timers are set too late: woken, each sets its own anew. The
    /// second serves both, should the first not be polled.
    pub(crate) fn rearm(&mut self, now: Timestamp, wakers: &mut Wakers) {
        let is_late = |(id, waiter): &(WaitId, &LineWaiter)| {
            // One wake-up until the next poll, which sets the timer by what holds then. With more, a task
            // that polls only the second of its waits would wake itself at each poll, through the first.
            !waiter.is_notified
                && waiter.ready_at.is_none()
                && self.due(*id, now).is_some_and(|due| due < waiter.armed)
        };
        let late = self.waiters.in_line().take(REARMED).filter(is_late);
        let late: SmallVec<[WaitId; REARMED]> = late.map(|(id, _)| id).collect();
        for id in late {
            // The clone before the mark: if it panics, the next operation wakes the waiter.
            wakers.extend(self.waiters.waker_of(id));
            self.waiters.wants_mut(id).is_notified = true;
        }
    }

    /// Ends all waits, and refuses all later takes.
    pub(crate) fn close(&mut self, now: Timestamp) {
        self.debit_all_reserved(now);
        self.closed = true;
    }
}
