//! The consumers that wait for a key, and which of them looks when.
//!
//! A consumer on a thread runs once it is woken. A future is polled only if its task gets to it: one
//! that a `select!` has set aside stays in line, and takes nothing. So no key may depend on one future
//! alone. A future that was to look is *late* after [`GRACE`]; then all consumers in line are woken for
//! the keys that were kept for it.
//!
//! | consumer | its timer |
//! |---|---|
//! | the leader, the first in line | the next instant at which a key may be due |
//! | a lookout, of which there are two | when the leader is late, or a future that was woken for a key |
//!
//! Only the poll of a consumer can set its timer. So a lookout is woken once, to set it, unless it has
//! set one already that is early enough. The lookouts are the last in line: they have been polled
//! after all others, and are the last to be served.

use std::collections::VecDeque;
use std::task::Waker;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::queue::core::entry::{start_of, tick_at};
use crate::wait::{WaitId, WaitList};
use crate::wake::Wakers;

/// For how long a consumer that was to look holds up the others, at most.
const GRACE: Duration = Duration::from_millis(5);

#[derive(Debug)]
pub(crate) struct Consumers {
    line: WaitList<Kind>,
    /// Threads that have been woken and have not looked yet.
    threads: usize,
    /// Futures that have been woken, are not late and have not looked yet, the longest first.
    called: VecDeque<Call>,
    /// Since when there has been a key, that those consumers were woken for.
    kept: Option<Timestamp>,
    /// When the next key was to be due, as of the last change.
    expected: Option<Timestamp>,
    /// Since when the next one counts as woken: the one before it has had a part of its time.
    passed_on: Option<Timestamp>,
    leader: Option<Leader>,
    lookouts: [Option<Lookout>; 2],
}

/// How a consumer waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Thread,
    Future,
}

#[derive(Clone, Copy, Debug)]
struct Call {
    id: WaitId,
    since: Timestamp,
    /// Others have had a part of its time.
    shared: bool,
}

/// The waiting consumer that sleeps until the next key may be due.
#[derive(Clone, Copy, Debug)]
struct Leader {
    id: WaitId,
    /// When it will look.
    armed: Option<Timestamp>,
}

/// A waiting consumer that sleeps until another is late.
#[derive(Clone, Copy, Debug)]
struct Lookout {
    id: WaitId,
    at: Timestamp,
    /// Since when it is to set its timer, unless it has.
    asked: Option<Timestamp>,
}

fn earliest(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    one.into_iter().chain(other).min()
}

/// When a consumer that was to look at `since` is late: at the beginning of a tick, for the time by
/// which that is judged is one, and a consumer whose timer is over must not find that it is early.
fn late(since: Timestamp) -> Timestamp {
    start_of(tick_at(since)).saturating_add(GRACE)
}

impl Consumers {
    pub(crate) const fn new() -> Self {
        Self {
            line: WaitList::new(),
            threads: 0,
            called: VecDeque::new(),
            kept: None,
            expected: None,
            passed_on: None,
            leader: None,
            lookouts: [None; 2],
        }
    }

    /// How many have not left.
    #[inline]
    pub(crate) const fn len(&self) -> usize {
        self.line.len()
    }

    /// How many will look soon.
    fn awake(&self) -> usize {
        self.threads + self.called.len()
    }

    /// Whether this consumer was woken to look.
    pub(crate) fn was_woken(&self, id: WaitId) -> bool {
        self.line.was_woken(id)
    }

    /// Whether a consumer that looks may take one of the keys. One that was woken may, and the first in
    /// line, if there is a key that no other was woken for. One that finds another late may not: all
    /// are woken when the state settles, so that after a stall of the program they come in order.
    pub(crate) fn may_take(&self, id: WaitId, keys: usize) -> bool {
        self.was_woken(id) || self.is_first(id) && self.awake() < keys
    }

    fn is_first(&self, id: WaitId) -> bool {
        self.line.first().is_some_and(|(first, _)| first == id)
    }

    fn leads(&self, id: WaitId) -> bool {
        self.leader.is_some_and(|leader| leader.id == id)
    }

    /// When a consumer that was woken for a key is late.
    fn called_late(&self) -> Option<Timestamp> {
        let (kept, first) = (self.kept?, self.called.front()?);
        Some(late(first.since.max(kept)))
    }

    /// When the leader is late.
    fn leader_late(&self) -> Option<Timestamp> {
        let Leader { id, armed } = self.leader?;
        let is_future = *self.line.wants(id) == Kind::Future;
        armed.filter(|_| is_future).map(late)
    }

