//! Takes at stale times, all operations of both buckets at one instant, and combined limits.

use std::hash::RandomState;

use tollgate::{
    AllOf, At, AtomicTokenBucket, CarryOver, Denied, KeyedLimiter, LockedTokenBucket, ManualClock,
    Quota, QuotaLimiter, RateLimiter, StripedTokenBucket, Timestamp,
};

use crate::exact::{self, Exact};
use crate::{CALLS, Recorder, assert_linearizable, record, scramble};

pub(crate) type Take = (u64, u64);

pub(crate) fn take(bucket: &mut Exact, &(n, now): &Take) -> Result<(), Denied> {
    bucket.try_acquire(n, now)
}

/// Records takes at instants from `start` on, each stale by at most the time of 100 tokens.
fn check_takes_at_stale_times(rate: &str, burst: u64, start: u64, token: u64) {
    let quota: Quota = rate.parse::<Quota>().unwrap().burst(burst).unwrap();
    assert!(
        100 * token < exact::exact_skew(quota),
        "a take would be judged by the base"
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
fn takes_of_the_atomic_bucket_at_stale_times_are_linearizable() {
    check_takes_at_stale_times("1000/s", 4, 1_000_000_000, 1_000_000);
}

#[test]
fn takes_of_the_atomic_bucket_are_linearizable_while_the_base_moves() {
    // The instants lie around the horizon of the first base.
    check_takes_at_stale_times("999983/s", 4, (1 << 54) / 999_983 - 2_000, 1_000);
}

/// A call on a bucket. All calls are at one instant, since changes are not defined at stale times.
#[derive(Clone, Copy, Debug)]
enum BucketOp {
    Take(u64),
    TakeAbove(u64, u64),
    TakeUpTo(u64),
    Refund(u64),
    Sync(u64),
    /// By the quota's index in [`QUOTAS`].
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
    /// Chooses an operation, mostly a take.
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

    /// Returns the tokens taken or available.
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

fn check_all_operations(with: impl Fn(Quota) -> Box<dyn QuotaLimiter>) {
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
fn all_operations_of_the_atomic_bucket_are_linearizable() {
    check_all_operations(|quota| {
        Box::new(AtomicTokenBucket::with_clock(quota, ManualClock::new()).unwrap())
    });
}

#[test]
fn all_operations_of_the_locked_bucket_are_linearizable() {
    check_all_operations(|quota| {
        Box::new(LockedTokenBucket::with_clock(quota, ManualClock::new()).unwrap())
    });
}

/// So large that two stripes get their least.
const LARGE: [&str; 4] = [
    "1000/s burst 64",
    "3000/s burst 96",
    "7/s burst 48",
    "0/s burst 80",
];

/// Runs an operation by the bucket's clock, so that it goes by the stripes.
fn run_striped(bucket: &StripedTokenBucket<ManualClock>, op: BucketOp) -> Result<u64, Denied> {
    match op {
        BucketOp::Take(n) => bucket.try_acquire(n).map(|()| n),
        BucketOp::TakeAbove(n, floor) => bucket.try_acquire_above(n, floor).map(|()| n),
        BucketOp::SetQuota(which, rule) => {
            let quota = LARGE[which].parse().unwrap();
            bucket.set_quota(quota, rule).unwrap();
            Ok(0)
        }
        other => other.run(bucket, Timestamp::from_nanos(INSTANT)),
    }
}

fn any_striped_op(bucket: &mut Exact, op: &BucketOp) -> Result<u64, Denied> {
    if let BucketOp::SetQuota(which, rule) = *op {
        let quota = LARGE[which].parse().unwrap();
        *bucket = bucket.set_quota(quota, rule, INSTANT).unwrap();
        return Ok(0);
    }
    any_op(bucket, op)
}

#[test]
fn all_operations_of_the_striped_bucket_are_linearizable() {
    let quota: Quota = LARGE[0].parse().unwrap();
    let subject = || {
        let clock = ManualClock::new();
        clock.set(Timestamp::from_nanos(INSTANT));
        let bucket = StripedTokenBucket::with_clock(quota, clock).unwrap();
        (bucket.stripes(2), Recorder::default())
    };
    let part = |(bucket, recorder): &(StripedTokenBucket<_>, Recorder), seed| {
        let call = |i| {
            let seed = scramble(seed * CALLS + i);
            // Mostly single tokens, and sometimes so many that the stripes have to be swept.
            let op = match BucketOp::of(seed) {
                BucketOp::Take(2) => BucketOp::Take(30),
                BucketOp::TakeUpTo(n) => BucketOp::TakeUpTo(20 * n),
                op => op,
            };
            recorder.call(op, |op| run_striped(bucket, *op))
        };
        (0..CALLS).map(call).collect()
    };
    let exact = Exact::new(quota);
    record(subject, part, |history| {
        assert_linearizable(&exact, history, any_striped_op);
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
    // The wait is the longest of any member.
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
fn limits_combined_in_any_order_are_linearizable() {
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
