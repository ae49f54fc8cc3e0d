//! The work queue as plain maps and lists.

mod adds;
mod runs;
mod snapshot;

use std::collections::{BTreeMap, VecDeque};

pub(super) use snapshot::Shown;

use super::{BURST, Config, MILLI, PER_TOKEN, sorted};

#[derive(Clone, Copy, Debug)]
pub(super) enum State {
    Ready {
        since: u64,
    },
    /// Due at a tick; keys of one tick are ordered by arrival.
    Delayed {
        tick: u64,
        order: u64,
        /// The latest tick to which debounce may put the key off, once it does.
        latest: Option<u64>,
    },
    Running {
        since: u64,
        dirty: bool,
        /// Whether the add that made it dirty waits for the backoff if the run fails.
        held: bool,
        delay: Option<u64>,
        latest: Option<u64>,
    },
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) state: State,
    failures: u32,
    until: u64,
    priority: i32,
}

/// What a worker learns of its key.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) key: u8,
    pub(super) queued: u64,
    pub(super) failures: u32,
    pub(super) priority: i32,
}

#[derive(Debug)]
pub(super) struct Model {
    config: Config,
    /// The tokens as time, and the instant of that balance.
    credit: (u64, u64),
    pub(super) missed: u64,
    pub(super) entries: BTreeMap<u8, Entry>,
    /// The line of each priority.
    ready: BTreeMap<i32, VecDeque<u8>>,
    /// The head of each line, and its number in the order in which keys became heads.
    head_since: BTreeMap<i32, (u8, u64)>,
    heads: u64,
    passed_over: u32,
    pub(super) paused: bool,
    arrivals: u64,
    closed: bool,
    shut: bool,
    returned: Vec<u8>,
    /// The latest time that an operation has read, by which delayed keys become ready.
    seen: u64,
}

impl Model {
    pub(super) fn new(config: Config) -> Self {
        Self {
            config,
            credit: (BURST * PER_TOKEN, 0),
            missed: 0,
            entries: BTreeMap::new(),
            ready: BTreeMap::new(),
            head_since: BTreeMap::new(),
            heads: 0,
            passed_over: 0,
            paused: false,
            arrivals: 0,
            closed: false,
            shut: false,
            returned: Vec::new(),
            seen: 0,
        }
    }

    pub(super) fn set(&mut self, key: u8, state: State) {
        self.unready(key);
        let entry = self.entries.get_mut(&key).expect("live");
        entry.state = state;
        if let State::Ready { .. } = state {
            let line = self.ready.entry(entry.priority).or_default();
            line.push_back(key);
        }
        self.note_heads();
    }

    /// Takes a key out of its line.
    pub(super) fn unready(&mut self, key: u8) {
        for line in self.ready.values_mut() {
            line.retain(|&ready| ready != key);
        }
        self.ready.retain(|_, line| !line.is_empty());
        self.note_heads();
    }

    /// Updates the heads of the lines.
    pub(super) fn note_heads(&mut self) {
        let Self {
            ready,
            head_since,
            heads,
            ..
        } = self;
        head_since.retain(|priority, _| ready.contains_key(priority));
        for (&priority, line) in ready {
            let known = head_since.get(&priority);
            if known.is_none_or(|(head, _)| *head != line[0]) {
                *heads += 1;
                head_since.insert(priority, (line[0], *heads));
            }
        }
    }

    pub(super) fn ready_len(&self) -> usize {
        self.ready.values().map(VecDeque::len).sum()
    }

    /// Since when the longest ready key has been ready.
    pub(super) fn oldest_ready(&self) -> Option<u64> {
        let ready = |entry: &Entry| match entry.state {
            State::Ready { since } => Some(since),
            _ => None,
        };
        self.entries.values().filter_map(ready).min()
    }

    /// One of 16 picks that pass over another priority goes to the head that was passed over for the longest.
    pub(super) fn next(&mut self) -> Option<u8> {
        let (&top, line) = self.ready.last_key_value()?;
        let (mut priority, mut next) = (top, line[0]);
        let others = self.head_since.iter().filter(|(other, _)| **other != top);
        if let Some((&other, &(key, _))) = others.min_by_key(|(_, (_, since))| *since) {
            self.passed_over += 1;
            if self.passed_over == 16 {
                self.passed_over = 0;
                (priority, next) = (other, key);
            }
        }
        self.head_since.remove(&priority);
        Some(next)
    }

