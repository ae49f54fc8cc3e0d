//! The work queue: options, waiting, limits, failures, the caller's code, and a naive model of it.
#![cfg(not(tollgate_loom))]

#[path = "../model/groups.rs"]
mod groups_model;
#[path = "../model/queue.rs"]
mod queue_model;
#[allow(dead_code, reason = "shared with the tests of the limiters")]
#[path = "../model/trap.rs"]
mod trap;

mod adders;
mod batches;
mod caller_code;
mod closed_limiter;
mod edges;
mod failures;
mod features;
mod futurelock;
mod groups;
mod keys;
mod naive_model;
mod outcomes;
mod panics;
mod payload;
mod priorities;
mod rate_limit;
mod rest;
mod resync;
mod stress;
mod tenants;
mod under_lock;
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
