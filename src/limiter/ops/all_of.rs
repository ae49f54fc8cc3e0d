//! Several limits as one: a take from all members, or from none.

mod limits;
mod members;
mod partial_take;

use std::task::Waker;
use std::time::Duration;

pub use crate::limiter::ops::all_of::limits::Limits;

use crate::clock::{Clock, SystemClock, Timestamp};
use crate::limiter::core::acquire_turn::AcquireTurn;
use crate::limiter::core::denied::Denied;
use crate::limiter::core::reserved_part::Parts;
use crate::limiter::core::status::Status;
use crate::limiter::ops::acquire::Acquire;
use crate::limiter::ops::all_of::members::Members;
use crate::limiter::ops::limiter::{Limiter, forward};
use crate::limiter::ops::rate_limiter::RateLimiter;
use crate::limiter::ops::single::acquire_methods;
use crate::limiter::shell::ordered_lock::OrderedLock;
use crate::wait::{Progress, Wait};

/// Several limits at once, all or nothing: per second and per hour, per tenant and for all.
///
/// An `AllOf` is a [`RateLimiter`] itself. A take costs a lock for each member, and a reservation for each but the
/// first; a single limiter costs less.
///
/// Callers that take from the same members through an `AllOf` do not make each other fail: they lock the
/// members in one order. If another caller takes from a member directly meanwhile, the tokens of the
/// other members are given back exactly, and the answer is a denial.
///
/// The clock is that of the first member. A quota belongs to a member: change it there. A member that is
/// closed ends all waits.
///
/// # Waiting
/// A waiter stands in the line of one member, the one whose tokens would be ready last, ordered by floor
/// and then by arrival. At its turn, that member's tokens are set aside for it, and it takes from the
/// others. If one of them denies, the tokens go back, and the waiter moves to the line of that member, at
/// the place of its arrival. So a waiter holds nothing of one member while it waits for another, and
/// waiters on the same members are served first come, first served.
///
/// A pause, another quota, a refund and a charge of a member reach the waiters in its line. A waiter that
/// is not polled blocks no other: at its turn, its tokens are set aside and the line goes on. It takes
/// from the other members when it is polled.
///
/// If another caller takes from a member directly at just that moment, the waiter moves to the head of
/// that member's line. Each such take delays it by the time of the tokens that were taken, and no more.
///
/// # Cancel safety
/// Dropping a wait leaves the line, and gives back what was set aside.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use tollgate::{AllOf, AtomicTokenBucket, Denied, KeyedLimiter, ManualClock, Quota, RateLimiter};
///
/// let clock = ManualClock::new();
/// let global = AtomicTokenBucket::with_clock(Quota::per_hour(100)?, clock.clone())?;
/// let tenants = KeyedLimiter::<u64>::builder(Quota::per_second(2)?, 1_000).clock(clock).build()?;
///
/// let limits = AllOf::new((tenants.key(&7), &global));
/// assert!(limits.try_acquire(2).is_ok());
/// let denied = limits.try_acquire(1).unwrap_err();
/// assert_eq!(denied, Denied::NotYet { retry_after: Duration::from_millis(500) });
/// assert_eq!(global.available(), 98); // the denied call took nothing
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct AllOf<L>(L);

impl<L: Limits> AllOf<L> {
    /// Combines these limits. Without any limit, every take is admitted.
    pub const fn new(limits: L) -> Self {
        Self(limits)
    }

    acquire_methods!();

    fn members(&self) -> Members<'_> {
        Members::of(&self.0)
    }
}

impl<L: Limits> RateLimiter for AllOf<L> {}

impl<L: Limits> Limiter for AllOf<L> {
    forward! { self => self.members();
        fn clock_now() -> Timestamp;
        fn ask(n: u64, floor: u64, now: Timestamp) -> Result<(), Denied>;
        fn available_at(now: Timestamp) -> u64;
        fn status_at(n: u64, now: Timestamp) -> Status;
        fn give_back(parts: &Parts, now: Option<Timestamp>);
        fn commit(parts: &Parts);
        fn poll_turn(turn: &mut AcquireTurn, now: Timestamp, waker: &Waker) -> Progress<Result<(), Denied>>;
        fn leave_turn(turn: &mut AcquireTurn);
    }

    fn try_acquire_above_at(&self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied> {
        let members = self.members();
        let _locks = members.lock_all();
        members.take(n, floor, now)
    }

    fn try_acquire_with_status_at(&self, n: u64, now: Timestamp) -> (Result<(), Denied>, Status) {
        let members = self.members();
        let _locks = members.lock_all();
        (members.take(n, 0, now), members.status_at(n, now))
    }

    fn try_acquire_up_to_at(&self, n: u64, now: Timestamp) -> u64 {
        let members = self.members();
        let _locks = members.lock_all();
        members.take_up_to(n, now)
    }

    fn refund_at(&self, n: u64, now: Timestamp) {
        self.0.visit(&mut |member| member.refund_at(n, now));
    }

    fn charge_at(&self, n: u64, now: Timestamp) {
        self.0.visit(&mut |member| member.charge_at(n, now));
    }

    /// Pauses every member that can be paused; the error is that of the first member that cannot.
    fn pause_until_at(&self, until: Timestamp, now: Timestamp) -> Result<(), Denied> {
        let mut paused = Ok(());
        self.0.visit(&mut |member| {
            let one = member.pause_until_at(until, now);
            paused = paused.and(one);
        });
        paused
    }

    fn as_dyn(&self) -> &dyn Limiter {
        self
    }

    fn clock(&self) -> &dyn Clock {
        static NONE: SystemClock = SystemClock::new();
        self.members().first().map_or(&NONE, |first| first.clock())
    }

    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a dyn Limiter)) {
        self.0.visit(visit);
    }

    fn ordered_lock(&self) -> Option<&OrderedLock> {
        None
    }

    fn reserve_at(&self, n: u64, max_wait: Duration, now: Timestamp) -> Result<Parts, Denied> {
        let members = self.members();
        let _locks = members.lock_all();
        members.reserve(n, max_wait, now)
    }
}
