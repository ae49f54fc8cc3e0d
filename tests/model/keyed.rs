//! A naive keyed limiter: a map that keeps a textbook bucket for every key for ever. The property test,
//! the fuzzer and its seeds run these operations on the map and on a [`KeyedLimiter`].

use std::collections::HashMap;
use std::time::Duration;

use tollgate::{
    CarryOver, Denied, KeyedLimiter, ManualClock, OnFull, Quota, RateLimiter, Timestamp,
};

use super::limiter_model::{Exact, gcd};

/// Tokens a second, and bursts.
pub(crate) const QUOTAS: [(u64, u64); 8] = [
    (1, 3),
    (2, 3),
    (3, 5),
    (10, 2),
    (1_000, 4),
    (7, 1),
    (0, 2),
    (999_999_937, 50),
];

pub(crate) const CARRIES: [CarryOver; 4] = [
    CarryOver::Tokens,
    CarryOver::Fraction,
    CarryOver::Empty,
    CarryOver::Full,
];

#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    /// Takes `n` tokens at a time `stale` nanoseconds before the latest.
    Take {
        key: u8,
        n: u64,
        stale: u64,
    },
    /// Reserves tokens, and cancels or commits the reservation at once.
    Owe {
        key: u8,
        n: u64,
        max_wait: u64,
        cancel: bool,
    },
    Available {
        key: u8,
    },
    /// Returns tokens.
    Refund {
        key: u8,
        n: u64,
    },
    /// Lowers the tokens to at most `keep`.
    Tighten {
        key: u8,
        keep: u64,
    },
    /// Pauses the key for `nanos`.
    Pause {
        key: u8,
        nanos: u64,
    },
    SetQuota {
        quota: usize,
        carry: usize,
    },
    SetOwn {
        key: u8,
        quota: usize,
        carry: usize,
    },
    Remove {
        key: u8,
    },
    /// Advances the clock.
    Wait {
        nanos: u64,
    },
}

/// Whether a word can be too short for a pause of `nanos`.
fn is_far(bucket: &Exact, nanos: u64) -> bool {
    let tokens = bucket.tokens as u64;
    let per_nano = tokens / gcd(tokens, bucket.period as u64);
    u128::from(nanos) * u128::from(per_nano) > 1 << 54
}

fn quota((rate, burst): (u64, u64)) -> Quota {
    let quota = Quota::per_second(rate).and_then(|quota| quota.burst(burst));
    quota.expect("within the bounds")
}

fn change(bucket: &mut Exact, quota: Quota, carry: CarryOver, now: u64) {
    *bucket = bucket.set_quota(quota, carry, now).expect("small numbers");
}

/// A key in the map.
#[derive(Clone, Copy, Debug)]
struct Known {
    bucket: Exact,
    own: bool,
    /// Whether the limiter may have fewer tokens than the map: it judged a stale time by a bucket that was
    /// evicted or refunded since.
    doubtful: bool,
}

impl Known {
    fn full(quota: Quota) -> Self {
        Self {
            bucket: Exact::new(quota),
            own: false,
            doubtful: false,
        }
    }
}

struct Map {
    keys: HashMap<u8, Known>,
    /// The bucket of a key that was never seen.
    fresh: Exact,
    shared: Known,
}

impl Map {
    fn known(&self, key: u8) -> Known {
        let fresh = Known {
            bucket: self.fresh,
            own: false,
            doubtful: false,
        };
        *self.keys.get(&key).unwrap_or(&fresh)
    }

    /// The number of keys that must have a place: those that differ from a key that was never seen.
    fn busy(&self, now: u64) -> usize {
        let fresh = self.fresh.level_at(now);
        let differs = |known: &&Known| !known.own && known.bucket.level_at(now) != fresh;
        self.keys.values().filter(differs).count()
    }
}

