//! Decodes bytes into operations on a work queue: its capacity and features, then four bytes per
//! operation.

use tollgate::Merge;

use crate::queue_model::{Config, Op, Outcome, run};

/// Runs the operations on the queue and on the model; returns their number.
///
/// # Panics
/// If the queue and the model differ.
pub(crate) fn check(data: &[u8]) -> usize {
    let Some((&first, rest)) = data.split_first() else {
        return 0;
    };
    let ops: Vec<Op> = rest.chunks_exact(4).take(300).map(op).collect();
    run(config(first), &ops);
    ops.len()
}

/// Decodes the capacity, whose lowest bit also says whether an add waits for a backoff, and one bit
/// for each other feature.
fn config(byte: u8) -> Config {
    let capacity = 1 + usize::from(byte % 16);
    let has = |bit: u8| byte >> bit & 1 == 1;
    Config {
        capacity,
        reserve: if has(4) { capacity / 2 } else { 0 },
        debounce: has(5).then_some((7_000_000, 20_000_000)),
        attempts: has(6).then_some(2),
        rate_limited: has(7),
        hold: has(0),
    }
}

fn op(bytes: &[u8]) -> Op {
    let [tag, pick, shift, x] = [bytes[0], bytes[1], bytes[2], bytes[3]];
    // From nanoseconds to months. An even shift gives whole milliseconds, so that keys are due
    // together.
    let unit = if shift % 2 == 0 { 1_000_000 } else { 1 };
    let nanos = (u64::from(x) * unit) << (shift / 2 % 20);
    let key = pick % 16;
    let priority = (pick >> 4) as i8 - 8;
    match tag % 16 {
        0..=2 if tag >> 4 < 8 => Op::Add(key),
        0..=2 => Op::AddWith(key, priority, 0, Merge::Earlier),
        3..=5 => match tag >> 4 {
            0..=7 => Op::AddAfter(key, nanos),
            8..=11 => Op::AddWith(key, priority, nanos, Merge::Keep),
            12 => Op::AddHolding(key, nanos, priority > 0),
            _ => Op::AddWith(key, priority, nanos, Merge::Earlier),
        },
        6..=8 if tag >> 4 == 15 => Op::GetBatch(pick),
        6..=8 if tag >> 4 >= 12 => Op::DoneAndGet(pick),
        6..=8 => Op::Get,
        9..=11 => Op::Finish(pick, outcome(tag >> 4, nanos)),
        12 => match tag >> 4 {
            0..=7 => Op::Remove(key),
            8..=11 => Op::AddOrResync(key, priority, nanos),
            _ => Op::AddRelated(x, key, priority),
        },
        13 | 14 => Op::Advance(nanos),
        _ => match tag >> 4 {
            0 => Op::Close,
            1 => Op::Drain,
            2 => Op::ShutdownNow,
            3 => Op::Pause,
            4 => Op::Resume,
            5 | 6 => Op::Resync,
            7 => Op::RunBatch(pick),
            8 => Op::AddBatch(key, shift, priority, nanos),
            9 => Op::WaitGet,
            10 => Op::WaitGetBatch(pick),
            11 => Op::WaitAdd(key, priority, nanos, None),
            12 => Op::WaitAdd(key, priority, 0, Some(nanos)),
            13 if pick > 200 => Op::WaitDrain(nanos),
            13 => Op::WaitResync,
            14 => Op::ReadClockLate(nanos),
            _ => Op::Cancel(pick),
        },
    }
}

fn outcome(which: u8, nanos: u64) -> Outcome {
    match which % 8 {
        0 | 1 => Outcome::Done,
        2 => Outcome::Requeue,
        3 => Outcome::RequeueAfter(nanos),
        4 | 5 => Outcome::Retry,
        6 if nanos.is_multiple_of(2) => Outcome::Fail,
        6 => Outcome::Defer(nanos),
        _ if nanos.is_multiple_of(2) => Outcome::Drop,
        _ => Outcome::RetryAfter(nanos),
    }
}
