//! The queues under test, one file each.

mod channels;
mod delay_queue;
mod go;
mod scheduler;
mod streamed;
mod tollgate;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::subject::{About, Family};
use crate::workload::queues::Loads;

/// A queue that one thread fills and empties.
pub trait Queue {
    /// Makes an empty queue.
    fn new(capacity: usize) -> Self;

    /// Adds a key.
    fn add(&mut self, key: String);

    /// Waits for a key, passes it to `look`, and finishes it.
    fn take(&mut self, look: impl FnOnce(&str));

    /// Takes `n` keys one after the other, like a worker that never runs out of work.
    fn drain(&mut self, n: usize, mut look: impl FnMut(&str)) {
        (0..n).for_each(|_| self.take(&mut look));
    }

    /// Adds keys, takes as many, passes them to `look`, and finishes them; in batches where the
    /// queue has them.
    fn batch(&mut self, keys: Vec<String>, look: impl FnMut(&str)) {
        let n = keys.len();
        keys.into_iter().for_each(|key| self.add(key));
        self.drain(n, look);
    }

    /// Adds a key of a resync, at a low priority where there are priorities.
    fn add_low(&mut self, key: String) {
        self.add(key);
    }

    /// Completes work that `add` deferred.
    fn settle(&mut self) {}
}

/// A queue with delayed adds.
pub trait Delays: Queue {
    /// Adds a key that becomes due after `delay`.
    fn add_after(&mut self, key: String, delay: Duration);

    /// Keeps the `n` keys that wait from being handed out until `end`, as its users do while an API
    /// asks for a pause; returns the time that a worker spends on that.
    fn wait_out(&mut self, n: usize, end: Instant) -> Duration;
}

/// A queue that many threads fill and empty.
pub trait Shared: Sync {
    /// Makes an empty queue.
    fn new(capacity: usize) -> Self;

    /// Adds a key; waits for room.
    fn add(&self, key: String);

    /// Closes the queue: that many consumers return once it is empty.
    fn close(&self, consumers: usize);

    /// Runs a consumer until the queue is closed and empty; returns the instant at which it ran out
    /// of keys.
    fn consume(&self, work: impl Fn(&str)) -> Instant;
}

/// A queue on which tasks block.
pub trait Awaited: Shared + Send + 'static {
    /// Runs a worker: calls `finished` after each key.
    fn work(self: Arc<Self>, finished: impl Fn() + Send + Sync) -> impl Future<Output = ()> + Send;
}

/// Returns all of them, ours first.
pub fn all() -> Vec<Loads> {
    let about = |name, family| About::new(name, family, "");
    let mut all = vec![
        Loads::of::<tollgate::Ours>(about("WorkQueue", Family::Ours))
            .deduplicates::<tollgate::Ours>()
            .delays::<tollgate::Ours>()
            .shared::<::tollgate::WorkQueue<String>>()
            .awaited::<::tollgate::WorkQueue<String>>(),
        Loads::of::<streamed::Local<scheduler::Scheduler>>(about(
            "kube-runtime scheduler",
            Family::Peer,
        ))
        .deduplicates::<streamed::Local<scheduler::Scheduler>>()
        .delays::<streamed::Local<scheduler::Scheduler>>()
        .shared::<streamed::Actor<scheduler::Scheduler>>(),
        Loads::of::<streamed::Local<delay_queue::Deduplicated>>(about(
            "DelayQueue + set",
            Family::Peer,
        ))
        .deduplicates::<streamed::Local<delay_queue::Deduplicated>>()
        .delays::<streamed::Local<delay_queue::Deduplicated>>()
        .shared::<streamed::Actor<delay_queue::Deduplicated>>(),
    ];
    all.extend(go::all());
    all.extend([
        Loads::of::<channels::Crossbeam>(about("crossbeam channel", Family::Bound))
            .shared::<channels::Crossbeam>(),
        Loads::of::<channels::Async>(about("async-channel", Family::Bound))
            .shared::<channels::Async>()
            .awaited::<channels::Async>(),
    ]);
    all
}
