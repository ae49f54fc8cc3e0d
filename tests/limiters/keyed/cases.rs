//! The keyed limiter, case by case: the capacity over all shards, quotas of single keys, waiters of a
//! key, and what a cancellation returns after a change.

use std::hash::{BuildHasherDefault, Hasher};
use std::task::Poll;
use std::time::Duration;

use tollgate::{
    CarryOver, Denied, KeyedLimiter, ManualClock, OnFull, Quota, RateLimiter, Timestamp,
};

use crate::support::{Keyed, at, keyed, millis, poll, quota};
use crate::tasks::Polled;

const HOUR: u64 = 3_600_000_000_000;

fn limiter(text: &str, capacity: usize) -> KeyedLimiter<u64> {
    KeyedLimiter::new(quota(text), capacity).unwrap()
}

#[test]
fn all_shards_together_hold_the_capacity() {
    const CAPACITY: u64 = 5_000;
    let limiter = limiter("1/h burst 2", CAPACITY as usize);
    let take = |key: u64, now| limiter.key(&key).at(at(now)).try_acquire(1);
    let admitted = (0..CAPACITY + 1_000).filter(|key| take(*key, 0).is_ok());
    assert_eq!(admitted.count() as u64, CAPACITY, "every place is in use");
    assert_eq!(limiter.len() as u64, CAPACITY);
    assert_eq!(limiter.stats().overflowed, 1_000);
    // A removed key makes room for one.
    assert!(limiter.remove(&7));
    assert_eq!(take(CAPACITY + 2_000, 0), Ok(()));
    assert_eq!(take(CAPACITY + 2_001, 0), Err(Denied::TooManyKeys));
    // Once the buckets are full again, every key may be evicted.
    let later = (0..2 * CAPACITY).map(|key| 1_000_000 + key);
    assert!(
        later
            .into_iter()
            .all(|key| take(key, HOUR * (key - 999_990)).is_ok())
    );
    assert!(limiter.len() as u64 <= CAPACITY);
    assert!(limiter.stats().evicted >= CAPACITY);
}

/// Returns the key as its hash.
#[derive(Default)]
struct IdentityHasher(u64);

