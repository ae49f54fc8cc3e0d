//! Panics and destructors of the caller's own code: nothing is lost, and nobody is locked out.
#![cfg(not(tollgate_loom))]

#[allow(dead_code, reason = "shared with other tests")]
#[path = "model/tasks.rs"]
mod tasks;

use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::Duration;

use tasks::Polled;
use tollgate::{AddOptions, Clock, FixedBackoff, ManualClock, Observer, Timestamp, WorkQueue};

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
fn a_key_is_not_dropped_under_the_lock() {
    let queue = WorkQueue::new(8).unwrap();
    let watch = watched(&queue);
    let key = |name| Watchful {
        name,
        watch: Arc::clone(&watch),
    };
    queue.try_add(key(0)).unwrap();
    assert!(queue.remove(&key(0)));
    queue.try_get().unwrap().done();
    let last = queue.try_get().unwrap().done_and_get();
    assert!(last.is_none());
    queue.try_add(key(3)).unwrap();
    queue.try_get_batch(8).unwrap().done();
    assert!(!watch.locked_out.load(Ordering::SeqCst));
}

/// A key, of which the odd ones panic when they are dropped.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Odd(u32);

impl Drop for Odd {
    fn drop(&mut self) {
        if self.0 % 2 == 1 {
            resume_unwind(Box::new("what it owns does"));
        }
    }
}

#[test]
fn a_key_that_panics_when_it_is_dropped_loses_no_other() {
    for observed in [false, true] {
        let mut builder = WorkQueue::builder(8);
        if observed {
            builder = builder.observer(Arc::new(Silent));
        }
        let queue = builder.build().unwrap();
        for key in 1..5 {
            queue.try_add(Odd(key)).unwrap();
        }
        let work = queue.try_get().unwrap();
        panics(|| drop(work.done_and_get()));
        let depths = || {
            let stats = queue.stats();
            (stats.ready, stats.processing, stats.delayed)
        };
        assert_eq!(depths(), (2, 0, 1), "a retry of the next");
        panics(|| queue.try_get_batch(2).unwrap().done());
        assert_eq!(depths(), (0, 0, 1));
    }
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
    // What the keys own owns the queue: in it, they would keep each other for ever.
    drop(queue.shutdown_now());
}

const BACKOFF: Duration = Duration::from_millis(5);

fn queue(capacity: usize) -> (WorkQueue<u64, ManualClock>, ManualClock) {
    let clock = ManualClock::new();
    let builder = WorkQueue::builder(capacity).clock(clock.clone());
    let builder = builder.backoff(FixedBackoff::new(BACKOFF));
    (builder.build().unwrap(), clock)
}

#[test]
fn a_waker_that_panics_strands_nobody() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            resume_unwind(Box::new("its executor is full"));
        }
    }
    let (queue, _) = queue(8);
    let mut bad = pin!(queue.get());
    let waker = Waker::from(Arc::new(Panics));
    assert!(
        bad.as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    let waiting = [(); 2].map(|()| Polled::pending(queue.get()));
    let added = AssertUnwindSafe(|| queue.try_add_batch([1, 2, 3], AddOptions::new()));
    assert!(catch_unwind(added).is_err());
    assert_eq!(waiting.each_ref().map(Polled::woken), [1, 1]);
    assert!(waiting.into_iter().all(|getter| getter.ready().is_some()));
}

/// Polls twice, with a backoff between and another waker; the drop of the first panics.
fn panics_when_its_waker_is_dropped<T>(future: impl Future<Output = T>, clock: &ManualClock) {
    struct Bomb(Arc<AtomicBool>);
    impl Wake for Bomb {
        fn wake(self: Arc<Self>) {}
    }
    impl Drop for Bomb {
        fn drop(&mut self) {
            if self.0.swap(false, Ordering::SeqCst) {
                resume_unwind(Box::new("its task does"));
            }
        }
    }
    let armed = Arc::new(AtomicBool::new(false));
    let waker = Waker::from(Arc::new(Bomb(Arc::clone(&armed))));
    let mut future = pin!(future);
    let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(polled.is_pending());
    drop(waker);
    clock.advance(BACKOFF);
    armed.store(true, Ordering::SeqCst);
    let mut noop = Context::from_waker(Waker::noop());
    panics(|| drop(future.as_mut().poll(&mut noop)));
    assert!(!armed.load(Ordering::SeqCst));
}

#[test]
fn a_waker_that_panics_when_it_is_dropped_loses_no_key() {
    let (queue, clock) = queue(8);
    queue.try_add_after(1, BACKOFF).unwrap();
    // It looks because it leads, so nobody has taken its waker.
    panics_when_its_waker_is_dropped(queue.get(), &clock);
    let stats = queue.stats();
    assert_eq!((stats.processing, stats.delayed), (0, 1), "a retry");
}

