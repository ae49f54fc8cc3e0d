//! Examples of each operation on a bucket that refills at intervals; random operations in `property_tests`.

mod naive_model;
mod property_tests;

use super::*;
use crate::limiter::core::denied::Denied;
use crate::limiter::core::tokens::dated::Composed;
use crate::limiter::core::tokens::dated::MAX_AHEAD;
use crate::limiter::core::tokens::{TokenCount, Tokens};

fn at(nanos: u64) -> Timestamp {
    Timestamp::from_nanos(nanos)
}

fn refill(tokens: u64, period: u64, burst: u64, anchor: u64) -> Refill {
    Refill {
        tokens,
        period: Duration::from_nanos(period),
        burst,
        anchor: at(anchor),
    }
}

fn interval(tokens: u64, period: u64, burst: u64, anchor: u64) -> IntervalBucket {
    IntervalBucket::new(refill(tokens, period, burst, anchor)).unwrap()
}

fn not_yet(nanos: u64) -> Result<(), Denied> {
    let retry_after = Duration::from_nanos(nanos);
    Err(Denied::NotYet { retry_after })
}

const WAIT: Duration = Duration::from_nanos(1_000);

#[test]
fn tokens_accrue_at_boundaries_only() {
    let mut interval = interval(2, 10, 5, 3);
    assert_eq!(interval.take(5, 0, at(4)), Ok(()));
    assert_eq!(interval.take(1, 0, at(4)), not_yet(9));
    assert_eq!(interval.available(at(12)), 0);
    assert_eq!(interval.available(at(13)), 2);
    assert_eq!(interval.available(at(32)), 4);
    assert_eq!(interval.take(4, 0, at(13)), not_yet(10));
    assert_eq!(interval.take(5, 0, at(13)), not_yet(20));
    assert_eq!(interval.full_at(at(13)), Some(at(33)));
    assert_eq!(interval.available(at(1_000)), 5);
}

#[test]
fn boundaries_extend_before_the_anchor() {
    let mut interval = interval(1, 10, 1, 1_003);
    assert_eq!(interval.take(1, 0, at(0)), Ok(()));
    assert_eq!(interval.take(1, 0, at(1)), not_yet(2));
    assert_eq!(interval.take(1, 0, at(3)), Ok(()));
    assert_eq!(interval.take(1, 0, at(3)), not_yet(10));
    let late = IntervalBucket::new(refill(1, 10, 1, u64::MAX)).unwrap();
    assert_eq!(late.available(Timestamp::MAX), 1);
}

#[test]
fn a_refill_out_of_bounds_is_refused() {
    let error = |refill| IntervalBucket::new(refill).unwrap_err();
    assert_eq!(error(refill(1, 0, 1, 0)), QuotaError::ZeroPeriod);
    assert_eq!(error(refill(1, 1, 0, 0)), QuotaError::ZeroBurst);
    let most = Quota::MAX_TOKENS;
    assert_eq!(error(refill(1, 1, most + 1, 0)), QuotaError::TooManyTokens);
    assert_eq!(error(refill(most + 1, 1, 1, 0)), QuotaError::TooManyTokens);
    assert_eq!(error(refill(1, u64::MAX, 1, 0)), QuotaError::PeriodTooLong);
    let longest = u64::try_from(Quota::MAX_PERIOD.as_nanos()).unwrap();
    assert!(IntervalBucket::new(refill(most, longest, most, 0)).is_ok());
    let mut interval = interval(1, 1, 1, 0);
    let refused = interval.set_refill(refill(1, 1, 0, 0), History::Forgotten, at(0));
    assert_eq!(refused, Err(QuotaError::ZeroBurst));
    assert_eq!(interval.available(at(0)), 1);
}

#[test]
fn zero_tokens_always_pass_and_more_than_the_burst_never() {
    let mut interval = interval(1, 10, 2, 0);
    assert_eq!(interval.take(2, 0, at(0)), Ok(()));
    assert_eq!(interval.take(0, u64::MAX, at(0)), Ok(()));
    assert_eq!(
        interval.wait_after([], 0, u64::MAX, at(0)),
        Ok(Duration::ZERO)
    );
    let burst = |burst| Err(Denied::ExceedsBurst { burst });
    assert_eq!(interval.take(3, 0, at(0)), burst(2));
    assert_eq!(interval.take(2, 1, at(0)), burst(1));
    assert_eq!(interval.take(1, 3, at(0)), burst(0));
    assert_eq!(interval.wait_after([], 1, 2, at(0)).err(), burst(0).err());
}

