//! The operations that the property tests, the fuzzer and its seeds run against the work queue and
//! against its naive model.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tollgate::queue::{Batch, KeySnapshot};
use tollgate::{
    AddError, AddOptions, Clock, Drained, ExponentialBackoff, LockedTokenBucket, Merge, Priority,
    Quota, Wait, Work, WorkQueue,
};

mod late_clock;
mod naive_queue;
#[allow(dead_code, reason = "shared with other tests")]
mod tasks;
mod waiters;

use late_clock::LateClock;
use naive_queue::{Model, Room, Shown, Start, State};
use waiters::Waiters;

const MILLI: u64 = 1_000_000;
const BASE: Duration = Duration::from_millis(5);
const MAX: Duration = Duration::from_secs(60);
/// A rate-limited queue hands out one key per 10 ms, and up to three at once.
const PER_TOKEN: u64 = 10 * MILLI;
const BURST: u64 = 3;

/// How the queue is built.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Config {
    pub(crate) capacity: usize,
    pub(crate) reserve: usize,
    /// How long a key must be quiet, and how long it may be put off, in nanoseconds.
    pub(crate) debounce: Option<(u64, u64)>,
    pub(crate) attempts: Option<u16>,
    pub(crate) rate_limited: bool,
    /// Whether an add waits for a backoff.
    pub(crate) hold: bool,
}

#[derive(Clone, Copy, Debug)]
#[allow(dead_code, reason = "the fuzzer makes no consumer that is not polled")]
pub(crate) enum Op {
    Add(u8),
    /// Nanoseconds.
    AddAfter(u8, u64),
    /// With a priority, and nanoseconds.
    AddWith(u8, i8, u64, Merge),
    /// With nanoseconds, and whether it waits for a backoff.
    AddHolding(u8, u64, bool),
    /// As `AddWith`, the earlier of two delays, this key and so many that follow it, at once.
    AddBatch(u8, u8, i8, u64),
    /// As `AddWith`, the earlier of two delays; a full queue takes note that it missed one.
    AddOrResync(u8, i8, u64),
    /// By one of the workers: which, the key and its priority.
    AddRelated(u8, u8, i8),
    /// Asks whether to list everything again.
    Resync,
    Get,
    /// Ends the work on one of the keys that are held, and takes the next.
    DoneAndGet(u8),
    GetBatch(u8),
    /// Takes several, and ends them together.
    RunBatch(u8),
    /// A task that waits to take the next, or several.
    WaitGet,
    WaitGetBatch(u8),
    /// A task that waits for room, at most for so many nanoseconds; the rest as `AddOrResync`.
    WaitAdd(u8, i8, u64, Option<u64>),
    /// A task that drains the queue, at most for so many nanoseconds.
    WaitDrain(u64),
    /// A task that waits until everything must be listed again.
    WaitResync,
    /// Drops one of the tasks, before any that were woken have looked.
    Cancel(u8),
    /// Polls one of the consumers no more, nor once for what it was woken for; if there are not too
    /// many already.
    SetAside(u8),
    /// Polls one of those again.
    TakeUp,
    Pause,
    Resume,
    /// Ends the work on one of the keys that are held.
    Finish(u8, Outcome),
    Remove(u8),
    Close,
    /// With no time to wait.
    Drain,
    ShutdownNow,
    /// Nanoseconds.
    Advance(u64),
    /// The next operation has read the clock so many nanoseconds ago, if it adds a key or ends work.
    Late(u64),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    Done,
    Requeue,
    RequeueAfter(u64),
    Defer(u64),
    Retry,
    RetryAfter(u64),
    Fail,
    Drop,
}

impl Op {
    /// Whether it may have read the clock late. What takes a key may not: the queue tells by order who
    /// began first, and the model by time.
    const fn may_be_late(self) -> bool {
        matches!(
            self,
            Self::Add(_)
                | Self::AddAfter(..)
                | Self::AddWith(..)
                | Self::AddHolding(..)
                | Self::AddBatch(..)
                | Self::AddOrResync(..)
                | Self::AddRelated(..)
                | Self::Finish(..)
        )
    }
}

/// In what order keys are returned is not promised.
fn sorted(mut keys: Vec<u8>) -> Vec<u8> {
    keys.sort_unstable();
    keys
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).expect("64 bits")
}