    /// Joins the line, or goes back to its place. Returns when to look again, if this consumer is to
    /// set a timer, and a waker to be dropped once the lock is released.
    pub(crate) fn wait(
        &mut self,
        place: &mut Option<WaitId>,
        waker: &Waker,
        kind: Kind,
        next_look: Option<Timestamp>,
        now: Timestamp,
    ) -> (Option<Timestamp>, Option<Waker>) {
        if let Some(place) = *place {
            self.came(place);
        }
        let replaced = self.line.wait(place, waker, kind);
        let look = place.and_then(|id| {
            *self.line.wants_mut(id) = kind;
            // So that waking a consumer allocates nothing.
            self.called.reserve(self.line.len() - self.called.len());
            self.next_look_of(id, next_look, now)
        });
        (look, replaced)
    }

    /// When a consumer that has looked is to look again.
    fn next_look_of(
        &mut self,
        id: WaitId,
        next_look: Option<Timestamp>,
        now: Timestamp,
    ) -> Option<Timestamp> {
        // The first leads, who is the next to be served: also one that is back before the leader.
        let leads = self.is_first(id);
        let armed = next_look.filter(|_| leads);
        if leads {
            self.leader = Some(Leader { id, armed });
        }
        let is_mine = |lookout: &Option<Lookout>| lookout.is_some_and(|lookout| lookout.id == id);
        let mine = self.lookouts.iter().position(is_mine);
        // It can set its timer now, and no other need be woken for that.
        let is_vacant = |lookout: &Option<Lookout>| !self.is_good(*lookout, now);
        let Some(slot) = mine.or_else(|| self.lookouts.iter().position(is_vacant)) else {
            return armed;
        };
        // Those that are late by now are no longer waited for when the state settles.
        let late = self.late_for(id).filter(|late| now < *late);
        let asked = None;
        self.lookouts[slot] = late.map(|at| Lookout { id, at, asked });
        earliest(armed, late)
    }

    /// When a consumer is late that this one could look out for.
    fn late_for(&self, id: WaitId) -> Option<Timestamp> {
        let leader_late = self.leader_late().filter(|_| !self.leads(id));
        earliest(self.called_late(), leader_late)
    }

    /// Whether a lookout can be expected to look in time.
    fn is_good(&self, lookout: Option<Lookout>, now: Timestamp) -> bool {
        lookout.is_some_and(|Lookout { id, at, asked }| {
            let since = asked.map_or(at, |asked| asked.min(at));
            !self.was_woken(id) && now < late(since)
        })
    }

    /// A consumer that was woken looks.
    fn came(&mut self, id: WaitId) {
        if !self.was_woken(id) {
            return;
        }
        match self.line.wants(id) {
            Kind::Thread => self.threads -= 1,
            Kind::Future => {
                // Unless it is late.
                if let Some(call) = self.called.iter().position(|call| call.id == id) {
                    self.called.remove(call);
                }
            }
        }
    }

    /// Ends a consumer that has looked. What it was to look at goes to others when the state settles.
    pub(crate) fn leave(&mut self, id: WaitId) -> Option<Waker> {
        // Where each key needs a token, the next key has waited for this consumer too.
        let shared = self.call_of(id).filter(|call| call.shared);
        self.passed_on = shared.map(|call| call.since);
        self.end(id)
    }

    /// As [`leave`](Self::leave), of one that is dropped. What it was woken for goes to others too.
    pub(crate) fn cancel(&mut self, id: WaitId) -> Option<Waker> {
        self.passed_on = self.call_of(id).map(|call| call.since);
        self.end(id)
    }

    fn call_of(&self, id: WaitId) -> Option<Call> {
        self.called.iter().find(|call| call.id == id).copied()
    }

    fn end(&mut self, id: WaitId) -> Option<Waker> {
        self.came(id);
        self.leader = self.leader.filter(|leader| leader.id != id);
        for lookout in &mut self.lookouts {
            *lookout = lookout.filter(|lookout| lookout.id != id);
        }
        self.line.leave(id).waker
    }

