//! Histories of real threads: each must be one that a sequential bucket, or a sequential queue,
//! could have given, with every call at some instant between its beginning and its end.
#![cfg(not(tollgate_loom))]

#[allow(dead_code, reason = "the operations are for other tests")]
#[path = "model/limiter.rs"]
mod exact;

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::hash::RandomState;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use exact::Exact;
use tollgate::{
    AllOf, At, AtomicTokenBucket, CarryOver, Denied, KeyedLimiter, LockedTokenBucket, ManualClock,
    Quota, QuotaLimiter, RateLimiter, Timestamp, Work, WorkQueue,
};

const THREADS: u64 = 3;
const CALLS: u64 = 4;
const ROUNDS: u64 = 20_000;
/// So many without starting threads anew.
const BLOCK: u64 = 500;

/// A call with its place in the order of all beginnings and ends.
#[derive(Clone, Debug)]
struct Call<O, R> {
    op: O,
    result: R,
    began: u64,
    ended: u64,
}

/// Numbers the beginnings and ends of calls.
#[derive(Default)]
struct Recorder(AtomicU64);

impl Recorder {
    fn call<O, R>(&self, op: O, run: impl FnOnce(&O) -> R) -> Call<O, R> {
        let began = self.0.fetch_add(1, Ordering::SeqCst);
        let result = run(&op);
        let ended = self.0.fetch_add(1, Ordering::SeqCst);
        Call {
            op,
            result,
            began,
            ended,
        }
    }
}

/// Wing and Gong's search (1993): some call that began before any other had ended comes first.
fn linearizable<S: Clone, O: Clone, R: Clone + PartialEq>(
    state: &S,
    history: &[Call<O, R>],
    apply: fn(&mut S, &O) -> R,
) -> bool {
    let Some(first_end) = history.iter().map(|call| call.ended).min() else {
        return true;
    };
    (0..history.len())
        .filter(|&i| history[i].began < first_end)
        .any(|i| {
            let (mut state, mut rest) = (state.clone(), history.to_vec());
            let call = rest.swap_remove(i);
            apply(&mut state, &call.op) == call.result && linearizable(&state, &rest, apply)
        })
}

/// What three threads do with each of many subjects, and what each history must be.
///
/// They begin together, each time: who has to be woken, or started, is too late to meet the others.
fn record<S: Sync, C: Send>(
    subject: impl Fn() -> S,
    part: impl Fn(&S, u64) -> Vec<C> + Sync,
    check: impl Fn(&[C]),
) {
    for block in 0..ROUNDS / BLOCK {
        let subjects: Vec<S> = (0..BLOCK).map(|_| subject()).collect();
        let there = AtomicU64::new(0);
        let run = |thread| {
            let part = |(round, subject)| {
                there.fetch_add(1, Ordering::SeqCst);
                while there.load(Ordering::SeqCst) < (round + 1) * THREADS {
                    thread::yield_now();
                }
                part(subject, (block * BLOCK + round) * THREADS + thread)
            };
            (0..).zip(&subjects).map(part).collect::<Vec<_>>()
        };
        let mut parts = thread::scope(|scope| {
            let spawn = |thread| {
                let run = &run;
                scope.spawn(move || run(thread))
            };
            let threads: Vec<_> = (0..THREADS).map(spawn).collect();
            let join = |thread: thread::ScopedJoinHandle<'_, Vec<Vec<C>>>| {
                thread.join().unwrap().into_iter()
            };
            threads.into_iter().map(join).collect::<Vec<_>>()
        });
        for _ in 0..BLOCK {
            let history: Vec<C> = parts
                .iter_mut()
                .flat_map(|part| part.next().unwrap())
                .collect();
            check(&history);
        }
    }
}

