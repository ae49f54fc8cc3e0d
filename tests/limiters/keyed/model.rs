//! The keyed limiter against exact models: one key, all keys, floods, and that eviction is not observable.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::time::Duration;

use proptest::prelude::*;
use tollgate::{CarryOver, Denied, KeyedLimiter, ManualClock, OnFull, Quota, RateLimiter};

use crate::keyed_model::{CARRIES, Op, QUOTAS};
use crate::limiter_model::Exact;
use crate::support::at;
use crate::{keyed_model, limiter_model};

const SECOND: u64 = 1_000_000_000;

fn limiter(quota: &str, capacity: usize) -> KeyedLimiter<u64> {
    KeyedLimiter::new(quota.parse().unwrap(), capacity).unwrap()
}

#[test]
fn placed_keys_are_counted_and_a_key_that_is_not_retained_starts_full() {
    let limiter = limiter("10/h", 10);
    assert!(limiter.is_empty());
    limiter
        .key(&1)
        .set_quota("5/h".parse().unwrap(), CarryOver::Full)
        .unwrap();
    for key in [1, 2, 3] {
        assert_eq!(limiter.key(&key).at(at(0)).try_acquire(3), Ok(()));
    }
    assert_eq!(
        (limiter.len(), limiter.is_empty(), limiter.capacity()),
        (3, false, 10)
    );
    limiter.key(&2).at(at(0)).refund(2);
    assert_eq!(limiter.key(&2).at(at(0)).available(), 9);
    assert_eq!(limiter.key(&2).at(at(0)).try_acquire_up_to(20), 9);
    assert_eq!(limiter.key(&2).at(at(0)).available(), 0);

    limiter.retain(|key, _| *key == 2);
    assert_eq!(limiter.iter().map(|(key, _)| key).collect::<Vec<_>>(), [2]);
    assert_eq!(limiter.key(&1).quota(), "10/h".parse().unwrap());
    assert_eq!(limiter.key(&1).at(at(0)).available(), 10);
    limiter.retain(|_, _| false);
    assert_eq!((limiter.len(), limiter.is_empty()), (0, true));
}

#[test]
fn threads_that_take_from_one_key_share_exactly_its_tokens() {
    let limiter = limiter("1/s burst 1000000", 2);
    let take_all = || {
        let admitted = || limiter.key(&1).at(at(0)).try_acquire(1).is_ok();
        std::iter::repeat_with(admitted)
            .take_while(|ok| *ok)
            .count()
    };
    let taken: usize = std::thread::scope(|scope| {
        let threads = [(); 4].map(|()| scope.spawn(take_all));
        threads.map(|thread| thread.join().unwrap()).iter().sum()
    });
    assert_eq!(taken, 1_000_000);
}

proptest! {
    /// Under eviction and at stale times.
    #[test]
    fn every_key_is_an_exact_bucket(
        capacity in 1..6_usize,
        ops in prop::collection::vec((0..8_u64, 1..4_u64, 0..2 * SECOND, any::<bool>()), 1..200),
    ) {
        let quota: Quota = "3/s burst 3".parse().unwrap();
        let limiter = limiter("3/s burst 3", capacity);
        let mut models: HashMap<u64, Exact> = HashMap::new();
        let mut admitted: HashMap<u64, Vec<(u64, u64)>> = HashMap::new();
        let mut now = 0;
        for (key, n, by, stale) in ops {
            now += by;
            let asked = if stale { now.saturating_sub(by / 2) } else { now };
            let model = models.entry(key).or_insert_with(|| Exact::new(quota));
            let expected = model.ask(n, asked);
            let got = limiter.key(&key).at(at(asked)).try_acquire(n);
            match got {
                Err(Denied::TooManyKeys) => prop_assert!(expected.is_ok()),
                // A stale take may be judged by a key that was evicted since.
                Err(Denied::NotYet { .. }) if expected.is_ok() => prop_assert!(stale),
                _ => prop_assert_eq!(got, expected),
            }
            if got.is_ok() {
                model.try_acquire(n, asked).unwrap();
                admitted.entry(key).or_default().push((asked, n));
            }
            prop_assert!(limiter.len() <= capacity);
        }
        for events in admitted.values() {
            limiter_model::assert_never_over(quota, events);
        }
    }
}

