//! Both token buckets against an exact model: every decision and every wait, at every kind of rate. Each
//! promise of [`tollgate::RateLimiter`] is also a property here.

use std::time::Duration;

use proptest::prelude::*;
use tollgate::{
    At, AtomicTokenBucket, CarryOver, Denied, LockedTokenBucket, ManualClock, Quota, QuotaLimiter,
    RateLimiter, Timestamp,
};

use crate::limiter_model;
use crate::limiter_model::{AGE, Amount, Exact, Op, RATES, When, bound, buckets, exact_skew};
use crate::support::at;

const YEAR: u64 = AGE / 200;

fn rate() -> impl Strategy<Value = Quota> {
    // The last two entries have no rate.
    let named = prop::sample::select(RATES[..12].to_vec()).prop_map(|text| text.parse().unwrap());
    let any = (log_uniform(60), log_uniform(62))
        .prop_filter_map("within the bounds", |(tokens, period)| {
            Quota::new(tokens + 1, Duration::from_nanos(period + 1)).ok()
        });
    prop_oneof![4 => named, 2 => any]
}

fn burst() -> impl Strategy<Value = u64> {
    prop_oneof![Just(1), Just(2), 1..100u64, 1..=1_000_000_000u64]
}

fn rule() -> impl Strategy<Value = CarryOver> {
    prop::sample::select(vec![
        CarryOver::Tokens,
        CarryOver::Fraction,
        CarryOver::Empty,
        CarryOver::Full,
    ])
}

fn quota() -> impl Strategy<Value = Quota> {
    let limited = (rate(), burst()).prop_map(|(rate, burst)| rate.burst(burst).unwrap());
    let never = burst().prop_map(|burst| Quota::per_second(0).unwrap().burst(burst).unwrap());
    prop_oneof![20 => limited, 1 => never, 1 => Just(Quota::unlimited())]
}

/// A number of at most `bits` bits, with every length equally likely.
fn log_uniform(bits: u32) -> impl Strategy<Value = u64> {
    (0..=bits, any::<u64>()).prop_map(|(bits, x)| x & ((1u64 << bits) - 1))
}

fn op() -> impl Strategy<Value = Op> {
    let when = prop_oneof![
        3 => log_uniform(56).prop_map(When::Forward),
        2 => Just(When::Forward(0)),
        2 => log_uniform(56).prop_map(When::Stale),
        3 => (-2..=2i8).prop_map(When::Retry),
    ];
    let amount = prop_oneof![
        4 => (0..4u64).prop_map(Amount::Tokens),
        1 => any::<u64>().prop_map(Amount::Tokens),
        2 => (-1..3i8).prop_map(Amount::OfBurst),
        2 => any::<u8>().prop_map(Amount::Part),
    ];
    prop_oneof![
        8 => (amount.clone(), when.clone()).prop_map(|(amount, when)| Op::TryAcquire(amount, when)),
        1 => (amount.clone(), any::<u8>(), when.clone())
            .prop_map(|(amount, floor, when)| Op::TryAcquireAbove(amount, floor % 4, when)),
        1 => (amount.clone(), when.clone()).prop_map(|(amount, when)| Op::TryAcquireUpTo(amount, when)),
        2 => (amount.clone(), log_uniform(56), when.clone())
            .prop_map(|(amount, wait, when)| Op::Reserve(amount, wait, when)),
        1 => (amount.clone(), when.clone()).prop_map(|(amount, when)| Op::Refund(amount, when)),
        2 => when.clone().prop_map(Op::Cancel),
        1 => (amount, when.clone()).prop_map(|(amount, when)| Op::SyncRemaining(amount, when)),
        1 => (log_uniform(56), when.clone()).prop_map(|(nanos, when)| Op::Pause(nanos, when)),
        1 => (0..RATES.len(), burst(), rule(), when.clone())
            .prop_map(|(rate, burst, rule, when)| Op::SetQuota(rate, burst, rule, when)),
        2 => when.prop_map(Op::Available),
    ]
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec(op(), 1..60)
}