fn options(priority: i8, delay: u64, merge: Merge) -> AddOptions {
    let priority = Priority::new(i32::from(priority)).expect("in range");
    let delay = Duration::from_nanos(delay);
    AddOptions::new()
        .priority(priority)
        .after(delay)
        .merge(merge)
}

fn shown(key: &KeySnapshot<u8>) -> Shown {
    let (due_in, age) = (key.due_in.map(nanos), key.age.map(nanos));
    let priority = key.priority.value();
    (key.key, key.state, priority, due_in, age, key.failures)
}

/// How a key is added.
#[derive(Clone, Copy, Debug)]
enum How {
    Try,
    Resync,
    /// By the worker that is held at this place.
    Related(usize),
}

/// The queue beside its model.
struct Pair {
    queue: WorkQueue<u8, LateClock>,
    clock: LateClock,
    model: Model,
    held: Vec<Work<u8, LateClock>>,
    waiters: Waiters,
    /// Whether time has passed that the queue need not know of yet.
    is_late: bool,
    /// By how much the next operation is behind.
    behind: u64,
    /// Keys that must still be handed out or returned. Kept apart from the model, to check it too.
    owed: BTreeSet<u8>,
}

impl Pair {
    fn new(config: Config) -> Self {
        let clock = LateClock::default();
        let mut builder = WorkQueue::builder(config.capacity)
            .backoff(ExponentialBackoff::new(BASE, MAX).jitter(0))
            .reserve(config.reserve)
            .clock(clock.clone());
        if let Some((quiet, max)) = config.debounce {
            builder = builder.debounce(Duration::from_nanos(quiet), Duration::from_nanos(max));
        }
        if config.hold {
            builder = builder.hold_backoff();
        }
        if let Some(attempts) = config.attempts {
            builder = builder.max_attempts(attempts);
        }
        if config.rate_limited {
            let quota = Quota::new(1, Duration::from_nanos(PER_TOKEN)).expect("a rate");
            let quota = quota.burst(BURST).expect("a burst");
            let limiter = LockedTokenBucket::with_clock(quota, clock.on_time().clone());
            builder = builder.rate_limit(Arc::new(limiter.expect("a quota")));
        }
        Self {
            queue: builder.build().expect("a capacity"),
            waiters: Waiters::new(clock.on_time()),
            is_late: false,
            behind: 0,
            clock,
            model: Model::new(config),
            held: Vec::new(),
            owed: BTreeSet::new(),
        }
    }

    fn now(&self) -> u64 {
        self.clock.now().as_nanos()
    }

    fn add(&mut self, key: u8, (priority, delay, merge): (i8, u64, Merge), how: How) {
        let with = options(priority, delay, merge);
        let got = match how {
            How::Try => self.queue.try_add_with(key, with),
            How::Resync => self.queue.try_add_or_resync(key, with),
            How::Related(worker) => self.held[worker].add_related_with(key, with),
        };
        let room = match how {
            How::Try | How::Resync => Room::Free,
            How::Related(_) => Room::Reserve,
        };
        self.added(key, (priority, delay, merge), None, room, got);
        if matches!((how, got), (How::Resync, Err(AddError::Full(_)))) {
            self.model.missed += 1;
        }
    }

    /// A key was added, or refused.
    fn added(
        &mut self,
        key: u8,
        (priority, delay, merge): (i8, u64, Merge),
        holds: Option<bool>,
        room: Room,
        got: Result<(), AddError<u8>>,
    ) {
        let options = (i32::from(priority), delay, merge);
        let expected = self.model.add(key, options, holds, room, self.now());
        assert_eq!(got, expected);
        if got.is_ok() {
            self.owed.insert(key);
        }
    }

    fn get(&mut self) -> bool {
        let work = self.queue.try_get();
        self.got(work)
    }

