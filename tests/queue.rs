//! The work queue: options, waiting, limits, failures, panics, and a naive model of it.
#![cfg(not(tollgate_loom))]

#[path = "model/groups.rs"]
mod groups_model;
#[path = "model/queue.rs"]
mod queue_model;

#[path = "queue/adders.rs"]
mod adders;
#[path = "queue/edges.rs"]
mod edges;
#[path = "queue/failures.rs"]
mod failures;
#[path = "queue/features.rs"]
mod features;
#[path = "queue/futurelock.rs"]
mod futurelock;
#[path = "queue/groups.rs"]
mod groups;
#[path = "queue/keys.rs"]
mod keys;
#[path = "queue/model.rs"]
mod model;
#[path = "queue/outcomes.rs"]
mod outcomes;
#[path = "queue/panics.rs"]
mod panics;
#[path = "queue/payload.rs"]
mod payload;
#[path = "queue/priorities.rs"]
mod priorities;
#[path = "queue/rate_limit.rs"]
mod rate_limit;
#[path = "queue/rest.rs"]
mod rest;
#[path = "queue/stress.rs"]
mod stress;
#[path = "queue/tenants.rs"]
mod tenants;
#[path = "queue/under_lock.rs"]
mod under_lock;
#[path = "queue/wait.rs"]
mod wait;

use std::time::Duration;

use queue_model::{late_clock, tasks};
use tollgate::queue::QueueBuilder;
use tollgate::{FixedBackoff, ManualClock, WorkQueue};

type Queue = WorkQueue<u64, ManualClock>;

const BACKOFF: Duration = millis(5);

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A builder of a queue on a manual clock, whose backoff is always [`BACKOFF`].
fn builder(capacity: usize) -> (QueueBuilder<u64, ManualClock>, ManualClock) {
    let clock = ManualClock::new();
    let builder = WorkQueue::builder(capacity).backoff(FixedBackoff::new(BACKOFF));
    (builder.clock(clock.clone()), clock)
}

fn queue(capacity: usize) -> (Queue, ManualClock) {
    let (builder, clock) = builder(capacity);
    (builder.build().unwrap(), clock)
}
