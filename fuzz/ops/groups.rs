//! Decodes bytes into operations on a queue of groups: the bounds of the groups, then three bytes
//! per operation.

use crate::groups_model::{Config, Op, run};

/// Runs the operations on the queue and on plain lists; returns their number.
///
/// # Panics
/// If the queue and the lists differ.
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
