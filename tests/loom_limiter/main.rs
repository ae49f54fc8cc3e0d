//! The atomic token bucket under the model checker: its takes and its waiters.
//!
//! No model is capped in time or in permutations, since a cap would let it pass early. A model that
//! would not end otherwise bounds its preemptions, and a comment there says so. Each model prints how
//! many executions it explored.
#![cfg(tollgate_loom)]

#[path = "../model/contend.rs"]
mod contend;
#[allow(dead_code, reason = "other tests use the operations")]
#[path = "../model/limiter.rs"]
mod exact;
#[path = "../model/explore.rs"]
mod explore;

mod striped;
mod takes;
mod waiting;

use tollgate::Timestamp;

const SECOND: u64 = 1_000_000_000;

/// Nanoseconds after which a bucket of 999,983 a second moves its base.
const HORIZON: u64 = (1 << 54) / 999_983;

fn at(nanos: u64) -> Timestamp {
    Timestamp::from_nanos(nanos)
}
