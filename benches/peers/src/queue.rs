//! Queues under test, one file each.

mod channels;
mod delay_queue;
mod scheduler;
mod streamed;
mod tollgate;

use std::time::{Duration, Instant};

use crate::subject::{About, Family};
use crate::workload::queues::Loads;

/// A queue that one thread fills and empties.
pub trait Queue {
    /// An empty one.
    fn new(capacity: usize) -> Self;

    /// Adds a key.
    fn add(&mut self, key: String);

    /// Takes a key, once there is one, looks at it, and finishes it.
    fn take(&mut self, look: impl FnOnce(&str));

    /// Takes so many keys one after the other, as a worker does that has no end of work.
    fn drain(&mut self, n: usize, mut look: impl FnMut(&str)) {
        (0..n).for_each(|_| self.take(&mut look));
    }

    /// Adds keys, takes as many, looks at them, and finishes them: all at once, if it can.
    fn batch(&mut self, keys: Vec<String>, look: impl FnMut(&str)) {
        let n = keys.len();
        keys.into_iter().for_each(|key| self.add(key));
        self.drain(n, look);
    }

    /// Does what it put off when keys were added.
    fn settle(&mut self) {}
}

/// A queue that holds keys back.
pub trait Delays: Queue {
    /// Adds a key that is not to be taken before `delay` has passed.
    fn add_after(&mut self, key: String, delay: Duration);
}

/// A queue that many threads fill and empty.
pub trait Shared: Sync {
    /// An empty one.
    fn new(capacity: usize) -> Self;

    /// Adds a key, when there is room.
    fn add(&self, key: String);

    /// Lets that many consumers end, once all is worked off.
    fn close(&self, consumers: usize);

    /// A consumer: works on keys and finishes them until the queue is closed; returns when it had
    /// no more to do.
    fn consume(&self, work: impl Fn(&str)) -> Instant;
}

/// All of them, ours first.
pub fn all() -> Vec<Loads> {
    let about = |name, family| About::new(name, family, "");
    vec![
        Loads::of::<tollgate::Ours>(about("WorkQueue", Family::Ours))
            .deduplicates::<tollgate::Ours>()
            .delays::<tollgate::Ours>()
            .shared::<::tollgate::WorkQueue<String>>(),
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
        Loads::of::<channels::Crossbeam>(about("crossbeam channel", Family::Bound))
            .shared::<channels::Crossbeam>(),
        Loads::of::<channels::Async>(about("async-channel", Family::Bound))
            .shared::<channels::Async>(),
    ]
}
