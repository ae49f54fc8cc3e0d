//! The sealed trait behind [`RateLimiter`](crate::RateLimiter): all operations, with the time as an
//! argument.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use crate::clock::{Clock, Timestamp};
use crate::limiter::core::acquire_turn::AcquireTurn;
use crate::limiter::core::denied::Denied;
use crate::limiter::core::reserved_part::Parts;
use crate::limiter::core::status::Status;
use crate::limiter::shell::ordered_lock::OrderedLock;
use crate::wait::Progress;

/// The operations of a limiter, with the caller's time as an argument.
///
/// The trait seals [`RateLimiter`](crate::RateLimiter), its public face: a reservation or a lease relies on
/// more than a foreign type could promise.
pub trait Limiter: Send + Sync {
    /// Returns the limiter as a trait object.
    fn as_dyn(&self) -> &dyn Limiter;

    /// Returns the clock of the limiter.
    fn clock(&self) -> &dyn Clock;

    /// Returns the time on that clock, without a virtual call.
    fn clock_now(&self) -> Timestamp;

    /// Visits each single limiter that this one combines: itself, unless it is an `AllOf`.
    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a dyn Limiter)) {
        visit(self.as_dyn());
    }

    /// Returns the lock that a caller holds while it takes from several limiters; `None` for an `AllOf`.
    fn ordered_lock(&self) -> Option<&OrderedLock>;

    /// Takes `n` tokens if at least `floor` remain.
    fn try_acquire_above_at(&self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied>;

    /// Takes `n` tokens at the time of the limiter's clock.
    #[inline]
    fn take_now(&self, n: u64) -> Result<(), Denied> {
        self.try_acquire_above_at(n, 0, self.clock_now())
    }

    /// Same as [`try_acquire_above_at`](Self::try_acquire_above_at), for a caller that waits if it is
    /// denied; returns whether it took.
    #[inline]
    fn take_at_once(&self, n: u64, floor: u64, now: Timestamp) -> bool {
        self.try_acquire_above_at(n, floor, now).is_ok()
    }

    /// Returns the answer of [`try_acquire_above_at`](Self::try_acquire_above_at), without taking.
    fn ask(&self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied>;

    /// Takes `n` tokens, or none, and reads the status as of that decision.
    fn try_acquire_with_status_at(&self, n: u64, now: Timestamp) -> (Result<(), Denied>, Status);

    /// Takes at most `n` tokens; returns how many.
    fn try_acquire_up_to_at(&self, n: u64, now: Timestamp) -> u64;

    /// Returns `n` unused tokens.
    fn refund_at(&self, n: u64, now: Timestamp);

    /// Debits `n` tokens, into debt if need be.
    fn charge_at(&self, n: u64, now: Timestamp);

    /// Blocks all admissions until `until`.
    fn pause_until_at(&self, until: Timestamp, now: Timestamp) -> Result<(), Denied>;

    /// Returns the number of whole tokens.
    fn available_at(&self, now: Timestamp) -> u64;

    /// Returns how full the limiter is, and how long a caller waits for `n` tokens.
    fn status_at(&self, n: u64, now: Timestamp) -> Status;

    /// Takes `n` tokens ahead of time, if they are there within `max_wait`.
    fn reserve_at(&self, n: u64, max_wait: Duration, now: Timestamp) -> Result<Parts, Denied>;

    /// Gives reserved tokens back, as far as no later taker has built on them; `None` reads the clock.
    fn give_back(&self, parts: &Parts, now: Option<Timestamp>);

    /// Marks reserved tokens as used.
    fn commit(&self, parts: &Parts);

    /// Polls a turn, which takes its tokens or waits in line for them. A turn that is done has left the
    /// line.
    fn poll_turn(
        &self,
        turn: &mut AcquireTurn,
        now: Timestamp,
        waker: &Waker,
    ) -> Progress<Result<(), Denied>>;

    /// Takes a turn out of the line.
    fn leave_turn(&self, turn: &mut AcquireTurn);
}

/// Methods that call the methods of the same names of `$inner`, an expression of `$this`: `self`.
macro_rules! forward {
    ($this:tt => $inner:expr; $(
        $(#[$attribute:meta])*
        fn $name:ident($($argument:ident: $type:ty),*) $(-> $output:ty)?;
    )*) => {$(
        $(#[$attribute])*
        fn $name(&$this $(, $argument: $type)*) $(-> $output)? {
            $inner.$name($($argument),*)
        }
    )*};
}

/// Implements the methods of [`Limiter`] that return no reference by those of another limiter.
macro_rules! forward_limiter {
    ($this:tt => $inner:expr) => {
        forward_uncounted!($this => $inner);
        forward! { $this => $inner;
            #[inline]
            fn try_acquire_above_at(n: u64, floor: u64, now: Timestamp) -> Result<(), Denied>;
            #[inline]
            fn take_now(n: u64) -> Result<(), Denied>;
            fn take_at_once(n: u64, floor: u64, now: Timestamp) -> bool;
            fn try_acquire_with_status_at(n: u64, now: Timestamp) -> (Result<(), Denied>, Status);
            fn try_acquire_up_to_at(n: u64, now: Timestamp) -> u64;
            fn reserve_at(n: u64, max_wait: Duration, now: Timestamp) -> Result<Parts, Denied>;
            fn poll_turn(turn: &mut AcquireTurn, now: Timestamp, waker: &Waker) -> Progress<Result<(), Denied>>;
            fn leave_turn(turn: &mut AcquireTurn);
        }
    };
}

/// The part of [`forward_limiter`] that a [`Metered`](crate::Metered) limiter does not count.
macro_rules! forward_uncounted {
    ($this:tt => $inner:expr) => {
        forward! { $this => $inner;
            #[inline]
            fn clock_now() -> Timestamp;
            fn ask(n: u64, floor: u64, now: Timestamp) -> Result<(), Denied>;
            fn refund_at(n: u64, now: Timestamp);
            fn charge_at(n: u64, now: Timestamp);
            fn pause_until_at(until: Timestamp, now: Timestamp) -> Result<(), Denied>;
            fn available_at(now: Timestamp) -> u64;
            fn status_at(n: u64, now: Timestamp) -> Status;
            fn give_back(parts: &Parts, now: Option<Timestamp>);
            fn commit(parts: &Parts);
        }
    };
}

pub(crate) use {forward, forward_limiter, forward_uncounted};

macro_rules! pointers {
    ($($pointer:ty),*) => {$(
        impl<L: Limiter + ?Sized> Limiter for $pointer {
            fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a dyn Limiter)) {
                (**self).each(visit);
            }

            forward! { self => (**self);
                fn as_dyn() -> &dyn Limiter;
                fn clock() -> &dyn Clock;
                fn ordered_lock() -> Option<&OrderedLock>;
            }
            forward_limiter!(self => (**self));
        }
    )*};
}

pointers!(&L, Arc<L>, Box<L>);
