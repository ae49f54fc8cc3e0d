//! Those who wait at a queue, and which of them may end, and how, by the model.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tollgate::queue::Batch;
use tollgate::{AddError, Drained, ManualClock, Merge, Work};

use super::late_clock::LateClock;
use super::naive_queue::{Model, Room};
use super::tasks::Tasks;
use super::{MILLI, Op, Pair, options};

/// What a task waits for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Waiting {
    Get,
    /// At most so many.
    GetBatch(usize),
    /// A key, with its priority and delay; until when.
    Add(u8, (i8, u64), Option<u64>),
    /// Until when.
    Drain(u64),
    Resync,
}

/// What it has waited for.
pub(super) enum Ended {
    Got(Option<Work<u8, LateClock>>),
    GotBatch(Option<Batch<u8, LateClock>>),
    Added(Result<(), AddError<u8>>),
    Drained(Drained<u8>),
    Resynced(Option<u64>),
}

/// The tasks, in the order in which they came.
pub(super) struct Waiters {
    pub(super) tasks: Tasks<'static, Ended>,
    line: BTreeMap<usize, Waiting>,
    /// Consumers that are not polled.
    set_aside: VecDeque<usize>,
    /// Whether consumers may look late, and so in another order: much time has passed at once, or one
    /// is polled or dropped that was set aside.
    pub(super) is_out_of_order: bool,
    /// Since when a consumer that is polled waits for a key that is there.
    held_up_since: Option<u64>,
    /// The consumer that came last of those that have been served since the last check.
    last_served: Option<usize>,
}

/// For how long a consumer that is not polled may hold up others.
pub(super) const GRACE: u64 = 5 * MILLI;
/// How many that are not polled may hold up others by no more than that, wherever they stand.
const MOST_SET_ASIDE: usize = 2;

impl Waiters {
    pub(super) fn new(clock: &ManualClock) -> Self {
        Self {
            tasks: Tasks::new(clock),
            line: BTreeMap::new(),
            set_aside: VecDeque::new(),
            is_out_of_order: false,
            held_up_since: None,
            last_served: None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.line.len()
    }

    /// Starts a task, which is polled once, and may have ended then.
    pub(super) fn start(&mut self, waiting: Waiting, task: impl Future<Output = Ended> + 'static) {
        self.line.insert(self.tasks.start(task), waiting);
    }

    /// Drops one of the tasks.
    pub(super) fn cancel(&mut self, pick: usize) {
        if self.line.is_empty() {
            return;
        }
        let task = *self.line.keys().nth(pick % self.line.len()).expect("one");
        self.line.remove(&task);
        if let Some(aside) = self.set_aside.iter().position(|aside| *aside == task) {
            self.set_aside.remove(aside);
            // The next has no more time than this one had left, and may be late when it is woken.
            self.is_out_of_order = true;
        }
        assert!(self.tasks.cancel(task), "it has not ended");
    }

    /// Polls one of the consumers no more.
    pub(super) fn set_aside(&mut self, pick: usize) {
        let consumers = self
            .line
            .iter()
            .filter(|(_, waiting)| waiting.is_consumer());
        let tasks: Vec<_> = consumers.map(|(task, _)| *task).collect();
        let picked = tasks.get(pick % tasks.len().max(1));
        let Some(&task) = picked.filter(|task| !self.set_aside.contains(task)) else {
            return;
        };
        if self.set_aside.len() < MOST_SET_ASIDE {
            self.set_aside.push_back(task);
            self.tasks.set_aside(task);
        }
    }

    /// Polls the one again that has not been polled for the longest.
    pub(super) fn take_up(&mut self) {
        if let Some(task) = self.set_aside.pop_front() {
            // Another may be set aside in its place: from now on these hold up the others.
            self.held_up_since = None;
            self.tasks.take_up(task);
        }
    }

    /// Drops a task that waits for a key; `false` if none does.
    pub(super) fn cancel_consumer(&mut self) -> bool {
        let found = self.line.values().position(Waiting::is_consumer);
        found.map(|consumer| self.cancel(consumer)).is_some()
    }

    /// Of those who wait for room the first come is the first served.
    pub(super) fn ended(&mut self, task: usize, ended: &Ended, model: &Model) -> Waiting {
        let waiting = self.line.remove(&task).expect("it waits");
        let mut before = self.line.range(..task).map(|(_, waiting)| waiting);
        let first = match waiting {
            _ if matches!(ended, Ended::Got(None) | Ended::Added(Err(_))) => true,
            // It may take the keys too that those before it were woken for.
            Waiting::GetBatch(_) => {
                self.is_out_of_order = true;
                true
            }
            Waiting::Get => {
                // A key may be taken that is kept for one that is not polled.
                if self.set_aside.is_empty() {
                    self.last_served = self.last_served.max(Some(task));
                }
                true
            }
            Waiting::Add(key, ..) if !model.is_live(key) => before.all(|other| !other.is_adder()),
            _ => true,
        };
        assert!(first, "{waiting:?} went before another");
        waiting
    }

    /// Of consumers too, once all have looked that were woken: in what order is the executor's choice.
    fn check_order(&mut self) {
        let last_served = self.last_served.take();
        if self.is_out_of_order {
            return;
        }
        for (task, waiting) in &self.line {
            let went_before = waiting.is_consumer() && last_served > Some(*task);
            assert!(!went_before, "one that came later went before {waiting:?}");
        }
    }

    /// # Panics
    /// If somebody waits for what is there.
    pub(super) fn check(&mut self, model: &mut Model, now: u64) {
        self.check_order();
        let mut is_held_up = false;
        for (task, waiting) in &self.line {
            if self.set_aside.contains(task) {
                continue;
            }
            let done = match *waiting {
                Waiting::Get | Waiting::GetBatch(_) => model.can_start(now) || model.is_over(),
                Waiting::Add(key, _, deadline) => {
                    let in_time = deadline.is_none_or(|deadline| now < deadline);
                    !in_time
                        || model.is_closed()
                        || model.is_live(key)
                        || model.has_room(Room::Free)
                }
                Waiting::Drain(deadline) => deadline <= now || model.is_idle(),
                Waiting::Resync => model.is_closed() || model.resync_due(),
            };
            let may_be_held_up = waiting.is_consumer() && !self.set_aside.is_empty();
            is_held_up |= done && may_be_held_up;
            assert!(
                !done || may_be_held_up && !model.is_over(),
                "{waiting:?} in vain"
            );
        }
        let oldest = model.oldest_ready().unwrap_or(0);
        let since = is_held_up.then(|| self.held_up_since.unwrap_or(now).max(oldest));
        self.held_up_since = since;
        assert!(since.is_none_or(|since| now < since + GRACE), "held up");
    }
}

impl Waiting {
    const fn is_consumer(&self) -> bool {
        matches!(self, Self::Get | Self::GetBatch(_))
    }

