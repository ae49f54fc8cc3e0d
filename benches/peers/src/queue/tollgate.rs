//! Our `WorkQueue`.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tollgate::queue::Work;
use tollgate::{AddOptions, Priority, WorkQueue};

use super::{Awaited, Delays, Queue, Shared};

/// `WorkQueue`, used by one thread.
pub struct Ours(WorkQueue<String>);

impl Ours {
    #[inline]
    fn next(&self) -> Work<String> {
        let next = self.0.try_get().or_else(|| self.0.get().wait());
        next.expect("the queue is open")
    }
}

impl Queue for Ours {
    fn new(capacity: usize) -> Self {
        Self(Shared::new(capacity))
    }

    #[inline]
    fn add(&mut self, key: String) {
        self.0.try_add(key).expect("there is room");
    }

    #[inline]
    fn take(&mut self, look: impl FnOnce(&str)) {
        let work = self.next();
        look(&work);
        work.done();
    }

    #[inline]
    fn drain(&mut self, n: usize, mut look: impl FnMut(&str)) {
        let mut held = None;
        for _ in 0..n {
            let work = held.unwrap_or_else(|| self.next());
            look(&work);
            held = work.done_and_get();
        }
    }

    #[inline]
    fn add_low(&mut self, key: String) {
        self.0
            .try_add_with(key, Priority::LOW)
            .expect("there is room");
    }

    #[inline]
    fn batch(&mut self, keys: Vec<String>, mut look: impl FnMut(&str)) {
        let n = keys.len();
        let refused = self.0.try_add_batch(keys, AddOptions::new());
        assert!(refused.is_empty(), "there is room");
        let batch = self.0.try_get_batch(n).expect("keys were added");
        batch.keys().for_each(|key| look(key));
        batch.done();
    }
}

impl Delays for Ours {
    #[inline]
    fn add_after(&mut self, key: String, delay: Duration) {
        self.0.try_add_after(key, delay).expect("there is room");
    }

    /// Pauses the queue. The worker sleeps, and costs nothing.
    fn wait_out(&mut self, _n: usize, end: Instant) -> Duration {
        let start = Instant::now();
        self.0.pause();
        let worked = start.elapsed();
        thread::sleep(end.saturating_duration_since(Instant::now()));
        self.0.resume();
        worked
    }
}

impl Shared for WorkQueue<String> {
    fn new(capacity: usize) -> Self {
        WorkQueue::new(capacity).expect("the capacity is not zero")
    }

    fn add(&self, key: String) {
        WorkQueue::add(self, key).wait().expect("the queue is open");
    }

    fn close(&self, _consumers: usize) {
        drop(WorkQueue::close(self));
    }

    fn consume(&self, work: impl Fn(&str)) -> Instant {
        let mut next = self.get().wait();
        while let Some(key) = next {
            work(&key);
            next = key.done_and_get().or_else(|| self.get().wait());
        }
        Instant::now()
    }
}

impl Awaited for WorkQueue<String> {
    async fn work(self: Arc<Self>, finished: impl Fn() + Send + Sync) {
        let mut next = self.get().await;
        while let Some(key) = next {
            next = key.done_and_get();
            finished();
            if next.is_none() {
                next = self.get().await;
            }
        }
    }
}
