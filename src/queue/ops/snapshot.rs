use std::time::Duration;

use crate::clock::{Clock, Timestamp};
use crate::list::Index;
use crate::queue::core::entry::{NEVER, Phase, delayed, start_of};
use crate::queue::core::groups::grouping::NamesOf;
use crate::queue::core::machine::Machine;
use crate::queue::core::priority::Priority;
use crate::queue::ops::work_queue::WorkQueue;

impl<K, C: Clock, S> WorkQueue<K, C, S> {
    /// Returns the number of live keys: ready, delayed and in process.
    ///
    /// Keys at rest do not count, since they give way to new keys. The number may be out of date
    /// when it is returned: to know whether a key fits, add it.
    pub fn len(&self) -> usize {
        let state = self.0.state.lock();
        let machine = &state.machine;
        machine.ready_len() + machine.delayed_len() + machine.processing_len()
    }

    /// Returns true if no key is live: [`len`](Self::len) is 0.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The numbers of this moment, all of the same moment.
    ///
    /// ```
    /// let queue = tollgate::WorkQueue::new(8)?;
    /// queue.try_add("key").unwrap();
    /// let _work = queue.try_get().unwrap();
    /// let stats = queue.stats();
    /// assert_eq!((stats.ready, stats.delayed, stats.processing, stats.capacity), (0, 0, 1, 8));
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn stats(&self) -> Stats {
        let now = self.0.clock.now();
        self.0.with_state(|state| {
            let machine = &mut state.machine;
            machine.advance(now);
            Stats {
                ready: machine.ready_len(),
                delayed: machine.delayed_len(),
                processing: machine.processing_len(),
                capacity: machine.limits.capacity,
                longest_running: machine.longest_running(now),
                unfinished: machine.unfinished(now),
            }
        })
    }

    /// Every live key and how it stands, for a debug page: first those that are being processed, in
    /// the order in which they were started; then those that are ready, from the highest priority
    /// to the lowest and in line; then those that are delayed, in no order.
    ///
    /// It copies all keys while it holds the lock: O(n), and nobody else gets on meanwhile.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::queue::KeyState;
    /// use tollgate::{ManualClock, Priority, WorkQueue};
    ///
    /// let queue = WorkQueue::builder(8).clock(ManualClock::new()).build()?;
    /// queue.try_add_after("later", Duration::from_secs(5)).unwrap();
    /// queue.try_add_with("now", Priority::HIGH).unwrap();
    /// let [now, later] = &queue.snapshot()[..] else { panic!("two keys") };
    /// assert_eq!((now.key, now.priority, now.state), ("now", Priority::HIGH, KeyState::Ready));
    /// assert_eq!((later.key, later.due_in, later.failures), ("later", Some(Duration::from_secs(5)), 0));
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn snapshot(&self) -> Vec<KeySnapshot<K>>
    where
        K: Clone,
    {
        let now = self.0.clock.now();
        // Outside the lock, so that the keys are dropped there too if a `Clone` panics.
        let mut keys = Vec::new();
        self.0.with_state(|state| {
            state.machine.advance(now);
            state.machine.snapshot(now, &mut keys);
        });
        keys
    }

    /// The groups of the live keys, in no order: for a debug page. `None` if the queue has no groups, or
    /// they are of another type than `G`. There may be as many as live keys, so this is no metric. It runs
    /// the `Clone` of groups under the lock.
    ///
    /// ```
    /// let queue = tollgate::WorkQueue::builder(8).group_by(|key: &(u32, u32)| key.0).build()?;
    /// queue.try_add((7, 1)).unwrap();
    /// queue.try_add((7, 2)).unwrap();
    /// let work = queue.try_get();
    /// let groups = queue.group_snapshot::<u32>().unwrap();
    /// assert_eq!((groups[0].group, groups[0].live, groups[0].processing), (7, 2, 1));
    /// # drop(work);
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn group_snapshot<G: Clone + 'static>(&self) -> Option<Vec<GroupSnapshot<G>>> {
        let now = self.0.clock.now();
        // Outside the lock, so that the groups are dropped there too if a `Clone` panics.
        let mut shown = Vec::new();
        let are_shown = self.0.with_state(|state| {
            state.pass_time(now);
            let groups = &state.machine.ready.groups()?.groups;
            let names: &NamesOf<G> = groups.names().downcast_ref()?;
            for (at, group) in groups.iter() {
                shown.extend(names.get(at).map(|name| GroupSnapshot {
                    group: name.clone(),
                    live: group.live as usize,
                    ready: group.ready as usize,
                    processing: group.processing as usize,
                    held_for: group.parked.map(|until| until.saturating_since(now)),
                }));
            }
            Some(())
        });
        are_shown.map(|()| shown)
    }
}

