//! Views of a queue: its length, its numbers, and each key.

use std::time::Duration;

use crate::clock::{Clock, Timestamp};
use crate::queue::core::entry::{NEVER, Phase, start_of};
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
        machine.ready.len() + machine.wheel.len + machine.processing_len as usize
    }

    /// Returns true if no key is live: [`len`](Self::len) is 0.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the queue's numbers, all of the same instant.
    pub fn stats(&self) -> Stats {
        let now = self.0.clock.now();
        self.0.with_state(|state| {
            let machine = &mut state.machine;
            machine.advance(now);
            Stats {
                ready: machine.ready.len(),
                delayed: machine.wheel.len,
                processing: machine.processing_len as usize,
                capacity: machine.config.capacity,
                longest_running: machine.longest_running(now),
                unfinished: machine.unfinished(now),
            }
        })
    }

    /// Returns every live or resting key and its state, for a debug page.
    ///
    /// Keys in process come first, in the order of their starts; then the ready keys, from the
    /// highest priority to the lowest and in line; then the delayed and the resting keys, in no
    /// order.
    ///
    /// Clones all keys under the lock, which costs O(n) and blocks all other callers meanwhile. For
    /// metrics, read [`stats`](Self::stats).
    pub fn snapshot(&self) -> Vec<KeySnapshot<K>>
    where
        K: Clone,
    {
        let now = self.0.clock.now();
        // Declared outside the lock: should a `Clone` panic, the keys are dropped without the lock.
        let mut keys = Vec::new();
        self.0.with_state(|state| {
            state.machine.advance(now);
            state.machine.snapshot(now, &mut keys);
        });
        keys
    }

    /// Returns the groups of the live keys, in no order, for a debug page.
    ///
    /// `None`: the queue has no groups, or their type is not `G`. There may be as many groups as
    /// live keys, so this is no metric. Clones the groups under the lock.
    ///
    /// ```
    /// let queue = tollgate::WorkQueue::builder(8).group_by(|key: &(u32, u32)| key.0).build()?;
    /// queue.try_add((7, 1)).unwrap();
    /// queue.try_add((7, 2)).unwrap();
    /// let work = queue.try_get();
    /// let groups = queue.group_snapshot::<u32>().unwrap();
    /// assert_eq!((groups[0].group, groups[0].live, groups[0].processing), (7, 2, 1));
    /// drop(work);
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn group_snapshot<G: Clone + 'static>(&self) -> Option<Vec<GroupSnapshot<G>>> {
        let now = self.0.clock.now();
        // Declared outside the lock: should a `Clone` panic, the groups are dropped without the lock.
        let mut shown = Vec::new();
        let are_shown = self.0.with_state(|state| {
            state.pass_time(now);
            let groups = &state.machine.ready.groups.as_ref()?.groups;
            let names: &Vec<Option<G>> = groups.names.downcast_ref()?;
            for (at, group) in groups.iter() {
                let name = names.get(at as usize).and_then(Option::as_ref);
                shown.extend(name.map(|name| GroupSnapshot {
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

/// The numbers of a [`WorkQueue`]; from [`WorkQueue::stats`].
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
    /// The number of ready keys, including keys that a limiter or their group holds back.
    pub ready: usize,
    /// The number of delayed keys.
    pub delayed: usize,
    /// The number of keys in process.
    pub processing: usize,
    /// The largest number of live keys.
    pub capacity: usize,
    /// The age of the oldest run in process; zero if there is none.
    pub longest_running: Duration,
    /// The sum of the ages of all runs in process.
    pub unfinished: Duration,
}

/// A group of keys; from [`WorkQueue::group_snapshot`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupSnapshot<G> {
    /// The group.
    pub group: G,
    /// The number of its live keys.
    pub live: usize,
    /// The number of its ready keys, including keys that may not run now.
    pub ready: usize,
    /// The number of its keys in process.
    pub processing: usize,
    /// How long the group's limiter holds it back, unless a token comes earlier; `None` if it does
    /// not.
    pub held_for: Option<Duration>,
}

/// A key and its state; from [`WorkQueue::snapshot`].
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
/// assert_eq!((later.key, later.due_in), ("later", Some(Duration::from_secs(5))));
/// # Ok::<(), tollgate::QueueError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeySnapshot<K> {
    /// The key.
    pub key: K,
    /// Its state.
    pub state: KeyState,
    /// The highest priority of its adds.
    pub priority: Priority,
    /// The time until it is due: of a delayed key, of a key in process that has a delay for its next
    /// run, and of a resting key, which is forgotten then.
    pub due_in: Option<Duration>,
    /// How long it has been ready or in process; `None` in other states.
    pub age: Option<Duration>,
    /// The number of its failures in a row.
    pub failures: u32,
}

/// The state of a key: see [`WorkQueue`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyState {
    /// It waits for a worker.
    Ready,
    /// It waits for its due time.
    Delayed,
    /// A worker holds it.
    Processing,
    /// A worker holds it, and it was added again meanwhile, without a delay: it runs once more.
    Dirty,
    /// No work is pending, so the key is not live. The queue remembers that it started a short time
    /// ago, or that it was given up.
    Resting,
}

impl<K: Clone> Machine<K> {
    fn snapshot(&self, now: Timestamp, keys: &mut Vec<KeySnapshot<K>>) {
        let slots = self.entries.slots();
        let listed = self.processing.iter(slots).chain(self.ready.list(slots));
        let others = (0..).zip(slots).filter(|(_, entry)| match entry.phase {
            Phase::Delayed => true,
            Phase::Resting | Phase::GivenUp => start_of(entry.due) > now,
            _ => false,
        });
        let all = listed.chain(others.map(|(index, _)| index));
        keys.reserve(self.entries.len());
        keys.extend(all.filter_map(|index| {
            let entry = &self.entries[index];
            let state = match entry.phase {
                Phase::Free => return None,
                Phase::Ready => KeyState::Ready,
                Phase::Delayed => KeyState::Delayed,
                Phase::Processing => KeyState::Processing,
                Phase::Dirty | Phase::DirtyHoldBackoff => KeyState::Dirty,
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
        }));
    }
}
