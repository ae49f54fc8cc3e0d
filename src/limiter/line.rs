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
use crate::wait::{WaitId, WaitList};

#[derive(Debug)]
pub(super) struct Line {
    pub(super) bucket: Bucket,
    waiters: WaitList<Waiter>,
    /// Tokens that those in line wait for.
    wanted: u128,
}

#[derive(Clone, Copy, Debug)]
struct Waiter {
    n: u64,
    /// Set when its tokens have been taken for it.
    granted: Option<Taken>,
}

/// Collected under the lock, woken after it.
pub(super) type Wakers = Vec<Waker>;

impl Line {
    pub(super) const fn new(bucket: Bucket) -> Self {
        Self {
            bucket,
            waiters: WaitList::new(),
            wanted: 0,
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
        self.bucket.check_burst(n, floor)?;
        self.bucket
            .wait_for(self.wanted + u128::from(n) + u128::from(floor), now)
    }

    /// Gives every waiter whose turn has come its tokens.
    pub(super) fn grant(&mut self, now: Timestamp, wakers: &mut Wakers) {
        while self.first_due(now) == Some(Ok(now)) {
            let Some((_, waiter)) = self.waiters.first_mut() else {
                unreachable!("it is due")
            };
            waiter.granted = Some(self.bucket.owe(waiter.n, now, now));
            self.wanted -= u128::from(waiter.n);
            wakers.extend(self.waiters.wake_first());
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

    pub(super) fn first(&self) -> Option<WaitId> {
        self.waiters.first().map(|(id, _)| id)
    }

    /// Who is first, and what its timer is set to.
    pub(super) fn timer_of_first(
        &self,
        now: Timestamp,
    ) -> Option<(WaitId, Result<Timestamp, Denied>)> {
        self.first().zip(self.first_due(now))
    }

    /// Has the first in line look at its timer.
    pub(super) fn nudge_first(&self) -> Option<Waker> {
        self.waiters.nudge(self.first()?)
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
        self.wanted += u128::from(n);
        Ok(Some(
            self.waiters
                .join(waker.clone(), Waiter { n, granted: None }),
        ))
    }

    /// What has become of a waiter: `None`, nothing yet; else it has left.
    pub(super) fn look(
        &mut self,
        id: WaitId,
        deadline: Timestamp,
        now: Timestamp,
        waker: &Waker,
    ) -> Option<Result<(), Denied>> {
        if self.waiters.was_woken(id) {
            if let Some(taken) = self.leave(id) {
                self.bucket.keep(&taken);
            }
            return Some(Ok(()));
        }
        let denied = match self.first_due(now) {
            Some(Err(denied)) if self.first() == Some(id) => denied,
            _ if now >= deadline => {
                let retry_after = self
                    .bucket
                    .wait_for(self.wanted, now)
                    .unwrap_or(Duration::MAX);
                Denied::TooLong { retry_after }
            }
            _ => {
                self.waiters.wait_on(id, waker);
                return None;
            }
        };
        self.leave(id);
        Some(Err(denied))
    }

    /// When a waiter should look again: only the first in line, and who has a deadline, needs a
    /// timer.
    pub(super) fn timer(
        &self,
        id: WaitId,
        deadline: Timestamp,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let due = self
            .first_due(now)
            .filter(|_| self.first() == Some(id))
            .and_then(Result::ok);
        let deadline = Some(deadline).filter(|deadline| *deadline < Timestamp::MAX);
        due.into_iter().chain(deadline).min()
    }

    /// Takes a waiter out, with its tokens if it has got them.
    pub(super) fn leave(&mut self, id: WaitId) -> Option<Taken> {
        let waiter = self.waiters.leave(id);
        if waiter.granted.is_none() {
            self.wanted -= u128::from(waiter.n);
        }
        waiter.granted
    }
}
