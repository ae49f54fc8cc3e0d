//! Takes from several limiters as from one.

mod turn;

use std::time::Duration;

use smallvec::SmallVec;

use crate::clock::Timestamp;
use crate::limiter::core::denied::Denied;
use crate::limiter::core::reserved_part::{Parts, ReservedPart};
use crate::limiter::core::status::Status;
use crate::limiter::ops::all_of::limits::Limits;
use crate::limiter::ops::all_of::partial_take::{PartialTake, end_each};
use crate::limiter::ops::limiter::Limiter;
use crate::limiter::shell::ordered_lock::OrderedLock;
use crate::sync::MutexGuard;

/// The members of an [`AllOf`](crate::AllOf), in the order in which it names them.
pub(crate) struct Members<'a>(SmallVec<[&'a dyn Limiter; 4]>);

/// The guards of the members' locks. Other callers that take from several of the members wait for them.
pub(crate) type HeldLocks<'a> = SmallVec<[MutexGuard<'a, ()>; 4]>;

impl<'a> Members<'a> {
    pub(crate) fn of(limits: &'a impl Limits) -> Self {
        let mut members = SmallVec::new();
        limits.visit(&mut |member| members.push(member));
        Self(members)
    }

    pub(crate) fn first(&self) -> Option<&'a dyn Limiter> {
        self.0.first().copied()
    }

    /// Returns the time on the clock of the first member.
    pub(crate) fn clock_now(&self) -> Timestamp {
        self.first().map_or(Timestamp::ZERO, Limiter::clock_now)
    }

    pub(crate) fn available_at(&self, now: Timestamp) -> u64 {
        let available = self.0.iter().map(|member| member.available_at(now));
        available.min().unwrap_or(u64::MAX)
    }

    pub(crate) fn status_at(&self, n: u64, now: Timestamp) -> Status {
        let statuses = self.0.iter().map(|member| member.status_at(n, now));
        statuses.reduce(Status::tighter).unwrap_or(Status::NO_LIMIT)
    }

    /// Locks each member once, by ascending rank. All callers keep this order, so no two of them deadlock,
    /// however they name the members.
    pub(crate) fn lock_all(&self) -> HeldLocks<'a> {
        let locks = self.0.iter().filter_map(|&member| member.ordered_lock());
        let mut locks: SmallVec<[&OrderedLock; 4]> = locks.collect();
        locks.sort_unstable_by_key(|lock| lock.rank());
        locks.dedup_by_key(|lock| lock.rank());
        locks.into_iter().map(OrderedLock::lock).collect()
    }

    /// Returns the denial that lasts longest, and the index of its member; `None` if all members would
    /// admit. Of equal denials, that of the first member.
    fn longest_denial(&self, n: u64, floor: u64, now: Timestamp) -> Option<(usize, Denied)> {
        let denials = self.0.iter().enumerate().filter_map(|(index, member)| {
            let denied = member.ask(n, floor, now).err()?;
            Some((index, denied))
        });
        // Of equal ones `max_by_key` returns the last, which is here the first member's.
        denials.rev().max_by_key(|(_, denied)| duration(denied))
    }

    /// Returns the answer of a take, without taking.
    pub(crate) fn ask(&self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied> {
        let denial = self.longest_denial(n, floor, now);
        denial.map_or(Ok(()), |(_, denied)| Err(denied))
    }

    pub(crate) fn take(&self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied> {
        if n == 0 {
            return Ok(());
        }
        self.ask(n, floor, now)?;
        // The member that is taken from last needs no reservation, since no other can deny after it. It
        // is the first member: the most specific limit is usually named first, and a reservation of a
        // key costs more than one of a bucket.
        let Some((last, others)) = self.0.split_first() else {
            return Ok(());
        };
        let mut partial = PartialTake::default();
        let decided = partial.take(others.iter().copied(), n, floor, now);
        let decided = decided.and_then(|()| last.try_acquire_above_at(n, floor, now));
        partial.settle(decided.map_err(as_not_yet))
    }

    /// Same as [`take`](Self::take), when the member at the index `claimed` has set its tokens aside.
    fn take_with_claim(
        &self,
        (claimed, taken): (usize, ReservedPart),
        n: u64,
        floor: u64,
        now: Timestamp,
    ) -> Result<(), Denied> {
        let mut partial = PartialTake::default();
        partial.push(self.0[claimed], Parts::of(taken));
        let others = self.0.iter().enumerate();
        let others = others.filter(|(index, _)| *index != claimed);
        let decided = partial.take(others.map(|(_, member)| *member), n, floor, now);
        partial.settle(decided.map_err(as_not_yet))
    }

    pub(crate) fn take_up_to(&self, n: u64, now: Timestamp) -> u64 {
        let most = n.min(self.available_at(now));
        if self.take(most, 0, now).is_ok() {
            return most;
        }
        // There is less than is available: a member keeps tokens for waiters, is named twice, or another
        // thread has taken from it directly. A binary search finds how much.
        let (mut taken, mut step) = (0, most / 2);
        while step > 0 {
            match self.take(step, 0, now) {
                // Another caller may refund meanwhile: without the bound the takes would exceed `n`.
                Ok(()) => {
                    taken += step;
                    step = step.min(most - taken);
                }
                Err(_) => step /= 2,
            }
        }
        taken
    }

    pub(crate) fn reserve(
        &self,
        n: u64,
        max_wait: Duration,
        now: Timestamp,
    ) -> Result<Parts, Denied> {
        if n == 0 {
            return Ok(Parts::default());
        }
        match self.ask(n, 0, now) {
            Err(Denied::NotYet { retry_after }) if retry_after > max_wait => {
                return Err(Denied::TooLong { retry_after });
            }
            Ok(()) | Err(Denied::NotYet { .. }) => {}
            Err(denied) => return Err(denied),
        }
        let mut partial = PartialTake::default();
        for member in &self.0 {
            partial.push(*member, member.reserve_at(n, max_wait, now)?);
        }
        Ok(partial.into_parts())
    }

    pub(crate) fn give_back(&self, parts: &Parts, now: Option<Timestamp>) {
        end_each(&self.0, parts, |member, taken| member.give_back(taken, now));
    }

    pub(crate) fn commit(&self, parts: &Parts) {
        end_each(&self.0, parts, |member, taken| member.commit(taken));
    }
}

/// Returns the denial of a member that was asked not to wait: another caller has taken its tokens
/// meanwhile.
fn as_not_yet(denied: Denied) -> Denied {
    match denied {
        Denied::TooLong { retry_after } => Denied::NotYet { retry_after },
        other => other,
    }
}

/// Orders denials by how long they last.
fn duration(denied: &Denied) -> (u8, Duration) {
    match denied {
        Denied::NotYet { retry_after } | Denied::TooLong { retry_after } => (0, *retry_after),
        Denied::TooManyWaiters => (1, Duration::MAX),
        Denied::TooManyKeys => (2, Duration::MAX),
        Denied::Exhausted => (3, Duration::MAX),
        // The smallest burst is reported: it is the most that the members admit together.
        Denied::ExceedsBurst { burst } => (4, Duration::from_nanos(u64::MAX - burst)),
        Denied::Closed => (5, Duration::MAX),
    }
}
