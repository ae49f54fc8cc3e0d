//! The limiters and the clocks, through their public surface.
#![cfg(not(tollgate_loom))]
#![expect(
    clippy::cast_possible_truncation,
    reason = "of amounts that are bounded by 64 bits"
)]

#[path = "../model/keyed.rs"]
mod keyed_model;
#[path = "../model/limiter.rs"]
mod limiter_model;
#[allow(dead_code, reason = "the tests of the queue use the rest")]
#[path = "../model/tasks.rs"]
mod tasks;
#[allow(dead_code, reason = "the tests of the queue use the rest")]
#[path = "../model/trap.rs"]
mod trap;

mod acquire;
mod agreement;
mod all_of;
mod changes;
mod clock;
mod debug;
mod every_limiter;
mod exact_model;
mod keyed;
mod leases;
mod operations;
mod ownership;
mod saved;
mod stale_time;
mod striped;
mod support;
mod unpolled;
mod waiting;
mod windows;
