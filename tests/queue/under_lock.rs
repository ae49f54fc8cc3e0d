//! The caller's code that the queue never runs under its lock: destructors of keys and of wakers.

use std::hash::{Hash, Hasher};
use std::panic::resume_unwind;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::Duration;

use tollgate::{ManualClock, WorkQueue};

use crate::panics::panics;
use crate::{BACKOFF, queue};

/// A key whose drop checks that the queue's lock is free.
#[derive(Debug)]
struct LockProbe {
    name: u64,
    state: Arc<ProbeState>,
}

#[derive(Debug, Default)]
struct ProbeState {
    queue: std::sync::OnceLock<WorkQueue<LockProbe>>,
    clone_panics: AtomicBool,
    clones: AtomicUsize,
    locked_out: AtomicBool,
}

impl Clone for LockProbe {
    fn clone(&self) -> Self {
        let clones = self.state.clones.fetch_add(1, Ordering::SeqCst);
        if clones > 0 && self.state.clone_panics.load(Ordering::SeqCst) {
            resume_unwind(Box::new("injected"));
        }
        let (name, state) = (self.name, Arc::clone(&self.state));
        Self { name, state }
    }
}

impl PartialEq for LockProbe {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for LockProbe {}

impl Hash for LockProbe {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl Drop for LockProbe {
    fn drop(&mut self) {
        let Some(queue) = self.state.queue.get().cloned() else {
            return;
        };
        let (done, answer) = channel();
        thread::spawn(move || {
            queue.stats();
            let _ = done.send(());
        });
        // The query returns at once unless the lock is held.
        if answer.recv_timeout(Duration::from_secs(20)).is_err() {
            self.state.locked_out.store(true, Ordering::SeqCst);
        }
    }
}

fn probed(queue: &WorkQueue<LockProbe>) -> Arc<ProbeState> {
    let state = Arc::<ProbeState>::default();
    for name in 0..3 {
        let state = Arc::clone(&state);
        queue.try_add(LockProbe { name, state }).unwrap();
    }
    state.queue.set(queue.clone()).unwrap();
    state
}

#[test]
fn keys_are_dropped_outside_the_lock() {
    let queue = WorkQueue::new(8).unwrap();
    let state = probed(&queue);
    let key = |name| LockProbe {
        name,
        state: Arc::clone(&state),
    };
    queue.try_add(key(0)).unwrap();
    assert!(queue.remove(&key(0)));
    queue.try_get().unwrap().done();
    let last = queue.try_get().unwrap().done_and_get();
    assert!(last.is_none());
    queue.try_add(key(3)).unwrap();
    queue.try_get_batch(8).unwrap().done();
    assert!(!state.locked_out.load(Ordering::SeqCst));
}

#[test]
fn an_aborted_snapshot_drops_its_keys_outside_the_lock() {
    let queue = WorkQueue::new(8).unwrap();
    let state = probed(&queue);
    state.clone_panics.store(true, Ordering::SeqCst);
    panics(|| queue.snapshot());
    assert!(!state.locked_out.load(Ordering::SeqCst));
    state.clone_panics.store(false, Ordering::SeqCst);
    assert_eq!(queue.snapshot().len(), 3);
    // The keys own the queue: left in it, keys and queue would keep each other alive.
    drop(queue.shutdown_now());
}

#[test]
fn wakers_are_dropped_outside_the_lock() {
    /// A waker whose drop calls the queue, as the drop of a task may.
    struct CallsQueue(WorkQueue<u64, ManualClock>);
    impl Wake for CallsQueue {
        fn wake(self: Arc<Self>) {}
    }
    impl Drop for CallsQueue {
        fn drop(&mut self) {
            self.0.stats();
        }
    }
    let (queue, _) = queue(1);
    queue.try_add(1).unwrap();
    let work = queue.try_get().unwrap();
    let waker = || Waker::from(Arc::new(CallsQueue(queue.clone())));
    macro_rules! polled_by_two_and_dropped {
        ($future:expr) => {{
            let mut future = pin!($future);
            for _ in 0..2 {
                let waker = waker();
                let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
                assert!(polled.is_pending());
            }
        }};
    }
    // Dropping a waker under the lock would deadlock.
    polled_by_two_and_dropped!(queue.get());
    polled_by_two_and_dropped!(queue.add(2));
    polled_by_two_and_dropped!(queue.resync());
    polled_by_two_and_dropped!(work.dirtied());
    polled_by_two_and_dropped!(queue.drain(BACKOFF));
    work.done();
}
