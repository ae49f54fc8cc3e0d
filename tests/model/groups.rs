//! Groups of keys and a model of plain lists, for the property tests, the fuzzer and its seeds.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use tollgate::queue::Groups;
use tollgate::{Priority, Work, WorkQueue};

/// The group, of four, and a number.
pub(crate) type Key = (u8, u32);

const CAPACITY: usize = 12;

/// The weights and bounds of the groups.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Config {
    pub(crate) weights: [u32; 4],
    pub(crate) processing: u32,
    pub(crate) live: usize,
}

/// The queue as plain lists: each priority has a ring of the groups that may start a key.
#[derive(Debug)]
struct Model {
    config: Config,
    /// Ready keys by priority and group, in order.
    ready: BTreeMap<(i32, u8), VecDeque<Key>>,
    rings: BTreeMap<i32, VecDeque<(u8, u32)>>,
    running: HashMap<u8, u32>,
    live: HashMap<Key, i32>,
    /// How many keys of other groups a priority has handed out since a group's last turn there.
    passed: HashMap<(i32, u8), u32>,
}

impl Model {
    fn may_run(&self, group: u8) -> bool {
        self.running
            .get(&group)
            .is_none_or(|n| *n < self.config.processing)
    }

    /// Appends groups that may start a ready key to their rings, and removes all other groups.
    fn refresh(&mut self) {
        let ready = &self.ready;
        let may_run: HashSet<u8> = (0..4).filter(|group| self.may_run(*group)).collect();
        for (priority, ring) in &mut self.rings {
            ring.retain(|(group, _)| {
                may_run.contains(group) && ready.contains_key(&(*priority, *group))
            });
        }
        // A group that leaves a ring and comes back starts to wait anew.
        let rings = &self.rings;
        let is_in = |(priority, group): &(i32, u8)| {
            let ring = rings.get(priority);
            ring.is_some_and(|ring| ring.iter().any(|(other, _)| other == group))
        };
        self.passed.retain(|lane, _| is_in(lane));
        for (priority, group) in ready.keys() {
            let ring = self.rings.entry(*priority).or_default();
            if may_run.contains(group) && ring.iter().all(|(other, _)| other != group) {
                ring.push_back((*group, self.config.weights[usize::from(*group)]));
            }
        }
    }

    fn add(&mut self, key: Key, priority: i32) -> bool {
        if let Some(old) = self.live.get(&key).copied() {
            if priority > old {
                self.live.insert(key, priority);
                if self.unready(key, old) {
                    self.make_ready(key);
                }
            }
            return true;
        }
        let of_group = self.live.keys().filter(|live| live.0 == key.0).count();
        if self.live.len() >= CAPACITY || of_group >= self.config.live {
            return false;
        }
        self.live.insert(key, priority);
        self.make_ready(key);
        true
    }

    fn make_ready(&mut self, key: Key) {
        let lane = (self.live[&key], key.0);
        self.ready.entry(lane).or_default().push_back(key);
        self.refresh();
    }

    fn unready(&mut self, key: Key, priority: i32) -> bool {
        let Some(lane) = self.ready.get_mut(&(priority, key.0)) else {
            return false;
        };
        let Some(at) = lane.iter().position(|ready| *ready == key) else {
            return false;
        };
        lane.remove(at);
        if lane.is_empty() {
            self.ready.remove(&(priority, key.0));
        }
        self.refresh();
        true
    }

    fn get(&mut self) -> Option<Key> {
        let rings = self.rings.iter_mut().rev();
        let (priority, ring) = rings.into_iter().find(|(_, ring)| !ring.is_empty())?;
        let (priority, (group, credit)) = (*priority, ring.pop_front()?);
        match credit - 1 {
            0 => ring.push_back((group, self.config.weights[usize::from(group)])),
            credit => ring.push_front((group, credit)),
        }
        let lane = self.ready.get_mut(&(priority, group)).unwrap();
        let key = lane.pop_front().unwrap();
        if lane.is_empty() {
            self.ready.remove(&(priority, group));
        }
        *self.running.entry(group).or_default() += 1;
        self.note_passed(priority, group);
        self.refresh();
        Some(key)
    }