    /// Wakes as many as there are keys, or all; and makes sure that one looks in time.
    pub(crate) fn settle(
        &mut self,
        keys: usize,
        over: bool,
        next_look: Option<Timestamp>,
        now: Timestamp,
        wakers: &mut Wakers,
    ) {
        // A key that was due is kept from the others since then, not since this was noticed.
        let due = std::mem::replace(&mut self.expected, next_look);
        let due = due.map_or(now, |due| due.min(now));
        let passed_on = self.passed_on.take().filter(|_| self.kept.is_some());
        let since = passed_on.map_or(due, |since| since.min(due));
        self.kept = (keys > 0).then(|| self.kept.unwrap_or(since));
        let was_late = self.pass_late(now, wakers);
        // `now` may be of long ago: who drops a consumer reads no clock.
        let shared = passed_on.is_some() || since < now;
        let (since, shared) = if was_late {
            (now, false)
        } else {
            (since, shared)
        };
        let everyone = over || was_late && self.awake() < keys;
        while everyone || self.awake() < keys {
            let Some(waker) = self.call_first(since, shared) else {
                break;
            };
            wakers.extend([waker]);
        }
        wakers.extend(self.lead(next_look));
        self.look_out(now, wakers);
    }

    /// No longer waits for consumers that are late. Returns whether one was.
    fn pass_late(&mut self, now: Timestamp, wakers: &mut Wakers) -> bool {
        let is_late = |late: Option<Timestamp>| late.is_some_and(|late| late <= now);
        let called_late = is_late(self.called_late());
        if called_late {
            self.called.clear();
        }
        let leader_late = is_late(self.leader_late());
        if let Some(Leader { id, .. }) = self.leader
            && (leader_late || called_late && self.was_woken(id))
            && self.others_than(id)
        {
            // Out of the line, where it would be the first, until it looks.
            wakers.extend(self.line.wake(id));
            self.leader = None;
        }
        called_late || leader_late
    }

    /// Whether another consumer is in line.
    fn others_than(&self, id: WaitId) -> bool {
        let first = self.line.first();
        first.is_some_and(|(first, _)| first != id || self.line.behind(id).is_some())
    }

    /// Takes the first out of the line, to be woken for a key.
    fn call_first(&mut self, since: Timestamp, shared: bool) -> Option<Waker> {
        let (id, &kind) = self.line.first()?;
        match kind {
            Kind::Thread => self.threads += 1,
            Kind::Future => {
                let place = self.called.partition_point(|call| call.since <= since);
                self.called.insert(place, Call { id, since, shared });
            }
        }
        self.line.wake(id)
    }

    /// Makes sure that the leader looks in time.
    fn lead(&mut self, next_look: Option<Timestamp>) -> Option<Waker> {
        let at = next_look?;
        if self.leader.is_none() {
            let (id, _) = self.line.first()?;
            self.leader = Some(Leader { id, armed: None });
        }
        let leader = self.leader.as_mut()?;
        if leader.armed.is_some_and(|armed| armed <= at) {
            return None;
        }
        // Its waker first: should a clone panic, the next look tells the leader.
        let waker = self.line.clone_waker(leader.id);
        leader.armed = Some(at);
        waker
    }

    /// Makes sure that the lookouts look in time.
    fn look_out(&mut self, now: Timestamp, wakers: &mut Wakers) {
        for slot in 0..self.lookouts.len() {
            let last = self.lookouts[slot];
            let good = last.filter(|_| self.is_good(last, now));
            let other = self.lookouts[1 - slot].map(|other| other.id);
            let Some((id, at)) = good
                .and_then(|Lookout { id, .. }| Some((id, self.late_for(id)?)))
                .or_else(|| self.pick_lookout(other, last.map(|last| last.id)))
            else {
                continue;
            };
            if good.is_some_and(|good| good.id == id && good.at <= at) {
                continue;
            }
            // As in `lead`.
            let waker = self.line.clone_waker(id);
            let asked = Some(now);
            self.lookouts[slot] = Some(Lookout { id, at, asked });
            wakers.extend(waker);
        }
    }

    /// The last in line but for the other lookout, and when it is to look; or, if one is there that has
    /// not looked in time, the last before that.
    fn pick_lookout(
        &self,
        other: Option<WaitId>,
        last: Option<WaitId>,
    ) -> Option<(WaitId, Timestamp)> {
        // Mostly no consumer is to look.
        earliest(self.called_late(), self.leader_late())?;
        let (mut before, mut picked) = (None, None);
        for (id, _) in self.line.in_line() {
            if Some(id) == last {
                before = picked;
            } else if Some(id) != other
                && let Some(at) = self.late_for(id)
            {
                picked = Some((id, at));
            }
        }
        before.or(picked)
    }
}
