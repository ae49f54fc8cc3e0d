//! Examples of what comes back of a debt, and of what does not.

use super::*;

/// The burst. All plans are made at time 0, so nothing accrues.
const DEPTH: u128 = 20;

/// A ledger, and the instant at which its bucket is full.
struct Bucket {
    ledger: Ledger,
    full_at: u128,
}

impl Default for Bucket {
    fn default() -> Self {
        Self {
            ledger: Ledger::new(),
            full_at: 0,
        }
    }
}

impl Bucket {
    /// Takes into debt.
    fn reserve(&mut self, cost: u128) -> DebtId {
        self.full_at += cost;
        self.ledger.open(cost, self.full_at)
    }

    /// A debt of ten units at 50, and a lease of five units of the burst after it.
    fn with_a_debt_and_a_lease() -> (Self, DebtId) {
        let mut bucket = Self {
            full_at: 50,
            ..Self::default()
        };
        let debt = bucket.reserve(10);
        bucket.full_at -= 5;
        bucket.ledger.leased += 5;
        (bucket, debt)
    }

    /// Cancels a debt; returns what comes back.
    fn cancel(&mut self, id: DebtId) -> Option<u128> {
        let refund = self
            .ledger
            .plan_refund(id, self.full_at, 0, DEPTH, u128::MAX)?;
        self.ledger.apply(id, refund);
        self.full_at -= refund.back;
        Some(refund.back)
    }
}

#[test]
fn debts_at_the_end_come_back_whole() {
    let mut bucket = Bucket::default();
    let (one, two) = (bucket.reserve(3), bucket.reserve(4));
    assert_eq!(bucket.cancel(two), Some(4));
    assert_eq!(bucket.cancel(one), Some(3));
    assert_eq!((bucket.full_at, bucket.ledger.is_settled()), (0, true));
}

#[test]
fn a_later_take_is_not_ready_earlier_than_promised() {
    let mut bucket = Bucket::default();
    let debt = bucket.reserve(4);
    bucket.full_at += 2;
    // The burst still holds both.
    assert_eq!(bucket.cancel(debt), Some(4));

    let mut bucket = Bucket::default();
    let debt = bucket.reserve(4);
    bucket.full_at += 18;
    // The later take was promised that it is ready when 2 more have accrued.
    assert_eq!(bucket.cancel(debt), Some(2));
}

#[test]
fn refunded_tokens_do_not_come_back_twice() {
    let mut bucket = Bucket::default();
    let debt = bucket.reserve(10);
    bucket.full_at += 10;
    // A caller refunds 5.
    bucket.full_at -= 5;
    bucket.ledger.returned += 5;
    assert_eq!(bucket.cancel(debt), Some(5));
}

#[test]
fn a_handle_stays_valid_when_debts_before_it_are_committed() {
    let mut bucket = Bucket::default();
    let (one, two) = (bucket.reserve(1), bucket.reserve(2));
    bucket.ledger.commit(one);
    let (three, four) = (bucket.reserve(4), bucket.reserve(8));
    bucket.ledger.commit(three);
    assert_eq!(bucket.cancel(four), Some(8));
    assert_eq!(bucket.cancel(two), Some(2));
    assert!(bucket.ledger.is_settled());
}

#[test]
fn committed_debts_behind_an_open_one_are_compacted() {
    let mut bucket = Bucket::default();
    let old = bucket.reserve(1);
    for _ in 0..10_000 {
        let used = bucket.reserve(1);
        bucket.ledger.commit(used);
    }
    assert!(bucket.ledger.debts.len() <= 3 * SPARE);
    let (one, two) = (bucket.reserve(3), bucket.reserve(4));
    assert_eq!((bucket.cancel(two), bucket.cancel(one)), (Some(4), Some(3)));
    assert!(bucket.cancel(old).is_some() && bucket.ledger.is_settled());
}

#[test]
fn cancelled_debts_between_plain_takes_are_compacted() {
    let mut bucket = Bucket::default();
    let old = bucket.reserve(1);
    for _ in 0..10_000 {
        let cancelled = bucket.reserve(2);
        bucket.full_at += 1;
        bucket.cancel(cancelled);
    }
    assert!(bucket.ledger.debts.len() <= 3 * SPARE);
    assert!(bucket.cancel(old).is_some() && bucket.ledger.is_settled());
    // Debts that lie side by side still come back together.
    let before = bucket.full_at;
    let (one, two, three) = (bucket.reserve(8), bucket.reserve(9), bucket.reserve(10));
    assert_eq!((bucket.cancel(one), bucket.cancel(two)), (Some(1), Some(9)));
    bucket.ledger.compact();
    assert_eq!(bucket.cancel(three), Some(17));
    assert_eq!(bucket.full_at, before);
}

#[test]
fn a_lease_that_comes_and_goes_moves_no_debt() {
    let (mut bucket, debt) = Bucket::with_a_debt_and_a_lease();
    let later = bucket.reserve(1);
    assert_eq!(bucket.cancel(later), Some(1));
    assert_eq!(bucket.cancel(debt), Some(10));
    assert_eq!(bucket.full_at, 45);
    let debt = bucket.reserve(10);
    bucket.full_at += 5;
    bucket.ledger.leased -= 5;
    assert_eq!(bucket.cancel(debt), Some(10));
    assert_eq!(bucket.full_at, 50);
}

#[test]
fn later_takes_and_leases_both_limit_a_refund() {
    let (mut bucket, debt) = Bucket::with_a_debt_and_a_lease();
    bucket.full_at += 15;
    // At 50, five units of the debt have accrued, the lease aside.
    let later = bucket.ledger.plan_refund(debt, 56, 50, DEPTH, u128::MAX);
    assert_eq!(later.unwrap().back, 5);
    assert_eq!(bucket.cancel(debt), Some(DEPTH - 15));
}

#[test]
fn debts_before_a_cancelled_end_become_the_end() {
    let mut bucket = Bucket::default();
    let (one, two, three) = (bucket.reserve(3), bucket.reserve(4), bucket.reserve(5));
    assert_eq!(bucket.cancel(two), Some(4));
    assert_eq!(bucket.cancel(three), Some(5));
    assert_eq!(bucket.cancel(one), Some(3));
    assert_eq!(bucket.full_at, 0);
}

#[test]
fn a_debt_of_an_earlier_quota_is_not_found() {
    let mut bucket = Bucket::default();
    let before = bucket.reserve(1);
    bucket.ledger.reset();
    bucket.full_at = 0;
    let after = bucket.reserve(2);
    assert_eq!(bucket.cancel(before), None);
    bucket.ledger.commit(before);
    assert_eq!(bucket.cancel(after), Some(2));
}
