//! Bytes as operations on a work queue: its capacity, then four bytes an operation.

use crate::queue_model::{Op, Outcome, run};

/// Runs what the bytes say on the queue and the model; returns how many operations that were.
///
/// # Panics
/// If they differ.
pub(crate) fn check(data: &[u8]) -> usize {
    let Some((capacity, rest)) = data.split_first() else {
        return 0;
    };
    let ops: Vec<Op> = rest.chunks_exact(4).take(300).map(op).collect();
    run(1 + usize::from(capacity % 16), &ops);
    ops.len()
}

fn op(bytes: &[u8]) -> Op {
    let [tag, pick, shift, x] = [bytes[0], bytes[1], bytes[2], bytes[3]];
    // From nanoseconds up to months; an even shift means whole milliseconds, so that keys are due
    // together.
    let unit = if shift % 2 == 0 { 1_000_000 } else { 1 };
    let nanos = (u64::from(x) * unit) << (shift / 2 % 20);
    let key = pick % 16;
    match tag % 16 {
        0..=2 => Op::Add(key),
        3..=5 => Op::AddAfter(key, nanos),
        6..=8 => Op::Get,
        9..=11 => Op::Finish(pick, outcome(tag >> 4, nanos)),
        12 => Op::Remove(key),
        13 | 14 => Op::Advance(nanos),
        _ => match tag >> 4 {
            0 => Op::Close,
            1 => Op::Drain,
            2 => Op::ShutdownNow,
            _ => Op::Advance(nanos),
        },
    }
}

fn outcome(which: u8, nanos: u64) -> Outcome {
    match which % 8 {
        0 | 1 => Outcome::Done,
        2 => Outcome::Requeue,
        3 => Outcome::RequeueAfter(nanos),
        4 | 5 => Outcome::Retry,
        6 => Outcome::Fail,
        _ => Outcome::Drop,
    }
}
