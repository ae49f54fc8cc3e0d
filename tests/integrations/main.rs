//! Waiting under several executors and on threads, and the integrations with other crates.
#![cfg(not(tollgate_loom))]

mod executors;
#[cfg(feature = "metrics")]
mod metrics;
#[cfg(feature = "tokio")]
mod tokio_wait;
#[cfg(all(feature = "tower", feature = "tokio"))]
mod tower;
#[cfg(feature = "tower")]
mod tower_caller_code;
#[cfg(feature = "tower")]
#[allow(dead_code, reason = "the other tests of callers' code use the rest")]
#[path = "../model/trap.rs"]
mod trap;
