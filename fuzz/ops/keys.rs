//! Decodes bytes into operations on keys that know whether they have been dropped: the capacity and
//! features of the queue, then three bytes per operation.

use crate::keys_model::{Call, Config, End, Op, run};

/// Around the sizes of the first chunks of slots, which are 64 and 128.
const CAPACITIES: [usize; 8] = [1, 2, 3, 8, 64, 65, 192, 200];

/// Runs the operations on the queue; returns their number.
///
/// # Panics
/// If a key is not treated as a key has to be.
pub(crate) fn check(data: &[u8]) -> usize {
    let Some((&first, rest)) = data.split_first() else {
        return 0;
    };
    let has = |bit: u8| first >> bit & 1 == 1;
    let config = Config {
        capacity: CAPACITIES[usize::from(first % 8)],
        keeps_newest: has(3),
        remembers: has(4),
        has_interval: has(5),
        is_grouped: has(6),
        collides: has(7),
    };
    let ops: Vec<Op> = rest.chunks_exact(3).take(200).map(op).collect();
    run(config, &ops);
    ops.len()
}

fn op(bytes: &[u8]) -> Op {
    let [tag, pick, x] = [bytes[0], bytes[1], bytes[2]];
    let (name, held) = (pick % 8, usize::from(pick));
    match tag % 32 {
        0..6 => Op::Add(name),
        6 | 7 => Op::AddAfter(name, x % 32),
        8 => Op::AddMany(x),
        9 => Op::AddRelated(held, x % 8),
        10..15 => Op::Get,
        15 => Op::GetBatch(x),
        16 => Op::RunBatch(x),
        17..22 => Op::End(held, end(x)),
        22 => Op::EndElsewhere(held, end(x)),
        23 => Op::Leak(held),
        24 => Op::Remove(name),
        25 => Op::Beside(name, x % 8),
        26 | 27 => Op::Trap(call(pick), x % 16),
        28 | 29 => Op::Advance(x),
        30 => Op::Snapshot,
        _ => match x % 4 {
            0 => Op::Close,
            1 => Op::ShutDown,
            _ => Op::NewQueue,
        },
    }
}

fn end(byte: u8) -> End {
    match byte % 8 {
        0 | 1 => End::Done,
        2 => End::DoneAndGet,
        3 => End::Requeue,
        4 => End::RequeueAfter(byte / 8),
        5 => End::Retry,
        6 => End::Fail,
        _ => End::Drop,
    }
}

fn call(byte: u8) -> Call {
    [Call::Eq, Call::Hash, Call::Clone, Call::Drop][usize::from(byte % 4)]
}
