//! The work queue as plain maps and lists, and the operations that the property tests, the fuzzer
//! and its seeds run against both.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use tollgate::{AddError, Clock, Drained, ExponentialBackoff, ManualClock, Wait, Work, WorkQueue};

const MILLI: u64 = 1_000_000;
const BASE: Duration = Duration::from_millis(5);
const MAX: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    Add(u8),
    /// Nanoseconds.
    AddAfter(u8, u64),
    Get,
    /// Ends the work on one of the keys that are held.
    Finish(u8, Outcome),
    Remove(u8),
    Close,
    /// With no time to wait.
    Drain,
    ShutdownNow,
    /// Nanoseconds.
    Advance(u64),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    Done,
    Requeue,
    RequeueAfter(u64),
    Retry,
    Fail,
    Drop,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Ready {
        since: u64,
    },
    /// Due at a tick; of those due at the same, the first to come is the first.
    Delayed {
        tick: u64,
        order: u64,
    },
    Running {
        since: u64,
        dirty: bool,
        delay: Option<u64>,
    },
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    state: State,
    failures: u32,
    until: u64,
}

/// What a worker is told of its key.
#[derive(Debug, PartialEq, Eq)]
struct Start {
    key: u8,
    queued: u64,
    failures: u32,
}

#[derive(Debug)]
struct Model {
    capacity: usize,
    entries: BTreeMap<u8, Entry>,
    ready: VecDeque<u8>,
    arrivals: u64,
    closed: bool,
    left: Vec<u8>,
}

impl Model {
    fn new(capacity: usize) -> Self {
        Self {
            capacity,
            entries: BTreeMap::new(),
            ready: VecDeque::new(),
            arrivals: 0,
            closed: false,
            left: Vec::new(),
        }
    }

    fn set(&mut self, key: u8, state: State) {
        self.ready.retain(|&ready| ready != key);
        if let State::Ready { .. } = state {
            self.ready.push_back(key);
        }
        let new = Entry {
            state,
            failures: 0,
            until: 0,
        };
        self.entries.entry(key).or_insert(new).state = state;
    }

    fn delay(&mut self, key: u8, tick: u64) {
        self.arrivals += 1;
        let order = self.arrivals;
        self.set(key, State::Delayed { tick, order });
        if self.closed {
            self.leave_delayed();
        }
    }

    fn delayed(&self) -> Vec<(u64, u64, u8)> {
        let due = |(&key, entry): (&u8, &Entry)| match entry.state {
            State::Delayed { tick, order } => Some((tick, order, key)),
            _ => None,
        };
        let mut delayed: Vec<_> = self.entries.iter().filter_map(due).collect();
        delayed.sort_unstable();
        delayed
    }