    const fn is_adder(&self) -> bool {
        matches!(self, Self::Add(..))
    }
}

impl Pair {
    /// Starts a task.
    pub(super) fn wait(&mut self, op: Op) {
        let (queue, now) = (self.queue.clone(), self.now());
        match op {
            Op::WaitGet => {
                let get = async move { Ended::Got(queue.get().await) };
                self.waiters.start(Waiting::Get, get);
            }
            Op::WaitGetBatch(max) => {
                let max = usize::from(max % 4);
                let get = async move { Ended::GotBatch(queue.get_batch(max).await) };
                // Nobody waits for nothing.
                self.waiters.start(Waiting::GetBatch(max.max(1)), get);
            }
            Op::WaitAdd(key, priority, delay, timeout) => {
                let mut with = options(priority, delay, Merge::Earlier);
                if let Some(timeout) = timeout {
                    with = with.timeout(Duration::from_nanos(timeout));
                }
                let deadline = timeout.map(|timeout| now + timeout);
                let add = async move { Ended::Added(queue.add_with(key, with).await) };
                let waiting = Waiting::Add(key, (priority, delay), deadline);
                self.waiters.start(waiting, add);
            }
            Op::WaitDrain(timeout) => {
                let limit = Duration::from_nanos(timeout);
                self.model.close(now);
                let drain = async move { Ended::Drained(queue.drain(limit).await) };
                self.waiters.start(Waiting::Drain(now + timeout), drain);
            }
            _ => {
                let resync = async move { Ended::Resynced(queue.resync().await) };
                self.waiters.start(Waiting::Resync, resync);
            }
        }
        self.note_ended();
    }

    /// A task has ended.
    fn ended(&mut self, task: usize, ended: Ended) {
        let now = self.now();
        match (self.waiters.ended(task, &ended, &self.model), ended) {
            (Waiting::Get, Ended::Got(work)) => {
                let got = self.got(work);
                assert!(got || self.model.is_over());
            }
            (Waiting::GetBatch(max), Ended::GotBatch(batch)) => {
                assert!(batch.is_some() || self.model.is_over());
                self.got_batch(batch, max);
            }
            (Waiting::Add(key, (priority, delay), deadline), Ended::Added(added)) => {
                if let Err(AddError::Full(_)) = added {
                    assert!(deadline.is_some_and(|deadline| deadline <= now));
                }
                let options = (priority, delay, Merge::Earlier);
                self.added(key, options, None, Room::Free, added);
            }
            (Waiting::Drain(deadline), Ended::Drained(drained)) => {
                assert!(deadline <= now || drained.complete());
                self.drained(drained);
            }
            (Waiting::Resync, Ended::Resynced(missed)) => {
                assert_eq!(missed, self.model.resync());
                assert!(missed.is_some() || self.model.is_closed());
            }
            (waiting, _) => panic!("{waiting:?} ended in another way"),
        }
    }

    pub(super) fn note_ended(&mut self) {
        for (task, _, ended) in std::mem::take(&mut self.waiters.tasks.ended) {
            self.ended(task, ended);
        }
    }

    /// Lets those look who were woken.
    pub(super) fn settle(&mut self) {
        self.waiters.tasks.settle();
        self.note_ended();
        let now = self.now();
        self.waiters.check(&mut self.model, now);
        if !self.is_late {
            self.check();
        }
    }
}