/// Numbers that look random and repeat from run to run.
fn scramble(x: u64) -> u64 {
    let x = x.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (x ^ (x >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 32
}

fn assert_linearizable<S: Clone, O: Clone + Debug, R: Clone + PartialEq + Debug>(
    state: &S,
    history: &[Call<O, R>],
    apply: fn(&mut S, &O) -> R,
) {
    assert!(
        linearizable(state, history, apply),
        "no order explains {history:#?}"
    );
}

type Take = (u64, u64);

fn take(bucket: &mut Exact, &(n, now): &Take) -> Result<(), Denied> {
    bucket.try_acquire(n, now)
}

/// `start`: about where the threads' clocks stand. Each is stale by up to 100 tokens' time.
fn bucket_histories(rate: &str, burst: u64, start: u64, token: u64) {
    let quota: Quota = rate.parse::<Quota>().unwrap().burst(burst).unwrap();
    assert!(
        100 * token < exact::exact_skew(quota),
        "judged by its own time"
    );
    let subject = || {
        let bucket = AtomicTokenBucket::with_clock(quota, ManualClock::new());
        (bucket.unwrap(), Recorder::default())
    };
    let part = |(bucket, recorder): &(AtomicTokenBucket<_>, Recorder), seed| {
        let call = |i| {
            let seed = scramble(seed * CALLS + i);
            let op = (1 + seed % 2, start + seed / 2 % 100 * token / 20);
            recorder.call(op, |&(n, now)| {
                bucket.at(Timestamp::from_nanos(now)).try_acquire(n)
            })
        };
        (0..CALLS).map(call).collect()
    };
    let exact = Exact::new(quota);
    record(subject, part, |history| {
        assert_linearizable(&exact, history, take);
    });
}

#[test]
fn the_atomic_bucket_with_stale_clocks() {
    bucket_histories("1000/s", 4, 1_000_000_000, 1_000_000);
}

#[test]
fn the_atomic_bucket_while_it_moves_its_base() {
    // Around the horizon of the first base.
    bucket_histories("999983/s", 4, (1 << 54) / 999_983 - 2_000, 1_000);
}

/// A call on a bucket, all at one instant: what changes it is never at a stale time.
#[derive(Clone, Copy, Debug)]
enum BucketOp {
    Take(u64),
    TakeAbove(u64, u64),
    TakeUpTo(u64),
    Refund(u64),
    Sync(u64),
    /// By its place in [`QUOTAS`].
    SetQuota(usize, CarryOver),
    Available,
}

const QUOTAS: [&str; 4] = [
    "1000/s burst 4",
    "3000/s burst 6",
    "7/s burst 3",
    "0/s burst 5",
];
const RULES: [CarryOver; 4] = [
    CarryOver::Tokens,
    CarryOver::Fraction,
    CarryOver::Empty,
    CarryOver::Full,
];

impl BucketOp {
    /// Mostly takes.
    fn of(seed: u64) -> Self {
        let (n, which) = (1 + seed / 16 % 3, usize::try_from(seed / 64 % 16).unwrap());
        match seed % 16 {
            0..6 => Self::Take(n),
            6 | 7 => Self::TakeAbove(n, 1),
            8 | 9 => Self::TakeUpTo(n),
            10 => Self::Refund(n),
            11 => Self::Sync(n - 1),
            12..15 => Self::SetQuota(which / 4, RULES[which % 4]),
            _ => Self::Available,
        }
    }

    /// The tokens there, or taken.
    fn run(self, bucket: &dyn QuotaLimiter, now: Timestamp) -> Result<u64, Denied> {
        match self {
            Self::Take(n) => At::new(bucket, now).try_acquire(n).map(|()| n),
            Self::TakeAbove(n, floor) => {
                At::new(bucket, now).try_acquire_above(n, floor).map(|()| n)
            }
            Self::TakeUpTo(n) => Ok(At::new(bucket, now).try_acquire_up_to(n)),
            Self::Refund(n) => {
                At::new(bucket, now).refund(n);
                Ok(n)
            }
            Self::Sync(n) => {
                At::new(bucket, now).sync_remaining(n);
                Ok(n)
            }
            Self::SetQuota(which, rule) => {
                let quota = QUOTAS[which].parse().unwrap();
                At::new(bucket, now).set_quota(quota, rule).unwrap();
                Ok(0)
            }
            Self::Available => Ok(At::new(bucket, now).available()),
        }
    }
}

/// Half way between two tokens of the first quota.
const INSTANT: u64 = 1_500_000;

fn any_op(bucket: &mut Exact, op: &BucketOp) -> Result<u64, Denied> {
    match *op {
        BucketOp::Take(n) => bucket.try_acquire(n, INSTANT).map(|()| n),
        BucketOp::TakeAbove(n, floor) => bucket.try_acquire_above(n, floor, INSTANT).map(|()| n),
        BucketOp::TakeUpTo(n) => Ok(bucket.try_acquire_up_to(n, INSTANT)),
        BucketOp::Refund(n) => {
            bucket.refund(n, INSTANT);
            Ok(n)
        }
        BucketOp::Sync(n) => {
            bucket.sync_remaining(n, INSTANT);
            Ok(n)
        }
        BucketOp::SetQuota(which, rule) => {
            let quota = QUOTAS[which].parse().unwrap();
            *bucket = bucket.set_quota(quota, rule, INSTANT).unwrap();
            Ok(0)
        }
        BucketOp::Available => Ok(bucket.available(INSTANT)),
    }
}

fn histories_of_all_operations(with: impl Fn(Quota) -> Box<dyn QuotaLimiter>) {
    let quota: Quota = QUOTAS[0].parse().unwrap();
    let subject = || {
        let bucket = with(quota);
        // Two and a half tokens are left.
        assert!(bucket.at(Timestamp::ZERO).try_acquire(3).is_ok());
        (bucket, Recorder::default())
    };
    let now = Timestamp::from_nanos(INSTANT);
    let part = |(bucket, recorder): &(Box<dyn QuotaLimiter>, Recorder), seed| {
        let call = |i| {
            let op = BucketOp::of(scramble(seed * CALLS + i));
            recorder.call(op, |op| op.run(&**bucket, now))
        };
        (0..CALLS).map(call).collect()
    };
    let mut exact = Exact::new(quota);
    exact.try_acquire(3, 0).unwrap();
    record(subject, part, |history| {
        assert_linearizable(&exact, history, any_op);
    });
}

#[test]
fn all_operations_of_the_atomic_bucket() {
    histories_of_all_operations(|quota| {
        Box::new(AtomicTokenBucket::with_clock(quota, ManualClock::new()).unwrap())
    });
}

#[test]
fn all_operations_of_the_locked_bucket() {
    histories_of_all_operations(|quota| {
        Box::new(LockedTokenBucket::with_clock(quota, ManualClock::new()).unwrap())
    });
}

/// Takes from some of three limiters at once.
#[derive(Clone, Debug)]
struct TakeAll {
    members: Vec<usize>,
    n: u64,
    now: u64,
}

fn take_all(buckets: &mut [Exact; 3], take: &TakeAll) -> Result<(), Denied> {
    let &TakeAll {
        ref members,
        n,
        now,
    } = take;
    let denials = members.iter().filter_map(|&i| buckets[i].ask(n, now).err());
    // The wait is that of the last to have its tokens.
    if let Some(denied) = denials.max_by_key(Denied::retry_after) {
        return Err(denied);
    }
    for &i in members {
        buckets[i].try_acquire(n, now).unwrap();
    }
    Ok(())
}

type Limits = (
    AtomicTokenBucket<ManualClock>,
    LockedTokenBucket<ManualClock>,
    KeyedLimiter<u64, RandomState, ManualClock>,
    Recorder,
);

#[test]
fn limits_combined_in_any_order() {
    const ORDERS: [&[usize]; 6] = [&[0, 1], &[1, 0], &[0, 1, 2], &[2, 1, 0], &[1, 2], &[2, 0]];
    let quotas = ["1000/s burst 4", "2000/s burst 5", "500/s burst 3"].map(|text| text.parse());
    let quotas: [Quota; 3] = quotas.map(Result::unwrap);
    let subject = || {
        let clock = ManualClock::new();
        let atomic = AtomicTokenBucket::with_clock(quotas[0], clock.clone()).unwrap();
        let locked = LockedTokenBucket::with_clock(quotas[1], clock.clone()).unwrap();
        let keyed = KeyedLimiter::builder(quotas[2], 10).clock(clock);
        let keyed: KeyedLimiter<u64, _, _> = keyed.build().unwrap();
        (atomic, locked, keyed, Recorder::default())
    };
    let part = |(atomic, locked, keyed, recorder): &Limits, seed| {
        let key = keyed.key(&7);
        let limiters: [&dyn QuotaLimiter; 3] = [atomic, locked, &key];
        let call = |i| {
            let seed = scramble(seed * CALLS + i);
            let members = ORDERS[usize::try_from(seed % 6).unwrap()].to_vec();
            let all = AllOf::new(members.iter().map(|&i| limiters[i]).collect::<Vec<_>>());
            let (n, now) = (1 + seed / 6 % 2, 1_000_000_000 + seed / 12 % 100 * 50_000);
            let op = TakeAll { members, n, now };
            recorder.call(op, |_| all.at(Timestamp::from_nanos(now)).try_acquire(n))
        };
        (0..CALLS).map(call).collect()
    };
    let exact = quotas.map(Exact::new);
    record(subject, part, |history| {
        assert_linearizable(&exact, history, take_all);
    });
}

/// A call on the queue; a thread finishes only what it holds.
#[derive(Clone, Copy, Debug)]
enum QueueOp {
    Add(u8),
    Get,
    Done(u8),
}

/// Of each live key, whether it is being processed and dirty; and the line.
#[derive(Clone, Debug, Default)]
struct Sequential {
    live: BTreeMap<u8, Option<bool>>,
    ready: VecDeque<u8>,
}

const CAPACITY: usize = 2;

/// `Some(key)` or `None` of a get; of an add, `None` if it was refused.
fn step(queue: &mut Sequential, op: &QueueOp) -> Option<u8> {
    match *op {
        QueueOp::Add(key) => {
            let room = queue.live.len() < CAPACITY;
            match queue.live.get_mut(&key) {
                Some(Some(dirty)) => *dirty = true,
                Some(None) => {}
                None if !room => return None,
                None => {
                    queue.live.insert(key, None);
                    queue.ready.push_back(key);
                }
            }
            Some(key)
        }
        QueueOp::Get => {
            let key = queue.ready.pop_front()?;
            queue.live.insert(key, Some(false));
            Some(key)
        }
        QueueOp::Done(key) => {
            if queue.live.remove(&key) == Some(Some(true)) {
                queue.live.insert(key, None);
                queue.ready.push_back(key);
            }
            Some(key)
        }
    }
}

type TestQueue = WorkQueue<u8, ManualClock>;

/// What a thread does: adds, or finishes what it holds, or gets; and finishes what it holds in the
/// end.
fn use_queue(queue: &TestQueue, recorder: &Recorder, seed: u64) -> Vec<Call<QueueOp, Option<u8>>> {
    let (mut held, mut calls) = (None, Vec::new());
    let done = |work: Work<u8, ManualClock>| {
        let key = *work;
        recorder.call(QueueOp::Done(key), |_| {
            work.done();
            Some(key)
        })
    };
    for i in 0..CALLS {
        let seed = scramble(seed * CALLS + i);
        let key = u8::try_from(seed / 2 % 3).unwrap();
        calls.push(if seed.is_multiple_of(2) {
            recorder.call(QueueOp::Add(key), |_| queue.try_add(key).ok().map(|()| key))
        } else if let Some(work) = held.take() {
            done(work)
        } else {
            recorder.call(QueueOp::Get, |_| {
                held = queue.try_get();
                held.as_deref().copied()
            })
        });
    }
    calls.extend(held.map(done));
    calls
}

#[test]
fn the_queue() {
    let subject = || {
        let builder = WorkQueue::builder(CAPACITY).clock(ManualClock::new());
        let queue: TestQueue = builder.build().unwrap();
        (queue, Recorder::default())
    };
    record(
        subject,
        |(queue, recorder), seed| use_queue(queue, recorder, seed),
        |history| assert_linearizable(&Sequential::default(), history, step),
    );
}

#[test]
fn the_search_finds_what_is_wrong() {
    fn call<O, R>(op: O, result: R, began: u64, ended: u64) -> Call<O, R> {
        Call {
            op,
            result,
            began,
            ended,
        }
    }
    let quota = Quota::per_second(1).unwrap();
    let taken_twice = [call((1, 0), Ok(()), 0, 1), call((1, 0), Ok(()), 2, 3)];
    assert!(!linearizable(&Exact::new(quota), &taken_twice, take));
    // One after the other: the second cannot have come first.
    let lost = [
        call(QueueOp::Add(1), Some(1), 0, 1),
        call(QueueOp::Get, None, 2, 3),
    ];
    assert!(!linearizable(&Sequential::default(), &lost, step));
    // At once: it can.
    let either = [
        call(QueueOp::Add(1), Some(1), 0, 3),
        call(QueueOp::Get, None, 1, 2),
    ];
    assert!(linearizable(&Sequential::default(), &either, step));
}