#[test]
fn a_waker_that_panics_when_it_is_dropped_leaks_no_key_that_is_returned() {
    let clock = ManualClock::new();
    let queue = WorkQueue::builder(8).clock(clock.clone()).build().unwrap();
    let key = Arc::new(2);
    queue.try_add(Arc::new(1)).unwrap();
    queue
        .try_add_after(Arc::clone(&key), Duration::MAX)
        .unwrap();
    panics_when_its_waker_is_dropped(queue.drain(BACKOFF), &clock);
    // The next call returns what that one would have.
    assert_eq!(queue.close().returned, [Arc::new(2)]);
    assert_eq!(Arc::strong_count(&key), 1);
}

#[test]
fn a_waker_is_not_dropped_under_the_lock() {
    /// Looks at the queue when it is dropped, as a task may that it owns.
    struct Looks(WorkQueue<u64, ManualClock>);
    impl Wake for Looks {
        fn wake(self: Arc<Self>) {}
    }
    impl Drop for Looks {
        fn drop(&mut self) {
            self.0.stats();
        }
    }
    let (queue, _) = queue(1);
    queue.try_add(1).unwrap();
    let work = queue.try_get().unwrap();
    let looks = || Waker::from(Arc::new(Looks(queue.clone())));
    macro_rules! polled_by_two_and_dropped {
        ($future:expr) => {{
            let mut future = pin!($future);
            for _ in 0..2 {
                let waker = looks();
                let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
                assert!(polled.is_pending());
            }
        }};
    }
    // A deadlock, if it were.
    polled_by_two_and_dropped!(queue.get());
    polled_by_two_and_dropped!(queue.add(2));
    polled_by_two_and_dropped!(queue.resync());
    polled_by_two_and_dropped!(work.dirtied());
    polled_by_two_and_dropped!(queue.drain(BACKOFF));
    work.done();
}

#[test]
fn a_worker_that_panics_loses_nothing() {
    let (queue, clock) = queue(8);
    queue.try_add(1).unwrap();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _work = queue.try_get().unwrap();
        resume_unwind(Box::new("bug"));
    }));
    assert!(panicked.is_err());
    assert_eq!(queue.stats().delayed, 1);
    clock.advance(BACKOFF);
    assert_eq!(queue.try_get().unwrap().failures(), 1);
}

#[test]
fn an_observer_that_panics_loses_nothing() {
    struct Bomb;
    impl tollgate::Observer for Bomb {
        fn started(&self, _: Duration) {
            resume_unwind(Box::new("bug"));
        }
    }
    let queue = WorkQueue::<u64>::builder(8)
        .clock(ManualClock::new())
        .observer(std::sync::Arc::new(Bomb));
    let queue = queue.build().unwrap();
    queue.try_add(1).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| drop(queue.try_get()))).is_err());
    let stats = queue.stats();
    assert_eq!((stats.processing, stats.delayed), (0, 1));
}

#[test]
fn an_observer_that_panics_at_each_end_loses_nothing_and_does_not_abort() {
    struct Bomb;
    impl tollgate::Observer for Bomb {
        fn finished(&self, _: Duration) {
            resume_unwind(Box::new("bug"));
        }
    }
    let queue = || {
        let queue = WorkQueue::<u64>::builder(8)
            .clock(ManualClock::new())
            .observer(std::sync::Arc::new(Bomb));
        let queue = queue.build().unwrap();
        queue.try_add(1).unwrap();
        queue.try_add(2).unwrap();
        let work = queue.try_get().unwrap();
        (queue, work)
    };
    let held = |queue: &WorkQueue<u64, ManualClock>| {
        let stats = queue.stats();
        (stats.ready, stats.processing, stats.delayed)
    };
    // The next key is in nobody's hands when the observer hears of the last one's end, and its own
    // end is another panic.
    let (next, work) = queue();
    assert!(catch_unwind(AssertUnwindSafe(|| work.done_and_get())).is_err());
    assert_eq!(held(&next), (0, 0, 1));
    // Each of a batch.
    let (batch, work) = queue();
    drop(catch_unwind(AssertUnwindSafe(|| work.done())));
    batch.try_add(1).unwrap();
    let both = batch.try_get_batch(2).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| drop(both))).is_err());
    assert_eq!(held(&batch), (0, 0, 2));
    // A worker that panics ends its work while it unwinds.
    let (panicked, work) = queue();
    let worker = catch_unwind(AssertUnwindSafe(|| {
        let _work = work;
        resume_unwind(Box::new("another bug"));
    }));
    assert!(worker.is_err());
    assert_eq!(held(&panicked), (1, 0, 1));
}

#[test]
fn a_backoff_that_panics_when_work_is_dropped_loses_nothing() {
    struct Bomb;
    impl tollgate::Backoff for Bomb {
        fn delay(&self, _: u32, _: u64) -> Duration {
            resume_unwind(Box::new("bug"));
        }
    }
    let queue = WorkQueue::<u64>::builder(8).clock(ManualClock::new());
    let queue = queue.backoff(Bomb).build().unwrap();
    queue.try_add(1).unwrap();
    let work = queue.try_get().unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| drop(work))).is_err());
    let stats = queue.stats();
    assert_eq!((stats.processing, stats.delayed), (0, 1));
}
