//! The waits of a service: a [`TurnWait`] for readiness, and a [`TokenWait`] of a request whose token
//! another caller took.

use std::task::Waker;
use std::time::Duration;

use crate::clock::{Clock, Timestamp};
use crate::limiter::{Acquire, AcquireTurn, Denied, OnTurn, RateLimiter};
use crate::wait::{Progress, Step};

fn turn(kind: OnTurn, longest: Duration) -> AcquireTurn {
    AcquireTurn::new(1, 0, kind, longest)
}

/// What a readiness passes to the request.
#[derive(Debug)]
pub(super) struct Ready {
    /// The place in line, if the service waited for readiness.
    place: Option<AcquireTurn>,
    /// How much longer the request may wait.
    left: Duration,
}

impl Ready {
    /// Returns the readiness of a service that did not wait.
    pub(super) const fn at_once(longest: Duration) -> Self {
        Self {
            place: None,
            left: longest,
        }
    }
}

/// Stands in line until its turn comes, and takes nothing. Fails only if no turn will ever come.
pub(super) struct TurnWait<L: RateLimiter> {
    acquire: Acquire<L>,
    longest: Duration,
    since: Option<Timestamp>,
}

impl<L: RateLimiter> TurnWait<L> {
    pub(super) fn new(limiter: L, longest: Duration) -> Self {
        let turn = turn(OnTurn::Notify, longest);
        Self {
            acquire: Acquire { limiter, turn },
            longest,
            since: None,
        }
    }
}

impl<L: RateLimiter> Step for TurnWait<L> {
    type Output = Result<Ready, Denied>;

    fn clock(&self) -> &dyn Clock {
        self.acquire.clock()
    }

    fn now(&self) -> Timestamp {
        self.acquire.now()
    }

    fn step(&mut self, now: Timestamp, waker: &Waker) -> Progress<Self::Output> {
        let result = match self.acquire.step(now, waker) {
            Progress::Waiting(until) => {
                self.since.get_or_insert(now);
                return Progress::Waiting(until);
            }
            Progress::Done(result) => result,
        };
        let left = match (result, self.since) {
            (Err(Denied::Closed), _) => return Progress::Done(Err(Denied::Closed)),
            (Ok(()), Some(since)) => self.longest.saturating_sub(now.saturating_since(since)),
            // The time limit is used up.
            (Err(_), Some(_)) => Duration::ZERO,
            // The request itself finds out whether it is still refused.
            (_, None) => self.longest,
        };
        let waited = self.since.is_some();
        let place = waited.then(|| self.acquire.turn.renewed(Duration::MAX));
        Progress::Done(Ok(Ready { place, left }))
    }
}

/// Waits in line for a token, at the place of a readiness.
pub(super) struct TokenWait<L: RateLimiter> {
    acquire: Acquire<L>,
    deadline: Timestamp,
}

/// How a request begins.
pub(super) enum Begun<L: RateLimiter> {
    /// The request has its token.
    Taken,
    Refused(Denied),
    /// The request stands in line; its turn comes at about this instant.
    Waiting(TokenWait<L>, Option<Timestamp>),
}

impl<L: RateLimiter> TokenWait<L> {
    pub(super) fn begin(limiter: L, ready: Ready, now: Timestamp) -> Begun<L> {
        let fresh = || turn(OnTurn::Take, Duration::MAX);
        let turn = ready.place.unwrap_or_else(fresh);
        let mut taking = Self {
            acquire: Acquire { limiter, turn },
            deadline: now.saturating_add(ready.left),
        };
        // Joins the line now, not at the first poll; that poll registers the waker.
        let progress = taking.step(now, Waker::noop());
        match progress {
            Progress::Done(Ok(())) => Begun::Taken,
            Progress::Done(Err(denied)) => Begun::Refused(denied),
            Progress::Waiting(until) => Begun::Waiting(taking, until),
        }
    }

    /// Leaves the line on behalf of a request that does not wait.
    pub(super) fn refuse(mut self) {
        self.acquire.turn.is_refused = true;
    }
}

impl<L: RateLimiter> Step for TokenWait<L> {
    type Output = Result<(), Denied>;

    fn clock(&self) -> &dyn Clock {
        self.acquire.clock()
    }

    fn now(&self) -> Timestamp {
        self.acquire.now()
    }

    fn step(&mut self, now: Timestamp, waker: &Waker) -> Progress<Self::Output> {
        let progress = self.acquire.step(now, waker);
        let Progress::Waiting(until) = progress else {
            return progress;
        };
        let is_late = until.is_none_or(|until| until > self.deadline);
        if self.deadline == Timestamp::MAX || !is_late {
            return progress;
        }
        self.acquire.turn.is_refused = true;
        Progress::Done(Err(until.map_or(Denied::Exhausted, |until| {
            let retry_after = until.saturating_since(now);
            Denied::TooLong { retry_after }
        })))
    }
}
