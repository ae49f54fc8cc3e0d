//! The lock-free bucket and the locked one give the same answers in any sequence of operations. Leases,
//! quota changes and cancellations admit no more than the quota.

use std::time::Duration;

use proptest::prelude::*;
use tollgate::{
    AtomicTokenBucket, CarryOver, Clock, Denied, Leasable, LockedTokenBucket, ManualClock, Quota,
    QuotaLimiter, RateLimiter, Reservation,
};

use crate::limiter_model;
use crate::support::quota;

#[derive(Clone, Debug)]
enum Op {
    Acquire(u64),
    AcquireAbove(u64, u64),
    AcquireUpTo(u64),
    Reserve(u64, u64),
    /// One of the open reservations.
    Cancel(prop::sample::Index),
    Use(prop::sample::Index),
    Refund(u64),
    Drain,
    PauseFor(u64),
    SyncRemaining(u64),
    SetQuota(u64, u64, u8),
    Advance(u64),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let n = || 0..12_u64;
    let op = prop_oneof![
        6 => n().prop_map(Op::Acquire),
        2 => (n(), n()).prop_map(|(n, floor)| Op::AcquireAbove(n, floor)),
        2 => n().prop_map(Op::AcquireUpTo),
        3 => (n(), 0..20_000_000_000_u64).prop_map(|(n, wait)| Op::Reserve(n, wait)),
        2 => any::<prop::sample::Index>().prop_map(Op::Cancel),
        1 => any::<prop::sample::Index>().prop_map(Op::Use),
        1 => n().prop_map(Op::Refund),
        1 => Just(Op::Drain),
        1 => (0..5_000_000_000_u64).prop_map(Op::PauseFor),
        1 => n().prop_map(Op::SyncRemaining),
        1 => (0..50_u64, 1..20_u64, 0..4_u8).prop_map(|(rate, burst, rule)| Op::SetQuota(rate, burst, rule)),
        6 => (0..3_000_000_000_u64).prop_map(Op::Advance),
    ];
    prop::collection::vec(op, 1..120)
}

fn rule(code: u8) -> CarryOver {
    [
        CarryOver::Tokens,
        CarryOver::Fraction,
        CarryOver::Empty,
        CarryOver::Full,
    ][usize::from(code)]
}

/// A limiter, its clock and its open reservations.
struct Subject<'a, L> {
    limiter: &'a L,
    clock: ManualClock,
    open: Vec<Reservation<'a>>,
}