struct Run {
    limiter: KeyedLimiter<u8, std::hash::RandomState, ManualClock>,
    clock: ManualClock,
    map: Map,
    now: u64,
    /// Whether a key that finds no place is denied.
    denies: bool,
}

/// Runs the operations on a limiter of few places and on the map, and compares every answer.
///
/// # Panics
/// At the first difference.
pub(crate) fn run(capacity: usize, on_full: OnFull, first: usize, ops: &[Op]) {
    // So few places that one sweep looks at all of them.
    assert!((1..=14).contains(&capacity));
    let (clock, first) = (ManualClock::new(), quota(QUOTAS[first]));
    let builder = KeyedLimiter::builder(first, capacity).on_full(on_full);
    let mut run = Run {
        limiter: builder.clock(clock.clone()).build().expect("quotas fit"),
        clock,
        map: Map {
            keys: HashMap::new(),
            fresh: Exact::new(first),
            shared: Known::full(first),
        },
        now: 0,
        denies: on_full == OnFull::Deny,
    };
    for op in ops {
        run.step(*op);
        let own = run.map.keys.values().filter(|known| known.own).count();
        assert!(run.limiter.len() <= capacity + own, "{op:?}");
    }
}

impl Run {
    fn step(&mut self, op: Op) {
        let (now, limiter) = (self.now, &self.limiter);
        match op {
            Op::Take { key, n, stale } => {
                let at = now.saturating_sub(stale);
                self.decide(op, (key, n, at), Duration::ZERO, |limiter| {
                    let at = Timestamp::from_nanos(at);
                    limiter.key(&key).at(at).try_acquire(n).map(|()| false)
                });
            }
            Op::Owe {
                key,
                n,
                max_wait,
                cancel,
            } => {
                let max_wait = Duration::from_nanos(max_wait);
                self.decide(op, (key, n, now), max_wait, |limiter| {
                    let key = limiter.key(&key);
                    let reserved = key.reserve(n, max_wait).map_err(|denied| match denied {
                        Denied::TooLong { retry_after } => Denied::NotYet { retry_after },
                        other => other,
                    })?;
                    if cancel {
                        reserved.cancel();
                    } else {
                        reserved.commit();
                    }
                    Ok(cancel)
                });
            }
            Op::Available { key } => {
                let known = self.map.known(key);
                let there = known.bucket.available(now);
                let got = limiter.key(&key).available();
                assert!(
                    got == there || known.doubtful && got < there,
                    "{op:?}: {got}, not {there} of {known:?}"
                );
            }
            Op::Refund { key, n } => {
                limiter.key(&key).refund(n);
                let fresh = self.map.fresh.level_at(now);
                let Some(known) = self.map.keys.get_mut(&key) else {
                    return;
                };
                // A key that equals an unseen one may have been evicted, and then a refund is lost.
                let level = known.bucket.level_at(now);
                known.doubtful |= !known.own && level == fresh && level < known.bucket.full();
                known.bucket.refund(n, now);
            }
            Op::Tighten { key, keep } => {
                self.lower(
                    op,
                    key,
                    |limiter| {
                        limiter.key(&key).sync_remaining(keep);
                        Ok(())
                    },
                    |bucket| Ok(i128::from(keep.min(bucket.burst)) * bucket.period),
                );
            }
            Op::Pause { key, nanos } => {
                let until = Timestamp::from_nanos(now + nanos);
                self.lower(
                    op,
                    key,
                    |limiter| limiter.key(&key).pause_until(until),
                    |bucket| match bucket.tokens {
                        _ if nanos == 0 => Ok(i128::MAX),
                        0 => Err(Denied::Exhausted),
                        _ => Ok(bucket.one_after(nanos)),
                    },
                );
            }
            Op::SetQuota {
                quota: index,
                carry,
            } => {
                let (next, carry) = (quota(QUOTAS[index]), CARRIES[carry]);
                limiter.set_quota(next, carry).expect("quotas fit");
                let keys = self.map.keys.values_mut().filter(|known| !known.own);
                let keys = keys.map(|known| &mut known.bucket);
                keys.chain([&mut self.map.fresh, &mut self.map.shared.bucket])
                    .for_each(|bucket| change(bucket, next, carry, now));
            }
            Op::SetOwn {
                key,
                quota: index,
                carry,
            } => {
                let (next, carry) = (quota(QUOTAS[index]), CARRIES[carry]);
                let set = limiter.key(&key).set_quota(next, carry);
                set.expect("quotas fit");
                let mut known = self.map.known(key);
                change(&mut known.bucket, next, carry, now);
                known.own = true;
                self.map.keys.insert(key, known);
            }
            Op::Remove { key } => {
                limiter.remove(&key);
                self.map.keys.remove(&key);
            }
            Op::Wait { nanos } => {
                self.clock.advance(Duration::from_nanos(nanos));
                self.now += nanos;
            }
        }
    }

