//! The line of consumers that wait for a key, with a leader (leader/follower) in place of a timer
//! thread.
//!
//! A thread runs once it is woken. A future is polled only when its task gets to it: one that a
//! `select!` has set aside stays in line and takes nothing (a futurelock). So no key may depend on
//! one future alone. A future that was to poll and has not is *late* after [`GRACE`]; then all
//! consumers in line are woken for the keys that were kept for it.
//!
//! | consumer | its timer |
//! |---|---|
//! | the leader, the first in line | the next instant at which a key may be due |
//! | a watchdog, of which there are two | the instant at which the leader, or a woken future, is late |
//!
//! Only a poll of a consumer can arm its timer. So a watchdog is woken once to arm it, unless it has
//! armed an early enough one. The watchdogs are the last in line: they were polled most recently, and
//! will be served last.

mod settle;

use std::collections::VecDeque;
use std::task::Waker;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::queue::core::entry::{start_of, tick_at};
use crate::wait::{WaitId, WaitList};

/// How long a consumer that was to poll may hold up the others.
const GRACE: Duration = Duration::from_millis(5);

#[derive(Default)]
pub(crate) struct Consumers {
    /// Of each, whether it is a future and not a thread.
    pub(crate) line: WaitList<bool>,
    /// Threads that were woken and have not polled yet.
    woken_threads: usize,
    /// Futures that were woken, are not late and have not polled yet, in order of `since`.
    woken_futures: VecDeque<WokenFuture>,
    /// Since when there has been a key for the woken consumers.
    key_since: Option<Timestamp>,
    /// When the next key was due, as of the last change.
    expected_due: Option<Timestamp>,
    /// Since when the next consumer counts as woken: it inherits what the one before it has used of
    /// the grace.
    inherited_since: Option<Timestamp>,
    leader: Option<Leader>,
    watchdogs: [Option<Watchdog>; 2],
}

#[derive(Clone, Copy, Debug)]
struct WokenFuture {
    id: WaitId,
    since: Timestamp,
    /// Whether consumers before it have used a part of its grace.
    has_inherited: bool,
}

/// The consumer that sleeps until the next key may be due.
#[derive(Clone, Copy, Debug)]
struct Leader {
    id: WaitId,
    /// When it will poll.
    armed: Option<Timestamp>,
}

/// A consumer that sleeps until another is late.
#[derive(Clone, Copy, Debug)]
struct Watchdog {
    id: WaitId,
    at: Timestamp,
    /// When it was woken to arm its timer; `None` once it has.
    asked: Option<Timestamp>,
}

fn earliest(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    one.into_iter().chain(other).min()
}

/// Returns when a consumer that was to poll at `since` is late. It is the start of a tick, as is the
/// time that it is compared with: otherwise a watchdog whose timer fires could find itself early.
fn late_at(since: Timestamp) -> Timestamp {
    start_of(tick_at(since)).saturating_add(GRACE)
}

impl Consumers {
    /// Returns how many consumers will poll soon.
    fn awake(&self) -> usize {
        self.woken_threads + self.woken_futures.len()
    }

    /// Returns true if a consumer that polls may take one of the `keys`: it was woken for one, or it
    /// is the first in line and there is a key for which no other was woken.
    ///
    /// One that finds another late may not. All are woken when the state settles, so that after a
    /// stall of the program they are served in order.
    pub(crate) fn may_take(&self, id: WaitId, keys: usize) -> bool {
        self.line.was_woken(id) || self.is_first(id) && self.awake() < keys
    }

    fn is_first(&self, id: WaitId) -> bool {
        self.line.first().is_some_and(|(first, _)| first == id)
    }

    /// Returns when a future that was woken for a key is late.
    fn woken_late_at(&self) -> Option<Timestamp> {
        let (key_since, first) = (self.key_since?, self.woken_futures.front()?);
        Some(late_at(first.since.max(key_since)))
    }

    /// Returns when the leader is late.
    fn leader_late_at(&self) -> Option<Timestamp> {
        let Leader { id, armed } = self.leader?;
        let is_future = *self.line.wants(id);
        armed.filter(|_| is_future).map(late_at)
    }

