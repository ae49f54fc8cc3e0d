//! The state machine of the keys: one [`KeyEntry`] per live key, and the lists it can be in.
//!
//! Invariant: an entry is in the ready list, the wheel, the processing list or the set of resting
//! keys, as its [`Phase`] says, and in no other. Each transition has a file: [`add`], [`add_live`],
//! [`remove`], [`processing`] and [`resting`].

pub(crate) mod add;
mod add_live;
pub(crate) mod processing;
mod remove;
mod resting;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use crate::arena::Arena;
use crate::clock::Timestamp;
use crate::list::{Index, List};
use crate::queue::core::debounce::{Debounce, Windows};
use crate::queue::core::entry::{KeyEntry, NEVER, Phase, start_of, tick_at};
use crate::queue::core::given_up::GivenUp;
use crate::queue::core::groups::ready::ReadyKeys;
use crate::queue::core::hash::FastHash;
use crate::queue::core::index::KeyIndex;
use crate::queue::core::keys::Keys;
use crate::queue::core::wheel::Wheel;

/// The settings of a queue, fixed when it is built.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct QueueConfig {
    pub(crate) capacity: usize,
    /// The part of the capacity that only workers may use.
    pub(crate) reserve: usize,
    pub(crate) debounce: Option<Debounce>,
    /// Whether an add waits for its key's backoff, unless its options say otherwise.
    pub(crate) holds_backoff: bool,
    /// One in this many hand-outs that pass over a band goes to the band that was passed over
    /// longest; 0: none.
    pub(crate) aging: u32,
    /// Whether an add replaces the equal key that is live.
    pub(crate) keeps_newest: bool,
    /// The shortest time between two starts of a key.
    pub(crate) min_interval: Duration,
    pub(crate) given_up: Option<GivenUp>,
}

/// The keys of a queue, and the order in which they are handed out.
pub(crate) struct Machine<K> {
    pub(crate) entries: Arena<KeyEntry>,
    /// The key of each entry, at the same index.
    pub(crate) keys: Keys<K>,
    pub(crate) index: KeyIndex,
    pub(crate) ready: ReadyKeys,
    /// In order of their starts.
    pub(crate) processing: List,
    /// As narrow as an index: see the length of the bands.
    pub(crate) processing_len: Index,
    /// The sum of the start instants of the keys in process, modulo 2^64. The total time in process
    /// is a difference to it, and correct as long as that total fits.
    started_sum: u64,
    pub(crate) wheel: Wheel,
    /// The start of the wheel's next tick: before it `advance` has nothing to do.
    next_tick: Timestamp,
    windows: Windows,
    pub(crate) config: QueueConfig,
    /// Whether a key in process became dirty since its listeners were last woken.
    pub(crate) became_dirty: bool,
    /// Slots promised to blocked adders that were woken, until they add their keys or give up.
    pub(crate) promised: usize,
    lifecycle: Lifecycle,
    /// Keys that a closed queue will not hand out, until `close` or `drain` returns them.
    pub(crate) returned: Vec<K>,
    /// The newest equal key added while a key is in process, for its next run. `None` if the queue
    /// keeps the key that was added first.
    newest: Option<HashMap<Index, K, FastHash>>,
    /// By the tick until which they rest.
    resting: BTreeSet<(u64, Index)>,
    /// Keys whose rest is over, until the caller drops them without the lock.
    pub(crate) expired: Vec<K>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Lifecycle {
    Open,
    /// Hands out what is ready, and admits no key.
    Closed,
    /// Hands out nothing.
    ShutDown,
}

impl<K> Machine<K> {
    pub(crate) fn new(config: QueueConfig, ready: ReadyKeys) -> Self {
        Self {
            newest: config.keeps_newest.then(HashMap::default),
            resting: BTreeSet::new(),
            expired: Vec::new(),
            entries: Arena::new(),
            keys: Keys::new(config.capacity),
            index: KeyIndex::new(),
            ready,
            processing: List::new(),
            processing_len: 0,
            started_sum: 0,
            wheel: Wheel::new(),
            next_tick: Timestamp::ZERO,
            windows: Windows::default(),
            config,
            became_dirty: false,
            promised: 0,
            lifecycle: Lifecycle::Open,
            returned: Vec::new(),
        }
    }

    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.lifecycle != Lifecycle::Open
    }

    /// Returns true if no key is ready and none is in process.
    pub(crate) fn is_idle(&self) -> bool {
        self.ready.len() == 0 && self.processing_len == 0
    }

    /// Returns true if no key will ever be handed out again: the queue is closed, no key is ready,
    /// and no key in process can be requeued.
    pub(crate) fn is_over(&self) -> bool {
        match self.lifecycle {
            Lifecycle::Open => false,
            Lifecycle::Closed => self.is_idle(),
            Lifecycle::ShutDown => true,
        }
    }

    /// Returns how long the oldest run in process has taken so far.
    pub(crate) fn longest_running(&self, now: Timestamp) -> Duration {
        let first = self.processing.head();
        let since = first.map(|first| self.entries[first].since);
        since.map_or(Duration::ZERO, |since| now.saturating_since(since))
    }

