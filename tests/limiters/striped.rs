//! The striped bucket beside an exact one: never over; exact until the rest of the bucket is full, and
//! under by at most the carved part after that. Whatever reads or changes the bucket finds every token.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use proptest::prelude::*;
use tollgate::clock::Sleep;
use tollgate::{
    CarryOver, Clock, Denied, ManualClock, Quota, RateLimiter, StripedTokenBucket, Timestamp,
};

use crate::limiter_model::Exact;
use crate::support::{at, millis, poll, quota};

type Bucket<C = ManualClock> = StripedTokenBucket<C>;

fn striped(text: &str, stripes: usize) -> (Bucket, ManualClock) {
    let clock = ManualClock::new();
    let bucket = Bucket::with_clock(quota(text), clock.clone()).unwrap();
    (bucket.stripes(stripes), clock)
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Take(u64),
    TakeAbove(u64, u64),
    TakeAt(u64),
    TakeUpTo(u64),
    Refund(u64),
    Charge(u64),
    Available,
    SetQuota(usize),
    /// Nanoseconds.
    Advance(u64),
}

/// A burst of which four stripes get sixteen tokens each, and two of which they get fewer.
const QUOTAS: [&str; 3] = [
    "1000000/s burst 256",
    "999983/s burst 199",
    "1000000/s burst 20",
];

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        10 => (1..4_u64).prop_map(Op::Take),
        2 => (1..80_u64).prop_map(Op::Take),
        1 => (1..20_u64, 0..200_u64).prop_map(|(n, floor)| Op::TakeAbove(n, floor)),
        1 => (1..20_u64).prop_map(Op::TakeAt),
        1 => (1..300_u64).prop_map(Op::TakeUpTo),
        1 => (1..30_u64).prop_map(Op::Refund),
        1 => (1..30_u64).prop_map(Op::Charge),
        1 => Just(Op::Available),
        1 => (0..QUOTAS.len()).prop_map(Op::SetQuota),
        4 => (0..100_000_u64).prop_map(Op::Advance),
    ]
}

/// The bucket, and an exact one from which the same tokens are taken.
struct Beside {
    bucket: Bucket,
    clock: ManualClock,
    exact: Exact,
    /// By how many tokens the bucket may be below the exact one.
    under: u64,
}

impl Beside {
    fn new(stripes: usize) -> Self {
        let (bucket, clock) = striped(QUOTAS[0], stripes);
        let exact = Exact::new(quota(QUOTAS[0]));
        Self {
            bucket,
            clock,
            exact,
            under: 0,
        }
    }

    fn now(&self) -> u64 {
        self.clock.now().as_nanos()
    }

    /// A denial is right if the exact bucket denies, or would with the fewest tokens that may be there.
    fn take(&mut self, n: u64, floor: u64, taken: bool) {
        let now = self.now();
        let there = self.exact.available(now);
        if taken {
            assert_eq!(self.exact.try_acquire_above(n, floor, now), Ok(()), "over");
        } else {
            assert!(there < n + floor + self.under, "{there} were there for {n}");
        }
    }