fn op() -> impl Strategy<Value = Op> {
    let key = || 0..24_u8;
    let nanos = || (0..8_u64, 0..31_u32).prop_map(|(x, bits)| x << bits);
    let (quota, carry) = (|| 0..QUOTAS.len(), || 0..CARRIES.len());
    prop_oneof![
        8 => (key(), 0..6_u64).prop_map(|(key, n)| Op::Take { key, n, stale: 0 }),
        1 => (key(), nanos()).prop_map(|(key, stale)| Op::Take { key, n: 1, stale }),
        3 => (key(), 0..4_u64, nanos(), any::<bool>())
            .prop_map(|(key, n, max_wait, cancel)| Op::Owe { key, n, max_wait, cancel }),
        1 => key().prop_map(|key| Op::Available { key }),
        1 => (key(), 0..6_u64).prop_map(|(key, n)| Op::Refund { key, n }),
        1 => (key(), 0..6_u64).prop_map(|(key, keep)| Op::Tighten { key, keep }),
        1 => (key(), nanos()).prop_map(|(key, nanos)| Op::Pause { key, nanos }),
        1 => (quota(), carry()).prop_map(|(quota, carry)| Op::SetQuota { quota, carry }),
        1 => (key(), quota(), carry())
            .prop_map(|(key, quota, carry)| Op::SetOwn { key, quota, carry }),
        1 => key().prop_map(|key| Op::Remove { key }),
        4 => nanos().prop_map(|nanos| Op::Wait { nanos }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// With quota changes of all keys and of one, reservations that are used or cancelled, removed
    /// keys, and few places.
    #[test]
    fn the_limiter_answers_like_a_map_of_exact_buckets(
        capacity in 1..15_usize, shared: bool, first in 0..QUOTAS.len(),
        ops in prop::collection::vec(op(), 1..120),
    ) {
        let on_full = if shared { OnFull::Shared } else { OnFull::Deny };
        keyed_model::run(capacity, on_full, first, &ops);
    }
}

#[test]
fn a_stale_take_gains_nothing_from_an_eviction() {
    let limiter = limiter("1/s burst 2", 1);
    limiter.key(&1).at(at(0)).try_acquire(2).unwrap();
    // Key 1 is full again at 2 s, and is evicted then.
    limiter.key(&2).at(at(2 * SECOND)).try_acquire(1).unwrap();
    assert_eq!(limiter.stats().evicted, 1);
    // Key 2 is removed, so that there is a place; a thread that is still at 1 s takes from key 1
    // again.
    assert!(limiter.remove(&2));
    let got = limiter.key(&1).at(at(SECOND)).try_acquire(2);
    let retry_after = Duration::from_secs(1);
    assert_eq!(
        got,
        Err(Denied::NotYet { retry_after }),
        "at 1 s, key 1 had one token"
    );
    assert!(limiter.key(&1).at(at(SECOND)).try_acquire(1).is_ok());
    assert!(limiter.key(&1).at(at(4 * SECOND)).try_acquire(2).is_ok());
}

#[test]
fn a_thousand_quota_changes_mint_nothing() {
    let limiter = limiter("10/h", 1_000);
    for key in 0..100 {
        limiter.key(&key).at(at(0)).try_acquire(4).unwrap();
    }
    for change in 0..1_000_u64 {
        let quota = Quota::per_hour(10 + change % 2 * 10).unwrap();
        limiter
            .at(at(0))
            .set_quota(quota, CarryOver::Tokens)
            .unwrap();
        if change % 100 == 0 {
            assert_eq!(limiter.key(&(change / 100)).at(at(0)).available(), 6);
        }
    }
    for key in 0..100 {
        assert_eq!(limiter.key(&key).at(at(0)).available(), 6, "{key}");
    }
    assert_eq!(limiter.key(&1_000).at(at(0)).available(), 10);
}

#[test]
fn the_base_moves_for_all_keys() {
    // The horizon of this rate is 18 ms.
    let limiter = limiter("999999937/s burst 5", 100);
    let mut now = 0;
    for _ in 0..1_000 {
        now += 10_000_000;
        limiter.key(&1).at(at(now)).try_acquire(5).unwrap();
        assert!(limiter.key(&1).at(at(now)).try_acquire(1).is_err());
        assert!(
            limiter
                .key(&(now % 7))
                .at(at(now + 9))
                .try_acquire(1)
                .is_ok()
        );
    }
}

#[test]
fn a_full_limiter_keeps_known_keys_and_denies_or_shares_new_ones() {
    for on_full in [OnFull::Deny, OnFull::Shared] {
        let builder = KeyedLimiter::builder(Quota::per_hour(100).unwrap(), 10);
        let limiter: KeyedLimiter<u64, _, _> = builder
            .on_full(on_full)
            .clock(ManualClock::new())
            .build()
            .unwrap();
        (0..10).for_each(|key| limiter.key(&key).try_acquire(1).unwrap());
        let mut admitted = 0;
        for key in 10..1_000 {
            match limiter.key(&key).try_acquire(1) {
                Ok(()) => admitted += 1,
                Err(Denied::TooManyKeys) => assert_eq!(on_full, OnFull::Deny),
                Err(other) => assert!(matches!(other, Denied::NotYet { .. })),
            }
        }
        assert_eq!(admitted, if on_full == OnFull::Shared { 100 } else { 0 });
        assert_eq!(limiter.stats().overflowed, 990);
        (0..10).for_each(|key| limiter.key(&key).try_acquire(99).unwrap());
    }
}

#[test]
fn a_cancelled_reservation_returns_its_tokens() {
    let clock = ManualClock::new();
    let builder = KeyedLimiter::builder("1/s burst 1".parse().unwrap(), 10);
    let limiter: KeyedLimiter<String, _, _> = builder.clock(clock.clone()).build().unwrap();
    let ada = limiter.key("ada");
    ada.try_acquire(1).unwrap();
    let one = ada.reserve(1, Duration::MAX).unwrap();
    let two = ada.reserve(1, Duration::MAX).unwrap();
    assert_eq!(two.ready_at(), at(2 * SECOND));
    two.cancel();
    one.cancel();
    clock.advance(Duration::from_secs(1));
    assert!(ada.try_acquire(1).is_ok());
    let kept = ada.reserve(1, Duration::MAX).unwrap();
    limiter.remove("ada");
    kept.cancel();
    assert_eq!(ada.available(), 1);
}

/// Hashes every key to one number, as an attacker that knows the seed could.
#[derive(Default)]
struct CollidingHasher;

impl Hasher for CollidingHasher {
    fn write(&mut self, _: &[u8]) {}

    fn finish(&self) -> u64 {
        7
    }
}

#[test]
fn colliding_keys_stay_exact_and_bounded() {
    const CAPACITY: usize = 1_000;
    let builder = KeyedLimiter::<u64>::builder("1/s burst 2".parse().unwrap(), CAPACITY);
    let limiter = builder.hasher(BuildHasherDefault::<CollidingHasher>::default());
    let limiter = limiter.build().unwrap();
    let takes = |key: u64, now: u64| limiter.key(&key).at(at(now)).try_acquire(1);
    // Every key hashes to one shard, and no bucket is full again yet.
    let placed = (0..5_000).filter(|key| takes(*key, 0).is_ok()).count();
    assert_eq!(limiter.len(), placed);
    assert!((1..CAPACITY).contains(&placed), "{placed}");
    assert_eq!(limiter.stats().overflowed, 5_000 - placed as u64);
    for key in 0..placed as u64 {
        assert_eq!(takes(key, 0), Ok(()), "{key} has a second token");
        let wait = Denied::NotYet {
            retry_after: Duration::from_secs(1),
        };
        assert_eq!(takes(key, 0), Err(wait));
    }
    // Once full again, each key is evicted for a new one.
    let later = 10 * SECOND;
    assert!((5_000..5_000 + placed as u64).all(|key| takes(key, later).is_ok()));
    assert_eq!(limiter.stats().evicted, placed as u64);
    assert_eq!(takes(0, later), Err(Denied::TooManyKeys));
}

#[test]
fn ten_million_keys_stay_within_the_capacity() {
    const CAPACITY: usize = 1_000_000;
    let limiter = limiter("1/s burst 2", CAPACITY);
    let known = 10_000_000_000;
    for key in 0..10_000_000 {
        // 2,000,000 keys a second of virtual time; each bucket is full again after a second.
        let now = at(key * 500);
        let _: Result<(), Denied> = limiter.key(&key).at(now).try_acquire(1);
        if key % 1_000_000 == 0 {
            limiter
                .key(&known)
                .at(now)
                .try_acquire(1)
                .unwrap_or_else(|denied| {
                    assert!(matches!(denied, Denied::NotYet { .. }), "{denied}");
                });
        }
    }
    assert!(limiter.len() <= CAPACITY);
    let bytes = limiter.allocated();
    assert!(bytes <= 24 * CAPACITY, "{bytes} bytes");
    // In five seconds every place can be reused four times.
    let evicted = limiter.stats().evicted;
    assert!((3_000_000..=4_000_000).contains(&evicted), "{evicted}");
}
