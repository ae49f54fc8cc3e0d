//! Tasks that wait on the queue, and which of them may end, and how, by the model.

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
    /// The largest batch.
    GetBatch(usize),
    /// A key with its priority and delay, and a deadline.
    Add(u8, (i8, u64), Option<u64>),
    /// The deadline.
    Drain(u64),
    Resync,
}

/// The result of a wait.
pub(super) enum Ended {
    Got(Option<Work<u8, LateClock>>),
    GotBatch(Option<Batch<u8, LateClock>>),
    Added(Result<(), AddError<u8>>),
    Drained(Drained<u8>),
    Resynced(Option<u64>),
}

/// The waiting tasks, in order of their start.
pub(super) struct Waiters {
    pub(super) tasks: Tasks<'static, Ended>,
    line: BTreeMap<usize, Waiting>,
    /// Consumers that are not polled.
    unpolled: VecDeque<usize>,
    /// Whether consumers may poll late, and so in another order: much time has passed at once, or an
    /// unpolled consumer was polled again or dropped.
    pub(super) is_out_of_order: bool,
    /// Since when a polled consumer waits though a key may start.
    delayed_since: Option<u64>,
    /// The last in line of the consumers that got a key since the last check.
    last_served: Option<usize>,
}

/// For how long unpolled consumers may delay the others.
pub(super) const GRACE: u64 = 5 * MILLI;
/// So many unpolled consumers delay the others by no more than [`GRACE`], wherever they stand in line.
const MAX_UNPOLLED: usize = 2;

impl Waiters {
    pub(super) fn new(clock: &ManualClock) -> Self {
        Self {
            tasks: Tasks::new(clock),
            line: BTreeMap::new(),
            unpolled: VecDeque::new(),
            is_out_of_order: false,
            delayed_since: None,
            last_served: None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.line.len()
    }

    /// Starts a task and polls it once, which may end it.
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
        if let Some(at) = self.unpolled.iter().position(|other| *other == task) {
            self.unpolled.remove(at);
            // The next in line inherits what is left of the grace, and may be late when it is woken.
            self.is_out_of_order = true;
        }
        assert!(self.tasks.cancel(task), "a waiting task has not ended");
    }

    /// Stops polling one of the consumers.
    pub(super) fn leave_unpolled(&mut self, pick: usize) {
        let consumers = self
            .line
            .iter()
            .filter(|(_, waiting)| waiting.is_consumer());
        let tasks: Vec<_> = consumers.map(|(task, _)| *task).collect();
        let picked = tasks.get(pick % tasks.len().max(1));
        let Some(&task) = picked.filter(|task| !self.unpolled.contains(task)) else {
            return;
        };
        if self.unpolled.len() < MAX_UNPOLLED {
            self.unpolled.push_back(task);
            self.tasks.leave_unpolled(task);
        }
    }

    /// Polls the longest unpolled consumer again.
    pub(super) fn poll_again(&mut self) {
        if let Some(task) = self.unpolled.pop_front() {
            // Another consumer may become unpolled in its place: the grace starts again.
            self.delayed_since = None;
            self.tasks.poll_again(task);
        }
    }

    /// Drops a task that waits for a key; `false` if none does.
    pub(super) fn cancel_consumer(&mut self) -> bool {
        let found = self.line.values().position(Waiting::is_consumer);
        found.map(|consumer| self.cancel(consumer)).is_some()
    }

    /// Notes the end of a task. Adders are served in order.
    pub(super) fn ended(&mut self, task: usize, ended: &Ended, model: &Model) -> Waiting {
        let waiting = self.line.remove(&task).expect("it waits");
        let mut before = self.line.range(..task).map(|(_, waiting)| waiting);
        let first = match waiting {
            _ if matches!(ended, Ended::Got(None) | Ended::Added(Err(_))) => true,
            // A batch may also take the keys for which earlier consumers were woken.
            Waiting::GetBatch(_) => {
                self.is_out_of_order = true;
                true
            }
            Waiting::Get => {
                // With unpolled consumers a key that is kept for one of them may be taken.
                if self.unpolled.is_empty() {
                    self.last_served = self.last_served.max(Some(task));
                }
                true
            }
            Waiting::Add(key, ..) if !model.is_live(key) => before.all(|other| !other.is_adder()),
            _ => true,
        };
        assert!(first, "{waiting:?} was served before an earlier one");
        waiting
    }

    /// Consumers are served in order too, once all woken ones were polled; the executor chooses their order.
    fn check_order(&mut self) {
        let last_served = self.last_served.take();
        if self.is_out_of_order {
            return;
        }
        for (task, waiting) in &self.line {
            let went_before = waiting.is_consumer() && last_served > Some(*task);
            assert!(
                !went_before,
                "a later consumer was served before {waiting:?}"
            );
        }
    }

    /// # Panics
    /// If a task waits though it could end.
    pub(super) fn check(&mut self, model: &mut Model, now: u64) {
        self.check_order();
        let mut is_delayed = false;
        for (task, waiting) in &self.line {
            if self.unpolled.contains(task) {
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
            let may_be_delayed = waiting.is_consumer() && !self.unpolled.is_empty();
            is_delayed |= done && may_be_delayed;
            assert!(
                !done || may_be_delayed && !model.is_over(),
                "{waiting:?} could end"
            );
        }
        let oldest = model.oldest_ready().unwrap_or(0);
        let since = is_delayed.then(|| self.delayed_since.unwrap_or(now).max(oldest));
        self.delayed_since = since;
        assert!(
            since.is_none_or(|since| now < since + GRACE),
            "delayed for more than the grace"
        );
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
    /// Starts the task of a waiting operation.
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
                // A batch of zero keys waits like one of a single key.
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

    /// Compares the result of a task.
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
            (waiting, _) => panic!("{waiting:?} ended with another result"),
        }
    }

    pub(super) fn note_ended(&mut self) {
        for (task, _, ended) in std::mem::take(&mut self.waiters.tasks.ended) {
            self.ended(task, ended);
        }
    }

    /// Polls all woken tasks, and checks the queue.
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
