//! What only the limiters of this crate can do, and what of it others forward.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use crate::clock::{Clock, Timestamp};
use crate::limiter::core::carry::CarryOver;
use crate::limiter::core::denied::Denied;
use crate::limiter::core::status::Status;
use crate::limiter::core::taken::Parts;
use crate::limiter::core::turn::Turn;
use crate::limiter::ops::lease::Leasable;
use crate::limiter::ops::quota_limiter::QuotaLimiter;
use crate::limiter::ops::rate_limiter::RateLimiter;
use crate::limiter::shell::gate::Gate;
use crate::quota::{Quota, QuotaError};
use crate::wait::Progress;

/// What only the limiters of this crate can do: it seals [`RateLimiter`].
pub trait Internal: Send + Sync {
    /// The limiter as an object.
    fn as_dyn(&self) -> &dyn RateLimiter;

    /// The clock that it goes by.
    fn clock(&self) -> &dyn Clock;

    /// Visits each single limiter that it is made of.
    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a dyn RateLimiter)) {
        visit(self.as_dyn());
    }

    /// What those who take from several limiters at once go through; `None` of several limiters.
    fn gate(&self) -> Option<&Gate>;

    /// What `try_acquire_above_at` would say. Writes nothing.
    fn ask(&self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied>;

    /// Takes `n` tokens at once, for a caller that waits for them otherwise: whether they were there.
    fn take_at_once(&self, n: u64, floor: u64, now: Timestamp) -> bool {
        self.as_dyn().try_acquire_above_at(n, floor, now).is_ok()
    }

    /// Takes `n` tokens ahead of their time, if they are there after at most `max_wait`.
    fn owe(&self, n: u64, max_wait: Duration, now: Timestamp) -> Result<Parts, Denied>;

    /// Gives back what no later taker has built on, at `now`, or at what the clock says then.
    fn give_back(&self, parts: &Parts, now: Option<Timestamp>);

    /// The tokens are used: they do not come back.
    fn keep(&self, parts: &Parts);

    /// Polls a turn, which takes the tokens or waits in line for them. What ends has left the line.
    fn poll_turn(
        &self,
        turn: &mut Turn,
        now: Timestamp,
        waker: &Waker,
    ) -> Progress<Result<(), Denied>>;

    /// Takes a turn out of the line.
    fn leave_turn(&self, turn: &mut Turn);
}

/// The methods of [`RateLimiter`] that have no default, as those of another limiter.
macro_rules! forward_limiter {
    (|$this:ident| $inner:expr) => {
        #[inline]
        fn now(&self) -> Timestamp {
            let $this = self;
            $inner.now()
        }

        #[inline]
        fn try_acquire_above_at(&self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied> {
            let $this = self;
            $inner.try_acquire_above_at(n, floor, now)
        }

        fn try_acquire_with_status_at(
            &self,
            n: u64,
            now: Timestamp,
        ) -> (Result<(), Denied>, Status) {
            let $this = self;
            $inner.try_acquire_with_status_at(n, now)
        }

        fn try_acquire_up_to_at(&self, n: u64, now: Timestamp) -> u64 {
            let $this = self;
            $inner.try_acquire_up_to_at(n, now)
        }

        fn refund_at(&self, n: u64, now: Timestamp) {
            let $this = self;
            $inner.refund_at(n, now);
        }

        fn charge_at(&self, n: u64, now: Timestamp) {
            let $this = self;
            $inner.charge_at(n, now);
        }

        fn pause_until_at(&self, until: Timestamp, now: Timestamp) -> Result<(), Denied> {
            let $this = self;
            $inner.pause_until_at(until, now)
        }

        fn available_at(&self, now: Timestamp) -> u64 {
            let $this = self;
            $inner.available_at(now)
        }

        fn status_at(&self, n: u64, now: Timestamp) -> Status {
            let $this = self;
            $inner.status_at(n, now)
        }
    };
}

/// The methods of [`Internal`] that act on tokens, as those of another limiter.
macro_rules! forward_internal {
    (|$this:ident| $inner:expr) => {
        fn ask(&self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied> {
            let $this = self;
            $inner.ask(n, floor, now)
        }

        fn take_at_once(&self, n: u64, floor: u64, now: Timestamp) -> bool {
            let $this = self;
            $inner.take_at_once(n, floor, now)
        }

        fn owe(&self, n: u64, max_wait: Duration, now: Timestamp) -> Result<Parts, Denied> {
            let $this = self;
            $inner.owe(n, max_wait, now)
        }

        fn give_back(&self, parts: &Parts, now: Option<Timestamp>) {
            let $this = self;
            $inner.give_back(parts, now);
        }

        fn keep(&self, parts: &Parts) {
            let $this = self;
            $inner.keep(parts);
        }

        fn poll_turn(
            &self,
            turn: &mut Turn,
            now: Timestamp,
            waker: &Waker,
        ) -> Progress<Result<(), Denied>> {
            let $this = self;
            $inner.poll_turn(turn, now, waker)
        }

        fn leave_turn(&self, turn: &mut Turn) {
            let $this = self;
            $inner.leave_turn(turn);
        }
    };
}

pub(crate) use {forward_internal, forward_limiter};

macro_rules! pointers {
    ($($pointer:ty),*) => {$(
        impl<L: RateLimiter + ?Sized> RateLimiter for $pointer {
            forward_limiter!(|this| (**this));
        }

        impl<L: RateLimiter + ?Sized> Internal for $pointer {
            fn as_dyn(&self) -> &dyn RateLimiter {
                (**self).as_dyn()
            }

            fn clock(&self) -> &dyn Clock {
                (**self).clock()
            }

            fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a dyn RateLimiter)) {
                (**self).each(visit);
            }

            fn gate(&self) -> Option<&Gate> {
                (**self).gate()
            }

            forward_internal!(|this| (**this));
        }

        impl<L: QuotaLimiter + ?Sized> QuotaLimiter for $pointer {
            fn quota(&self) -> Quota {
                (**self).quota()
            }

            fn set_quota(&self, quota: Quota, carry: CarryOver) -> Result<(), QuotaError> {
                (**self).set_quota(quota, carry)
            }

            fn set_quota_at(
                &self,
                quota: Quota,
                carry: CarryOver,
                now: Timestamp,
            ) -> Result<(), QuotaError> {
                (**self).set_quota_at(quota, carry, now)
            }

            fn sync_remaining_at(&self, remaining: u64, now: Timestamp) {
                (**self).sync_remaining_at(remaining, now);
            }
        }

        impl<L: Leasable + ?Sized> Leasable for $pointer {
            fn uncarved(&self) -> u64 {
                (**self).uncarved()
            }

            fn carve(&self, n: u64) -> Result<(), Denied> {
                (**self).carve(n)
            }

            fn restore(&self, n: u64) {
                (**self).restore(n);
            }
        }
    )*};
}

pointers!(&L, Arc<L>, Box<L>);
