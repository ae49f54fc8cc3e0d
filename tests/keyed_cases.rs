//! The keyed limiter, case by case: its capacity over all shards, quotas of single keys, and what
//! reservations are worth after changes.
#![cfg(not(tollgate_loom))]

#[allow(dead_code, reason = "shared with other tests")]
#[path = "model/tasks.rs"]
mod tasks;

use std::hash::{BuildHasherDefault, Hasher};
use std::time::Duration;

use tasks::Polled;
use tollgate::{
    CarryOver, Denied, KeyedLimiter, ManualClock, OnFull, Quota, RateLimiter, Timestamp,
};

const HOUR: u64 = 3_600_000_000_000;

fn at(nanos: u64) -> Timestamp {
    Timestamp::from_nanos(nanos)
}

fn quota(text: &str) -> Quota {
    text.parse().unwrap()
}

fn limiter(text: &str, capacity: usize) -> KeyedLimiter<u64> {
    KeyedLimiter::new(quota(text), capacity).unwrap()
}

#[test]
fn all_shards_together_hold_as_many_keys_as_they_may() {
    const CAPACITY: u64 = 5_000;
    let limiter = limiter("1/h burst 2", CAPACITY as usize);
    let take = |key: u64, now| limiter.key(&key).at(at(now)).try_acquire(1);
    let admitted = (0..CAPACITY + 1_000).filter(|key| take(*key, 0).is_ok());
    assert_eq!(admitted.count() as u64, CAPACITY, "all are in use");
    assert_eq!(limiter.len() as u64, CAPACITY);
    assert_eq!(limiter.stats().overflowed, 1_000);
    // One that is removed makes room for one.
    assert!(limiter.remove(&7));
    assert_eq!(take(CAPACITY + 2_000, 0), Ok(()));
    assert_eq!(take(CAPACITY + 2_001, 0), Err(Denied::TooManyKeys));
    // And when they are full again all may go.
    let later = (0..2 * CAPACITY).map(|key| 1_000_000 + key);
    assert!(
        later
            .into_iter()
            .all(|key| take(key, HOUR * (key - 999_990)).is_ok())
    );
    assert!(limiter.len() as u64 <= CAPACITY);
    assert!(limiter.stats().evicted >= CAPACITY);
}

/// A key is its own hash.
#[derive(Default)]
struct Same(u64);

