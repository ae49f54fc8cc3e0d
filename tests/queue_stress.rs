//! The work queue under many threads, some of which panic and some of which give up: every key is
//! processed after its last add, and none is held twice.
#![cfg(not(tollgate_loom))]

#[allow(dead_code, reason = "shared with other tests")]
#[path = "model/tasks.rs"]
mod tasks;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use tasks::poll_once;
use tollgate::{ManualClock, WorkQueue};

const KEYS: u64 = 64;
const PRODUCERS: u64 = 50;
const ADDS: u64 = 1_000;

/// What the workers have seen of the things that the keys name.
struct World {
    /// Changed before each add.
    versions: Vec<AtomicU64>,
    /// The version of the last run that did not fail.
    seen: Vec<AtomicU64>,
    held: Vec<AtomicBool>,
    held_twice: AtomicBool,
    runs: AtomicU64,
}

impl World {
    fn new() -> Self {
        let zeros = || (0..KEYS).map(|_| AtomicU64::new(0)).collect();
        Self {
            versions: zeros(),
            seen: zeros(),
            held: (0..KEYS).map(|_| AtomicBool::new(false)).collect(),
            held_twice: AtomicBool::new(false),
            runs: AtomicU64::new(0),
        }
    }

    /// Notes that a key is held, up to just before the work ends, from when on another may hold it.
    fn hold<T>(&self, key: u64, work: impl FnOnce(usize) -> T) -> T {
        let at = usize::try_from(key).unwrap();
        if self.held[at].swap(true, Ordering::SeqCst) {
            self.held_twice.store(true, Ordering::SeqCst);
        }
        let done = work(at);
        self.held[at].store(false, Ordering::SeqCst);
        done
    }

    /// One run; every seventh panics.
    fn reconcile(&self, key: u64) {
        let (at, version) = self.hold(key, |at| {
            let version = self.versions[at].load(Ordering::SeqCst);
            thread::yield_now();
            (at, version)
        });
        if self.runs.fetch_add(1, Ordering::SeqCst).is_multiple_of(7) {
            resume_unwind(Box::new("every seventh"));
        }
        self.seen[at].store(version, Ordering::SeqCst);
    }

    fn change(&self, key: u64) {
        self.versions[usize::try_from(key).unwrap()].fetch_add(1, Ordering::SeqCst);
    }
}

type Queue = WorkQueue<u64, ManualClock>;

/// Runs until the work panics or no key is left.
type Worker = fn(&Queue, &World) -> bool;

/// Takes keys one by one; false when the queue is over.
fn one_by_one(queue: &Queue, world: &World) -> bool {
    let Some(work) = queue.get().wait() else {
        return false;
    };
    world.reconcile(*work);
    work.done();
    true
}

/// As [`one_by_one`], and takes the next key as it ends one.
fn hand_over_hand(queue: &Queue, world: &World) -> bool {
    let mut next = queue.get().wait();
    let over = next.is_none();
    while let Some(work) = next {
        world.reconcile(*work);
        next = work.done_and_get();
    }
    !over
}

/// As [`one_by_one`], but some at once: those that a panic leaves in the batch are retried.
fn batches(queue: &Queue, world: &World) -> bool {
    let Some(batch) = queue.get_batch(4).wait() else {
        return false;
    };
    for work in batch {
        world.reconcile(*work);
        work.done();
    }
    true
}

fn work(queue: &Queue, world: &World, worker: Worker) {
    // A worker that panicked starts anew.
    while catch_unwind(AssertUnwindSafe(|| worker(queue, world))).unwrap_or(true) {}
}

/// Tasks that are cancelled: while they wait for a key, and with one, or some, in hand.
fn give_up(queue: &Queue, world: &World, over: &AtomicBool) {
    while !over.load(Ordering::SeqCst) {
        if let Poll::Ready(Some(work)) = poll_once(queue.get()) {
            world.hold(*work, |_| thread::yield_now());
        }
        if let Poll::Ready(Some(batch)) = poll_once(queue.get_batch(3)) {
            batch.keys().for_each(|key| world.hold(*key, |_| ()));
        }
        thread::yield_now();
    }
}

/// Adds, and cancels some adds that wait for room; these it does again.
fn produce(queue: &Queue, world: &World, producer: u64) {
    for i in 0..ADDS {
        let key = (producer * 31 + i * 7) % KEYS;
        world.change(key);
        match poll_once(queue.add(key)) {
            Poll::Ready(added) => added.unwrap(),
            Poll::Pending => queue.add(key).wait().unwrap(),
        }
    }
}

#[test]
fn every_key_is_processed_after_its_last_add() {
    const WORKERS: [Worker; 10] = [
        one_by_one,
        one_by_one,
        one_by_one,
        one_by_one,
        hand_over_hand,
        hand_over_hand,
        hand_over_hand,
        batches,
        batches,
        batches,
    ];
    // A clock that stands still, and no backoff: a key that failed is ready at once.
    let builder = WorkQueue::builder(16).backoff(|_: u32, _: u64| Duration::ZERO);
    let queue: Queue = builder.clock(ManualClock::new()).build().unwrap();
    let (world, over) = (World::new(), AtomicBool::new(false));
    thread::scope(|scope| {
        let (queue, world, over) = (&queue, &world, &over);
        for worker in WORKERS {
            scope.spawn(move || work(queue, world, worker));
        }
        let quitters = [(); 2].map(|()| scope.spawn(move || give_up(queue, world, over)));
        let producers: Vec<_> = (0..PRODUCERS)
            .map(|producer| scope.spawn(move || produce(queue, world, producer)))
            .collect();
        for producer in producers {
            producer.join().unwrap();
        }
        // They must not be the last to hold a key of a closed queue: whoever is idle then has gone
        // home.
        over.store(true, Ordering::SeqCst);
        for quitter in quitters {
            quitter.join().unwrap();
        }
        let drained = queue.drain(Duration::from_secs(1)).wait();
        assert!(
            drained.complete() && drained.returned.is_empty(),
            "{drained:?}"
        );
    });
    assert!(!world.held_twice.load(Ordering::SeqCst));
    for (seen, version) in world.seen.iter().zip(&world.versions) {
        assert_eq!(seen.load(Ordering::SeqCst), version.load(Ordering::SeqCst));
    }
}
