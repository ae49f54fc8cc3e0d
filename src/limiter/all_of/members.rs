//! How several limiters are taken from as one.

use std::time::Duration;

use smallvec::SmallVec;

use super::Limits;
use crate::clock::Timestamp;
use crate::limiter::gate::Gate;
use crate::limiter::reservation::{Internal, Parts};
use crate::limiter::{Denied, RateLimiter};
use crate::sync::MutexGuard;

/// The members, in the order in which they were given.
pub(super) struct Members<'a>(SmallVec<[&'a dyn RateLimiter; 4]>);

/// The gates of all members, held.
pub(super) type Held<'a> = SmallVec<[MutexGuard<'a, ()>; 4]>;

impl<'a> Members<'a> {
    pub(super) fn of(limits: &'a impl Limits) -> Self {
        let mut members = SmallVec::new();
        limits.visit(&mut |member| members.push(member));
        Self(members)
    }

    fn each(&self) -> impl Iterator<Item = &'a dyn Internal> {
        self.0.iter().map(|member| *member as &dyn Internal)
    }

    /// The time on the clock of the first; of none, zero.
    pub(super) fn now(&self) -> Timestamp {
        self.0
            .first()
            .map_or(Timestamp::ZERO, |member| member.now())
    }

    /// What each of them has.
    pub(super) fn available(&self, now: Timestamp) -> u64 {
        let available = self.0.iter().map(|member| member.available_at(now));
        available.min().unwrap_or(u64::MAX)
    }

    /// Goes through all gates, each once, in an order that is theirs and not the caller's: so
    /// nobody waits in a circle.
    pub(super) fn enter(&self) -> Held<'a> {
        let mut gates: SmallVec<[&Gate; 4]> = self.each().map(Internal::gate).collect();
        gates.sort_unstable_by_key(|gate| gate.order());
        gates.dedup_by_key(|gate| gate.order());
        gates.into_iter().map(Gate::enter).collect()
    }

    /// Asks all: of their denials, the one that lasts longest.
    fn ask(&self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied> {
        let denials = self
            .each()
            .filter_map(|member| member.ask(n, floor, now).err());
        denials.reduce(longer).map_or(Ok(()), Err)
    }

    /// Takes from all, behind their gates.
    pub(super) fn take(&self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied> {
        if n == 0 {
            return Ok(());
        }
        self.ask(n, floor, now)?;
        // Whoever comes last needs no way back: the first member, since the most particular limit
        // is mostly named first, and a debt of a key costs more than one of a bucket.
        let Some(last) = self.0.first() else {
            return Ok(());
        };
        let mut taken = Parts::default();
        let mut take_each = || {
            for member in self.each().skip(1) {
                taken.push(member, member.owe(n, Duration::ZERO, now)?);
                if floor > 0 {
                    // What remains is what could be taken now.
                    member.ask(floor, 0, now)?;
                }
            }
            last.try_acquire_above_at(n, floor, now)
        };
        let decided = take_each().map_err(as_not_yet);
        match decided {
            Ok(()) => taken.keep(),
            Err(_) => taken.give_back(None),
        }
        decided
    }

    /// Takes what all have, at most `n`, behind their gates.
    pub(super) fn take_up_to(&self, n: u64, now: Timestamp) -> u64 {
        let most = n.min(self.available(now));
        if self.take(most, 0, now).is_ok() {
            return most;
        }
        // There is less: a member keeps tokens for those who wait, is here twice, or somebody took
        // from it directly. Whatever is left is less than what was denied.
        let (mut taken, mut step) = (0, most / 2);
        while step > 0 {
            match self.take(step, 0, now) {
                Ok(()) => taken += step,
                Err(_) => step /= 2,
            }
        }
        taken
    }

    /// Takes from all into debt, behind their gates.
    pub(super) fn owe(
        &self,
        n: u64,
        max_wait: Duration,
        now: Timestamp,
    ) -> Result<Parts<'a>, Denied> {
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
        let mut taken = Parts::default();
        for member in self.each() {
            match member.owe(n, max_wait, now) {
                Ok(one) => taken.push(member, one),
                Err(denied) => {
                    taken.give_back(None);
                    return Err(denied);
                }
            }
        }
        Ok(taken)
    }
}

/// A debt without a wait is a denial like any other.
fn as_not_yet(denied: Denied) -> Denied {
    match denied {
        Denied::TooLong { retry_after } => Denied::NotYet { retry_after },
        other => other,
    }
}

/// Of two denials, the one that lasts longer.
fn longer(one: Denied, other: Denied) -> Denied {
    let lasts = |denied: &Denied| match denied {
        Denied::NotYet { retry_after } | Denied::TooLong { retry_after } => (0, *retry_after),
        Denied::TooManyKeys => (1, Duration::MAX),
        Denied::Exhausted => (2, Duration::MAX),
        // The smaller the burst, the further it is beyond it.
        Denied::ExceedsBurst { burst } => (3, Duration::from_nanos(u64::MAX - burst)),
    };
    if lasts(&other) > lasts(&one) {
        other
    } else {
        one
    }
}
