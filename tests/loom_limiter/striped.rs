//! The striped bucket: takes from stripes beside each other, a carve, refills, sweeps and a change of the
//! quota. Every answer is that of an exact bucket in some order of the calls.

use std::sync::Arc;

use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;
use tollgate::limiter::Acquire;
use tollgate::{CarryOver, ManualClock, Quota, RateLimiter, StripedTokenBucket};

use crate::contend::{explained, in_turns};
use crate::exact::Exact;
use crate::explore::{TestClock, Waiter, explore, explore_in_turns};
use crate::{SECOND, at};

/// Of this burst two stripes get a token each. Nothing accrues within a model.
const QUOTA: &str = "1/h burst 8";
/// Fewer than a carved bucket has.
const OTHER: &str = "1/h burst 3";

#[derive(Clone, Copy, Debug)]
enum Op {
    /// By the clock, so from a stripe if it has tokens.
    Take(u64),
    /// At a given time, so past the stripes.
    TakeAt(u64),
    /// Sweeps the stripes.
    Available,
    SetQuota,
}

impl Op {
    /// Returns the tokens taken or available; `None` if the call was denied.
    fn run(self, bucket: &StripedTokenBucket<ManualClock>) -> Option<u64> {
        match self {
            Self::Take(n) => bucket.try_acquire(n).ok().map(|()| n),
            Self::TakeAt(n) => bucket.at(at(0)).try_acquire(n).ok().map(|()| n),
            Self::Available => Some(bucket.available()),
            Self::SetQuota => {
                let quota = OTHER.parse().unwrap();
                bucket.set_quota(quota, CarryOver::Tokens).unwrap();
                Some(0)
            }
        }
    }

    fn of_exact(self, exact: &mut Exact) -> Option<u64> {
        match self {
            Self::Take(n) | Self::TakeAt(n) => exact.try_acquire(n, 0).ok().map(|()| n),
            Self::Available => Some(exact.available(0)),
            Self::SetQuota => {
                let quota: Quota = OTHER.parse().unwrap();
                *exact = exact.set_quota(quota, CarryOver::Tokens, 0).unwrap();
                Some(0)
            }
        }
    }
}

type Answered = (Op, Option<u64>);

/// Runs `before`, then each list of operations on its own thread. Some interleaving on an exact bucket
/// must explain the outcome.
fn contend(
    name: &str,
    preemptions: Option<usize>,
    before: &'static [Op],
    threads: &'static [&'static [Op]],
) {
    contend_of(QUOTA, name, preemptions, before, threads);
}

fn contend_of(
    quota: &str,
    name: &str,
    preemptions: Option<usize>,
    before: &'static [Op],
    threads: &'static [&'static [Op]],
) {
    let quota: Quota = quota.parse().unwrap();
    for threads in in_turns(threads) {
        explore(name, preemptions, move || {
            contend_once(quota, before, &threads);
        });
    }
}

fn contend_once(quota: Quota, before: &[Op], threads: &[&'static [Op]]) {
    let bucket = StripedTokenBucket::with_clock(quota, ManualClock::new());
    let bucket = Arc::new(bucket.unwrap().stripes(2));
    let mut exact = Exact::new(quota);
    for op in before {
        assert_eq!(op.run(&bucket), op.of_exact(&mut exact), "{op:?}");
    }
    let run = |bucket: &StripedTokenBucket<_>, ops: &[Op]| {
        let answer = |op: &Op| (*op, op.run(bucket));
        ops.iter().map(answer).collect::<Vec<Answered>>()
    };
    let spawn = |&ops: &&'static [Op]| {
        let bucket = Arc::clone(&bucket);
        thread::spawn(move || run(&bucket, ops))
    };
    let spawned: Vec<_> = threads[1..].iter().map(spawn).collect();
    let mut answered = vec![run(&bucket, threads[0])];
    answered.extend(spawned.into_iter().map(|thread| thread.join().unwrap()));
    let left = bucket.available();
    let after = |exact: &Exact, (op, answer): &Answered| {
        let mut after = *exact;
        let same = op.of_exact(&mut after) == *answer;
        same.then_some(after).into_iter().collect()
    };
    let threads: Vec<_> = answered.iter().map(Vec::as_slice).collect();
    let ends = |exact: &Exact| exact.available(0) == left;
    assert!(
        explained(&exact, &threads, &after, &ends),
        "{answered:?}, then {left}"
    );
}