#[test]
fn a_rate_of_zero_admits_the_burst_and_nothing_after() {
    let mut interval = interval(0, 10, 2, 0);
    assert_eq!(interval.take(2, 0, at(0)), Ok(()));
    assert_eq!(interval.take(1, 0, at(50)), Err(Denied::Exhausted));
    assert_eq!(interval.wait_after([], 2, 0, at(0)), Err(Denied::Exhausted));
    assert_eq!(interval.full_at(at(0)), None);
}

#[test]
fn a_stale_now_counts_as_the_latest() {
    let mut interval = interval(1, 10, 3, 0);
    assert_eq!(interval.take(3, 0, at(25)), Ok(()));
    assert_eq!(interval.take(1, 0, at(5)), not_yet(25));
    interval.refund(1, at(5));
    assert_eq!(interval.take(1, 0, at(5)), Ok(()));
    assert_eq!(interval.available(at(30)), 1);
}

#[test]
fn a_denial_writes_nothing() {
    let mut interval = interval(1, 10, 1, 0);
    assert_eq!(interval.take(1, 0, at(0)), Ok(()));
    assert_eq!(interval.take(1, 0, at(9)), not_yet(1));
    assert!(interval.reserve(1, Duration::ZERO, at(9)).is_err());
    assert_eq!(interval.latest, at(0));
}

#[test]
fn a_take_leaves_what_reservations_ahead_need() {
    let mut interval = interval(3, 10, 10, 0);
    assert_eq!(interval.take(10, 0, at(0)), Ok(()));
    assert_eq!(interval.reserve(5, WAIT, at(0)), Ok(at(20)));
    // Of the three at 10, two are needed at 20.
    assert_eq!(interval.take(2, 0, at(0)), not_yet(30));
    assert_eq!(interval.available(at(10)), 1);
    assert_eq!(interval.take(1, 0, at(10)), Ok(()));
    assert_eq!(interval.available(at(20)), 0);
    assert_eq!(interval.reserve(3, WAIT, at(20)), Ok(at(30)));
}

#[test]
fn a_reservation_above_a_smaller_burst_needs_a_full_bucket_at_most() {
    let mut interval = interval(1, 10, 6, 0);
    assert_eq!(interval.take(6, 0, at(0)), Ok(()));
    assert_eq!(interval.reserve(6, WAIT, at(0)), Ok(at(60)));
    let smaller = refill(1, 10, 3, 0);
    interval
        .set_refill(smaller, History::Forgotten, at(20))
        .unwrap();
    // Whatever callers take until 30, the bucket is full at 60.
    assert_eq!(interval.available(at(30)), 3);
    assert_eq!(interval.available(at(40)), 2);
    assert_eq!(interval.available(at(60)), 0);
}

#[test]
fn a_cancellation_ahead_undoes_the_reservation() {
    let mut interval = interval(1, 10, 2, 0);
    assert_eq!(interval.take(2, 0, at(0)), Ok(()));
    let first = interval.reserve(2, WAIT, at(0)).unwrap();
    let second = interval.reserve(2, WAIT, at(0)).unwrap();
    assert_eq!([first, second], [at(20), at(40)]);
    interval.cancel(first, 2);
    // Two more at 40 would be four there, where there is room for three.
    assert_eq!(interval.reserve(2, WAIT, at(0)), Ok(at(20)));
}

#[test]
fn tokens_that_a_full_bucket_would_have_lost_do_not_come_back() {
    for (cancelled_at, left) in [(10, 1), (20, 2), (30, 2)] {
        let mut interval = interval(1, 10, 3, 0);
        assert_eq!(interval.take(1, 0, at(0)), Ok(()));
        let ready_at = interval.reserve(1, WAIT, at(0)).unwrap();
        assert_eq!(interval.take(1, 0, at(0)), Ok(()));
        assert_eq!(interval.take(1, 0, at(cancelled_at)), Ok(()));
        interval.cancel(ready_at, 1);
        interval.cancel(ready_at, 1);
        assert_eq!(interval.available(at(cancelled_at)), left);
    }
}