/// What is in a [`WorkQueue`].
///
/// ```
/// use std::time::Duration;
/// use tollgate::{ManualClock, WorkQueue};
///
/// let clock = ManualClock::new();
/// let queue = WorkQueue::builder(8).clock(clock.clone()).build()?;
/// for key in 0..3 {
///     queue.try_add(key).unwrap();
/// }
/// let first = queue.try_get().unwrap();
/// clock.advance(Duration::from_secs(2));
/// let second = queue.try_get().unwrap();
/// clock.advance(Duration::from_secs(3));
/// let stats = queue.stats();
/// assert_eq!((stats.ready, stats.processing), (1, 2));
/// assert_eq!(stats.longest_running, Duration::from_secs(5)); // the first
/// assert_eq!(stats.unfinished, Duration::from_secs(5 + 3));
/// # Ok::<(), tollgate::QueueError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Keys that wait for a worker.
    pub ready: usize,
    /// Keys that wait for their time.
    pub delayed: usize,
    /// Keys that a worker holds.
    pub processing: usize,
    /// The most keys that can be live.
    pub capacity: usize,
    /// For how long the worker that began first has held its key.
    pub longest_running: Duration,
    /// For how long all workers together have held the keys that they hold.
    pub unfinished: Duration,
}

/// A group of keys: see [`WorkQueue::group_snapshot`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupSnapshot<G> {
    /// The group.
    pub group: G,
    /// Its live keys.
    pub live: usize,
    /// Those that are ready, also while the group may not run.
    pub ready: usize,
    /// Those that are being processed.
    pub processing: usize,
    /// Its limiter holds it back, for so long unless a token comes earlier.
    pub held_for: Option<Duration>,
}

/// How a live key stands; from [`WorkQueue::snapshot`].
///
/// ```
/// use std::time::Duration;
/// use tollgate::{FixedBackoff, ManualClock, WorkQueue};
///
/// let (clock, backoff) = (ManualClock::new(), FixedBackoff::new(Duration::from_secs(9)));
/// let queue = WorkQueue::builder(8).clock(clock.clone()).backoff(backoff).build()?;
/// queue.try_add("key").unwrap();
/// clock.advance(Duration::from_secs(2));
/// assert_eq!(queue.snapshot()[0].age, Some(Duration::from_secs(2)));
/// let _ = queue.try_get().unwrap().retry();
/// let key = queue.snapshot()[0];
/// assert_eq!((key.key, key.failures, key.age), ("key", 1, None));
/// assert_eq!(key.due_in, Some(Duration::from_secs(9)));
/// # Ok::<(), tollgate::QueueError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeySnapshot<K> {
    /// The key.
    pub key: K,
    /// What it waits for.
    pub state: KeyState,
    /// The highest it was added with.
    pub priority: Priority,
    /// When it will be ready, from now: of a delayed key, and of one that is being processed and
    /// has been added with a delay meanwhile.
    pub due_in: Option<Duration>,
    /// For how long it has been ready, or been processed.
    pub age: Option<Duration>,
    /// How often in a row it has failed.
    pub failures: u32,
}

/// The state of a live key.
///
/// ```
/// use tollgate::queue::KeyState;
///
/// let queue = tollgate::WorkQueue::new(8)?;
/// let state = || queue.snapshot().first().map(|key| key.state);
/// queue.try_add_after("key", std::time::Duration::MAX).unwrap();
/// assert_eq!(state(), Some(KeyState::Delayed));
/// queue.try_add("key").unwrap();
/// assert_eq!(state(), Some(KeyState::Ready));
/// let work = queue.try_get().unwrap();
/// assert_eq!(state(), Some(KeyState::Processing));
/// queue.try_add("key").unwrap();
/// assert_eq!(state(), Some(KeyState::Dirty));
/// # drop(work);
/// # Ok::<(), tollgate::QueueError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyState {
    /// It waits for a worker.
    Ready,
    /// It waits for its time.
    Delayed,
    /// A worker holds it.
    Processing,
    /// A worker holds it, and it was added again meanwhile, without a delay.
    Dirty,
    /// At rest: no work is pending, and it is remembered for a while, after a start or because it was
    /// given up.
    Resting,
}

impl<K: Clone> Machine<K> {
    fn snapshot(&self, now: Timestamp, keys: &mut Vec<KeySnapshot<K>>) {
        let slots = self.entries.slots();
        let listed = self.processing.iter(slots).chain(self.ready.list(slots));
        let all = listed.chain(delayed(slots).map(|(index, _)| index));
        let resting = self
            .resting
            .iter()
            .filter(|(until, _)| start_of(*until) > now);
        let all = all.chain(resting.map(|(_, index)| *index));
        keys.reserve(self.entries.len());
        keys.extend(all.filter_map(|index| self.snapshot_of(index, now)));
    }

    /// `None` of one that is free.
    fn snapshot_of(&self, index: Index, now: Timestamp) -> Option<KeySnapshot<K>> {
        let entry = &self.entries[index];
        let state = match entry.phase {
            Phase::Free => return None,
            Phase::Ready => KeyState::Ready,
            Phase::Delayed => KeyState::Delayed,
            Phase::Processing => KeyState::Processing,
            Phase::Dirty | Phase::DirtyHeld => KeyState::Dirty,
            Phase::Resting | Phase::GivenUp => KeyState::Resting,
        };
        let due = (entry.due != NEVER).then(|| start_of(entry.due));
        Some(KeySnapshot {
            key: self.keys.get(index)?.clone(),
            state,
            priority: entry.priority,
            due_in: due.map(|due| due.saturating_since(now)),
            age: (!matches!(state, KeyState::Delayed | KeyState::Resting))
                .then(|| now.saturating_since(entry.since)),
            failures: entry.failures.into(),
        })
    }
}