/// Carves, and leaves a token in each stripe.
const CARVED: &[Op] = &[Op::Take(1)];

#[test]
fn stripes_do_not_mint_or_lose_tokens() {
    use Op::Take;
    contend(
        "stripe x stripe",
        None,
        CARVED,
        &[&[Take(1), Take(1)], &[Take(1), Take(1)]],
    );
    contend(
        "carve x take",
        None,
        &[],
        &[&[Take(1), Take(1)], &[Take(2)]],
    );
    // A stripe gets two tokens here, and is refilled while it has one.
    contend_of(
        "1/h burst 16",
        "refill of a part x take",
        None,
        CARVED,
        &[&[Take(1), Take(2)], &[Take(1), Take(2)]],
    );
    // Two of these threads share a stripe. Bounded: three threads.
    contend(
        "stripe x stripe x stripe",
        Some(3),
        CARVED,
        &[&[Take(1)], &[Take(1), Take(1)], &[Take(1)]],
    );
}

#[test]
fn a_sweep_beside_takes_finds_every_token() {
    use Op::{Available, Take, TakeAt};
    contend("take x sweep", None, CARVED, &[&[Take(1)], &[Available]]);
    contend(
        "refill x sweep",
        None,
        &[Take(1), Take(1)],
        &[&[Take(1)], &[Available, Take(1)]],
    );
    // All that is left lies in the stripes.
    contend(
        "the last tokens",
        None,
        &[Take(1), TakeAt(5)],
        &[&[Take(2)], &[Take(1)]],
    );
    // Bounded: three threads.
    contend(
        "take x take x sweep",
        Some(3),
        &[Take(1), TakeAt(4)],
        &[&[Take(1)], &[Take(1), Take(1)], &[Take(2)]],
    );
}

#[test]
fn another_quota_reaches_the_stripes() {
    use Op::{SetQuota, Take};
    contend(
        "take x set_quota",
        None,
        CARVED,
        &[&[Take(1), Take(1)], &[SetQuota]],
    );
    // Bounded: three threads.
    contend(
        "take x take x set_quota",
        Some(2),
        CARVED,
        &[&[Take(1)], &[Take(1)], &[SetQuota, Take(3)]],
    );
}

type Bucket = Arc<StripedTokenBucket<ManualClock>>;

/// Runs `block`, after which no newcomer that knows of it may take, though there are tokens.
fn check_blocked<T: 'static>(name: &str, block: fn(Bucket) -> T) {
    explore_in_turns(name, None, move |begin| {
        let bucket = StripedTokenBucket::with_clock(QUOTA.parse().unwrap(), ManualClock::new());
        let bucket = Arc::new(bucket.unwrap().stripes(2));
        bucket.try_acquire(1).unwrap();
        let blocked = Arc::new(AtomicBool::new(false));
        let newcomer = {
            let (bucket, blocked) = (Arc::clone(&bucket), Arc::clone(&blocked));
            thread::spawn(move || {
                if blocked.load(Ordering::Acquire) {
                    assert!(bucket.try_acquire(1).is_err());
                }
            })
        };
        begin();
        let guard = block(Arc::clone(&bucket));
        blocked.store(true, Ordering::Release);
        newcomer.join().unwrap();
        drop(guard);
        assert_eq!(bucket.available(), 7);
    });
}

