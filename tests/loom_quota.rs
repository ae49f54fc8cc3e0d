//! Changes of the quota and leases beside takers, under the model checker: no token appears, and
//! none is lost.
//!
//! Where a model would not end its preemptions are bounded, which is said there.
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

/// Takes single tokens, at times that may be stale, and counts them.
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
fn tokens_carry_over_whoever_takes_meanwhile() {
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
fn two_takers_and_a_change() {
    // Bounded by three preemptions: three threads, of which one writes a configuration.
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
fn a_configuration_that_is_written_anew_misleads_nobody() {
    // The one is the hot path, the other never is.
    written_anew("acquire x set_quota x 4", |bucket| take(bucket, &[0]));
    written_anew("acquire_up_to x set_quota x 4", |bucket| {
        bucket.at(Timestamp::ZERO).try_acquire_up_to(1)
    });
}

/// The fourth change writes where the first configuration stood. By its burst and the word of the
/// first there would be no token, but at each moment there is one. Bounded by three preemptions:
/// many steps, in which the taker stalls once.
fn written_anew(name: &'static str, take_one: fn(&AtomicTokenBucket<ManualClock>) -> u64) {
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
fn a_change_and_a_re_anchoring_are_both_done() {
    // 999,983/s re-anchors after 18 seconds.
    const LATE: u64 = 20_000_000_000;
    explore("re-anchor x set_quota", None, || {
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
fn a_lease_and_a_taker_share_what_there_is() {
    // Bounded by five preemptions: a lease that comes and goes is four steps of many words.
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
        // A carved burst can hold less for a while, but nothing may appear.
        assert!(leased + taken + there <= 3, "{leased} + {taken} + {there}");
        assert!(leased + taken >= 1);
    });
}

/// Sets a faster quota at the time that it reads, while another thread takes at a later time than
/// the clock shows at first. By an older time than that of a take the bucket would be deep in debt,
/// which the faster quota pays in no time.
fn faster_beside(
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
        assert_eq!(there, 0, "a token is there twice");
        let next = Timestamp::from_nanos(start + LATER + 1_001);
        assert_eq!(bucket.at(next).available(), 1, "a token is lost");
    });
}

#[test]
fn a_faster_quota_mints_nothing_by_an_older_time() {
    faster_beside("acquire x faster set_quota", None, 5_000, &[0, 4_000]);
    // The take moves the base too: bounded, since two threads write a generation each.
    const HORIZON: u64 = (1 << 54) / 999_983;
    faster_beside(
        "re-anchor x faster set_quota",
        Some(4),
        HORIZON - 10_000,
        &[0],
    );
}
