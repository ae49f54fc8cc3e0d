//! How several limiters are taken from, and waited for, as one.

use std::task::Waker;
use std::time::Duration;

use smallvec::SmallVec;

use super::Limits;
use crate::clock::Timestamp;
use crate::limiter::gate::Gate;
use crate::limiter::reservation::{Parts, Taken};
use crate::limiter::turn::{Kind, Turn};
use crate::limiter::{Denied, RateLimiter, Status};
use crate::sync::MutexGuard;
use crate::wait::Progress;

/// The members, in the order in which they were named.
pub(super) struct Members<'a>(SmallVec<[&'a dyn RateLimiter; 4]>);

/// Locks that keep out others that take from several of the same members.
pub(super) type Held<'a> = SmallVec<[MutexGuard<'a, ()>; 4]>;

fn one(taken: Taken) -> Parts {
    Parts::from_elem(taken, 1)
}

impl<'a> Members<'a> {
    pub(super) fn of(limits: &'a impl Limits) -> Self {
        let mut members = SmallVec::new();
        limits.visit(&mut |member| members.push(member));
        Self(members)
    }

    pub(super) fn first(&self) -> Option<&'a dyn RateLimiter> {
        self.0.first().copied()
    }

    /// On the first one's clock.
    pub(super) fn now(&self) -> Timestamp {
        self.first().map_or(Timestamp::ZERO, RateLimiter::now)
    }

    pub(super) fn available(&self, now: Timestamp) -> u64 {
        let available = self.0.iter().map(|member| member.available_at(now));
        available.min().unwrap_or(u64::MAX)
    }

    pub(super) fn status(&self, n: u64, now: Timestamp) -> Status {
        let statuses = self.0.iter().map(|member| member.status_at(n, now));
        statuses.reduce(Status::tighter).unwrap_or(Status::NO_LIMIT)
    }

    /// Locks the members' gates, each once, in the one order that all go by.
    pub(super) fn enter(&self) -> Held<'a> {
        let gates = self.0.iter().filter_map(|member| member.gate());
        let mut gates: SmallVec<[&Gate; 4]> = gates.collect();
        gates.sort_unstable_by_key(|gate| gate.order());
        gates.dedup_by_key(|gate| gate.order());
        gates.into_iter().map(Gate::enter).collect()
    }

    /// Whether all would pass; if not, the answer of the one that takes longest.
    pub(super) fn ask(&self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied> {
        let denials = self
            .0
            .iter()
            .filter_map(|member| member.ask(n, floor, now).err());
        denials.reduce(longer).map_or(Ok(()), Err)
    }

    /// The member that would be ready last; `None` if all are ready.
    fn last_to_be_ready(&self, n: u64, floor: u64, now: Timestamp) -> Option<usize> {
        let denials = self.0.iter().enumerate().filter_map(|(at, member)| {
            let denied = member.ask(n, floor, now).err()?;
            Some((at, denied))
        });
        let last = denials.reduce(|one, other| {
            if rank(&other.1) > rank(&one.1) {
                other
            } else {
                one
            }
        });
        last.map(|(at, _)| at)
    }

    pub(super) fn take(&self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied> {
        if n == 0 {
            return Ok(());
        }
        self.ask(n, floor, now)?;
        // The one that is taken from last needs no way back: the first member, since the most
        // particular limit is mostly named first, and a debt of a key costs more than one of a
        // bucket.
        self.take_last(0, n, floor, now, |last| {
            last.try_acquire_above_at(n, floor, now)
        })
    }

    /// As [`take`](Self::take), with what one member has given already.
    fn take_beside(
        &self,
        (claimed, taken): (usize, Taken),
        n: u64,
        floor: u64,
        now: Timestamp,
    ) -> Result<(), Denied> {
        let decided = self.take_last(claimed, n, floor, now, |_| Ok(()));
        match decided {
            Ok(()) => self.0[claimed].keep(&one(taken)),
            Err(_) => self.0[claimed].give_back(&one(taken), None),
        }
        decided
    }

    /// Takes from all members but one, and from that one by `take`; or gives all back.
    fn take_last(
        &self,
        last: usize,
        n: u64,
        floor: u64,
        now: Timestamp,
        take: impl FnOnce(&dyn RateLimiter) -> Result<(), Denied>,
    ) -> Result<(), Denied> {
        let mut taken: SmallVec<[(&dyn RateLimiter, Parts); 4]> = SmallVec::new();
        let take_each = || {
            for (at, member) in self.0.iter().enumerate() {
                if at == last {
                    continue;
                }
                taken.push((*member, member.owe(n, Duration::ZERO, now)?));
                if floor > 0 {
                    // What remains is what could be taken now.
                    member.ask(floor, 0, now)?;
                }
            }
            self.0.get(last).map_or(Ok(()), |last| take(*last))
        };
        let decided = take_each().map_err(as_not_yet);
        for (member, parts) in taken.iter().rev() {
            match decided {
                Ok(()) => member.keep(parts),
                Err(_) => member.give_back(parts, None),
            }
        }
        decided
    }

    pub(super) fn take_up_to(&self, n: u64, now: Timestamp) -> u64 {
        let most = n.min(self.available(now));
        if self.take(most, 0, now).is_ok() {
            return most;
        }
        // There is less: a member keeps tokens for those who wait, is here twice, or another thread
        // took from it directly. Whatever is left is less than what was denied.
        let (mut taken, mut step) = (0, most / 2);
        while step > 0 {
            match self.take(step, 0, now) {
                Ok(()) => taken += step,
                Err(_) => step /= 2,
            }
        }
        taken
    }

    pub(super) fn owe(&self, n: u64, max_wait: Duration, now: Timestamp) -> Result<Parts, Denied> {
        let mut taken = Parts::new();
        if n == 0 {
            return Ok(taken);
        }
        match self.ask(n, 0, now) {
            Err(Denied::NotYet { retry_after }) if retry_after > max_wait => {
                return Err(Denied::TooLong { retry_after });
            }
            Ok(()) | Err(Denied::NotYet { .. }) => {}
            Err(denied) => return Err(denied),
        }
        for member in &self.0 {
            match member.owe(n, max_wait, now) {
                Ok(one) => taken.extend(one),
                Err(denied) => {
                    self.give_back(&taken, None);
                    return Err(denied);
                }
            }
        }
        Ok(taken)
    }

    pub(super) fn give_back(&self, parts: &Parts, now: Option<Timestamp>) {
        for (member, taken) in self.0.iter().zip(parts).rev() {
            member.give_back(&one(*taken), now);
        }
    }

    pub(super) fn keep(&self, parts: &Parts) {
        for (member, taken) in self.0.iter().zip(parts) {
            member.keep(&one(*taken));
        }
    }

    /// Polls a turn: see [`AllOf`](super::AllOf).
    pub(super) fn poll_turn(
        &self,
        turn: &mut Turn,
        now: Timestamp,
        waker: &Waker,
    ) -> Progress<Result<(), Denied>> {
        let deadline = turn.deadline(Duration::MAX, now);
        loop {
            if turn.is_in_line() {
                match self.poll_line(turn, now, waker) {
                    Progress::Done(Ok(())) => {}
                    ended => return ended,
                }
            }
            let retry_after = match self.decide(turn, now) {
                Err(Denied::NotYet { retry_after }) => retry_after,
                decided => return Progress::Done(decided),
            };
            let ready_at = now.saturating_add(retry_after);
            if ready_at > deadline {
                return Progress::Done(Err(Denied::TooLong { retry_after }));
            }
            let Some(last) = self.last_to_be_ready(turn.n, turn.floor, now) else {
                // Each by itself is ready: one is here twice, or another thread has just given back.
                return Progress::Waiting(Some(ready_at));
            };
            turn.member = last;
            match self.poll_line(turn, now, waker) {
                // Its tokens have come meanwhile.
                Progress::Done(Ok(())) => {}
                ended => return ended,
            }
        }
    }

    /// What becomes of a turn that has come.
    fn decide(&self, turn: &mut Turn, now: Timestamp) -> Result<(), Denied> {
        let (n, floor) = (turn.n, turn.floor);
        if turn.kind == Kind::Call {
            return self.ask(n, floor, now);
        }
        let _held = self.enter();
        match turn.claimed.take() {
            Some(claimed) => self.take_beside((turn.member, claimed), n, floor, now),
            None => self.take(n, floor, now),
        }
    }

    /// Stands in the line of one member. At its turn that member's tokens are set aside for it, unless
    /// it is only to be called.
    fn poll_line(
        &self,
        turn: &mut Turn,
        now: Timestamp,
        waker: &Waker,
    ) -> Progress<Result<(), Denied>> {
        let kind = turn.kind;
        if kind != Kind::Call {
            turn.kind = Kind::Claim;
        }
        let progress = self.0[turn.member].poll_turn(turn, now, waker);
        turn.kind = kind;
        progress
    }

    pub(super) fn leave_turn(&self, turn: &mut Turn) {
        self.0[turn.member].leave_turn(turn);
    }
}

/// A member's answer to whoever would not have waited for it.
fn as_not_yet(denied: Denied) -> Denied {
    match denied {
        Denied::TooLong { retry_after } => Denied::NotYet { retry_after },
        other => other,
    }
}

/// The denial that lasts longer.
fn longer(one: Denied, other: Denied) -> Denied {
    if rank(&other) > rank(&one) {
        other
    } else {
        one
    }
}

/// Denials by how long they last.
fn rank(denied: &Denied) -> (u8, Duration) {
    match denied {
        Denied::NotYet { retry_after } | Denied::TooLong { retry_after } => (0, *retry_after),
        Denied::TooManyWaiters => (1, Duration::MAX),
        Denied::TooManyKeys => (2, Duration::MAX),
        Denied::Exhausted => (3, Duration::MAX),
        // The smaller the burst, the further it is beyond it.
        Denied::ExceedsBurst { burst } => (4, Duration::from_nanos(u64::MAX - burst)),
        Denied::Closed => (5, Duration::MAX),
    }
}