    /// What is due becomes ready, in order of its time.
    fn pass_time(&mut self, now: u64) {
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

    fn leave_delayed(&mut self) {
        for (_, _, key) in self.delayed() {
            self.entries.remove(&key);
            self.left.push(key);
        }
    }

    fn add(&mut self, key: u8, delay: u64, now: u64) -> Result<(), AddError<u8>> {
        if self.closed {
            return Err(AddError::Closed(key));
        }
        self.pass_time(now);
        let tick = (now + delay).div_ceil(MILLI);
        match self.entries.get(&key).map(|entry| entry.state) {
            None if self.entries.len() == self.capacity => return Err(AddError::Full(key)),
            None | Some(State::Delayed { .. }) if delay == 0 => {
                self.set(key, State::Ready { since: now });
            }
            None => self.delay(key, tick),
            Some(State::Delayed { tick: old, .. }) if tick < old => self.delay(key, tick),
            Some(State::Running { since, .. }) if delay == 0 => {
                self.set(
                    key,
                    State::Running {
                        since,
                        dirty: true,
                        delay: None,
                    },
                );
            }
            Some(State::Running {
                since,
                dirty: false,
                delay,
            }) => {
                let delay = Some(delay.map_or(tick, |old| old.min(tick)));
                self.set(
                    key,
                    State::Running {
                        since,
                        dirty: false,
                        delay,
                    },
                );
            }
            Some(_) => {}
        }
        Ok(())
    }

    fn get(&mut self, now: u64) -> Option<Start> {
        self.pass_time(now);
        let key = *self.ready.front()?;
        let entry = self.entries[&key];
        let State::Ready { since } = entry.state else {
            panic!("{key} is in the line")
        };
        self.set(
            key,
            State::Running {
                since: now,
                dirty: false,
                delay: None,
            },
        );
        let (queued, failures) = (now - since, entry.failures);
        Some(Start {
            key,
            queued,
            failures,
        })
    }

    fn finish(&mut self, key: u8, outcome: Outcome, now: u64) {
        self.pass_time(now);
        let entry = self.entries.get_mut(&key).expect("held");
        let State::Running {
            since,
            dirty,
            delay,
        } = entry.state
        else {
            panic!("{key} is held")
        };
        let failed = matches!(outcome, Outcome::Retry | Outcome::Drop);
        if failed {
            // A run that began before the last backoff was over does not raise the exponent.
            entry.failures += u32::from(since >= entry.until);
            entry.until = now + backoff(entry.failures);
        } else {
            (entry.failures, entry.until) = (0, 0);
        }
        let wanted = match outcome {
            Outcome::Done | Outcome::Fail => None,
            Outcome::Requeue => Some(0),
            Outcome::RequeueAfter(delay) => Some((now + delay).div_ceil(MILLI)),
            Outcome::Retry | Outcome::Drop => Some(entry.until.div_ceil(MILLI)),
        };
        let tick = delay.into_iter().chain(wanted).min();
        match tick {
            _ if dirty => self.set(key, State::Ready { since: now }),
            None => drop(self.entries.remove(&key)),
            Some(tick) if tick * MILLI <= now || matches!(outcome, Outcome::RequeueAfter(0)) => {
                self.set(key, State::Ready { since: now });
            }
            Some(tick) => self.delay(key, tick),
        }
    }

    fn remove(&mut self, key: u8) -> bool {
        match self.entries.get(&key).map(|entry| entry.state) {
            None => false,
            Some(State::Running {
                since,
                dirty,
                delay: wish,
            }) => {
                self.set(
                    key,
                    State::Running {
                        since,
                        dirty: false,
                        delay: None,
                    },
                );
                dirty || wish.is_some()
            }
            Some(_) => {
                self.ready.retain(|&ready| ready != key);
                self.entries.remove(&key).is_some()
            }
        }
    }

    fn close(&mut self) {
        self.closed = true;
        self.leave_delayed();
    }

    fn shutdown_now(&mut self) {
        self.close();
        for key in std::mem::take(&mut self.ready) {
            self.entries.remove(&key);
            self.left.push(key);
        }
    }

    fn take_left(&mut self) -> Vec<u8> {
        sorted(std::mem::take(&mut self.left))
    }

    /// How many are ready, delayed and running.
    fn counts(&self) -> (usize, usize, usize) {
        let delayed = self.delayed().len();
        let running = self.entries.len() - self.ready.len() - delayed;
        (self.ready.len(), delayed, running)
    }
}

/// 5 ms doubled with each failure, at most a minute.
fn backoff(failures: u32) -> u64 {
    let delay = BASE.as_nanos() << failures.saturating_sub(1).min(40);
    u64::try_from(delay.min(MAX.as_nanos())).expect("at most a minute")
}

/// In what order keys are returned is not promised.
fn sorted(mut keys: Vec<u8>) -> Vec<u8> {
    keys.sort_unstable();
    keys
}

/// The queue beside its model.
struct Pair {
    queue: WorkQueue<u8, ManualClock>,
    clock: ManualClock,
    model: Model,
    held: Vec<Work<u8, ManualClock>>,
    /// Keys that must still be handed out or returned. Kept apart from the model, to check it too.
    owed: BTreeSet<u8>,
}

impl Pair {
    fn new(capacity: usize) -> Self {
        let clock = ManualClock::new();
        let queue = WorkQueue::builder(capacity)
            .backoff(ExponentialBackoff::new(BASE, MAX).jitter(0))
            .clock(clock.clone());
        Self {
            queue: queue.build().expect("a capacity"),
            clock,
            model: Model::new(capacity),
            held: Vec::new(),
            owed: BTreeSet::new(),
        }
    }

    fn now(&self) -> u64 {
        self.clock.now().as_nanos()
    }

    fn added(&mut self, key: u8, got: Result<(), AddError<u8>>, delay: u64) {
        let expected = self.model.add(key, delay, self.now());
        assert_eq!(got, expected);
        if got.is_ok() {
            self.owed.insert(key);
        }
    }