/// Takes token by token until denied.
fn take_all(bucket: &dyn QuotaLimiter, now: u64) -> u64 {
    (0..)
        .find(|_| At::new(bucket, at(now)).try_acquire(1).is_err())
        .expect("denied in the end")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn every_answer_matches_the_exact_model(quota in quota(), ops in ops()) {
        limiter_model::run(quota, 0, &ops);
    }

    #[test]
    fn answers_do_not_depend_on_the_age_of_the_process(quota in quota(), ops in ops()) {
        // Begins beyond the largest skew, so that no stale time is clamped at the origin.
        let young = limiter_model::run(quota, AGE / 4, &ops);
        // A run with all its waits may not reach the end of the clock either.
        let year = Duration::from_nanos(YEAR);
        let waits = |denied: &Denied| denied.retry_after().is_none_or(|wait| wait < year);
        prop_assume!(young.iter().filter_map(|decision| decision.as_ref().err()).all(waits));
        prop_assert_eq!(young, limiter_model::run(quota, AGE, &ops));
    }

    #[test]
    fn a_saturated_full_bucket_admits_exactly_the_bound(
        rate in rate(), burst in 2..400u64, start in log_uniform(60),
        gaps in prop::collection::vec(any::<u64>(), 1..60),
    ) {
        let quota = rate.burst(burst).unwrap();
        // The gaps are so short that a bucket with less than a token is not full at the next take.
        let longest = u128::from(burst - 1) * quota.period().as_nanos() / u128::from(quota.tokens());
        let longest = u64::try_from(longest).unwrap_or(u64::MAX).min(YEAR / 30);
        prop_assume!(longest > 0);
        for bucket in buckets(quota) {
            let (mut now, mut taken) = (start, take_all(&*bucket, start));
            for gap in &gaps {
                now += 1 + gap % longest;
                taken += take_all(&*bucket, now);
                prop_assert_eq!(u128::from(taken), bound(quota, now - start));
            }
        }
    }

    #[test]
    fn a_burst_of_one_loses_less_than_a_tick_a_token(rate in rate(), start in log_uniform(60)) {
        let quota = rate.burst(1).unwrap();
        let tick = quota.period().as_nanos().div_ceil(u128::from(quota.tokens())) as u64;
        prop_assume!(tick < YEAR);
        for bucket in buckets(quota) {
            let mut now = start;
            for _ in 0..100 {
                prop_assert!(bucket.at(at(now)).try_acquire(1).is_ok());
                prop_assert!(bucket.at(at(now)).try_acquire(1).is_err());
                prop_assert!(bucket.at(at(now + tick - 1)).try_acquire(1).is_err());
                now += tick;
            }
        }
    }

    #[test]
    fn a_denial_reports_the_exact_wait_and_leaves_no_trace(
        quota in quota(), ops in ops(), n in prop_oneof![1..4u64, 1..1_000_000_000u64], now in log_uniform(62),
    ) {
        prop_assume!(!quota.is_unlimited());
        for bucket in buckets(quota) {
            let _ = bucket.at(at(now)).try_acquire(quota.max_burst());
            let Err(Denied::NotYet { retry_after }) = bucket.at(at(now)).try_acquire(n) else { continue };
            let ready = now + retry_after.as_nanos() as u64;
            // Denials of any size in between change nothing.
            for (i, _) in ops.iter().enumerate() {
                let between = now + (ready - 1 - now) / (i as u64 + 1);
                prop_assert_eq!(
                    bucket.at(at(between)).try_acquire(n),
                    Err(Denied::NotYet { retry_after: Duration::from_nanos(ready - between) })
                );
                prop_assert!(bucket.at(at(between)).try_acquire(quota.max_burst() + 1).is_err());
            }
            prop_assert!(bucket.at(at(ready - 1)).try_acquire(n).is_err());
            prop_assert!(bucket.at(at(ready)).try_acquire(n).is_ok());
        }
    }

    #[test]
    fn ten_idle_years_gain_at_most_the_burst(quota in quota(), used in log_uniform(30)) {
        prop_assume!(!quota.is_unlimited());
        for bucket in buckets(quota) {
            let _ = bucket.at(at(0)).try_acquire(used.min(quota.max_burst()));
            let later = at(10 * YEAR);
            let there = bucket.at(later).available();
            prop_assert!(there <= quota.max_burst());
            prop_assert!(bucket.at(later).try_acquire(there).is_ok());
            prop_assert!(bucket.at(later).try_acquire(1).is_err());
        }
    }

    #[test]
    fn a_read_at_a_later_time_changes_nothing(quota in quota(), ahead in log_uniform(63)) {
        for bucket in buckets(quota) {
            let _ = bucket.at(at(0)).try_acquire(quota.max_burst());
            let before = bucket.at(at(0)).try_acquire(1);
            bucket.at(at(ahead)).available();
            prop_assert_eq!(bucket.at(at(0)).try_acquire(1), before);
        }
    }

    #[test]
    fn a_take_at_any_stale_time_mints_nothing(rate in rate(), burst in 1..1000u64, now in log_uniform(62), back: u64) {
        let quota = rate.burst(burst).unwrap();
        for bucket in buckets(quota) {
            prop_assert!(bucket.at(at(now)).try_acquire(burst).is_ok());
            let stale = at(now - back % (now + 1));
            let denied = bucket.at(stale).try_acquire(1);
            let mut exact = Exact::new(quota);
            prop_assert!(exact.try_acquire(burst, now).is_ok());
            // The token is ready at the same instant, counted from either time.
            let wait = |now: u64, denied: Result<(), Denied>| {
                denied.unwrap_err().retry_after().map(|wait| now + wait.as_nanos() as u64)
            };
            prop_assert_eq!(wait(stale.as_nanos(), denied), wait(now, exact.ask(1, now)));
        }
    }
}

