//! A rate limit on what is handed out, and the place in the limiter's line from which it is waited for.
//!
//! The limiter is asked under the queue's lock, so that a token is taken for a key that starts and for
//! no other. Whatever the limiter wakes meanwhile is woken once the lock is released.
//!
//! The place is a waiter's as any other: newcomers do not overtake it, and it hears of another quota, or
//! of the end of a pause, at once. What it is given at its turn is kept until a consumer looks; if that
//! is not in the same millisecond, it is changed for a token of that time. The queue leaves the line,
//! and gives that back, once no consumer waits or nothing may start. A limiter that refuses without an
//! instant is asked once a second.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::limiter::core::acquire_turn::{AcquireTurn, OnTurn};
use crate::limiter::core::denied::Denied;
use crate::limiter::ops::rate_limiter::RateLimiter;
use crate::queue::core::entry::tick_at;
use crate::wait::Progress;
use crate::wake::{Wakers, defer};

/// How long a limiter is believed that refuses without an instant and gives no place in its line: its
/// rate is zero, or its line or its table of keys is full.
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Throttle {
    limiter: Arc<dyn RateLimiter>,
    /// Rings the queue when the turn has come.
    waker: Waker,
    turn: Option<AcquireTurn>,
    /// When the turn was given its token.
    rung: Option<Timestamp>,
    /// The limiter has refused, and is believed until then, on the queue's clock.
    refused: Option<Timestamp>,
    is_closed: bool,
}

impl Throttle {
    pub(crate) const fn new(limiter: Arc<dyn RateLimiter>, waker: Waker) -> Self {
        Self {
            limiter,
            waker,
            turn: None,
            rung: None,
            refused: None,
            is_closed: false,
        }
    }

    /// Until when the limiter has refused.
    pub(crate) const fn refused(&self) -> Option<Timestamp> {
        self.refused
    }

    /// Whether the limiter is closed, and no token will ever be had.
    pub(crate) const fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// The limiter is to be asked again if its time has come.
    pub(crate) fn pass_time(&mut self, now: Timestamp) {
        self.refused = self.refused.filter(|until| now < *until);
    }

    /// The limiter is to be asked again: it has rung, at `now` if a clock could be read.
    pub(crate) fn ring(&mut self, now: Option<Timestamp>) {
        self.refused = None;
        self.rung = self.rung.or(now);
    }

    /// Asks whether the limiter is closed.
    pub(crate) fn ask_closed(&mut self, wakers: &mut Wakers) -> bool {
        let asked = defer(wakers, || self.limiter.ask(1, 0, self.limiter.now()));
        self.is_closed = asked == Err(Denied::Closed);
        self.is_closed
    }

    /// Takes a token: whether there was one. If not, one that waits stands in the limiter's line then.
    pub(crate) fn take(&mut self, now: Timestamp, waits: bool, wakers: &mut Wakers) -> bool {
        let taken = defer(wakers, || {
            // On the limiter's own clock, which may be another than the queue's.
            let at = self.limiter.now();
            self.renew(now);
            if waits && self.turn.is_none() {
                self.turn = Some(AcquireTurn::new(1, 0, OnTurn::Take, Duration::MAX));
            }
            if self.turn.is_some() {
                return self.poll(at, now);
            }
            let taken = self.limiter.at(at).try_acquire(1);
            taken.map_err(|denied| self.refuse(denied, now)).is_ok()
        });
        if taken {
            self.refused = None;
        }
        taken
    }

    /// Changes a token that was given in an earlier millisecond for one of now, at the same place in line:
    /// the bucket has gained others since, and both together could be more than a burst at once.
    fn renew(&mut self, now: Timestamp) {
        let is_old = |rung: Timestamp| tick_at(rung) < tick_at(now);
        if self.rung.take().is_some_and(is_old)
            && let Some(turn) = self.turn.as_mut().filter(|turn| turn.is_in_line())
        {
            let fresh = turn.renewed(Duration::MAX);
            self.limiter.leave_turn(turn);
            self.turn = Some(fresh);
        }
    }

    /// Gives a token back that was taken just now, and not used.
    pub(crate) fn give_back(&self, wakers: &mut Wakers) {
        defer(wakers, || self.limiter.refund(1));
    }

    /// Leaves the limiter's line.
    pub(crate) fn leave(&mut self, wakers: &mut Wakers) {
        if let Some(mut turn) = self.turn.take_if(|turn| turn.is_in_line()) {
            defer(wakers, || self.limiter.leave_turn(&mut turn));
        }
    }

    /// Polls the place in line: whether it was given its token. If not it stays in line. Should the
    /// limiter's clock panic, the place is there to be left.
    fn poll(&mut self, at: Timestamp, now: Timestamp) -> bool {
        let Some(turn) = &mut self.turn else {
            return false;
        };
        match self.limiter.poll_turn(turn, at, &self.waker) {
            Progress::Done(taken) => {
                self.turn = None;
                taken.map_err(|denied| self.refuse(denied, now)).is_ok()
            }
            Progress::Waiting(until) => {
                let wait = until.map_or(Duration::MAX, |until| until.saturating_since(at));
                self.refused = Some(now.saturating_add(wait));
                false
            }
        }
    }

    fn refuse(&mut self, denied: Denied, now: Timestamp) {
        self.is_closed = denied == Denied::Closed;
        let wait = if self.is_closed {
            Duration::MAX
        } else {
            denied.retry_after().unwrap_or(PATIENCE)
        };
        self.refused = Some(now.saturating_add(wait));
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        self.leave(&mut Wakers::default());
    }
}