    /// Joins the line, or goes back to its place. Returns the instant for which this consumer must
    /// arm a timer, if any, and a waker to be dropped once the lock is released.
    pub(crate) fn wait(
        &mut self,
        place: &mut Option<WaitId>,
        waker: &Waker,
        is_future: bool,
        next_poll: Option<Timestamp>,
        now: Timestamp,
    ) -> (Option<Timestamp>, Option<Waker>) {
        if let Some(place) = *place {
            self.polled(place);
        }
        let replaced = self.line.wait(place, waker, is_future);
        let poll_at = place.and_then(|id| {
            *self.line.wants_mut(id) = is_future;
            // Here and not in `settle`, which must not allocate: a failure there loses wake-ups.
            let more = self.line.len() - self.woken_futures.len();
            self.woken_futures.reserve(more);
            self.next_poll_of(id, next_poll, now)
        });
        (poll_at, replaced)
    }

    /// Makes the consumer that has polled the leader or a watchdog, if one is needed; returns when it
    /// must poll again.
    fn next_poll_of(
        &mut self,
        id: WaitId,
        next_poll: Option<Timestamp>,
        now: Timestamp,
    ) -> Option<Timestamp> {
        // The first in line is served next, so it leads, also if it was woken and has come back
        // before the one that led meanwhile.
        let leads = self.is_first(id);
        let armed = next_poll.filter(|_| leads);
        if leads {
            self.leader = Some(Leader { id, armed });
        }
        let is_mine =
            |watchdog: &Option<Watchdog>| watchdog.is_some_and(|watchdog| watchdog.id == id);
        let mine = self.watchdogs.iter().position(is_mine);
        // This consumer can arm a timer now; any other would have to be woken for that.
        let is_vacant = |watchdog: &Option<Watchdog>| !self.will_fire_in_time(*watchdog, now);
        let Some(slot) = mine.or_else(|| self.watchdogs.iter().position(is_vacant)) else {
            return armed;
        };
        // Nothing waits for consumers that are late by now: `settle` passes them.
        let late = self.watched_by(id).filter(|late| now < *late);
        let asked = None;
        self.watchdogs[slot] = late.map(|at| Watchdog { id, at, asked });
        earliest(armed, late)
    }

    /// Returns when a consumer is late that this one could watch.
    fn watched_by(&self, id: WaitId) -> Option<Timestamp> {
        let leader = self.leader.filter(|leader| leader.id != id);
        let leader_late_at = leader.and_then(|_| self.leader_late_at());
        earliest(self.woken_late_at(), leader_late_at)
    }

    /// Returns true if a watchdog can be relied on: it waits in line and is not late itself.
    fn will_fire_in_time(&self, watchdog: Option<Watchdog>, now: Timestamp) -> bool {
        watchdog.is_some_and(|Watchdog { id, at, asked }| {
            let since = asked.map_or(at, |asked| asked.min(at));
            !self.line.was_woken(id) && now < late_at(since)
        })
    }

    /// A consumer polls: if it was woken, it is no longer awaited.
    fn polled(&mut self, id: WaitId) {
        if !self.line.was_woken(id) {
            return;
        }
        if *self.line.wants(id) {
            // A late future is no longer in the list.
            self.woken_futures.retain(|woken| woken.id != id);
        } else {
            self.woken_threads -= 1;
        }
    }

    /// Removes a consumer that has polled, or is dropped. When the state settles, others take over its
    /// duties.
    pub(crate) fn leave(&mut self, id: WaitId, is_dropped: bool) -> Option<Waker> {
        // Another is woken for the key of a consumer that is dropped, with what is left of its grace.
        // Where each key needs a token only one is woken at a time, and the next key has waited for
        // this consumer too.
        let mut woken = self.woken_futures.iter();
        let inherited = woken.find(|woken| woken.id == id && (is_dropped || woken.has_inherited));
        self.inherited_since = inherited.map(|woken| woken.since);
        self.polled(id);
        self.leader = self.leader.filter(|leader| leader.id != id);
        for watchdog in &mut self.watchdogs {
            *watchdog = watchdog.filter(|watchdog| watchdog.id != id);
        }
        self.line.leave(id).waker
    }
}