/// Takes all that is available at each step, while the atomic bucket moves its base many times.
fn assert_no_drift(rate: &str, burst: u64, step: u64, steps: u64) {
    let quota = rate.parse::<Quota>().unwrap().burst(burst).unwrap();
    let horizon = exact_skew(quota) * 8;
    assert!(
        step * steps > 3 * horizon,
        "{rate}: the base moves less than twice"
    );
    for bucket in buckets(quota) {
        let mut taken = burst;
        assert!(bucket.at(at(0)).try_acquire(burst).is_ok());
        for now in (1..=steps).map(|i| i * step) {
            let there = bucket.at(at(now)).available();
            assert!(bucket.at(at(now)).try_acquire(there).is_ok());
            taken += there;
        }
        assert_eq!(u128::from(taken), bound(quota, step * steps));
    }
}

#[test]
fn seven_a_second_does_not_drift_in_five_years() {
    assert_no_drift("7/s", 1_000_000, 86_399_999_999_989, 5 * 365);
}

#[test]
fn a_prime_rate_does_not_drift_in_ten_hours() {
    assert_no_drift("999983/s", 1_000_000, 999_999_937, 36_000);
}

#[test]
fn the_fastest_rates_do_not_drift() {
    assert_no_drift("999999937/s", 10_000_000, 9_999_991, 10_000);
    assert_no_drift("1000000000000/s", 1_000_000_000_000, 999_999_937, 60_000);
}

#[test]
fn a_take_at_the_end_of_the_clock_is_admitted_once() {
    let quota = Quota::per_second(1).unwrap();
    for bucket in buckets(quota) {
        assert!(bucket.at(Timestamp::MAX).try_acquire(1).is_ok());
        assert_eq!(
            bucket.at(Timestamp::MAX).try_acquire(1),
            Err(Denied::Exhausted)
        );
        assert_eq!(bucket.at(Timestamp::MAX).available(), 0);
    }
}

#[test]
fn zero_tokens_always_pass_and_more_than_the_burst_never_does() {
    let quota = Quota::per_second(5).unwrap();
    for bucket in buckets(quota) {
        assert!(bucket.at(at(0)).try_acquire(5).is_ok());
        assert!(bucket.at(at(0)).try_acquire(0).is_ok());
        let denied = bucket.at(at(AGE)).try_acquire(6).unwrap_err();
        assert!(matches!(denied, Denied::ExceedsBurst { burst: 5, .. }));
    }
}

#[test]
fn buckets_are_send_and_sync() {
    fn shared<T: Send + Sync>() {}
    shared::<AtomicTokenBucket<ManualClock>>();
    shared::<LockedTokenBucket<ManualClock>>();
}
