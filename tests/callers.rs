//! The caller's code inside limiters and queues. Each call of it panics once: afterwards the limiter or queue
//! works as before. The calls that run without a lock may also call the limiter or queue again.
#![cfg(not(tollgate_loom))]
#![allow(
    dropping_copy_types,
    clippy::unnecessary_operation,
    reason = "each row is one expression without an output"
)]

#[path = "callers/limiters.rs"]
mod limiters;
#[path = "callers/queue.rs"]
mod queue;
#[path = "model/trap.rs"]
mod trap;