#[test]
fn a_committed_reservation_leaves_more_to_other_cancellations() {
    for committed in [false, true] {
        let mut interval = interval(1, 10, 4, 0);
        let other = interval.reserve(2, WAIT, at(0)).unwrap();
        let ready_at = interval.reserve(2, WAIT, at(5)).unwrap();
        if committed {
            interval.commit_at(ready_at, 2);
        }
        assert_eq!(interval.take(1, 0, at(10)), Ok(()));
        assert_eq!(interval.take(2, 0, at(30)), Ok(()));
        // Two were there at 30, so two of the four could not have been kept.
        interval.cancel(other, 2);
        assert_eq!(interval.available(at(30)), if committed { 2 } else { 0 });
    }
}

#[test]
fn refunds_pay_debt_and_stop_at_the_burst() {
    let mut interval = interval(2, 10, 5, 0);
    interval.charge(9, at(0));
    assert_eq!(interval.take(1, 0, at(0)), not_yet(30));
    interval.refund(3, at(0));
    assert_eq!(interval.take(1, 0, at(0)), not_yet(10));
    interval.refund(u64::MAX, at(0));
    assert_eq!(interval.available(at(0)), 5);
}

#[test]
fn debt_saturates_at_its_bound() {
    let mut interval = interval(1, 1, 1, 0);
    interval.charge(u64::MAX, at(0));
    interval.charge(u64::MAX, at(0));
    assert_eq!(interval.level, -i128::from(MAX_DEBT_TOKENS));
    assert_eq!(interval.take(1, 0, at(0)), Err(Denied::Exhausted));
}

#[test]
fn reservations_ahead_are_bounded() {
    let mut interval = interval(1, 1, 1, 0);
    let most = u64::try_from(MAX_AHEAD).unwrap();
    for ready_at in 1..=most {
        interval.debit_at(1, at(ready_at), at(0)).unwrap();
    }
    let retry_after = Duration::from_nanos(most + 1);
    let too_long = Err(Denied::TooLong { retry_after });
    assert_eq!(
        interval.debit_at(1, at(most + 1), at(0)).map(drop),
        too_long
    );
    assert_eq!(interval.debit_at(1, at(most), at(0)).map(drop), Ok(()));
    assert_eq!(interval.debit_at(1, at(most + 1), at(1)).map(drop), Ok(()));
    for ready_at in 1..3 * most {
        interval.debit_at(1, at(0), at(ready_at)).unwrap();
    }
    assert!(interval.ahead.len() == 0);
    assert_eq!(interval.debited.log.len(), MAX_AHEAD);
}

#[test]
fn tokens_accrue_during_a_pause() {
    let mut interval = interval(1, 10, 2, 0);
    assert_eq!(interval.take(2, 0, at(0)), Ok(()));
    interval.pause_until(at(27));
    interval.pause_until(at(3));
    assert_eq!(interval.take(1, 0, at(2)), not_yet(25));
    assert_eq!(interval.available(at(26)), 0);
    assert_eq!(interval.take_up_to(5, at(26)), 0);
    assert_eq!(interval.take_up_to(5, at(27)), 2);
}

#[test]
fn tighten_never_adds_a_token() {
    let mut interval = interval(1, 10, 5, 0);
    interval.tighten(2, at(0));
    interval.tighten(4, at(0));
    assert_eq!(interval.available(at(9)), 2);
    assert_eq!(interval.available(at(10)), 3);
}

#[test]
fn a_wait_behind_others_counts_what_a_full_bucket_loses() {
    let mut interval = interval(7, 10, 10, 0);
    assert_eq!(interval.take(4, 0, at(0)), Ok(()));
    // 6 are there. The first waiter waits for 8, and the bucket cannot hold 13.
    let behind = interval.wait_after([(8, 0), (11, 0)], 5, 0, at(0));
    assert_eq!(behind, Ok(Duration::from_nanos(20)));
}

#[test]
fn a_refill_that_changes_back_and_forth_mints_nothing() {
    let mut interval = interval(1, 10, 10, 0);
    assert_eq!(interval.take(10, 0, at(5)), Ok(()));
    for _ in 0..3 {
        interval
            .set_refill(refill(5, 2, 3, 1), History::Kept, at(5))
            .unwrap();
        interval
            .set_refill(refill(1, 10, 10, 0), History::Kept, at(5))
            .unwrap();
    }
    assert_eq!(interval.available(at(5)), 0);
    assert_eq!(interval.available(at(10)), 1);
    interval
        .set_refill(refill(1, 10, 4, 0), History::Forgotten, at(10))
        .unwrap();
    interval
        .set_refill(refill(1, 10, 10, 0), History::Kept, at(10))
        .unwrap();
    assert_eq!(interval.available(at(10)), 4);
}