#[test]
fn no_newcomer_passes_a_waiter_or_a_close_by_its_stripe() {
    check_blocked("take x wait", |bucket| {
        Waiter::pending(Acquire::of(bucket, 8))
    });
    check_blocked("take x close", |bucket| bucket.close());
}

/// What accrues while the rest of the bucket is full does not come back with a sweep: the sweeper's time is
/// later than every take from a stripe.
#[test]
fn a_sweep_mints_no_token_of_the_past() {
    explore_in_turns("take x sweep, as time passes", None, |begin| {
        let clock = TestClock::default();
        let bucket = StripedTokenBucket::with_clock("1/s burst 8".parse().unwrap(), clock.clone());
        let bucket = Arc::new(bucket.unwrap().stripes(2));
        bucket.try_acquire(1).unwrap();
        let taker = {
            let (bucket, clock) = (Arc::clone(&bucket), clock.clone());
            thread::spawn(move || {
                clock.pass(100 * SECOND);
                bucket.try_acquire(1).unwrap();
            })
        };
        begin();
        bucket.available();
        taker.join().unwrap();
        assert!(bucket.available() <= 7, "{bucket:?}");
    });
}

/// A refill counts from a time that is read under the lock. Two threads share a stripe and refill it, both
/// with a time from before the bucket filled up; between their refills its tokens are spent.
#[test]
fn a_refill_mints_no_token_of_the_past() {
    // Bounded: three threads.
    explore_in_turns("refill x refill, as time passes", Some(3), |begin| {
        let clock = TestClock::default();
        let bucket = StripedTokenBucket::with_clock("1/s burst 16".parse().unwrap(), clock.clone());
        let bucket = Arc::new(bucket.unwrap().stripes(1));
        // Carves, and empties the stripe. The rest has tokens for both refills.
        bucket.try_acquire(1).unwrap();
        bucket.try_acquire(4).unwrap();
        let takers = [(); 2].map(|()| {
            let bucket = Arc::clone(&bucket);
            thread::spawn(move || bucket.try_acquire(1).unwrap())
        });
        begin();
        clock.pass(100 * SECOND);
        let taken = u64::from(bucket.try_acquire(4).is_ok()) * 4;
        takers.into_iter().for_each(|taker| taker.join().unwrap());
        let left = bucket.available();
        assert!(taken + left <= 16, "{taken} and {left}: {bucket:?}");
    });
}

/// The bucket was empty, another thread fills it and carves, and a third takes from its stripe: a thread
/// that learns of that does not go by the word from before.
#[test]
fn an_admission_from_a_stripe_is_known_to_whom_it_is_told() {
    // Bounded: three threads. The calling thread is none of them, since loom returns it no value again that
    // it saw before it yielded.
    explore("carve x stripe x read", Some(2), || {
        // No two threads share a stripe.
        let quota = "1/h burst 16".parse().unwrap();
        let bucket = StripedTokenBucket::with_clock(quota, ManualClock::new());
        let bucket = Arc::new(bucket.unwrap().stripes(4));
        bucket.try_acquire(16).unwrap();
        let told = Arc::new(AtomicBool::new(false));
        let spawn = |run: fn(&StripedTokenBucket<ManualClock>, &AtomicBool)| {
            let (bucket, told) = (Arc::clone(&bucket), Arc::clone(&told));
            thread::spawn(move || run(&bucket, &told))
        };
        let threads = [
            spawn(|bucket, _| {
                bucket.refund(16);
                bucket.try_acquire(1).unwrap();
            }),
            spawn(|bucket, told| {
                if bucket.try_acquire(1).is_ok() {
                    told.store(true, Ordering::Release);
                }
            }),
            // A read, since a take has a fence first, which loom pairs with what the thread before read.
            spawn(|bucket, told| {
                if told.load(Ordering::Acquire) {
                    assert!(bucket.available() >= 14);
                }
            }),
        ];
        threads.into_iter().for_each(|it| it.join().unwrap());
    });
}