    /// A key was handed out, or none.
    fn got(&mut self, work: Option<Work<u8, LateClock>>) -> bool {
        let expected = self.model.get(self.now());
        let got = work.as_ref().map(|work| Start {
            key: **work,
            queued: nanos(work.queued()),
            failures: work.failures(),
            priority: work.priority().value(),
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
        let key = *work;
        let given_up = self.model.finish(key, outcome, self.now());
        if !given_up && !matches!(outcome, Outcome::Done | Outcome::Fail) {
            self.owed.insert(key);
        }
        match outcome {
            Outcome::Done => work.done(),
            Outcome::Requeue => work.requeue(),
            Outcome::RequeueAfter(nanos) => work.requeue_after(Duration::from_nanos(nanos)),
            Outcome::Defer(nanos) => work.defer(Duration::from_nanos(nanos)),
            Outcome::Retry => assert_eq!(work.retry(), given_up.then_some(key)),
            Outcome::RetryAfter(nanos) => {
                let delay = Duration::from_nanos(nanos);
                assert_eq!(work.retry_after(delay), given_up.then_some(key));
            }
            Outcome::Fail => assert_eq!(work.fail(), given_up.then_some(key)),
            Outcome::Drop => drop(work),
        }
    }

    fn returned(&mut self, keys: Vec<u8>) {
        for key in &keys {
            self.owed.remove(key);
        }
        assert_eq!(sorted(keys), self.model.take_left());
    }

    fn drained(&mut self, drained: Drained<u8>) {
        let (ready, _, processing) = self.model.counts();
        assert_eq!((drained.ready, drained.processing), (ready, processing));
        self.returned(drained.returned);
    }

    fn add_batch(&mut self, keys: Vec<u8>, priority: i8, delay: u64) {
        let with = options(priority, delay, Merge::Earlier);
        let refused = self.queue.try_add_batch(keys.iter().copied(), with);
        let mut refused = refused.into_iter().peekable();
        for key in keys {
            let refused = refused.next_if(|refused| refused.into_key() == key);
            let got = refused.map_or(Ok(()), Err);
            self.added(
                key,
                (priority, delay, Merge::Earlier),
                None,
                Room::Free,
                got,
            );
        }
        assert_eq!(refused.next(), None);
    }

    /// Up to `max` keys were handed out together.
    fn got_batch(&mut self, batch: Option<Batch<u8, LateClock>>, max: usize) {
        let mut works = batch.into_iter().flatten();
        for _ in 0..max {
            if !self.got(works.next()) {
                break;
            }
        }
        assert!(works.next().is_none());
    }

    fn run_batch(&mut self, max: usize) {
        let batch = self.queue.try_get_batch(max);
        let keys: Vec<u8> = batch.iter().flat_map(Batch::keys).copied().collect();
        let now = self.now();
        let starts = std::iter::from_fn(|| self.model.get(now));
        let expected: Vec<u8> = starts.take(max).map(|start| start.key).collect();
        assert_eq!(keys, expected);
        for key in keys {
            self.owed.remove(&key);
            self.model.finish(key, Outcome::Done, now);
        }
        batch.into_iter().for_each(Batch::done);
    }

    fn run(&mut self, op: Op) {
        if let Op::Cancel(pick) = op {
            self.waiters.cancel(usize::from(pick));
            return;
        }
        if let Op::SetAside(pick) = op {
            self.waiters.set_aside(usize::from(pick));
            return;
        }
        self.settle();
        // The next operation must find out by itself what has become due.
        self.is_late = matches!(op, Op::Advance(_));
        self.waiters.is_out_of_order = match op {
            Op::Advance(by) => by >= waiters::GRACE,
            Op::TakeUp => true,
            _ => false,
        };
        let behind = std::mem::take(&mut self.behind);
        if op.may_be_late() {
            self.clock.be_behind(Duration::from_nanos(behind));
        }
        self.start(op);
        self.clock.be_behind(Duration::ZERO);
    }

    fn start(&mut self, op: Op) {
        match op {
            Op::Add(key) => self.add(key, (0, 0, Merge::Earlier), How::Try),
            Op::AddAfter(key, delay) => self.add(key, (0, delay, Merge::Earlier), How::Try),
            Op::AddWith(key, priority, delay, merge) => {
                self.add(key, (priority, delay, merge), How::Try);
            }
            Op::AddHolding(key, delay, holds) => {
                let with = options(0, delay, Merge::Earlier);
                let with = if holds {
                    with.hold_backoff()
                } else {
                    with.cut_backoff()
                };
                let got = self.queue.try_add_with(key, with);
                let options = (0, delay, Merge::Earlier);
                self.added(key, options, Some(holds), Room::Free, got);
            }
            Op::AddBatch(key, more, priority, delay) => {
                let keys = (0..=more % 4).map(|next| key ^ next).collect();
                self.add_batch(keys, priority, delay);
            }
            Op::AddOrResync(key, priority, delay) => {
                self.add(key, (priority, delay, Merge::Earlier), How::Resync);
            }
            Op::AddRelated(..) | Op::DoneAndGet(_) if self.held.is_empty() => {}
            Op::AddRelated(pick, key, priority) => {
                let worker = usize::from(pick) % self.held.len();
                self.add(key, (priority, 0, Merge::Earlier), How::Related(worker));
            }
            Op::Resync => assert_eq!(self.queue.try_resync(), self.model.resync()),
            Op::DoneAndGet(pick) => {
                let work = self.held.remove(usize::from(pick) % self.held.len());
                self.model.finish(*work, Outcome::Done, self.now());
                let next = work.done_and_get();
                self.got(next);
            }
            Op::GetBatch(max) => {
                let max = usize::from(max % 5);
                let batch = self.queue.try_get_batch(max);
                self.got_batch(batch, max);
            }
            Op::RunBatch(max) => self.run_batch(usize::from(max % 5)),
            Op::WaitGet
            | Op::WaitGetBatch(_)
            | Op::WaitAdd(..)
            | Op::WaitDrain(_)
            | Op::WaitResync => self.wait(op),
            Op::Pause => {
                self.queue.pause();
                self.model.paused = true;
            }
            Op::Resume => {
                self.queue.resume();
                self.model.pass_time(self.now());
                self.model.paused = false;
            }
            Op::Get => drop(self.get()),
            Op::Finish(pick, outcome) => self.finish(pick, outcome),
            Op::Remove(key) => {
                assert_eq!(self.queue.remove(&key), self.model.remove(key));
                self.owed.remove(&key);
            }
            Op::Close => {
                let drained = self.queue.close();
                self.model.close(self.now());
                self.drained(drained);
            }
            Op::Drain => {
                let drained = Wait::wait(self.queue.drain(Duration::ZERO));
                self.model.close(self.now());
                self.drained(drained);
            }
            Op::ShutdownNow => {
                let drained = self.queue.shutdown_now();
                self.model.shutdown_now();
                self.drained(drained);
            }
            Op::Advance(nanos) => self.clock.advance(Duration::from_nanos(nanos)),
            Op::Late(nanos) => self.behind = nanos,
            Op::TakeUp => {
                self.waiters.take_up();
                self.note_ended();
            }
            Op::Cancel(_) | Op::SetAside(_) => unreachable!("dealt with"),
        }
    }

    fn check(&mut self) {
        let now = self.now();
        self.model.pass_time(now);
        let stats = self.queue.stats();
        let counts = (stats.ready, stats.delayed, stats.processing);
        assert_eq!(counts, self.model.counts());
        assert!(counts.0 + counts.1 + counts.2 <= stats.capacity);
        let running = (nanos(stats.longest_running), nanos(stats.unfinished));
        assert_eq!(running, self.model.running_for(now));
        let held: Vec<u8> = self.held.iter().map(|work| **work).collect();
        let mut snapshot: Vec<_> = self.queue.snapshot().iter().map(shown).collect();
        // In what order delayed keys are listed is not promised.
        snapshot[counts.0 + counts.2..].sort_unstable_by_key(|shown| shown.0);
        assert_eq!(snapshot, self.model.snapshot(&held, now));
        for work in &self.held {
            let state = self.model.entries[&**work].state;
            let dirty = matches!(state, State::Running { dirty: true, .. });
            assert_eq!(work.is_dirty(), dirty);
        }
    }

    /// Works until nothing is left. Nothing that was owed may be missing then.
    fn work_off(mut self) {
        self.run(Op::Resume);
        // Nobody else takes a key. Producers go on.
        while self.waiters.cancel_consumer() {}
        loop {
            self.settle();
            while self.get() {}
            if self.held.is_empty() && self.model.ready_len() > 0 {
                self.clock.advance(Duration::from_nanos(PER_TOKEN));
            } else if self.held.is_empty() {
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
        self.model.close(self.now());
        self.drained(left);
        self.settle();
        assert_eq!(self.waiters.len(), 0, "somebody waits for a closed queue");
        assert!(self.owed.is_empty(), "lost: {:?}", self.owed);
        assert_eq!(self.model.counts(), (0, 0, 0));
    }
}

/// Runs the operations on a queue and on its model, and compares every result and every count after
/// each.
///
/// # Panics
/// At the first difference.
pub(crate) fn run(config: Config, ops: &[Op]) {
    let mut pair = Pair::new(config);
    for &op in ops {
        pair.run(op);
    }
    pair.work_off();
}
