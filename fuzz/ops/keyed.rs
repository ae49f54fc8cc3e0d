//! Decodes bytes into operations on a keyed limiter: a capacity, a quota, then three bytes per
//! operation.

use tollgate::OnFull;

use crate::keyed_model::{CARRIES, Op, QUOTAS, run};

/// Runs the operations on the limiter and on the map; returns their number.
///
/// # Panics
/// If the limiter and the map differ.
pub(crate) fn check(data: &[u8]) -> usize {
    let Some((&[head, first], rest)) = data.split_first_chunk() else {
        return 0;
    };
    let on_full = if head >= 128 {
        OnFull::Shared
    } else {
        OnFull::Deny
    };
    let ops: Vec<Op> = rest.chunks_exact(3).take(300).map(op).collect();
    let (capacity, first) = (1 + usize::from(head % 14), usize::from(first));
    run(capacity, on_full, first % QUOTAS.len(), &ops);
    ops.len()
}

fn op(bytes: &[u8]) -> Op {
    let [tag, key, x] = [bytes[0], bytes[1] % 32, bytes[2]];
    let (quota, carry) = (
        usize::from(x) % QUOTAS.len(),
        usize::from(x >> 4) % CARRIES.len(),
    );
    // Up to nine seconds, with every magnitude equally likely.
    let nanos = u64::from(x & 7) << (x >> 3);
    match tag % 19 {
        0..6 => Op::Take {
            key,
            n: u64::from(x % 6),
            stale: 0,
        },
        6 => Op::Take {
            key,
            n: 1,
            stale: nanos,
        },
        7 | 8 => Op::Owe {
            key,
            n: u64::from(x % 4),
            max_wait: u64::from(x >> 3) * 100_000_000,
            cancel: x & 4 != 0,
        },
        9 => Op::Available { key },
        10 => Op::SetQuota { quota, carry },
        11 => Op::SetOwn { key, quota, carry },
        12 => Op::Remove { key },
        13 => Op::Refund {
            key,
            n: u64::from(x % 6),
        },
        14 => Op::Tighten {
            key,
            keep: u64::from(x % 6),
        },
        15 => Op::Pause { key, nanos },
        _ => Op::Wait { nanos },
    }
}