    /// Returns how long all runs in process have taken so far, added up.
    pub(crate) fn unfinished(&self, now: Timestamp) -> Duration {
        let all = u64::from(self.processing_len).wrapping_mul(now.as_nanos());
        let nanos = all.wrapping_sub(self.started_sum).cast_signed();
        // Negative if `now` is before the starts, or after 292 years of work in process.
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
    }

    /// Returns the latest time that `advance` was given, rounded down to a tick.
    pub(crate) fn time(&self) -> Timestamp {
        start_of(tick_at(self.next_tick).saturating_sub(1))
    }

    /// Makes the keys ready that are due at `now`.
    #[inline]
    pub(crate) fn advance(&mut self, now: Timestamp) {
        if now >= self.next_tick {
            self.advance_to(now);
        }
    }

    fn advance_to(&mut self, now: Timestamp) {
        let tick = tick_at(now);
        self.next_tick = start_of(tick + 1);
        let mut due = List::new();
        self.wheel.advance(self.entries.slots_mut(), tick, &mut due);
        while let Some(index) = due.pop_front(self.entries.slots_mut()) {
            let entry = &self.entries[index];
            let since = start_of(entry.due);
            self.make_ready(index, since);
        }
    }

    #[inline]
    fn make_ready(&mut self, index: Index, since: Timestamp) {
        let slots = self.entries.slots_mut();
        let entry = &mut slots[index as usize];
        entry.phase = Phase::Ready;
        entry.due = NEVER;
        entry.since = since;
        let priority = entry.priority;
        self.windows.set(index, NEVER);
        self.ready.push(slots, index, priority);
    }

    /// Puts a key into the wheel; its tick must be ahead.
    fn make_delayed(&mut self, index: Index, due: u64) {
        let slots = self.entries.slots_mut();
        let entry = &mut slots[index as usize];
        entry.phase = Phase::Delayed;
        entry.due = due;
        self.wheel.insert(slots, index);
    }

    fn make_delayed_or_ready(&mut self, index: Index, due: u64, now: Timestamp) {
        if self.wheel.is_ahead(due) {
            self.make_delayed(index, due);
        } else {
            self.make_ready(index, now);
        }
    }

    /// Makes a key that is in no list absent, and returns it.
    #[expect(clippy::inline_always, reason = "a call costs more than the body")]
    #[inline(always)]
    fn forget(&mut self, index: Index) -> K {
        self.release_entry(index);
        if let Some(groups) = &mut self.ready.groups {
            groups.leave(index);
        }
        self.keys.remove(index)
    }

    /// Frees the entry of a key. It stays in the index as a tombstone until another key reuses the
    /// slot: most keys return, and then neither the table nor the arena changes.
    #[expect(clippy::inline_always, reason = "a call costs more than the body")]
    #[inline(always)]
    fn release_entry(&mut self, index: Index) {
        self.entries[index].phase = Phase::Free;
        self.entries.release(index);
    }

    /// Moves the waiting keys that a closed queue will not hand out to `returned`.
    fn return_waiting(&mut self) {
        while let Some(index) = self.wheel.pop_any(self.entries.slots_mut()) {
            let key = self.forget(index);
            self.returned.push(key);
        }
        if self.lifecycle == Lifecycle::ShutDown {
            self.return_ready(self.ready.list(self.entries.slots()));
        }
    }

    fn return_ready(&mut self, keys: Vec<Index>) {
        for index in keys {
            let priority = self.entries[index].priority;
            self.ready.remove(self.entries.slots_mut(), index, priority);
            let key = self.forget(index);
            self.returned.push(key);
        }
    }

    /// Same as [`return_waiting`](Self::return_waiting), for the ready keys of a group whose limiter
    /// is closed.
    pub(crate) fn return_group(&mut self, group: Index) {
        if let Some(groups) = &self.ready.groups {
            self.return_ready(groups.list_of(self.entries.slots(), group));
        }
    }

    /// Closes the queue: it admits no key, and the keys that are not due at `now` are returned.
    pub(crate) fn close(&mut self, now: Timestamp) {
        self.advance(now);
        self.lifecycle = self.lifecycle.max(Lifecycle::Closed);
        self.return_waiting();
    }

    /// Closes the queue and returns the ready keys too.
    pub(crate) fn shut_down(&mut self) {
        self.lifecycle = Lifecycle::ShutDown;
        self.return_waiting();
    }

    /// Takes the newest equal key that was added while this one was in process, if the queue keeps
    /// it.
    fn take_newest(&mut self, index: Index) -> Option<K> {
        self.newest.as_mut()?.remove(&index)
    }

    /// Returns true if a key in process was added again.
    pub(crate) fn is_dirty(&self, index: Index) -> bool {
        let phase = self.entries[index].phase;
        matches!(phase, Phase::Dirty | Phase::DirtyHoldBackoff)
    }
}

#[cfg(all(test, not(tollgate_loom)))]
mod tests;
