//! Quota changes and leases beside takers, under the model checker: no token is minted or lost.
//!
//! A model that would not end otherwise bounds its preemptions, and a comment there says so.
#![cfg(tollgate_loom)]

#[path = "model/explore.rs"]
#[allow(dead_code, reason = "these models do not wait")]
mod explore;

use std::sync::Arc;

use explore::{TestClock, explore, explore_in_turns};
use loom::thread;
use tollgate::{AtomicTokenBucket, CarryOver, ManualClock, Quota, RateLimiter, Timestamp};

fn bucket(quota: &str) -> Arc<AtomicTokenBucket<ManualClock>> {
    Arc::new(AtomicTokenBucket::with_clock(quota.parse().unwrap(), ManualClock::new()).unwrap())
}

fn quota(text: &str) -> Quota {
    text.parse().unwrap()
}

/// Takes single tokens at the given times, which may be stale; returns how many.
fn take(bucket: &impl RateLimiter, times: &[u64]) -> u64 {
    let taken = times.iter().filter(|nanos| {
        bucket
            .at(Timestamp::from_nanos(**nanos))
            .try_acquire(1)
            .is_ok()
    });
    taken.count() as u64
}

#[test]
fn tokens_carry_over_beside_takes() {
    explore("acquire x set_quota", None, || {
        let bucket = bucket("1/h burst 2");
        let taker = {
            let bucket = Arc::clone(&bucket);
            thread::spawn(move || take(&bucket, &[5, 0, 5]))
        };
        bucket
            .set_quota(quota("7/h burst 5"), CarryOver::Tokens)
            .unwrap();
        let taken = taker.join().unwrap();
        assert_eq!((taken, bucket.available()), (2, 0));
    });
}

#[test]
fn tokens_carry_over_beside_two_takers() {
    // Bounded: three threads, one of which writes a configuration.
    explore("acquire x acquire x set_quota", Some(3), || {
        let bucket = bucket("1/h burst 3");
        let takers = [[5, 0], [0, 5]].map(|times| {
            let bucket = Arc::clone(&bucket);
            thread::spawn(move || take(&bucket, &times))
        });
        bucket
            .set_quota(quota("1/s burst 3"), CarryOver::Tokens)
            .unwrap();
        let taken: u64 = takers.into_iter().map(|taker| taker.join().unwrap()).sum();
        assert_eq!((taken, bucket.available()), (3, 0));
    });
}

#[test]
fn a_reused_configuration_slot_does_not_mislead_a_taker() {
    // `try_acquire` has a hot path, `try_acquire_up_to` has none.
    check_reused_slot("acquire x set_quota x 4", |bucket| take(bucket, &[0]));
    check_reused_slot("acquire_up_to x set_quota x 4", |bucket| {
        bucket.at(Timestamp::ZERO).try_acquire_up_to(1)
    });
}

/// The fourth change reuses the slot of the first configuration. Its burst with the word of the first
/// generation would deny, but at every moment there is one token. Bounded by three preemptions: the
/// changes are many steps, in which the taker stalls once.
fn check_reused_slot(name: &'static str, take_one: fn(&AtomicTokenBucket<ManualClock>) -> u64) {
    explore(name, Some(3), move || {
        let bucket = bucket("1/h burst 2");
        assert_eq!(take(&bucket, &[0]), 1);
        let taker = {
            let bucket = Arc::clone(&bucket);
            thread::spawn(move || take_one(&bucket))
        };
        for burst in [2, 2, 2, 1] {
            let quota = quota("1/h").burst(burst).unwrap();
            bucket.set_quota(quota, CarryOver::Tokens).unwrap();
        }
        let taken = taker.join().unwrap();
        assert_eq!((taken, bucket.available()), (1, 0));
    });
}

#[test]
fn a_quota_change_beside_a_move_of_the_base_loses_neither() {
    // At 999,983/s the base moves after 18 seconds.
    const LATE: u64 = 20_000_000_000;
    explore("base move x set_quota", None, || {
        let bucket = bucket("999983/s burst 2");
        let taker = {
            let bucket = Arc::clone(&bucket);
            thread::spawn(move || take(&bucket, &[LATE, LATE, LATE]))
        };
        let late = Timestamp::from_nanos(LATE);
        bucket
            .at(late)
            .set_quota(quota("1/d burst 4"), CarryOver::Tokens)
            .unwrap();
        let taken = taker.join().unwrap();
        assert_eq!((taken, bucket.at(late).available()), (2, 0));
        assert_eq!(bucket.quota(), quota("1/d burst 4"));
    });
}

#[test]
fn a_lease_and_a_taker_share_exactly_the_tokens() {
    // Bounded: to lease and to return is four steps of many words.
    explore("lease x acquire x drop", Some(5), || {
        let bucket = bucket("1/d burst 3");
        let taker = {
            let bucket = Arc::clone(&bucket);
            thread::spawn(move || take(&bucket, &[5, 0]))
        };
        let mut leased = 0;
        {
            let mut lease = bucket.lease(2).unwrap();
            leased += u64::from(lease.try_acquire(1).is_ok());
        }
        let taken = taker.join().unwrap();
        let there = bucket.available();
        // The remaining burst may hold less for a while, but no token may be minted.
        assert!(leased + taken + there <= 3, "{leased} + {taken} + {there}");
        assert!(leased + taken >= 1);
    });
}

/// Sets a faster quota by the clock, while another thread takes at a later time than the clock shows at
/// first. Judged by a time before that take, the bucket would be in debt, which the faster quota would
/// pay off at once.
fn check_faster_quota(
    name: &'static str,
    preemptions: Option<usize>,
    start: u64,
    stale: &'static [u64],
) {
    const LATER: u64 = 30_000;
    explore_in_turns(name, preemptions, move |spawned| {
        let clock = TestClock::default();
        clock.pass(start);
        let quota_before = quota("999983/s burst 1");
        let bucket = AtomicTokenBucket::with_clock(quota_before, clock.clone()).unwrap();
        let bucket = Arc::new(bucket);
        assert!(
            bucket
                .at(Timestamp::from_nanos(start))
                .try_acquire(1)
                .is_ok()
        );
        let taker = {
            let (bucket, clock) = (Arc::clone(&bucket), clock.clone());
            thread::spawn(move || {
                clock.pass(start + LATER);
                let taken = take(&bucket, &[start + LATER]);
                let stale = stale.iter().map(|before| start - before);
                taken + take(&bucket, &stale.collect::<Vec<_>>())
            })
        };
        spawned();
        bucket
            .set_quota(quota("9999830/s burst 1"), CarryOver::Tokens)
            .unwrap();
        assert_eq!(taker.join().unwrap(), 1);
        let there = bucket.at(Timestamp::from_nanos(start + LATER)).available();
        assert_eq!(there, 0, "a token is minted");
        let next = Timestamp::from_nanos(start + LATER + 1_001);
        assert_eq!(bucket.at(next).available(), 1, "a token is lost");
    });
}

#[test]
fn a_faster_quota_by_a_stale_clock_mints_nothing() {
    check_faster_quota("acquire x faster set_quota", None, 5_000, &[0, 4_000]);
    // The take moves the base too. Bounded: two threads write a generation each.
    const HORIZON: u64 = (1 << 54) / 999_983;
    check_faster_quota(
        "base move x faster set_quota",
        Some(4),
        HORIZON - 10_000,
        &[0],
    );
}
