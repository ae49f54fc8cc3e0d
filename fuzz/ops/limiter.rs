//! Decodes bytes into operations on a token bucket: a rate, a burst, then four bytes per operation.

use std::time::Duration;

use tollgate::{CarryOver, Quota};

use crate::limiter_model::{AGE, Amount, Op, RATES, When, run};

/// Runs the operations on the buckets and on the model; returns their number.
///
/// # Panics
/// If the buckets and the model differ.
pub(crate) fn check(data: &[u8]) -> usize {
    let Some((head, rest)) = data.split_at_checked(9) else {
        return 0;
    };
    let (rate, numbers) = (usize::from(head[0]), &head[1..]);
    let Some(quota) = quota(rate, number(&numbers[..4]), number(&numbers[4..])) else {
        return 0;
    };
    let op = if rate & 0x40 == 0 { take } else { any };
    let ops: Vec<Op> = rest.chunks_exact(4).take(200).map(op).collect();
    let start = if rate >= 128 { AGE } else { 0 };
    run(quota, start, &ops);
    ops.len()
}

fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |number, &byte| number << 8 | u64::from(byte))
}

/// Returns a rate of the list with a burst; beyond the list, a rate made of the two numbers.
fn quota(rate: usize, burst: u64, other: u64) -> Option<Quota> {
    let rate = match RATES.get(rate % 16) {
        Some(named) => named.parse().ok()?,
        None => Quota::new(burst, Duration::from_nanos(other + 1)).ok()?,
    };
    rate.burst(1 + burst % 1_000_000_000).ok()
}

/// Decodes a take or a read.
fn take(bytes: &[u8]) -> Op {
    match parts(bytes) {
        (Some(amount), when, _) => Op::TryAcquire(amount, when),
        (None, when, _) => Op::Available(when),
    }
}

/// Decodes any operation.
fn any(bytes: &[u8]) -> Op {
    let (Some(amount), when, nanos) = parts(bytes) else {
        return take(bytes);
    };
    match bytes[0] >> 4 {
        0 => Op::TryAcquireAbove(amount, bytes[3] % 4, when),
        1 => Op::TryAcquireUpTo(amount, when),
        2 | 3 => Op::Reserve(amount, nanos, when),
        4 => Op::Refund(amount, when),
        5 => Op::SyncRemaining(amount, when),
        6 => Op::Pause(nanos, when),
        7 => Op::SetQuota(
            bytes[1].into(),
            (1 << (bytes[2] % 30)) + u64::from(bytes[3]),
            rule(bytes[2]),
            when,
        ),
        8 | 9 => Op::Cancel(when),
        _ => Op::TryAcquire(amount, when),
    }
}

fn rule(code: u8) -> CarryOver {
    match code >> 5 & 3 {
        0 => CarryOver::Tokens,
        1 => CarryOver::Fraction,
        2 => CarryOver::Empty,
        _ => CarryOver::Full,
    }
}

fn parts(bytes: &[u8]) -> (Option<Amount>, When, u64) {
    let [tag, amount, shift, x] = [bytes[0], bytes[1], bytes[2], bytes[3]];
    let nanos = u64::from(x) << (shift % 50);
    let when = match tag % 4 {
        0 => When::Forward(nanos),
        1 => When::Forward(nanos.wrapping_mul(0x9e37_79b9) >> 16),
        2 => When::Stale(nanos),
        _ => When::Retry(x.cast_signed() % 3),
    };
    let amount = match tag >> 2 & 3 {
        0 => Some(Amount::Tokens(amount.into())),
        1 => Some(Amount::OfBurst(amount.cast_signed())),
        2 => Some(Amount::Part(amount)),
        _ => None,
    };
    (amount, when, nanos)
}
