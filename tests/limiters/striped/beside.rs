//! The striped bucket beside an exact one: never over; exact until the rest of the bucket is full, and
//! under by at most the carved part after that.

use std::time::Duration;

use proptest::prelude::*;
use tollgate::{CarryOver, Clock, ManualClock, RateLimiter};

use super::{Bucket, striped};
use crate::limiter_model::Exact;
use crate::support::{at, quota};

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
