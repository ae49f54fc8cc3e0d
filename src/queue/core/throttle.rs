//! The rate limit on hand-outs, and the queue's turn in the line of its limiter.
//!
//! The limiter is called under the queue's lock, so a token is taken only for a key that starts. The
//! wakers that the limiter wakes meanwhile are collected, and woken once the lock is released.
//!
//! The queue stands in line like any waiter: newcomers do not overtake it, and a change of quota or
//! the end of a pause wakes it at once. A token granted at its turn is kept until a consumer polls;
//! one from an earlier millisecond is exchanged for a new one then. The queue leaves the line, and
//! returns that token, once no consumer waits or no key may start.

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

/// How long to wait for a limiter that refuses without an instant and gives no turn in its line: its
/// rate is zero, or its line or its table of keys is full.
const RECHECK_INTERVAL: Duration = Duration::from_secs(1);

pub(crate) struct Throttle {
    limiter: Arc<dyn RateLimiter>,
    /// Wakes the queue when its turn has come.
    waker: Waker,
    turn: Option<AcquireTurn>,
    /// When the limiter last woke the queue for its turn: the age of the token that was granted.
    granted_at: Option<Timestamp>,
    /// The limiter is not asked again before this instant, on the queue's clock.
    pub(crate) refused_until: Option<Timestamp>,
    /// The limiter was closed when it was last asked: it will never grant a token.
    pub(crate) is_closed: bool,
}

impl Throttle {
    pub(crate) const fn new(limiter: Arc<dyn RateLimiter>, waker: Waker) -> Self {
        Self {
            limiter,
            waker,
            turn: None,
            granted_at: None,
            refused_until: None,
            is_closed: false,
        }
    }

    /// Drops a refusal that is over.
    pub(crate) fn pass_time(&mut self, now: Timestamp) {
        self.refused_until = self.refused_until.filter(|until| now < *until);
    }

    /// Drops the refusal: the limiter has woken the queue, at `now` if the clock could be read.
    pub(crate) fn on_wake(&mut self, now: Option<Timestamp>) {
        self.refused_until = None;
        self.granted_at = self.granted_at.or(now);
    }

    /// Asks the limiter whether it is closed.
    pub(crate) fn check_closed(&mut self, wakers: &mut Wakers) -> bool {
        let asked = defer(wakers, || self.limiter.ask(1, 0, self.limiter.now()));
        self.is_closed = asked == Err(Denied::Closed);
        self.is_closed
    }

    /// Takes a token; returns false if there is none. A consumer that `waits` joins the limiter's
    /// line then. Sets `found_closed` if this take is the first to find the limiter closed.
    pub(crate) fn take(
        &mut self,
        now: Timestamp,
        waits: bool,
        wakers: &mut Wakers,
        found_closed: &mut bool,
    ) -> bool {
        let was_closed = self.is_closed;
        let taken = defer(wakers, || {
            // On the limiter's own clock, which may be another than the queue's.
            let at = self.limiter.now();
            self.renew(now);
            if waits && self.turn.is_none() {
                self.turn = Some(AcquireTurn::new(1, 0, OnTurn::Take, Duration::MAX));
            }
            let taken = if let Some(turn) = &mut self.turn {
                // It stays in `self` meanwhile: if the limiter's clock panics it can still be left.
                match self.limiter.poll_turn(turn, at, &self.waker) {
                    Progress::Done(taken) => taken,
                    Progress::Waiting(until) => {
                        // Converts between the clocks by the length of the wait.
                        let wait = until.map_or(Duration::MAX, |until| until.saturating_since(at));
                        self.refused_until = Some(now.saturating_add(wait));
                        return false;
                    }
                }
            } else {
                self.limiter.at(at).try_acquire(1)
            };
            self.turn = None;
            if let Err(denied) = taken {
                self.is_closed = denied == Denied::Closed;
                let wait = if self.is_closed {
                    Duration::MAX
                } else {
                    denied.retry_after().unwrap_or(RECHECK_INTERVAL)
                };
                self.refused_until = Some(now.saturating_add(wait));
            }
            taken.is_ok()
        });
        if taken {
            self.refused_until = None;
        }
        *found_closed |= self.is_closed && !was_closed;
        taken
    }

    /// Exchanges a token that was granted in an earlier millisecond for one of now, at the same
    /// place in line. The bucket has refilled since: with the old token, more than a burst could
    /// start at once.
    fn renew(&mut self, now: Timestamp) {
        let is_old = |granted: Timestamp| tick_at(granted) < tick_at(now);
        if self.granted_at.take().is_some_and(is_old)
            && let Some(turn) = self.turn.as_mut().filter(|turn| turn.is_in_line())
        {
            let fresh = turn.renewed(Duration::MAX);
            self.limiter.leave_turn(turn);
            self.turn = Some(fresh);
        }
    }

    /// Refunds a token that was taken for a key that did not start.
    pub(crate) fn give_back(&self, wakers: &mut Wakers) {
        defer(wakers, || self.limiter.refund(1));
    }

    /// Leaves the limiter's line; a token granted there goes back.
    pub(crate) fn leave(&mut self, wakers: &mut Wakers) {
        if let Some(mut turn) = self.turn.take_if(|turn| turn.is_in_line()) {
            defer(wakers, || self.limiter.leave_turn(&mut turn));
        }
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        self.leave(&mut Wakers::default());
    }
}