    /// Inserts a new key, whose state is set afterwards.
    pub(super) fn insert(&mut self, key: u8, priority: i32) {
        let entry = Entry {
            state: State::Running {
                since: 0,
                dirty: false,
                held: false,
                delay: None,
                latest: None,
            },
            failures: 0,
            until: 0,
            priority,
        };
        self.entries.insert(key, entry);
    }

    pub(super) fn forget(&mut self, key: u8) {
        self.unready(key);
        self.entries.remove(&key);
    }

    pub(super) fn delay(&mut self, key: u8, tick: u64, latest: Option<u64>) {
        self.arrivals += 1;
        let order = self.arrivals;
        let state = State::Delayed {
            tick,
            order,
            latest,
        };
        self.set(key, state);
        if self.closed {
            self.return_delayed();
        }
    }

    pub(super) fn delayed(&self) -> Vec<(u64, u64, u8)> {
        let due = |(&key, entry): (&u8, &Entry)| match entry.state {
            State::Delayed { tick, order, .. } => Some((tick, order, key)),
            _ => None,
        };
        let mut delayed: Vec<_> = self.entries.iter().filter_map(due).collect();
        delayed.sort_unstable();
        delayed
    }

    /// Makes due keys ready, in order of their time.
    pub(super) fn pass_time(&mut self, now: u64) {
        self.seen = self.seen.max(now);
        for (tick, _, key) in self.delayed() {
            if tick * MILLI <= now {
                self.set(
                    key,
                    State::Ready {
                        since: tick * MILLI,
                    },
                );
            }
        }
    }

    pub(super) fn return_delayed(&mut self) {
        for (_, _, key) in self.delayed() {
            self.entries.remove(&key);
            self.returned.push(key);
        }
    }

    pub(super) fn has_room(&self, room: Room) -> bool {
        let reserve = match room {
            Room::Reserve => 0,
            Room::Free => self.config.reserve,
        };
        self.entries.len() + reserve < self.config.capacity
    }

    /// The tokens as time, by now.
    fn credit(&self, now: u64) -> u64 {
        let (credit, at) = self.credit;
        (credit + (now - at)).min(BURST * PER_TOKEN)
    }

    pub(super) fn resync_due(&self) -> bool {
        self.missed > 0 && self.has_room(Room::Free)
    }

    pub(super) fn resync(&mut self) -> Option<u64> {
        self.resync_due().then(|| std::mem::take(&mut self.missed))
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether no key is ready and none is in flight.
    pub(super) fn is_idle(&self) -> bool {
        self.entries.len() == self.delayed().len()
    }

    /// Whether no key will be handed out any more.
    pub(super) fn is_over(&self) -> bool {
        self.shut || self.closed && self.is_idle()
    }

    pub(super) fn is_live(&self, key: u8) -> bool {
        self.entries.contains_key(&key)
    }

    /// Whether a key may start.
    pub(super) fn can_start(&mut self, now: u64) -> bool {
        self.pass_time(now);
        let token = !self.config.rate_limited || self.credit(now) >= PER_TOKEN;
        !self.paused && !self.ready.is_empty() && token
    }

    pub(super) fn remove(&mut self, key: u8) -> bool {
        match self.entries.get(&key).map(|entry| entry.state) {
            None => false,
            Some(State::Running {
                since,
                dirty,
                delay: wish,
                ..
            }) => {
                self.set(
                    key,
                    State::Running {
                        since,
                        dirty: false,
                        held: false,
                        delay: None,
                        latest: None,
                    },
                );
                dirty || wish.is_some()
            }
            Some(_) => {
                self.forget(key);
                true
            }
        }
    }

    pub(super) fn close(&mut self, now: u64) {
        self.pass_time(now);
        self.closed = true;
        self.return_delayed();
    }

    pub(super) fn return_ready(&mut self) {
        for key in std::mem::take(&mut self.ready).into_values().flatten() {
            self.entries.remove(&key);
            self.returned.push(key);
        }
        self.note_heads();
    }

    pub(super) fn shutdown_now(&mut self) {
        (self.closed, self.shut) = (true, true);
        self.return_delayed();
        self.return_ready();
    }

    pub(super) fn take_returned(&mut self) -> Vec<u8> {
        sorted(std::mem::take(&mut self.returned))
    }

    /// The numbers of ready, delayed and processing keys.
    pub(super) fn counts(&self) -> (usize, usize, usize) {
        let delayed = self.delayed().len();
        let running = self.entries.len() - self.ready_len() - delayed;
        (self.ready_len(), delayed, running)
    }
}

/// The room that a new key may use.
#[derive(Clone, Copy, Debug)]
pub(super) enum Room {
    Free,
    Reserve,
}
