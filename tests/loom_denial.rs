//! A denial that is kept, under the model checker: whoever is denied by it is denied as the bucket
//! would have done at some instant of the call, wait included, and nobody is once it has changed.
#![cfg(tollgate_loom)]

#[path = "model/contend.rs"]
mod contend;
#[allow(dead_code, reason = "the operations are for other tests")]
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

/// A hundred days for a token: models keep only denials for ten days or more.
const QUOTA: &str = "1/2400h burst 2";
const DAY: u64 = 86_400_000_000_000;

/// All of it now, at the clock's origin.
#[derive(Clone, Copy, Debug)]
enum Op {
    Take,
    /// Two tokens: such a denial is not kept.
    Pair,
    /// A token into debt, not to be given back.
    Owe,
    Refund,
    /// To ten times the rate, with the same tokens.
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

/// Runs `before`, then each list on a thread of its own; then the bucket is asked up to three times,
/// when nobody else is about. The answers must have an explanation.
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
    // Each denial leaves the bucket as it was.
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

/// Out of tokens: the next denial will be kept.
const SPENT: &[Op] = &[Take, Take];
/// One is kept already.
const DENIED: &[Op] = &[Take, Take, Take];

#[test]
fn a_token_that_came_back_is_there() {
    let threads: &[&[Op]] = &[&[Take, Take], &[Refund, Take]];
    contend("kept denial x refund", None, DENIED, threads);
    contend("denial x refund", None, SPENT, threads);
}

#[test]
fn a_faster_quota_is_gone_by() {
    let threads: &[&[Op]] = &[&[Take, Pair, Take], &[Faster, Take]];
    // Bounded: a change of the quota is many steps.
    contend("kept denial x set_quota", Some(3), DENIED, threads);
    contend("denial x set_quota", Some(3), SPENT, threads);
}

#[test]
fn what_is_read_while_it_is_kept_belongs_together() {
    contend(
        "kept denial x debt, kept",
        None,
        DENIED,
        &[&[Pair, Take], &[Owe, Take]],
    );
    // The word that was kept is in force again when it is read, and another in between. Bounded:
    // without, it is 562,551 executions, which passed.
    let back: &[&[Op]] = &[&[Take], &[Owe, Take, Refund, Take]];
    contend("kept denial x debt, kept, and back", Some(3), DENIED, back);
}

#[test]
fn two_who_keep_a_denial_keep_one() {
    // Bounded: without, it is 192,430 executions, which passed.
    let threads: &[&[Op]] = &[&[Owe], &[Take], &[Take]];
    contend("denial x denial x debt", Some(3), SPENT, threads);
}
