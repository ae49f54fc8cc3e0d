//! Replays the committed seeds of the fuzzers, on any compiler, so that a finding stays fixed.
#![cfg(not(tollgate_loom))]
#![expect(
    clippy::cast_possible_truncation,
    reason = "of amounts that are bounded by 64 bits"
)]

#[path = "model/groups.rs"]
mod groups_model;
#[path = "../fuzz/ops/groups.rs"]
mod groups_ops;
#[path = "model/keyed.rs"]
mod keyed_model;
#[path = "../fuzz/ops/keyed.rs"]
mod keyed_ops;
#[path = "model/keys.rs"]
mod keys_model;
#[path = "../fuzz/ops/keys.rs"]
mod keys_ops;
#[path = "model/limiter.rs"]
mod limiter_model;
#[path = "../fuzz/ops/limiter.rs"]
mod limiter_ops;
#[path = "model/queue.rs"]
mod queue_model;
#[path = "../fuzz/ops/queue.rs"]
mod queue_ops;

use std::fs;
use std::path::Path;

/// Replays every seed of a target. Fails if there is none, or if one decodes to no operation.
fn replay(target: &str, check: fn(&[u8]) -> usize) {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/seeds")
        .join(target);
    let mut replayed = 0;
    for seed in fs::read_dir(&seeds).unwrap() {
        let seed = seed.unwrap().path();
        let ops = check(&fs::read(&seed).unwrap());
        assert!(ops > 0, "{} decodes to no operation", seed.display());
        replayed += 1;
    }
    assert!(replayed > 0, "no seeds in {}", seeds.display());
}

#[test]
fn the_seeds_of_group_ops_pass() {
    replay("group_ops", groups_ops::check);
}

#[test]
fn the_seeds_of_key_ops_pass() {
    replay("key_ops", keys_ops::check);
}

#[test]
fn the_seeds_of_keyed_ops_pass() {
    replay("keyed_ops", keyed_ops::check);
}

#[test]
fn the_seeds_of_limiter_ops_pass() {
    replay("limiter_ops", limiter_ops::check);
}

#[test]
fn the_seeds_of_queue_ops_pass() {
    replay("queue_ops", queue_ops::check);
}
