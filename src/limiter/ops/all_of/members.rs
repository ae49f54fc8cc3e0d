//! How several limiters are taken from, and waited for, as one.

use std::task::Waker;
use std::time::Duration;

use smallvec::SmallVec;

use crate::clock::Timestamp;
use crate::limiter::core::acquire_turn::{AcquireTurn, OnTurn};
use crate::limiter::core::denied::Denied;
use crate::limiter::core::reserved_part::{Parts, ReservedPart};
use crate::limiter::core::status::Status;
use crate::limiter::ops::all_of::limits::Limits;
use crate::limiter::ops::limiter::Limiter;
use crate::limiter::shell::ordered_lock::OrderedLock;
use crate::sync::MutexGuard;
use crate::unwind::Panics;
use crate::wait::Progress;

/// The members, in the order in which they were named.
pub(crate) struct Members<'a>(SmallVec<[&'a dyn Limiter; 4]>);

/// Locks that keep out others that take from several of the same members.
pub(crate) type Held<'a> = SmallVec<[MutexGuard<'a, ()>; 4]>;

fn one(taken: ReservedPart) -> Parts {
    Parts::from_elem(taken, 1)
}

/// What was taken of some members: given back when it is dropped, should the code of a caller panic
/// at another one.
struct Owed<'a> {
    members: SmallVec<[&'a dyn Limiter; 4]>,
    taken: Parts,
}

impl<'a> Owed<'a> {
    const fn new() -> Self {
        Self {
            members: SmallVec::new_const(),
            taken: Parts::new_const(),
        }
    }

    fn push(&mut self, member: &'a dyn Limiter, taken: Parts) {
        self.members.push(member);
        self.taken.extend(taken);
    }

    /// Takes `n` tokens of each of these, if they are there now.
    fn take(
        &mut self,
        members: impl Iterator<Item = &'a dyn Limiter>,
        n: u64,
        floor: u64,
        now: Timestamp,
    ) -> Result<(), Denied> {
        for member in members {
            self.push(member, member.reserve_at(n, Duration::ZERO, now)?);
            if floor > 0 {
                // What remains is what could be taken now.
                member.ask(floor, 0, now)?;
            }
        }
        Ok(())
    }

    /// Keeps what was taken, or gives it back.
    fn settle(mut self, decided: Result<(), Denied>) -> Result<(), Denied> {
        if decided.is_ok() {
            self.end(|member, taken| member.commit(taken));
        }
        decided
    }

    fn end(&mut self, mut end: impl FnMut(&dyn Limiter, &Parts)) {
        let taken = std::mem::take(&mut self.taken);
        each(&self.members, &taken, |member, taken| end(member, taken));
    }
}

impl Drop for Owed<'_> {
    fn drop(&mut self) {
        if !self.taken.is_empty() {
            self.end(|member, taken| member.give_back(taken, None));
        }
    }
}

/// Ends what was taken of each member, the latest first; the others', too, if one panics.
fn each(members: &[&dyn Limiter], parts: &Parts, mut end: impl FnMut(&dyn Limiter, &Parts)) {
    let mut panics = Panics::default();
    for (member, taken) in members.iter().zip(parts).rev() {
        panics.catch(|| end(*member, &one(*taken)));
    }
}

/// A turn at one member: until this is dropped, what it is given can go back.
struct Claiming<'a> {
    turn: &'a mut AcquireTurn,
    kind: OnTurn,
}

impl<'a> Claiming<'a> {
    fn new(turn: &'a mut AcquireTurn) -> Self {
        let kind = turn.on_turn;
        if kind != OnTurn::Notify {
            turn.on_turn = OnTurn::Claim;
        }
        Self { turn, kind }
    }
}

impl Drop for Claiming<'_> {
    fn drop(&mut self) {
        self.turn.on_turn = self.kind;
    }
}

impl<'a> Members<'a> {
    pub(crate) fn of(limits: &'a impl Limits) -> Self {
        let mut members = SmallVec::new();
        limits.visit(&mut |member| members.push(member));
        Self(members)
    }

