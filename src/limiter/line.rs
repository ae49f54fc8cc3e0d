//! A [`Bucket`] with those who wait for its tokens, first come, first served: sequential, like the
//! bucket itself.
//!
//! Who waits has taken nothing yet; what is wanted is only counted. So when one gives up, or the
//! quota changes, everybody behind moves up, and nothing has to be undone.

use std::task::Waker;
use std::time::Duration;

use super::Denied;
use super::bucket::Bucket;
use super::reservation::Taken;
use crate::clock::Timestamp;
use crate::wait::{Left, WaitId, WaitList};
use crate::wake::Wakers;

#[derive(Debug)]
pub(super) struct Line {
    pub(super) bucket: Bucket,
    waiters: WaitList<Waiter>,
    /// Tokens that those in line wait for.
    wanted: u128,
    /// Tokens that whoever has ever joined has waited for.
    joined: u128,
}

#[derive(Clone, Copy, Debug)]
struct Waiter {
    n: u64,
    /// `joined`, with this one.
    joined: u128,
    /// What its timer was set to.
    armed: Timestamp,
    /// Set when its tokens have been taken for it, or will never be.
    outcome: Option<Result<Taken, Denied>>,
}

impl Line {
    pub(super) const fn new(bucket: Bucket) -> Self {
        Self {
            bucket,
            waiters: WaitList::new(),
            wanted: 0,
            joined: 0,
        }
    }

    /// Tokens that nobody waits for.
    pub(super) fn free(&self, now: Timestamp) -> u64 {
        let wanted = u64::try_from(self.wanted).unwrap_or(u64::MAX);
        self.bucket.available(now).saturating_sub(wanted)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.wanted == 0
    }

    /// How long after `now` `n` tokens, and `floor` more, can be had that nobody waits for.
    #[inline]
    pub(super) fn wait_for(&self, n: u64, floor: u64, now: Timestamp) -> Result<Duration, Denied> {
        if n == 0 {
            return Ok(Duration::ZERO);
        }
        self.bucket.check_burst(n, floor)?;
        self.bucket
            .wait_for(self.wanted + u128::from(n) + u128::from(floor), now)
    }

    /// Gives every waiter whose turn has come its tokens, and sends away who waits in vain, since the
    /// quota has changed: nobody is to wait behind it. The one that is asking, if it is one of them,
    /// need not be woken: its waker is stale.
    pub(super) fn grant(
        &mut self,
        asking: Option<WaitId>,
        now: Timestamp,
        wakers: &mut Wakers,
        stale: &mut Option<Waker>,
    ) {
        while let Some(due) = self.first_due(now)
            && !due.is_ok_and(|at| at > now)
            && let Some((id, waiter)) = self.waiters.first_mut()
        {
            waiter.outcome = Some(due.map(|_| self.bucket.owe(waiter.n, now, now)));
            self.wanted -= u128::from(waiter.n);
            let waker = self.waiters.wake_first();
            if asking == Some(id) {
                *stale = waker;
            } else {
                wakers.extend(waker);
            }
        }
    }

    /// When the first in line gets its tokens; an error if it never will, since the quota has
    /// changed.
    fn first_due(&self, now: Timestamp) -> Option<Result<Timestamp, Denied>> {
        let (_, waiter) = self.waiters.first()?;
        let checked = self.bucket.check_burst(waiter.n, 0);
        let wait = checked.and_then(|()| self.bucket.wait_for(waiter.n.into(), now));
        Some(wait.map(|wait| now.saturating_add(wait)))
    }

    /// Has the first in line look again, if its timer is set too late.
    pub(super) fn nudge_first(&self, now: Timestamp) -> Option<Waker> {
        let (id, first) = self.waiters.first()?;
        let due = self.first_due(now)?.ok()?;
        if due < first.armed {
            self.waiters.nudge(id)
        } else {
            None
        }
    }

    /// Takes `n` tokens if nobody is before us, or joins the line if they are there by `deadline`.
    pub(super) fn join(
        &mut self,
        n: u64,
        deadline: Timestamp,
        now: Timestamp,
        waker: &Waker,
    ) -> Result<Option<WaitId>, Denied> {
        let retry_after = self.wait_for(n, 0, now)?;
        if retry_after.is_zero() {
            self.bucket.take(n, now);
            return Ok(None);
        }
        if now.saturating_add(retry_after) > deadline {
            return Err(Denied::TooLong { retry_after });
        }
        let waiter = Waiter {
            n,
            joined: self.joined + u128::from(n),
            armed: Timestamp::MAX,
            outcome: None,
        };
        let mut place = None;
        let stale = self.waiters.wait(&mut place, waker, waiter);
        debug_assert!(stale.is_none(), "it has just come");
        self.joined = waiter.joined;
        self.wanted += u128::from(n);
        Ok(place)
    }

    /// What has become of a waiter: `None`, nothing yet; else it has left. A waker that is no longer
    /// needed is dropped by the caller, once the lock is released.
    pub(super) fn look(
        &mut self,
        id: WaitId,
        deadline: Timestamp,
        now: Timestamp,
        waker: &Waker,
        stale: &mut Option<Waker>,
    ) -> Option<Result<(), Denied>> {
        if let Some(outcome) = self.waiters.wants_mut(id).outcome {
            self.leave(id);
            return Some(outcome.map(|taken| self.bucket.keep(&taken)));
        }
        if now < deadline {
            let waiter = *self.waiters.wants_mut(id);
            *stale = self.waiters.wait(&mut Some(id), waker, waiter);
            return None;
        }
        *stale = self.leave(id).waker;
        let retry_after = self.bucket.wait_for(self.wanted, now);
        let retry_after = retry_after.unwrap_or(Duration::MAX);
        Some(Err(Denied::TooLong { retry_after }))
    }

    /// When a waiter should look again: each when its own turn comes, so that one before it that
    /// is not polled holds nobody up. Should others before it give up, it is told when it is first.
    pub(super) fn arm(
        &mut self,
        id: WaitId,
        deadline: Timestamp,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let due = self.due(id, now);
        let deadline = Some(deadline).filter(|deadline| *deadline < Timestamp::MAX);
        let timer = due.into_iter().chain(deadline).min();
        self.waiters.wants_mut(id).armed = timer.unwrap_or(Timestamp::MAX);
        timer
    }

    /// When a waiter gets its tokens, if all before it stay; `None` if never.
    fn due(&mut self, id: WaitId, now: Timestamp) -> Option<Timestamp> {
        let (_, first) = self.waiters.first()?;
        let gone = first.joined - u128::from(first.n);
        let before = self.waiters.wants_mut(id).joined - gone;
        let wait = self.bucket.wait_for(before, now).ok()?;
        Some(now.saturating_add(wait))
    }

    /// Takes a waiter out, with its tokens if it has got them.
    pub(super) fn leave(&mut self, id: WaitId) -> Left<Option<Taken>> {
        let Left { wanted, waker } = self.waiters.leave(id);
        if wanted.outcome.is_none() {
            self.wanted -= u128::from(wanted.n);
        }
        let wanted = wanted.outcome.and_then(Result::ok);
        Left { wanted, waker }
    }
}
