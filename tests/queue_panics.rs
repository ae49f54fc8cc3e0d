//! Panics and destructors of the caller's own code: nothing is lost, and nobody is locked out.
#![cfg(not(tollgate_loom))]

use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use tollgate::{Clock, LockedTokenBucket, Observer, Quota, RateLimiter, Timestamp, WorkQueue};

/// Panics as often as it was told to.
#[derive(Clone, Debug, Default)]
struct Fragile(Arc<AtomicUsize>);

impl Fragile {
    fn panic(&self, times: usize) {
        self.0.store(times, Ordering::SeqCst);
    }
}

impl Clock for Fragile {
    fn now(&self) -> Timestamp {
        let left = self.0.load(Ordering::SeqCst);
        if left > 0 {
            self.0.store(left - 1, Ordering::SeqCst);
            resume_unwind(Box::new("on purpose"));
        }
        Timestamp::ZERO
    }
}

struct Silent;
impl Observer for Silent {}

fn panics<T>(run: impl FnOnce() -> T) {
    assert!(catch_unwind(AssertUnwindSafe(run)).is_err());
}

#[test]
fn a_clock_that_panics_loses_nothing() {
    for times in [1, 2] {
        for (observed, dirty, and_get) in [
            (false, false, true),
            (false, true, false),
            (true, false, false),
            (true, true, true),
        ] {
            let clock = Fragile::default();
            let mut builder = WorkQueue::builder(8).clock(clock.clone());
            if observed {
                builder = builder.observer(Arc::new(Silent));
            }
            let queue = builder.build().unwrap();
            queue.try_add(1).unwrap();
            let work = queue.try_get().unwrap();
            if dirty {
                queue.try_add(1).unwrap();
            }
            clock.panic(times);
            if and_get {
                panics(|| drop(work.done_and_get()));
            } else {
                panics(|| work.done());
            }
            clock.panic(0);
            let stats = queue.stats();
            assert_eq!((stats.processing, stats.ready), (0, usize::from(dirty)));
            assert_eq!(stats.delayed, usize::from(!dirty), "a retry");
        }
    }
}

/// A key that looks, when it is dropped, whether the queue is locked.
#[derive(Debug)]
struct Watchful {
    name: u64,
    watch: Arc<Watch>,
}

#[derive(Debug, Default)]
struct Watch {
    queue: std::sync::OnceLock<WorkQueue<Watchful>>,
    fragile: AtomicBool,
    clones: AtomicUsize,
    locked_out: AtomicBool,
}

impl Clone for Watchful {
    fn clone(&self) -> Self {
        let clones = self.watch.clones.fetch_add(1, Ordering::SeqCst);
        if clones > 0 && self.watch.fragile.load(Ordering::SeqCst) {
            resume_unwind(Box::new("on purpose"));
        }
        let (name, watch) = (self.name, Arc::clone(&self.watch));
        Self { name, watch }
    }
}

impl PartialEq for Watchful {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Watchful {}

impl Hash for Watchful {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl Drop for Watchful {
    fn drop(&mut self) {
        let Some(queue) = self.watch.queue.get().cloned() else {
            return;
        };
        let (done, answer) = channel();
        thread::spawn(move || {
            queue.stats();
            let _ = done.send(());
        });
        // Only a lock that is held takes so long.
        if answer.recv_timeout(Duration::from_secs(20)).is_err() {
            self.watch.locked_out.store(true, Ordering::SeqCst);
        }
    }
}

fn watched(queue: &WorkQueue<Watchful>) -> Arc<Watch> {
    let watch = Arc::<Watch>::default();
    for name in 0..3 {
        let watch = Arc::clone(&watch);
        queue.try_add(Watchful { name, watch }).unwrap();
    }
    watch.queue.set(queue.clone()).unwrap();
    watch
}

#[test]
fn a_key_that_the_rate_limit_holds_back_is_not_dropped_under_the_lock() {
    let limiter = Arc::new(LockedTokenBucket::new(Quota::per_hour(1).unwrap()).unwrap());
    let builder = WorkQueue::builder(8).rate_limit(limiter.clone());
    let queue = builder.build().unwrap();
    let watch = watched(&queue);
    assert!(limiter.try_acquire(1).is_ok());
    assert!(queue.try_get().is_none());
    limiter.refund(1);
    queue.try_get().unwrap().done();
    assert!(!watch.locked_out.load(Ordering::SeqCst));
}

#[test]
fn a_clone_that_panics_costs_no_token() {
    let limiter = Arc::new(LockedTokenBucket::new(Quota::per_hour(1).unwrap()).unwrap());
    let builder = WorkQueue::builder(8).rate_limit(limiter.clone());
    let queue = builder.build().unwrap();
    let watch = watched(&queue);
    watch.clones.store(1, Ordering::SeqCst);
    watch.fragile.store(true, Ordering::SeqCst);
    panics(|| queue.try_get());
    assert_eq!(limiter.available(), 1);
    watch.fragile.store(false, Ordering::SeqCst);
    queue.try_get().unwrap().done();
    assert_eq!(limiter.available(), 0);
}

#[test]
fn a_snapshot_that_breaks_off_drops_its_keys_outside_the_lock() {
    let queue = WorkQueue::new(8).unwrap();
    let watch = watched(&queue);
    watch.fragile.store(true, Ordering::SeqCst);
    panics(|| queue.snapshot());
    assert!(!watch.locked_out.load(Ordering::SeqCst));
    watch.fragile.store(false, Ordering::SeqCst);
    assert_eq!(queue.snapshot().len(), 3);
}