impl<L: QuotaLimiter> Subject<'_, L> {
    /// Runs one operation; returns its answer and the state afterwards, as text.
    fn run(&mut self, op: &Op) -> String {
        let limiter = self.limiter;
        let answer = match op {
            Op::Acquire(n) => format!("{:?}", limiter.try_acquire(*n)),
            Op::AcquireAbove(n, floor) => format!("{:?}", limiter.try_acquire_above(*n, *floor)),
            Op::AcquireUpTo(n) => limiter.try_acquire_up_to(*n).to_string(),
            Op::Reserve(n, wait) => match limiter.reserve(*n, Duration::from_nanos(*wait)) {
                Ok(reservation) => {
                    let ready_at = reservation.ready_at();
                    self.open.push(reservation);
                    format!("{ready_at:?}")
                }
                Err(denied) => format!("{denied:?}"),
            },
            Op::Cancel(_) | Op::Use(_) if self.open.is_empty() => String::new(),
            Op::Cancel(which) => {
                self.open.remove(which.index(self.open.len())).cancel();
                String::new()
            }
            Op::Use(which) => {
                self.open.remove(which.index(self.open.len())).commit();
                String::new()
            }
            Op::Refund(n) => format!("{:?}", limiter.refund(*n)),
            Op::Drain => format!("{:?}", limiter.drain()),
            Op::PauseFor(nanos) => {
                let until = self
                    .clock
                    .now()
                    .saturating_add(Duration::from_nanos(*nanos));
                format!("{:?}", limiter.pause_until(until))
            }
            Op::SyncRemaining(n) => format!("{:?}", limiter.sync_remaining(*n)),
            Op::SetQuota(rate, burst, code) => {
                let quota = match *rate {
                    48.. => Quota::unlimited(),
                    rate => Quota::per_second(rate).unwrap().burst(*burst).unwrap(),
                };
                format!("{:?}", limiter.set_quota(quota, rule(*code)))
            }
            Op::Advance(nanos) => format!("{:?}", self.clock.advance(Duration::from_nanos(*nanos))),
        };
        format!(
            "{answer}, {} available, {}",
            limiter.available(),
            limiter.quota()
        )
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn both_buckets_give_the_same_answers(ops in ops(), rate in 1..40_u64, burst in 1..15_u64) {
        let quota = Quota::per_second(rate).unwrap().burst(burst).unwrap();
        let (a, b) = (ManualClock::new(), ManualClock::new());
        let atomic = AtomicTokenBucket::with_clock(quota, a.clone()).unwrap();
        let locked = LockedTokenBucket::with_clock(quota, b.clone()).unwrap();
        let mut atomic = Subject { limiter: &atomic, clock: a, open: Vec::new() };
        let mut locked = Subject { limiter: &locked, clock: b, open: Vec::new() };
        for (step, op) in ops.iter().enumerate() {
            prop_assert_eq!(atomic.run(op), locked.run(op), "step {}: {:?}", step, op);
        }
    }

    #[test]
    fn a_lease_and_its_bucket_stay_within_the_quota(
        batch in 1..9_u64,
        takes in prop::collection::vec((any::<bool>(), 1..6_u64, 0..400_000_000_u64), 1..80),
    ) {
        let quota = quota("10/s burst 10");
        let clock = ManualClock::new();
        let buckets: [Box<dyn Leased>; 2] = [
            Box::new(AtomicTokenBucket::with_clock(quota, clock.clone()).unwrap()),
            Box::new(LockedTokenBucket::with_clock(quota, clock.clone()).unwrap()),
        ];
        for bucket in buckets {
            let mut used = Vec::new();
            bucket.with_lease(batch, &mut |bucket, from_lease| {
                for (leased, n, wait) in &takes {
                    let taken = if *leased { from_lease(*n) } else { bucket.try_acquire(*n) };
                    if taken.is_ok() {
                        used.push((clock.now().as_nanos(), *n));
                    }
                    clock.advance(Duration::from_nanos(*wait));
                }
            });
            limiter_model::assert_never_over(quota, &used);
            clock.advance(Duration::from_secs(10));
            prop_assert_eq!(bucket.available(), 10, "the lease returned its share of the burst");
        }
    }

    #[test]
    fn alternating_quotas_mint_nothing(
        first in (1..30_u64, 1..20_u64), second in (1..30_u64, 1..20_u64), code in 0..3_u8, used in 0..20_u64,
    ) {
        let quota = |(rate, burst)| Quota::per_second(rate).unwrap().burst(burst).unwrap();
        let (first, second) = (quota(first), quota(second));
        let clock = ManualClock::new();
        let atomic = AtomicTokenBucket::with_clock(first, clock.clone()).unwrap();
        let locked = LockedTokenBucket::with_clock(first, clock).unwrap();
        for bucket in [&atomic as &dyn QuotaLimiter, &locked] {
            bucket.try_acquire_up_to(used);
            let before = bucket.available();
            for _ in 0..300 {
                bucket.set_quota(second, rule(code)).unwrap();
                bucket.set_quota(first, rule(code)).unwrap();
            }
            prop_assert!(bucket.available() <= before);
        }
    }
}

/// Leases from either bucket through one object-safe method.
trait Leased: QuotaLimiter {
    fn with_lease(&self, batch: u64, run: &mut Run<'_>);
}

type Run<'a> = dyn FnMut(&dyn QuotaLimiter, &mut dyn FnMut(u64) -> Result<(), Denied>) + 'a;

impl<L: Leasable> Leased for L {
    fn with_lease(&self, batch: u64, run: &mut Run<'_>) {
        let mut lease = self.lease(batch).unwrap();
        run(self, &mut |n| lease.try_acquire(n));
    }
}
