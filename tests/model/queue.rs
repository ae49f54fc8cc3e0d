//! Runs operations on the work queue and on its naive model, and compares all results.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tollgate::queue::{Batch, KeySnapshot};
use tollgate::{
    AddOptions, Clock, Drained, ExponentialBackoff, LockedTokenBucket, Merge, Priority, Quota,
    Wait, Work, WorkQueue,
};

#[allow(dead_code, reason = "shared with other tests")]
pub(crate) mod late_clock;
mod naive_queue;
mod queue_adds;
mod queue_ops;
#[allow(dead_code, reason = "shared with other tests")]
pub(crate) mod tasks;
mod waiters;

use late_clock::LateClock;
use naive_queue::{Model, Shown, Start, State};
pub(crate) use queue_ops::{Config, Op, Outcome};
use waiters::Waiters;

const MILLI: u64 = 1_000_000;
const BASE: Duration = Duration::from_millis(5);
const MAX: Duration = Duration::from_secs(60);
/// A rate-limited queue starts one key per 10 ms, with a burst of three.
const PER_TOKEN: u64 = 10 * MILLI;
const BURST: u64 = 3;

/// The order of returned keys is not promised.
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

/// A queue and its model.
struct Pair {
    queue: WorkQueue<u8, LateClock>,
    clock: LateClock,
    model: Model,
    held: Vec<Work<u8, LateClock>>,
    waiters: Waiters,
    /// Whether time has passed that the queue may not have read yet.
    is_late: bool,
    /// By how much the clock read of the next operation is behind.
    behind: u64,
    /// Keys that must still be handed out or returned. Not part of the model, so that it is checked as well.
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
            let limiter = LockedTokenBucket::with_clock(quota, clock.exact().clone());
            builder = builder.rate_limit(Arc::new(limiter.expect("a quota")));
        }
        Self {
            queue: builder.build().expect("a capacity"),
            waiters: Waiters::new(clock.exact()),
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

    fn get(&mut self) -> bool {
        let work = self.queue.try_get();
        self.got(work)
    }

    /// Compares the result of a get.
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
        assert_eq!(sorted(keys), self.model.take_returned());
    }

    fn drained(&mut self, drained: Drained<u8>) {
        let (ready, _, processing) = self.model.counts();
        assert_eq!((drained.ready, drained.processing), (ready, processing));
        self.returned(drained.returned);
    }

    /// Compares a batch of up to `max` keys.
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
        if let Op::LeaveUnpolled(pick) = op {
            self.waiters.leave_unpolled(usize::from(pick));
            return;
        }
        self.settle();
        // The next operation has to make the due keys ready itself.
        self.is_late = matches!(op, Op::Advance(_));
        self.waiters.is_out_of_order = match op {
            Op::Advance(by) => by >= waiters::GRACE,
            Op::PollAgain => true,
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
            Op::Add(_)
            | Op::AddAfter(..)
            | Op::AddWith(..)
            | Op::AddHolding(..)
            | Op::AddBatch(..)
            | Op::AddOrResync(..)
            | Op::AddRelated(..) => self.start_add(op),
            Op::DoneAndGet(_) if self.held.is_empty() => {}
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
            Op::Pause | Op::Resume | Op::Close | Op::Drain | Op::ShutdownNow => self.end(op),
            Op::Get => drop(self.get()),
            Op::Finish(pick, outcome) => self.finish(pick, outcome),
            Op::Remove(key) => {
                assert_eq!(self.queue.remove(&key), self.model.remove(key));
                self.owed.remove(&key);
            }
            Op::Advance(nanos) => self.clock.advance(Duration::from_nanos(nanos)),
            Op::ReadClockLate(nanos) => self.behind = nanos,
            Op::PollAgain => {
                self.waiters.poll_again();
                self.note_ended();
            }
            Op::Cancel(_) | Op::LeaveUnpolled(_) => unreachable!("handled above"),
        }
    }

    /// Pauses, resumes or ends the queue.
    fn end(&mut self, op: Op) {
        match op {
            Op::Pause => {
                self.queue.pause();
                self.model.paused = true;
            }
            Op::Resume => {
                self.queue.resume();
                self.model.pass_time(self.now());
                self.model.paused = false;
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
            _ => unreachable!("{op:?} neither pauses nor ends the queue"),
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
        // The order of delayed keys is not promised.
        snapshot[counts.0 + counts.2..].sort_unstable_by_key(|shown| shown.0);
        assert_eq!(snapshot, self.model.snapshot(&held, now));
        for work in &self.held {
            let state = self.model.entries[&**work].state;
            let dirty = matches!(state, State::Running { dirty: true, .. });
            assert_eq!(work.is_dirty(), dirty);
        }
    }

    /// Processes all keys, and checks that every owed key was handed out or returned.
    fn finish_all(mut self) {
        self.run(Op::Resume);
        // From here on only this function takes keys. Adders go on.
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
        assert_eq!(self.waiters.len(), 0, "a task waits for a closed queue");
        assert!(self.owed.is_empty(), "lost: {:?}", self.owed);
        assert_eq!(self.model.counts(), (0, 0, 0));
    }
}

/// Runs the operations on a queue and on its model, and compares results and counts after each.
///
/// # Panics
/// At the first difference.
pub(crate) fn run(config: Config, ops: &[Op]) {
    let mut pair = Pair::new(config);
    for &op in ops {
        pair.run(op);
    }
    pair.finish_all();
}
