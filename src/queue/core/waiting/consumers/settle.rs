//! What restores the invariants of the line after a change: enough consumers are woken, and a leader
//! and two watchdogs poll in time.

use std::task::Waker;

use crate::clock::Timestamp;
use crate::queue::core::waiting::consumers::{Consumers, Leader, Watchdog, WokenFuture, earliest};
use crate::wait::WaitId;
use crate::wake::Wakers;

impl Consumers {
    /// Wakes as many consumers as there are keys, or all if it is `over`; arms leader and watchdogs.
    pub(crate) fn settle(
        &mut self,
        keys: usize,
        over: bool,
        next_poll: Option<Timestamp>,
        now: Timestamp,
        wakers: &mut Wakers,
    ) {
        // A key that was due has been kept from other consumers since it was due, not since this
        // change.
        let due = std::mem::replace(&mut self.expected_due, next_poll);
        let due = due.map_or(now, |due| due.min(now));
        let inherited_since = self.inherited_since.take();
        let inherited_since = inherited_since.filter(|_| self.key_since.is_some());
        let since = inherited_since.map_or(due, |since| since.min(due));
        self.key_since = (keys > 0).then(|| self.key_since.unwrap_or(since));
        let was_late = self.pass_late(now, wakers);
        // `now` may be long ago: a consumer that is dropped reads no clock.
        let has_inherited = inherited_since.is_some() || since < now;
        let (since, has_inherited) = if was_late {
            (now, false)
        } else {
            (since, has_inherited)
        };
        let everyone = over || was_late && self.awake() < keys;
        while everyone || self.awake() < keys {
            let Some(waker) = self.wake_first(since, has_inherited) else {
                break;
            };
            wakers.extend([waker]);
        }
        wakers.extend(self.arm_leader(next_poll));
        self.arm_watchdogs(now, wakers);
    }

    /// Stops waiting for consumers that are late; returns true if one was.
    fn pass_late(&mut self, now: Timestamp, wakers: &mut Wakers) -> bool {
        let is_late = |late: Option<Timestamp>| late.is_some_and(|late| late <= now);
        let woken_late = is_late(self.woken_late_at());
        if woken_late {
            self.woken_futures.clear();
        }
        let leader_late = is_late(self.leader_late_at());
        if let Some(Leader { id, .. }) = self.leader
            && (leader_late || woken_late && self.line.was_woken(id))
            && let Some((first, _)) = self.line.first()
            && (first != id || self.line.behind(id).is_some())
        {
            // It leaves the line until it polls: as the first it would lead again.
            wakers.extend(self.line.wake(id));
            self.leader = None;
        }
        woken_late || leader_late
    }

    /// Takes the first consumer out of the line, to be woken for a key.
    fn wake_first(&mut self, since: Timestamp, has_inherited: bool) -> Option<Waker> {
        let (id, &is_future) = self.line.first()?;
        if is_future {
            let woken = WokenFuture {
                id,
                since,
                has_inherited,
            };
            let is_before = |other: &WokenFuture| other.since <= since;
            let at = self.woken_futures.partition_point(is_before);
            self.woken_futures.insert(at, woken);
        } else {
            self.woken_threads += 1;
        }
        self.line.wake(id)
    }

    /// Makes the leader poll at `next_poll`; returns its waker if it would poll later.
    fn arm_leader(&mut self, next_poll: Option<Timestamp>) -> Option<Waker> {
        let at = next_poll?;
        if self.leader.is_none() {
            let (id, _) = self.line.first()?;
            self.leader = Some(Leader { id, armed: None });
        }
        let leader = self.leader.as_mut()?;
        if leader.armed.is_some_and(|armed| armed <= at) {
            return None;
        }
        // The clone before the store: if it panics, the next change wakes the leader.
        let waker = self.line.waker_of(leader.id);
        leader.armed = Some(at);
        waker
    }

    /// Makes the watchdogs poll in time.
    fn arm_watchdogs(&mut self, now: Timestamp, wakers: &mut Wakers) {
        for slot in 0..self.watchdogs.len() {
            let last = self.watchdogs[slot];
            let reliable = last.filter(|_| self.will_fire_in_time(last, now));
            let other = self.watchdogs[1 - slot].map(|other| other.id);
            let Some((id, at)) = reliable
                .and_then(|Watchdog { id, .. }| Some((id, self.watched_by(id)?)))
                .or_else(|| self.pick_watchdog(other, last.map(|last| last.id)))
            else {
                continue;
            };
            if reliable.is_some_and(|armed| armed.id == id && armed.at <= at) {
                continue;
            }
            // The clone before the store, as in `arm_leader`.
            let waker = self.line.waker_of(id);
            let asked = Some(now);
            self.watchdogs[slot] = Some(Watchdog { id, at, asked });
            wakers.extend(waker);
        }
    }

    /// Returns the last consumer in line but for the `other` watchdog, and when it must poll. If the
    /// `last` watchdog of this slot was not polled in time, the one before it in line is taken.
    fn pick_watchdog(
        &self,
        other: Option<WaitId>,
        last: Option<WaitId>,
    ) -> Option<(WaitId, Timestamp)> {
        // Usually there is nothing to watch; then the line is not walked.
        earliest(self.woken_late_at(), self.leader_late_at())?;
        let (mut before, mut picked) = (None, None);
        for (id, _) in self.line.in_line() {
            if Some(id) == last {
                before = picked;
            } else if Some(id) != other
                && let Some(at) = self.watched_by(id)
            {
                picked = Some((id, at));
            }
        }
        before.or(picked)
    }
}