    pub(crate) fn first(&self) -> Option<&'a dyn Limiter> {
        self.0.first().copied()
    }

    /// On the first one's clock.
    pub(crate) fn now(&self) -> Timestamp {
        self.first().map_or(Timestamp::ZERO, Limiter::clock_now)
    }

    pub(crate) fn available(&self, now: Timestamp) -> u64 {
        let available = self.0.iter().map(|member| member.available_at(now));
        available.min().unwrap_or(u64::MAX)
    }

    pub(crate) fn status(&self, n: u64, now: Timestamp) -> Status {
        let statuses = self.0.iter().map(|member| member.status_at(n, now));
        statuses.reduce(Status::tighter).unwrap_or(Status::NO_LIMIT)
    }

    /// Locks the members' gates, each once, in the one order that all go by.
    pub(crate) fn enter(&self) -> Held<'a> {
        let locks = self.0.iter().filter_map(|&member| member.ordered_lock());
        let mut locks: SmallVec<[&OrderedLock; 4]> = locks.collect();
        locks.sort_unstable_by_key(|lock| lock.rank());
        locks.dedup_by_key(|lock| lock.rank());
        locks.into_iter().map(OrderedLock::lock).collect()
    }

    /// Whether all would pass; if not, the answer of the one that takes longest.
    pub(crate) fn ask(&self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied> {
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

    pub(crate) fn take(&self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied> {
        if n == 0 {
            return Ok(());
        }
        self.ask(n, floor, now)?;
        // The one that is taken from last needs no way back: the first member, since the most
        // particular limit is mostly named first, and a debt of a key costs more than one of a
        // bucket.
        let Some((last, others)) = self.0.split_first() else {
            return Ok(());
        };
        let mut owed = Owed::new();
        let decided = owed.take(others.iter().copied(), n, floor, now);
        let decided = decided.and_then(|()| last.try_acquire_above_at(n, floor, now));
        owed.settle(decided.map_err(as_not_yet))
    }

    /// As [`take`](Self::take), with what one member has given already.
    fn take_beside(
        &self,
        (claimed, taken): (usize, ReservedPart),
        n: u64,
        floor: u64,
        now: Timestamp,
    ) -> Result<(), Denied> {
        let mut owed = Owed::new();
        owed.push(self.0[claimed], one(taken));
        let others = self.0.iter().enumerate().filter(|(at, _)| *at != claimed);
        let decided = owed.take(others.map(|(_, member)| *member), n, floor, now);
        owed.settle(decided.map_err(as_not_yet))
    }

    pub(crate) fn take_up_to(&self, n: u64, now: Timestamp) -> u64 {
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

    pub(crate) fn reserve(
        &self,
        n: u64,
        max_wait: Duration,
        now: Timestamp,
    ) -> Result<Parts, Denied> {
        if n == 0 {
            return Ok(Parts::new());
        }
        match self.ask(n, 0, now) {
            Err(Denied::NotYet { retry_after }) if retry_after > max_wait => {
                return Err(Denied::TooLong { retry_after });
            }
            Ok(()) | Err(Denied::NotYet { .. }) => {}
            Err(denied) => return Err(denied),
        }
        let mut owed = Owed::new();
        for member in &self.0 {
            owed.push(*member, member.reserve_at(n, max_wait, now)?);
        }
        Ok(std::mem::take(&mut owed.taken))
    }

    pub(crate) fn give_back(&self, parts: &Parts, now: Option<Timestamp>) {
        each(&self.0, parts, |member, taken| member.give_back(taken, now));
    }

    pub(crate) fn commit(&self, parts: &Parts) {
        each(&self.0, parts, |member, taken| member.commit(taken));
    }

    /// Polls a turn: see [`AllOf`](crate::AllOf).
    pub(crate) fn poll_turn(
        &self,
        turn: &mut AcquireTurn,
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
    fn decide(&self, turn: &mut AcquireTurn, now: Timestamp) -> Result<(), Denied> {
        let (n, floor) = (turn.n, turn.floor);
        if turn.on_turn == OnTurn::Notify {
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
        turn: &mut AcquireTurn,
        now: Timestamp,
        waker: &Waker,
    ) -> Progress<Result<(), Denied>> {
        let claiming = Claiming::new(turn);
        self.0[claiming.turn.member].poll_turn(claiming.turn, now, waker)
    }

    pub(crate) fn leave_turn(&self, turn: &mut AcquireTurn) {
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