    /// Between two turns of a group its priority hands out at most the weights of the other groups.
    fn note_passed(&mut self, priority: i32, served: u8) {
        let ring = &self.rings[&priority];
        let waits = |group: u8| group != served && ring.iter().any(|(other, _)| *other == group);
        let all: u32 = self.config.weights.iter().sum();
        for group in 0..4 {
            let passed = self.passed.entry((priority, group)).or_default();
            *passed = if waits(group) { *passed + 1 } else { 0 };
            let others = all - self.config.weights[usize::from(group)];
            assert!(*passed <= others, "{group} waits for {passed} of {others}");
        }
    }

    fn stop(&mut self, key: Key) {
        *self.running.get_mut(&key.0).unwrap() -= 1;
        self.refresh();
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    Add(Key, i8),
    Get,
    Done(usize),
    Requeue(usize),
    Remove(Key),
}

/// A queue of groups and its model.
struct Pair {
    queue: WorkQueue<Key>,
    model: Model,
    held: Vec<Work<Key>>,
    /// Keys in flight that were added again.
    dirty: HashSet<Key>,
}

impl Pair {
    fn new(config: Config) -> Self {
        let weigh = move |group: &u8| config.weights[usize::from(*group)];
        let groups = Groups::by(|key: &Key| key.0).weight(weigh);
        let live = u32::try_from(config.live).expect("a small bound");
        let groups = groups.max_processing(config.processing).max_live(live);
        let builder = WorkQueue::builder(CAPACITY).aging(0).groups(groups);
        Self {
            queue: builder.build().expect("bounds of one or more"),
            model: Model {
                config,
                ready: BTreeMap::new(),
                rings: BTreeMap::new(),
                running: HashMap::new(),
                live: HashMap::new(),
                passed: HashMap::new(),
            },
            held: Vec::new(),
            dirty: HashSet::new(),
        }
    }

    fn run(&mut self, op: Op) {
        let Self {
            queue,
            model,
            held,
            dirty,
        } = self;
        match op {
            Op::Add(key, priority) => {
                let options = Priority::new(priority.into()).expect("in range");
                let got = queue.try_add_with(key, options).is_ok();
                assert_eq!(got, model.add(key, priority.into()));
                if held.iter().any(|work| **work == key) {
                    dirty.insert(key);
                }
            }
            Op::Get => {
                let work = queue.try_get();
                assert_eq!(work.as_ref().map(|work| **work), model.get());
                held.extend(work);
            }
            Op::Done(at) if !held.is_empty() => {
                let work = held.swap_remove(at % held.len());
                let key = *work;
                work.done();
                model.stop(key);
                if dirty.remove(&key) {
                    model.make_ready(key);
                } else {
                    model.live.remove(&key);
                }
            }
            Op::Requeue(at) if !held.is_empty() => {
                let work = held.swap_remove(at % held.len());
                let key = *work;
                work.requeue();
                dirty.remove(&key);
                model.stop(key);
                model.make_ready(key);
            }
            Op::Remove(key) => {
                queue.remove(&key);
                if let Some(priority) = model.live.get(&key).copied()
                    && model.unready(key, priority)
                {
                    model.live.remove(&key);
                }
                dirty.remove(&key);
            }
            Op::Done(_) | Op::Requeue(_) => {}
        }
    }

    fn check(&self) {
        let stats = self.queue.stats();
        assert_eq!(stats.ready + stats.processing, self.model.live.len());
        let shown = self
            .queue
            .group_snapshot::<u8>()
            .expect("the queue has groups");
        for group in shown {
            let keys = self.model.live.keys();
            let live = keys.filter(|key| key.0 == group.group).count();
            assert_eq!(group.live, live);
        }
    }
}

/// Runs the operations on a queue and on its model, and compares every result.
///
/// # Panics
/// At the first difference.
pub(crate) fn run(config: Config, ops: &[Op]) {
    let mut pair = Pair::new(config);
    for &op in ops {
        pair.run(op);
        pair.check();
    }
}
