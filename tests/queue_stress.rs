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

    /// One run; every seventh panics.
    fn reconcile(&self, key: u64) {
        let at = usize::try_from(key).unwrap();
        if self.held[at].swap(true, Ordering::SeqCst) {
            self.held_twice.store(true, Ordering::SeqCst);
        }
        let version = self.versions[at].load(Ordering::SeqCst);
        thread::yield_now();
        self.held[at].store(false, Ordering::SeqCst);
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

fn work(queue: &Queue, world: &World) {
    while let Some(work) = queue.get().wait() {
        let run = || {
            world.reconcile(*work);
            work.done();
        };
        let _ = catch_unwind(AssertUnwindSafe(run));
    }
}

/// Waits for keys, and gives up: while it waits, or with the key in hand.
fn give_up(queue: &Queue, over: &AtomicBool) {
    while !over.load(Ordering::SeqCst) {
        if let Poll::Ready(Some(work)) = poll_once(queue.get()) {
            drop(work);
        }
        thread::yield_now();
    }
}

fn produce(queue: &Queue, world: &World, producer: u64) {
    for i in 0..1_000 {
        let key = (producer * 31 + i * 7) % KEYS;
        world.change(key);
        queue.add(key).wait().unwrap();
    }
}

#[test]
fn every_key_is_processed_after_its_last_add() {
    // A clock that stands still, and no backoff: a key that failed is ready at once.
    let builder = WorkQueue::builder(16).backoff(|_: u32, _: u64| Duration::ZERO);
    let queue: Queue = builder.clock(ManualClock::new()).build().unwrap();
    let (world, over) = (World::new(), AtomicBool::new(false));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| work(&queue, &world));
        }
        let quitter = scope.spawn(|| give_up(&queue, &over));
        let producers = [0, 1, 2, 3, 4, 5, 6, 7].map(|producer| {
            let (queue, world) = (&queue, &world);
            scope.spawn(move || produce(queue, world, producer))
        });
        for producer in producers {
            producer.join().unwrap();
        }
        // It must not be the last to hold a key of a closed queue: whoever is idle then has gone
        // home.
        over.store(true, Ordering::SeqCst);
        quitter.join().unwrap();
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
