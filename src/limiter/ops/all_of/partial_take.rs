//! A take from several limiters that is not complete yet, and is undone when it is dropped.

use std::time::Duration;

use smallvec::SmallVec;

use crate::clock::Timestamp;
use crate::limiter::core::denied::Denied;
use crate::limiter::core::reserved_part::Parts;
use crate::limiter::ops::limiter::Limiter;
use crate::unwind::Panics;

/// What was taken from some of the members. Dropping it gives everything back: when a later member
/// denies, and when the caller's code panics in one.
#[derive(Default)]
pub(super) struct PartialTake<'a> {
    members: SmallVec<[&'a dyn Limiter; 4]>,
    taken: Parts,
}

impl<'a> PartialTake<'a> {
    pub(super) fn push(&mut self, member: &'a dyn Limiter, taken: Parts) {
        self.members.push(member);
        self.taken.append(taken);
    }

    /// Takes `n` tokens from each of these members, if at least `floor` remain.
    pub(super) fn take(
        &mut self,
        members: impl Iterator<Item = &'a dyn Limiter>,
        n: u64,
        floor: u64,
        now: Timestamp,
    ) -> Result<(), Denied> {
        for member in members {
            // A reservation without a wait, since a plain take cannot be given back exactly.
            self.push(member, member.reserve_at(n, Duration::ZERO, now)?);
            if floor > 0 {
                // A reservation has no floor, so what remains is asked for afterwards.
                member.ask(floor, 0, now)?;
            }
        }
        Ok(())
    }

    /// Marks what was taken as used if `decided` admits, and gives it back if not.
    pub(super) fn settle(mut self, decided: Result<(), Denied>) -> Result<(), Denied> {
        if decided.is_ok() {
            self.end(|member, taken| member.commit(taken));
        }
        decided
    }

    /// Returns what was taken from each member, to be given back by the caller.
    pub(super) fn into_parts(mut self) -> Parts {
        std::mem::take(&mut self.taken)
    }

    fn end(&mut self, end: impl FnMut(&dyn Limiter, &Parts)) {
        let taken = std::mem::take(&mut self.taken);
        end_each(&self.members, &taken, end);
    }
}

impl Drop for PartialTake<'_> {
    fn drop(&mut self) {
        if !self.taken.is_empty() {
            self.end(|member, taken| member.give_back(taken, None));
        }
    }
}

/// Ends what was taken from each member, the latest first; from the others too if one panics.
pub(super) fn end_each(
    members: &[&dyn Limiter],
    parts: &Parts,
    mut end: impl FnMut(&dyn Limiter, &Parts),
) {
    let mut panics = Panics::default();
    for (member, taken) in members.iter().zip(parts.iter()).rev() {
        panics.catch(|| end(*member, &Parts::of(*taken)));
    }
}