impl Hasher for Same {
    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are words");
    }

    fn write_u64(&mut self, n: u64) {
        self.0 = n;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[test]
fn a_key_takes_the_place_of_one_in_another_shard() {
    // Five shards, of up to 96 keys each, by the middle bits of the hash.
    const SHARDS: u64 = 5;
    let key = |shard: u64, n: u64| (((shard << 32) / SHARDS + (1 << 20)) << 16) | n;
    let builder = KeyedLimiter::builder(quota("1/h burst 2"), 200).on_full(OnFull::Deny);
    let builder = builder.hasher(BuildHasherDefault::<Same>::default());
    let limiter: KeyedLimiter<u64, _> = builder.build().unwrap();
    let take = |key: u64, now| limiter.key(&key).at(at(now)).try_acquire(1);
    for n in 0..90 {
        assert_eq!(take(key(0, n), 0), Ok(()), "{n}");
    }
    for n in 0..110 {
        assert_eq!(take(key(1 + n % 2, n), 3 * HOUR), Ok(()), "{n}");
    }
    assert_eq!(limiter.len(), 200);
    // Those of the first shard may go; each try looks at another.
    let tries: Vec<_> = (0..2 * SHARDS).map(|n| take(key(4, n), 3 * HOUR)).collect();
    let refused = tries
        .iter()
        .position(Result::is_ok)
        .expect("one looked at the first");
    assert!(
        tries[..refused]
            .iter()
            .all(|got| *got == Err(Denied::TooManyKeys))
    );
    assert!(limiter.len() <= 200 && limiter.stats().evicted > 0);
}

#[test]
fn what_is_not_retained_makes_room_and_what_is_keeps_its_reservations() {
    let limiter = limiter("1/h burst 4", 3);
    let wait = Duration::ZERO;
    let (placed, own) = (limiter.key(&1), limiter.key(&3));
    own.at(at(0))
        .set_quota(quota("1/h burst 9"), CarryOver::Full)
        .unwrap();
    let of_placed = placed.at(at(0)).reserve(2, wait).unwrap();
    let of_own = own.at(at(0)).reserve(2, wait).unwrap();
    assert!(limiter.key(&2).at(at(0)).try_acquire(1).is_ok());
    limiter.retain(|key, _| *key != 2);
    of_placed.cancel_at(at(0));
    of_own.cancel_at(at(0));
    assert_eq!(
        (placed.at(at(0)).available(), own.at(at(0)).available()),
        (4, 9)
    );
    // A key with a quota of its own needs no place.
    for key in [1, 4, 5] {
        assert_eq!(limiter.key(&key).at(at(0)).try_acquire(1), Ok(()), "{key}");
    }
    assert_eq!(
        limiter.key(&6).at(at(0)).try_acquire(1),
        Err(Denied::TooManyKeys)
    );
}

#[test]
fn a_quota_of_its_own_is_set_and_seen_by_key_too() {
    let limiter = limiter("1/h burst 4", 1_000);
    assert_eq!(limiter.allocated(), 0);
    for key in 0..1_000 {
        assert!(limiter.key(&key).at(at(0)).try_acquire(1).is_ok());
    }
    let placed = limiter.allocated();
    assert!((8_000..80_000).contains(&placed), "{placed} bytes");
    let own = quota("1/h burst 9");
    for key in 0..100 {
        let key = limiter.key(&key);
        key.at(at(0)).set_quota(own, CarryOver::Full).unwrap();
        assert_eq!((key.quota(), key.at(at(0)).available()), (own, 9));
    }
    assert!(limiter.allocated() > placed);
    assert_eq!(limiter.key(&500).quota(), quota("1/h burst 4"));
    let mut keys: Vec<_> = limiter.iter().map(|(key, _)| key).collect();
    keys.sort_unstable();
    assert_eq!(keys, (0..1_000).collect::<Vec<_>>());
}

#[test]
fn after_a_change_of_the_quota_nothing_comes_back() {
    let limiter = limiter("1/h burst 8", 10);
    let key = limiter.key(&1);
    let change = || {
        limiter
            .at(at(0))
            .set_quota(quota("2/h burst 8"), CarryOver::Tokens)
            .unwrap();
    };
    let before = key.at(at(0)).reserve(1, Duration::ZERO).unwrap();
    change();
    let after = key.at(at(0)).reserve(2, Duration::ZERO).unwrap();
    before.cancel_at(at(0));
    assert_eq!(key.at(at(0)).available(), 5, "the first of another quota");
    change();
    after.cancel_at(at(0));
    assert_eq!(key.at(at(0)).available(), 5);
    // Nor after the key has got one of its own, or lost it.
    let before = key.at(at(0)).reserve(1, Duration::ZERO).unwrap();
    key.at(at(0))
        .set_quota(quota("1/h burst 8"), CarryOver::Tokens)
        .unwrap();
    before.cancel_at(at(0));
    assert_eq!(key.at(at(0)).available(), 4);
}

#[test]
fn a_key_that_was_removed_owes_nothing_and_is_owed_nothing() {
    let limiter = limiter("1/h burst 4", 10);
    let key = limiter.key(&1);
    let before = key.at(at(0)).reserve(3, Duration::ZERO).unwrap();
    assert!(limiter.remove(&1));
    let _open = key.at(at(0)).reserve(4, Duration::ZERO).unwrap();
    before.cancel_at(at(0));
    assert_eq!(key.at(at(0)).available(), 0);
}

#[test]
fn a_grant_is_made_once_although_the_base_moves_on() {
    // Eleven a second, in words that reach 18 seconds.
    let limiter = limiter("999983/d burst 200", 10);
    let key = limiter.key(&1);
    let second = 1_000_000_000;
    limiter
        .at(at(0))
        .set_quota(quota("999983/d burst 200"), CarryOver::Full)
        .unwrap();
    assert!(key.at(at(10 * second)).try_acquire(200).is_ok());
    assert!(limiter.key(&2).at(at(20 * second)).try_acquire(1).is_ok());
    assert_eq!(key.at(at(20 * second)).available(), 10 * 999_983 / 86_400);
}

#[test]
fn each_operation_of_a_key_goes_by_what_it_is_told() {
    let limiter = limiter("1/h burst 4", 10);
    let own = limiter.key(&3);
    own.at(at(0))
        .set_quota(quota("1/h burst 4"), CarryOver::Full)
        .unwrap();
    for key in [own, limiter.key(&1)] {
        assert!(key.at(at(0)).try_acquire_above(2, 2).is_ok());
        assert!(key.at(at(0)).try_acquire_above(1, 2).is_err());
        assert!(key.at(at(0)).try_acquire(2).is_ok());
    }
    let key = limiter.key(&1);
    let hour = Duration::from_nanos(HOUR);
    let early = hour - Duration::from_nanos(1);
    assert!(matches!(
        key.at(at(0)).reserve(1, early),
        Err(Denied::TooLong { .. })
    ));
    let reserved = key.at(at(0)).reserve(1, hour).unwrap();
    assert_eq!(reserved.ready_at(), at(HOUR));
    reserved.commit();
    let other = limiter.key(&2);
    assert_eq!(other.at(at(5)).pause_until(at(5)), Ok(()));
    assert_eq!(other.at(at(5)).available(), 4, "it ends now");
    let unlimited = KeyedLimiter::<u64>::new(Quota::unlimited(), 10).unwrap();
    let all = unlimited.key(&1).at(at(0)).try_acquire_above(u64::MAX, 1);
    assert_eq!(all, Ok(()), "no limit, and none to the floor");
}

#[test]
fn whoever_waits_for_a_key_is_served_in_time_or_gives_back() {
    let clock = ManualClock::new();
    let builder = KeyedLimiter::builder(quota("1000/s burst 1"), 10).clock(clock.clone());
    let limiter: KeyedLimiter<u64, _, _> = builder.build().unwrap();
    let key = limiter.key(&1);
    key.try_acquire(1).unwrap();
    let first = Polled::pending(key.acquire(1));
    let second = Polled::pending(key.acquire(1));
    clock.advance(Duration::from_micros(999));
    assert_eq!(first.woken(), 0);
    drop(second);
    clock.advance(Duration::from_micros(1));
    assert_eq!((first.woken(), first.ready()), (1, Ok(())));
    // The token of the second was not lost.
    clock.advance(Duration::from_millis(1));
    assert_eq!(key.try_acquire(1), Ok(()));
}

#[test]
fn an_error_says_what_is_wrong() {
    let error = KeyedLimiter::<u64>::new(quota("1/h"), 0).unwrap_err();
    assert!(error.to_string().contains("capacity"), "{error}");
}

#[test]
fn a_quota_of_its_own_is_for_that_key_only() {
    let limiter = limiter("1/h burst 2", 8);
    let key = limiter.key(&1);
    key.set_quota(quota("1/h burst 9"), CarryOver::Full)
        .unwrap();
    assert_eq!((key.quota(), key.available()), (quota("1/h burst 9"), 9));
    assert_eq!(limiter.key(&2).available(), 2);
}