    fn run(&mut self, op: Op) {
        let now = self.now();
        match op {
            Op::Take(n) => {
                let taken = self.bucket.try_acquire(n).is_ok();
                self.take(n, 0, taken);
            }
            Op::TakeAbove(n, floor) => {
                let taken = self.bucket.try_acquire_above(n, floor).is_ok();
                self.take(n, floor, taken);
            }
            Op::TakeAt(n) => {
                let taken = self.bucket.at(at(now)).try_acquire(n).is_ok();
                self.take(n, 0, taken);
            }
            Op::TakeUpTo(n) => {
                let taken = self.bucket.try_acquire_up_to(n);
                let most = self.exact.available(now).min(n);
                assert!(
                    taken <= most && most - taken <= self.under,
                    "{taken} of {most}"
                );
                self.exact.take(taken, now);
            }
            Op::Refund(n) => {
                self.bucket.refund(n);
                self.exact.refund(n, now);
            }
            Op::Charge(n) => {
                self.bucket.charge(n);
                self.exact.take(n, now);
            }
            Op::Available => {
                let (there, most) = (self.bucket.available(), self.exact.available(now));
                assert!(
                    there <= most && most - there <= self.under,
                    "{there} of {most}"
                );
            }
            Op::SetQuota(which) => {
                let quota = quota(QUOTAS[which]);
                self.bucket.set_quota(quota, CarryOver::Tokens).unwrap();
                self.exact = self.exact.set_quota(quota, CarryOver::Tokens, now).unwrap();
            }
            Op::Advance(nanos) => {
                self.clock.advance(Duration::from_nanos(nanos));
                // The rest of the bucket may have been full, and what accrued then is lost.
                let carved = self.exact.burst / 4;
                if self.exact.available(self.now()) >= self.exact.burst - carved {
                    self.under = self.under.max(carved);
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn it_is_never_over_and_under_only_by_what_accrues_while_full(
        stripes in 1..=4_usize, ops in prop::collection::vec(op(), 1..200),
    ) {
        let mut beside = Beside::new(stripes);
        ops.into_iter().for_each(|op| beside.run(op));
    }
}

/// Takes in as many threads as there are stripes, twice as many, and one.
fn spend(bucket: &Bucket, threads: usize, weights: &[u64]) -> u64 {
    let spend = |n: u64| {
        let mut taken = 0;
        for weight in weights.iter().cycle().skip(usize::try_from(n).unwrap()) {
            if bucket.try_acquire(*weight).is_ok() {
                taken += weight;
            } else if *weight == 1 {
                break;
            }
        }
        taken
    };
    thread::scope(|scope| {
        let spend = &spend;
        let threads: Vec<_> = (0..threads as u64)
            .map(|n| scope.spawn(move || spend(n)))
            .collect();
        threads.into_iter().map(|it| it.join().unwrap()).sum()
    })
}

#[test]
fn threads_spend_a_burst_to_the_last_token() {
    for threads in [1, 2, 4, 8] {
        for weights in [&[1][..], &[1, 3, 2], &[1, 40]] {
            let (bucket, clock) = striped("1000/s burst 10000", 4);
            assert_eq!(
                spend(&bucket, threads, weights),
                10_000,
                "{threads} threads"
            );
            // At once in saturation: nothing of what accrues is lost.
            clock.advance(Duration::from_secs(4));
            assert_eq!(spend(&bucket, threads, weights), 4_000);
            clock.advance(Duration::from_secs(10));
            assert_eq!(spend(&bucket, threads, weights), 10_000);
        }
    }
}

#[test]
fn threads_take_what_accrues_while_time_passes() {
    let (bucket, clock) = striped("1000000/s burst 1000", 2);
    let ended = AtomicBool::new(false);
    let taken = thread::scope(|scope| {
        let take = || {
            let mut taken = 0_u64;
            while !ended.load(Ordering::Relaxed) {
                taken += u64::from(bucket.try_acquire(1).is_ok());
            }
            taken
        };
        let takers: Vec<_> = (0..3).map(|_| scope.spawn(take)).collect();
        for _ in 0..20_000 {
            clock.advance(Duration::from_micros(10));
        }
        ended.store(true, Ordering::Relaxed);
        takers.into_iter().map(|it| it.join().unwrap()).sum::<u64>()
    });
    let left = bucket.available();
    assert!(taken + left <= 1_000 + 200_000, "{taken} and {left}");
}

/// A bucket with tokens in stripes that this thread does not use.
fn carved(text: &str) -> (Bucket, ManualClock) {
    let (bucket, clock) = striped(text, 4);
    bucket.try_acquire(1).unwrap();
    (bucket, clock)
}

#[test]
fn every_operation_finds_the_tokens_of_all_stripes() {
    // 255 are left, 64 of them in the stripes.
    let (bucket, _) = carved("1/s burst 256");
    assert_eq!(bucket.available(), 255);
    let (bucket, _) = carved("1/s burst 256");
    assert_eq!(bucket.status(1).remaining, 255);
    let (bucket, _) = carved("1/s burst 256");
    assert_eq!(bucket.try_acquire_with_status(55).1.remaining, 200);
    let (bucket, _) = carved("1/s burst 256");
    assert_eq!(bucket.try_acquire_up_to(1_000), 255);
    let (bucket, _) = carved("1/s burst 256");
    assert_eq!(bucket.try_acquire(255), Ok(()));
    let (bucket, clock) = carved("1/s burst 256");
    assert_eq!(bucket.at(clock.now()).try_acquire(255), Ok(()));
    let (bucket, _) = carved("1/s burst 256");
    assert_eq!(bucket.try_acquire_above(250, 5), Ok(()));
    let (bucket, _) = carved("1/s burst 256");
    assert_eq!(poll(&mut bucket.acquire(255)), Poll::Ready(Ok(())));
    let (bucket, _) = carved("1/s burst 256");
    let reserved = bucket.reserve(256, Duration::MAX).unwrap();
    assert_eq!(reserved.ready_at(), at(1_000_000_000));
    let (bucket, _) = carved("1/s burst 256");
    bucket.charge(300);
    let short = Duration::from_secs(46);
    let denied = Err(Denied::NotYet { retry_after: short });
    assert_eq!(bucket.try_acquire(1), denied);
    let (bucket, _) = carved("1/s burst 256");
    let saved = bucket.save(std::time::SystemTime::UNIX_EPOCH);
    let (restored, _) = striped("1/s burst 256", 4);
    restored.restore(&saved, std::time::SystemTime::UNIX_EPOCH);
    assert_eq!(restored.available(), 255);
}

#[test]
fn more_than_the_burst_does_not_sweep() {
    let (bucket, _) = carved("1/s burst 256");
    let denied = Err(Denied::ExceedsBurst { burst: 256 });
    assert_eq!(bucket.try_acquire(257), denied);
    assert_eq!(bucket.at(at(0)).try_acquire(257), denied);
    assert!(format!("{bucket:?}").contains("16"), "{bucket:?}");
}

#[test]
fn stripes_stay_empty_while_a_caller_waits_during_a_pause_and_once_closed() {
    let (bucket, clock) = carved("1000/s burst 256");
    let mut waiting = bucket.acquire(256);
    assert!(poll(&mut waiting).is_pending());
    assert!(bucket.try_acquire(1).is_err(), "no newcomer overtakes");
    clock.advance(millis(1));
    assert_eq!(poll(&mut waiting), Poll::Ready(Ok(())));
    drop(waiting);

    clock.advance(millis(1_000));
    bucket.try_acquire(1).unwrap();
    bucket.pause_until(clock.now() + millis(500)).unwrap();
    assert!(bucket.try_acquire(1).is_err());
    clock.advance(millis(499));
    assert!(bucket.try_acquire(1).is_err());
    clock.advance(millis(1));
    assert_eq!(bucket.try_acquire(1), Ok(()));

    clock.advance(millis(1_000));
    bucket.try_acquire(1).unwrap();
    bucket.close();
    assert_eq!(bucket.try_acquire(1), Err(Denied::Closed));
    assert_eq!(bucket.try_acquire(0), Ok(()));
}

#[test]
fn a_drain_and_another_quota_reach_the_stripes() {
    let (bucket, clock) = carved("1000/s burst 256");
    bucket.drain();
    assert!(bucket.try_acquire(1).is_err());
    clock.advance(millis(1_000));
    bucket.try_acquire(1).unwrap();
    bucket
        .set_quota(quota("1/s burst 2"), CarryOver::Tokens)
        .unwrap();
    assert_eq!(bucket.try_acquire_up_to(100), 2);
    // Carves again once the quota allows it, and some time after the sweep.
    bucket
        .set_quota(quota("1000/s burst 512"), CarryOver::Full)
        .unwrap();
    clock.advance(millis(1));
    bucket.try_acquire(1).unwrap();
    assert!(format!("{bucket:?}").contains("32"), "{bucket:?}");
    assert_eq!(bucket.available(), 511);
}

#[test]
fn leases_and_stripes_share_the_burst() {
    let (bucket, _) = carved("1/h burst 256");
    let mut lease = bucket.lease(100).unwrap();
    let leased = (0..100).filter(|_| lease.try_acquire(1).is_ok()).count() as u64;
    let taken = bucket.try_acquire_up_to(1_000);
    assert!(leased + taken <= 255, "{leased} and {taken}");
    drop(lease);
    assert_eq!(bucket.available() + leased + taken, 255);
}

#[test]
fn any_number_of_stripes_and_any_part_is_taken() {
    for stripes in [0, 1, 3, 1_000, usize::MAX] {
        let (bucket, _) = striped("1/s burst 100000", stripes);
        assert_eq!(spend(&bucket, 2, &[1]), 100_000, "{stripes} stripes");
    }
    for part in [0, 1, 8, 32, 99_999, u64::MAX] {
        let (bucket, _) = striped("1/s burst 100000", 4);
        let bucket = bucket.carve(part);
        assert_eq!(spend(&bucket, 2, &[1]), 100_000, "{part} tokens");
    }
    for text in ["1/h burst 1", "1/h burst 31", "0/s burst 1000"] {
        let (bucket, _) = striped(text, 1);
        assert_eq!(spend(&bucket, 2, &[1]), quota(text).max_burst(), "{text}");
    }
    let unlimited = Bucket::with_clock(Quota::unlimited(), ManualClock::new()).unwrap();
    assert_eq!(unlimited.try_acquire(u64::MAX), Ok(()));
    assert_eq!(unlimited.available(), u64::MAX);
    let (bucket, _) = carved("1/h burst 256");
    assert_eq!(bucket.stripes(1).carve(16).available(), 255);
}

#[test]
fn a_reservation_comes_back_whole_although_the_stripes_came_and_went() {
    let (bucket, clock) = striped("1/s burst 256", 4);
    let reserved = bucket.reserve(100, Duration::ZERO).unwrap();
    for _ in 0..4 {
        bucket.try_acquire(1).unwrap();
        bucket.available();
        clock.advance(Duration::from_micros(200));
    }
    reserved.cancel();
    assert_eq!(bucket.available(), 252);
}

#[test]
fn a_bucket_in_use_may_get_other_stripes() {
    let (bucket, clock) = carved("1/s burst 256");
    let bucket = bucket.stripes(4).stripes(8).stripes(4);
    for _ in 0..3 {
        let take = || bucket.try_acquire(1).unwrap();
        thread::scope(|scope| scope.spawn(take).join().unwrap());
    }
    // The rest of the bucket is full by now; what accrued after that is lost.
    clock.advance(Duration::from_secs(1_000));
    let taken = spend(&bucket, 8, &[1]);
    assert!((256 - 64..=256).contains(&taken), "{taken}");
}

#[test]
fn a_denial_at_a_future_time_changes_nothing() {
    let (bucket, _) = carved("1/s burst 256");
    let later = bucket.at(at(3_600_000_000_000));
    assert_eq!(
        later.try_acquire(257),
        Err(Denied::ExceedsBurst { burst: 256 })
    );
    assert!(later.try_acquire_above(1, 256).is_err());
    assert_eq!(bucket.available(), 255);
}

/// A clock that moves on at each reading.
#[derive(Clone, Debug, Default)]
struct Ticking(Arc<AtomicU64>);

impl Clock for Ticking {
    fn now(&self) -> Timestamp {
        at(self.0.fetch_add(50, Ordering::Relaxed))
    }

    fn sleep_until(&self, deadline: Timestamp) -> Sleep {
        ManualClock::new().sleep_until(deadline)
    }

    fn park_until(&self, _deadline: Option<Timestamp>) {}
}

#[test]
fn a_full_bucket_admits_its_burst_although_time_passes() {
    let clock = Ticking::default();
    let bucket = Bucket::with_clock(quota("1/s burst 256"), clock.clone());
    let bucket = bucket.unwrap().stripes(4);
    bucket.try_acquire(1).unwrap();
    clock.0.fetch_add(1_000_000_000_000, Ordering::Relaxed);
    // Carved, and one stripe lacks a token.
    bucket.try_acquire(1).unwrap();
    assert_eq!(bucket.try_acquire(255), Ok(()));
}

#[test]
fn a_wait_goes_by_the_stripes_too() {
    let (bucket, _) = striped("1/s burst 256", 4);
    for _ in 0..20 {
        assert_eq!(poll(&mut bucket.acquire(1)), Poll::Ready(Ok(())));
    }
    // The stripe was refilled.
    assert!(format!("{bucket:?}").contains("16"), "{bucket:?}");
    assert_eq!(bucket.available(), 236);
}

/// A clock, and how many of the next readings panic.
#[derive(Clone, Debug, Default)]
struct Failing(Arc<(AtomicU64, AtomicU64)>);

impl Clock for Failing {
    fn now(&self) -> Timestamp {
        let left = |fails: u64| fails.checked_sub(1);
        let fails = self
            .0
            .1
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, left);
        assert!(fails.is_err(), "the clock fails");
        at(self.0.0.load(Ordering::Relaxed))
    }

    fn sleep_until(&self, deadline: Timestamp) -> Sleep {
        ManualClock::new().sleep_until(deadline)
    }

    fn park_until(&self, _deadline: Option<Timestamp>) {}
}

#[test]
fn a_clock_that_panics_mints_and_loses_no_token() {
    let clock = Failing::default();
    let (time, fails) = &*clock.0;
    let bucket = Bucket::with_clock(quota("1/s burst 256"), clock.clone());
    let bucket = bucket.unwrap().stripes(4);
    bucket.try_acquire(1).unwrap();
    fails.store(u64::MAX, Ordering::Relaxed);
    // Sweeps at a given time, without a time of its own.
    assert_eq!(bucket.at(at(0)).available(), 255);
    for _ in 0..3 {
        let panicked = catch_unwind(AssertUnwindSafe(|| bucket.try_acquire(64)));
        assert!(panicked.is_err());
    }
    fails.store(0, Ordering::Relaxed);
    assert_eq!(bucket.available(), 255);
    // A sweep without a time lets no newcomer pass a close.
    let closed = Bucket::with_clock(quota("1/s burst 256"), clock.clone());
    let closed = closed.unwrap().stripes(4);
    (0..5).for_each(|_| closed.try_acquire(1).unwrap());
    fails.store(1, Ordering::Relaxed);
    closed.close();
    assert_eq!(closed.try_acquire(1), Err(Denied::Closed));
    time.store(10_000_000_000, Ordering::Relaxed);
    assert_eq!(bucket.available(), 256);
    assert_eq!(bucket.try_acquire_up_to(1_000), 256);
}
