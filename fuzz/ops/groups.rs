//! Bytes as operations on a queue of groups: what the groups may have, then three bytes an operation.

use crate::groups_model::{Config, Op, run};

/// Runs what the bytes say on the queue and the lists; returns how many operations that were.
///
/// # Panics
/// If they differ.
pub(crate) fn check(data: &[u8]) -> usize {
    let Some((&[weights, bounds], rest)) = data.split_first_chunk() else {
        return 0;
    };
    let config = Config {
        weights: [0, 2, 4, 6].map(|shift| 1 + u32::from(weights >> shift & 3)),
        processing: 1 + u32::from(bounds % 4),
        live: 1 + usize::from(bounds >> 2) % 8,
    };
    let ops: Vec<Op> = rest.chunks_exact(3).take(300).map(op).collect();
    run(config, &ops);
    ops.len()
}

fn op(bytes: &[u8]) -> Op {
    let key = (bytes[1] % 4, u32::from(bytes[1] >> 2) % 8);
    match bytes[0] % 14 {
        0..6 => Op::Add(key, (bytes[2] % 3).cast_signed() - 1),
        6..10 => Op::Get,
        10 | 11 => Op::Done(bytes[2].into()),
        12 => Op::Requeue(bytes[2].into()),
        _ => Op::Remove(key),
    }
}