    /// Lowers the tokens of a key, or of the shared bucket if the key found no place.
    fn lower(
        &mut self,
        op: Op,
        key: u8,
        ask: impl FnOnce(&KeyedLimiter<u8, std::hash::RandomState, ManualClock>) -> Result<(), Denied>,
        to: impl Fn(&Exact) -> Result<i128, Denied>,
    ) {
        let overflowed = self.limiter.stats().overflowed;
        let got = ask(&self.limiter);
        let overflowed = self.limiter.stats().overflowed > overflowed;
        if overflowed && self.denies {
            // A key without a place has no tokens to lower.
            return;
        }
        let mut known = self.map.known(key);
        let judged = if overflowed {
            &mut self.map.shared
        } else {
            &mut known
        };
        match (got, to(&judged.bucket)) {
            (Err(Denied::TooLong { retry_after }), _) => {
                let nanos = u64::try_from(retry_after.as_nanos()).expect("some seconds");
                assert!(is_far(&judged.bucket, nanos), "{op:?}");
            }
            (Ok(()), Ok(to)) => {
                judged.bucket.lower(to, self.now);
                if !overflowed && to < i128::MAX {
                    self.map.keys.insert(key, known);
                }
            }
            (got, to) => assert_eq!(got, to.map(drop), "{op:?}"),
        }
    }

    /// Compares the limiter's decision with the map's. `ask` returns whether the tokens were returned.
    fn decide(
        &mut self,
        op: Op,
        (key, n, at): (u8, u64, u64),
        max_wait: Duration,
        ask: impl FnOnce(&KeyedLimiter<u8, std::hash::RandomState, ManualClock>) -> Result<bool, Denied>,
    ) {
        let overflowed = self.limiter.stats().overflowed;
        let got = ask(&self.limiter);
        let overflowed = self.limiter.stats().overflowed > overflowed;
        let (busy, stale) = (self.map.busy(self.now), at < self.now);
        let unsure = stale || self.map.keys.values().any(|known| known.doubtful);
        let mut known = self.map.known(key);
        let judged = if overflowed {
            let full = busy >= self.limiter.capacity();
            assert!(full || unsure, "{op:?} found no place beside {busy} keys");
            &mut self.map.shared
        } else {
            &mut known
        };
        let expected = match judged.bucket.ask(n, at) {
            Err(Denied::NotYet { retry_after }) if retry_after <= max_wait => Ok(()),
            decided => decided,
        };
        match got {
            Err(Denied::TooManyKeys) => assert!(overflowed, "{op:?}"),
            // The limiter may have fewer tokens, but not more.
            Err(_) if stale || judged.doubtful => {}
            _ => assert_eq!(got.map(|_| ()), expected, "{op:?} of {judged:?}"),
        }
        if got == Ok(false) {
            judged.bucket.take(n, at);
            judged.doubtful |= stale;
        }
        if got.is_ok() && !overflowed && n > 0 {
            self.map.keys.insert(key, known);
        }
    }
}