    fn get(&mut self) -> bool {
        let expected = self.model.get(self.now());
        let work = self.queue.try_get();
        let got = work.as_ref().map(|work| Start {
            key: **work,
            queued: u64::try_from(work.queued().as_nanos()).expect("64 bits"),
            failures: work.failures(),
        });
        assert_eq!(got, expected);
        let Some(work) = work else { return false };
        assert!(self.held.iter().all(|held| **held != *work), "held twice");
        self.owed.remove(&work);
        self.held.push(work);
        true
    }

    fn finish(&mut self, pick: u8, outcome: Outcome) {
        if self.held.is_empty() {
            return;
        }
        let work = self.held.remove(usize::from(pick) % self.held.len());
        self.model.finish(*work, outcome, self.now());
        if !matches!(outcome, Outcome::Done | Outcome::Fail) {
            self.owed.insert(*work);
        }
        match outcome {
            Outcome::Done => work.done(),
            Outcome::Requeue => work.requeue(),
            Outcome::RequeueAfter(nanos) => work.requeue_after(Duration::from_nanos(nanos)),
            Outcome::Retry => work.retry(),
            Outcome::Fail => work.fail(),
            Outcome::Drop => drop(work),
        }
    }

    fn returned(&mut self, keys: Vec<u8>) {
        for key in &keys {
            self.owed.remove(key);
        }
        assert_eq!(sorted(keys), self.model.take_left());
    }

    fn drain(&mut self) {
        let drained: Drained<u8> = Wait::wait(self.queue.drain(Duration::ZERO));
        self.model.close();
        let (ready, _, processing) = self.model.counts();
        assert_eq!((drained.ready, drained.processing), (ready, processing));
        self.returned(drained.returned);
    }

    fn run(&mut self, op: Op) {
        match op {
            Op::Add(key) => {
                let got = self.queue.try_add(key);
                self.added(key, got, 0);
            }
            Op::AddAfter(key, delay) => {
                let got = self.queue.try_add_after(key, Duration::from_nanos(delay));
                self.added(key, got, delay);
            }
            Op::Get => drop(self.get()),
            Op::Finish(pick, outcome) => self.finish(pick, outcome),
            Op::Remove(key) => {
                assert_eq!(self.queue.remove(&key), self.model.remove(key));
                self.owed.remove(&key);
            }
            Op::Close => {
                let returned = self.queue.close();
                self.model.close();
                self.returned(returned);
            }
            Op::Drain => self.drain(),
            Op::ShutdownNow => {
                let returned = self.queue.shutdown_now();
                self.model.shutdown_now();
                self.returned(returned);
            }
            Op::Advance(nanos) => self.clock.advance(Duration::from_nanos(nanos)),
        }
        self.check();
    }

    fn check(&self) {
        let stats = self.queue.stats();
        let counts = (stats.ready, stats.delayed, stats.processing);
        assert_eq!(counts, self.model.counts());
        assert!(counts.0 + counts.1 + counts.2 <= stats.capacity);
        for work in &self.held {
            let state = self.model.entries[&**work].state;
            let dirty = matches!(state, State::Running { dirty: true, .. });
            assert_eq!(work.is_dirty(), dirty);
        }
    }

    /// Works until nothing is left. Nothing that was owed may be missing then.
    fn work_off(mut self) {
        loop {
            while self.get() {}
            if self.held.is_empty() {
                match self.model.delayed().last() {
                    Some((tick, ..)) => self.clock.advance(Duration::from_nanos(tick * MILLI)),
                    None => break,
                }
            }
            while !self.held.is_empty() {
                self.finish(0, Outcome::Done);
            }
        }
        let left = self.queue.close();
        self.model.close();
        self.returned(left);
        assert!(self.owed.is_empty(), "lost: {:?}", self.owed);
        assert_eq!(self.model.counts(), (0, 0, 0));
        self.check();
    }
}

/// Runs the operations on a queue and on its model, and compares every result and every count after
/// each.
///
/// # Panics
/// At the first difference.
pub(crate) fn run(capacity: usize, ops: &[Op]) {
    let mut pair = Pair::new(capacity);
    for &op in ops {
        pair.run(op);
    }
    pair.work_off();
}
