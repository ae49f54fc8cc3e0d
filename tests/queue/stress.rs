//! The work queue under many threads, some of which panic and some of which cancel: every key is processed
//! after its last add, and no key is held twice.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use tollgate::{ManualClock, WorkQueue};

use crate::Queue;
use crate::tasks::poll_once;

const KEYS: u64 = 64;
const PRODUCERS: u64 = 50;
const ADDS: u64 = 1_000;

/// The objects that the keys name, and what the workers have seen of them.
struct Objects {
    /// Changed before each add.
    versions: Vec<AtomicU64>,
    /// The version of the last run that did not fail.
    seen: Vec<AtomicU64>,
    held: Vec<AtomicBool>,
    held_twice: AtomicBool,
    runs: AtomicU64,
}

impl Objects {
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

    /// Marks a key as held while `work` runs, which ends before the queue may hand the key out again.
    fn hold<T>(&self, key: u64, work: impl FnOnce(usize) -> T) -> T {
        let at = usize::try_from(key).unwrap();
        if self.held[at].swap(true, Ordering::SeqCst) {
            self.held_twice.store(true, Ordering::SeqCst);
        }
        let done = work(at);
        self.held[at].store(false, Ordering::SeqCst);
        done
    }

    /// One run of a key; every seventh run panics.
    fn reconcile(&self, key: u64) {
        let (at, version) = self.hold(key, |at| {
            let version = self.versions[at].load(Ordering::SeqCst);
            thread::yield_now();
            (at, version)
        });
        if self.runs.fetch_add(1, Ordering::SeqCst).is_multiple_of(7) {
            resume_unwind(Box::new("injected"));
        }
        self.seen[at].store(version, Ordering::SeqCst);
    }

    fn change(&self, key: u64) {
        self.versions[usize::try_from(key).unwrap()].fetch_add(1, Ordering::SeqCst);
    }
}

/// Processes keys once; false when the queue is over.
type Worker = fn(&Queue, &Objects) -> bool;

/// Takes one key and finishes it.
fn one_by_one(queue: &Queue, objects: &Objects) -> bool {
    let Some(work) = queue.get().wait() else {
        return false;
    };
    objects.reconcile(*work);
    work.done();
    true
}

/// Takes a key, and then each next key by `done_and_get`.
fn hand_over_hand(queue: &Queue, objects: &Objects) -> bool {
    let mut next = queue.get().wait();
    let over = next.is_none();
    while let Some(work) = next {
        objects.reconcile(*work);
        next = work.done_and_get();
    }
    !over
}

/// Takes a batch; the keys that a panic leaves in it are retried.
fn batches(queue: &Queue, objects: &Objects) -> bool {
    let Some(batch) = queue.get_batch(4).wait() else {
        return false;
    };
    for work in batch {
        objects.reconcile(*work);
        work.done();
    }
    true
}

fn work(queue: &Queue, objects: &Objects, worker: Worker) {
    // A worker that panicked starts again.
    while catch_unwind(AssertUnwindSafe(|| worker(queue, objects))).unwrap_or(true) {}
}

/// Cancels waits for a key and for a batch, and drops the keys that it gets.
fn cancel(queue: &Queue, objects: &Objects, over: &AtomicBool) {
    while !over.load(Ordering::SeqCst) {
        if let Poll::Ready(Some(work)) = poll_once(queue.get()) {
            objects.hold(*work, |_| thread::yield_now());
        }
        if let Poll::Ready(Some(batch)) = poll_once(queue.get_batch(3)) {
            batch.keys().for_each(|key| objects.hold(*key, |_| ()));
        }
        thread::yield_now();
    }
}

/// Adds keys; an add that has to wait for room is cancelled and repeated.
fn produce(queue: &Queue, objects: &Objects, producer: u64) {
    for i in 0..ADDS {
        let key = (producer * 31 + i * 7) % KEYS;
        objects.change(key);
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
    // The clock stands still and the backoff is zero, so a failed key is ready at once.
    let builder = WorkQueue::builder(16).backoff(|_: u32, _: u64| Duration::ZERO);
    let queue: Queue = builder.clock(ManualClock::new()).build().unwrap();
    let (objects, over) = (Objects::new(), AtomicBool::new(false));
    thread::scope(|scope| {
        let (queue, objects, over) = (&queue, &objects, &over);
        for worker in WORKERS {
            scope.spawn(move || work(queue, objects, worker));
        }
        let cancellers = [(); 2].map(|()| scope.spawn(move || cancel(queue, objects, over)));
        let producers: Vec<_> = (0..PRODUCERS)
            .map(|producer| scope.spawn(move || produce(queue, objects, producer)))
            .collect();
        for producer in producers {
            producer.join().unwrap();
        }
        // Stop these before the queue closes: a key that one of them drops afterwards would need a worker
        // that has not ended yet.
        over.store(true, Ordering::SeqCst);
        for canceller in cancellers {
            canceller.join().unwrap();
        }
        let drained = queue.drain(Duration::from_secs(1)).wait();
        assert!(
            drained.complete() && drained.returned.is_empty(),
            "{drained:?}"
        );
    });
    assert!(!objects.held_twice.load(Ordering::SeqCst));
    for (seen, version) in objects.seen.iter().zip(&objects.versions) {
        assert_eq!(seen.load(Ordering::SeqCst), version.load(Ordering::SeqCst));
    }
}