impl Hasher for IdentityHasher {
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
fn a_new_key_evicts_one_of_another_shard() {
    // Five shards of up to 96 keys each, chosen by the middle bits of the hash.
    const SHARDS: u64 = 5;
    let key = |shard: u64, n: u64| (((shard << 32) / SHARDS + (1 << 20)) << 16) | n;
    let builder = KeyedLimiter::builder(quota("1/h burst 2"), 200).on_full(OnFull::Deny);
    let builder = builder.hasher(BuildHasherDefault::<IdentityHasher>::default());
    let limiter: KeyedLimiter<u64, _> = builder.build().unwrap();
    let take = |key: u64, now| limiter.key(&key).at(at(now)).try_acquire(1);
    for n in 0..90 {
        assert_eq!(take(key(0, n), 0), Ok(()), "{n}");
    }
    for n in 0..110 {
        assert_eq!(take(key(1 + n % 2, n), 3 * HOUR), Ok(()), "{n}");
    }
    assert_eq!(limiter.len(), 200);
    // The keys of the first shard can be evicted; each attempt looks at another shard.
    let tries: Vec<_> = (0..2 * SHARDS).map(|n| take(key(4, n), 3 * HOUR)).collect();
    let refused = tries
        .iter()
        .position(Result::is_ok)
        .expect("no attempt looked at the first shard");
    assert!(
        tries[..refused]
            .iter()
            .all(|got| *got == Err(Denied::TooManyKeys))
    );
    assert!(limiter.len() <= 200 && limiter.stats().evicted > 0);
}

#[test]
fn a_key_that_is_not_retained_makes_room_and_a_retained_one_keeps_its_reservations() {
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
    // A key with its own quota uses no place.
    for key in [1, 4, 5] {
        assert_eq!(limiter.key(&key).at(at(0)).try_acquire(1), Ok(()), "{key}");
    }
    assert_eq!(
        limiter.key(&6).at(at(0)).try_acquire(1),
        Err(Denied::TooManyKeys)
    );
}

#[test]
fn own_quotas_are_visible_and_take_memory() {
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
fn a_cancellation_after_a_quota_change_returns_nothing() {
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
    assert_eq!(
        key.at(at(0)).available(),
        5,
        "a reservation of another quota returns a token"
    );
    change();
    after.cancel_at(at(0));
    assert_eq!(key.at(at(0)).available(), 5);
    // The same after the key gets its own quota.
    let before = key.at(at(0)).reserve(1, Duration::ZERO).unwrap();
    key.at(at(0))
        .set_quota(quota("1/h burst 8"), CarryOver::Tokens)
        .unwrap();
    before.cancel_at(at(0));
    assert_eq!(key.at(at(0)).available(), 4);
}

#[test]
fn a_removed_key_has_no_debt_and_no_claim() {
    let limiter = limiter("1/h burst 4", 10);
    let key = limiter.key(&1);
    let before = key.at(at(0)).reserve(3, Duration::ZERO).unwrap();
    assert!(limiter.remove(&1));
    let _open = key.at(at(0)).reserve(4, Duration::ZERO).unwrap();
    before.cancel_at(at(0));
    assert_eq!(key.at(at(0)).available(), 0);
}

#[test]
fn carry_over_full_grants_once_although_the_base_moves() {
    // Eleven tokens a second, in words that reach 18 seconds.
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
fn each_operation_of_a_key_respects_its_arguments() {
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
    assert_eq!(other.at(at(5)).available(), 4, "the pause ends now");
    let unlimited = KeyedLimiter::<u64>::new(Quota::unlimited(), 10).unwrap();
    let all = unlimited.key(&1).at(at(0)).try_acquire_above(u64::MAX, 1);
    assert_eq!(all, Ok(()), "an unlimited key has no floor");
}

#[test]
fn a_waiter_of_a_key_is_served_in_time_or_returns_its_token() {
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
    // The token of the dropped waiter is not lost.
    clock.advance(Duration::from_millis(1));
    assert_eq!(key.try_acquire(1), Ok(()));
}

#[test]
fn a_builder_error_names_the_option() {
    let error = KeyedLimiter::<u64>::new(quota("1/h"), 0).unwrap_err();
    assert!(error.to_string().contains("capacity"), "{error}");
}

#[test]
fn an_own_quota_applies_to_its_key_only() {
    let limiter = limiter("1/h burst 2", 8);
    let key = limiter.key(&1);
    key.set_quota(quota("1/h burst 9"), CarryOver::Full)
        .unwrap();
    assert_eq!((key.quota(), key.available()), (quota("1/h burst 9"), 9));
    assert_eq!(limiter.key(&2).available(), 2);
}

#[test]
fn removing_a_key_with_waiters_clears_its_debt_and_keeps_them() {
    type Forget = fn(&Keyed);
    let forgets: [(&str, Forget); 2] = [
        ("remove", |keyed| assert!(keyed.remove("ada"))),
        ("retain", |keyed| keyed.retain(|_, _| false)),
    ];
    for (name, forget) in forgets {
        let clock = ManualClock::new();
        let keyed = keyed(quota("1/h burst 3"), &clock);
        let key = keyed.key("ada");
        key.try_acquire(3).unwrap();
        let mut waits = [2, 2].map(|n| key.acquire(n));
        assert!(waits.iter_mut().all(|wait| poll(wait).is_pending()));
        assert_eq!(keyed.iter().collect::<Vec<_>>(), [("ada".to_owned(), 0)]);
        forget(&keyed);
        assert_eq!(
            poll(&mut waits[0]),
            Poll::Ready(Ok(())),
            "{name}: the bucket is not full"
        );
        assert!(poll(&mut waits[1]).is_pending(), "{name}");
        assert_eq!((keyed.len(), key.status(1).waiting), (1, 1), "{name}");
        assert!(key.try_acquire(1).is_err(), "{name}: a newcomer overtakes");
        clock.advance(millis(3_600_000));
        assert!(poll(&mut waits[1]).is_ready(), "{name}");
        clock.advance(millis(3 * 3_600_000));
        forget(&keyed);
        assert!(keyed.is_empty(), "{name}");
    }
    // Removing a key drops its own quota, and its waiters follow the quota of all.
    let clock = ManualClock::new();
    let keyed = keyed(quota("1/s burst 1"), &clock);
    keyed
        .key("ada")
        .set_quota(quota("1/day burst 9"), CarryOver::Empty)
        .unwrap();
    let key = keyed.key("ada");
    let mut waits = [1, 9, 1].map(|n| key.acquire(n));
    assert!(waits.iter_mut().all(|wait| poll(wait).is_pending()));
    assert!(keyed.remove("ada"));
    assert!(poll(&mut waits[0]).is_ready(), "the bucket is not full");
    let small = Poll::Ready(Err(Denied::ExceedsBurst { burst: 1 }));
    assert_eq!(poll(&mut waits[1]), small);
    clock.advance(millis(1_000));
    assert!(poll(&mut waits[2]).is_ready());
}

#[test]
fn a_reservation_of_a_key_that_is_not_retained_returns_nothing() {
    let clock = ManualClock::new();
    let builder = KeyedLimiter::<u64>::builder(quota("1/s burst 10"), 8);
    let keyed = builder.clock(clock.clone()).build().unwrap();
    let key = keyed.key(&1);
    assert!(key.try_acquire(10).is_ok());
    let reservation = key.reserve(10, Duration::MAX).unwrap();
    keyed.retain(|_, _| false);
    assert!(key.try_acquire(10).is_ok(), "the key is not full again");
    reservation.cancel();
    assert_eq!(key.available(), 0);
}

#[test]
fn debt_of_an_own_quota_does_not_overflow() {
    let clock = ManualClock::new();
    let builder = KeyedLimiter::<u64>::builder(quota("1/s"), 8);
    let keyed = builder.clock(clock).build().unwrap();
    keyed
        .key(&1)
        .set_quota(quota("1000000000000/s"), CarryOver::Tokens)
        .unwrap();
    let _ = keyed.key(&1).pause_until(Timestamp::MAX);
    keyed
        .key(&1)
        .set_quota(quota("1/36500d"), CarryOver::Tokens)
        .unwrap();
    assert!(keyed.key(&1).try_acquire(1).is_err());
}

#[test]
fn a_closed_limiter_is_charged_long_after_its_base() {
    let clock = ManualClock::new();
    // At this rate the base moves every few seconds.
    let limiter = keyed(quota("999983/s"), &clock);
    limiter.key("ada").try_acquire(1).unwrap();
    limiter.close();
    clock.advance(Duration::from_secs(3_600));
    for key in ["ada", "bob"] {
        let key = limiter.key(key);
        key.charge(10);
        assert_eq!(key.available(), 999_973);
        key.sync_remaining(5);
        assert_eq!(key.available(), 5);
        assert_eq!(key.try_acquire(1), Err(Denied::Closed));
        assert_eq!(key.try_acquire_with_status(1).0, Err(Denied::Closed));
    }
    limiter.set_quota(quota("5/s"), CarryOver::Full).unwrap();
    assert_eq!(limiter.key("ada").try_acquire(1), Err(Denied::Closed));
}

#[test]
fn zero_tokens_of_a_closed_limiter_pass() {
    let limiter = keyed(quota("1/s"), &ManualClock::new());
    limiter.close();
    let (taken, status) = limiter.key("ada").try_acquire_with_status(0);
    assert_eq!((taken, status.remaining), (Ok(()), 1));
}
