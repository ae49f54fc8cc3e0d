//! The cached denial under the model checker: it denies a take as the bucket would have at some instant of
//! the call, with the same wait, and denies none once the bucket has changed.
#![cfg(tollgate_loom)]

#[path = "model/contend.rs"]
mod contend;
#[allow(dead_code, reason = "other tests use the operations")]
#[path = "model/exact_bucket.rs"]
mod exact;
#[path = "model/explore.rs"]
mod explore;

use std::sync::Arc;
use std::time::Duration;

use contend::{explained, in_turns};
use exact::Exact;
use explore::explore;
use loom::thread;
use tollgate::{
    AtomicTokenBucket, CarryOver, Denied, ManualClock, Quota, RateLimiter, Reservation, Timestamp,
};

/// One token in a hundred days: under the model checker only denials of ten days or more are cached.
const QUOTA: &str = "1/2400h burst 2";
const DAY: u64 = 86_400_000_000_000;

/// An operation, at the clock's origin.
#[derive(Clone, Copy, Debug)]
enum Op {
    Take,
    /// Takes two tokens: such a denial is not cached.
    Pair,
    /// Reserves a token and commits it, which adds debt.
    Owe,
    Refund,
    /// Changes to ten times the rate, with the same tokens.
    Faster,
}

type Answer = Result<(), Denied>;
type Bucket = AtomicTokenBucket<ManualClock>;

fn faster() -> Quota {
    "1/240h burst 2".parse().unwrap()
}

impl Op {
    fn of(self, bucket: &Bucket) -> Answer {
        match self {
            Self::Take => bucket.at(Timestamp::ZERO).try_acquire(1),
            Self::Pair => bucket.at(Timestamp::ZERO).try_acquire(2),
            Self::Owe => {
                let reserved = bucket.at(Timestamp::ZERO).reserve(1, Duration::MAX);
                reserved.map(Reservation::commit)
            }
            Self::Refund => {
                bucket.at(Timestamp::ZERO).refund(1);
                Ok(())
            }
            Self::Faster => {
                let set = bucket
                    .at(Timestamp::ZERO)
                    .set_quota(faster(), CarryOver::Tokens);
                set.unwrap();
                Ok(())
            }
        }
    }

    fn of_exact(self, exact: &mut Exact) -> Answer {
        match self {
            Self::Take => exact.try_acquire(1, 0),
            Self::Pair => exact.try_acquire(2, 0),
            Self::Owe => exact.reserve(1, Duration::MAX, 0).map(drop),
            Self::Refund => {
                exact.refund(1, 0);
                Ok(())
            }
            Self::Faster => {
                *exact = exact.set_quota(faster(), CarryOver::Tokens, 0).unwrap();
                Ok(())
            }
        }
    }
}

/// Runs `before`, then each list on its own thread, then up to three takes without contention. Some
/// interleaving on an exact bucket must explain the answers.
fn contend(
    name: &str,
    preemptions: Option<usize>,
    before: &'static [Op],
    threads: &'static [&'static [Op]],
) {
    for threads in in_turns(threads) {
        explore(name, preemptions, move || {
            contend_once(before, threads.clone())
        });
    }
}

fn contend_once(before: &[Op], threads: Vec<&'static [Op]>) {
    let quota: Quota = QUOTA.parse().unwrap();
    let bucket = Arc::new(Bucket::with_clock(quota, ManualClock::new()).unwrap());
    let mut exact = Exact::new(quota);
    for op in before {
        assert_eq!(op.of(&bucket), op.of_exact(&mut exact));
    }
    let run = |bucket: &Bucket, ops: &[Op]| -> Vec<(Op, Answer)> {
        ops.iter().map(|op| (*op, op.of(bucket))).collect()
    };
    let spawn = |ops: &'static [Op]| {
        let bucket = Arc::clone(&bucket);
        thread::spawn(move || run(&bucket, ops))
    };
    let spawned: Vec<_> = threads.into_iter().map(spawn).collect();
    let join = |thread: thread::JoinHandle<_>| thread.join().unwrap();
    let answers: Vec<_> = spawned.into_iter().map(join).collect();
    // A denial leaves the bucket as it was, so several can follow each other.
    let mut last = Vec::new();
    for now in [0, DAY, 0] {
        let answer = bucket.at(Timestamp::from_nanos(now)).try_acquire(1);
        last.push((now, answer));
        if answer.is_ok() {
            break;
        }
    }
    let after = |exact: &Exact, (op, answer): &(Op, Answer)| {
        let mut after = *exact;
        if op.of_exact(&mut after) == *answer {
            vec![after]
        } else {
            Vec::new()
        }
    };
    let ends = |exact: &Exact| {
        last.iter()
            .all(|(now, answer)| exact.ask(1, *now) == *answer)
    };
    let threads: Vec<_> = answers.iter().map(Vec::as_slice).collect();
    assert!(
        explained(&exact, &threads, &after, &ends),
        "{answers:?}, then {last:?}"
    );
}

use Op::{Faster, Owe, Pair, Refund, Take};

/// The bucket is empty: the next denial is cached.
const SPENT: &[Op] = &[Take, Take];
/// A denial is cached already.
const DENIED: &[Op] = &[Take, Take, Take];

#[test]
fn a_refund_ends_the_cached_denial() {
    let threads: &[&[Op]] = &[&[Take, Take], &[Refund, Take]];
    contend("cached denial x refund", None, DENIED, threads);
    contend("denial x refund", None, SPENT, threads);
}

#[test]
fn a_faster_quota_ends_the_cached_denial() {
    let threads: &[&[Op]] = &[&[Take, Pair, Take], &[Faster, Take]];
    // Bounded: a quota change is many steps.
    contend("cached denial x set_quota", Some(3), DENIED, threads);
    contend("denial x set_quota", Some(3), SPENT, threads);
}

#[test]
fn a_reader_never_mixes_two_cached_denials() {
    contend(
        "cached denial x debt, cached",
        None,
        DENIED,
        &[&[Pair, Take], &[Owe, Take]],
    );
    // ABA: the cached word is in force again when it is read, with another in between. Bounded: all
    // 562,551 executions without the bound passed.
    let back: &[&[Op]] = &[&[Take], &[Owe, Take, Refund, Take]];
    contend(
        "cached denial x debt, cached, and back",
        Some(3),
        DENIED,
        back,
    );
}

#[test]
fn two_threads_that_cache_a_denial_cache_one() {
    // Bounded: all 192,430 executions without the bound passed.
    let threads: &[&[Op]] = &[&[Owe], &[Take], &[Take]];
    contend("denial x denial x debt", Some(3), SPENT, threads);
}
