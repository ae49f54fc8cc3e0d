//! Keys that come, go and are taken from at once, and combined limits that contend, under the model
//! checker.
#![cfg(tollgate_loom)]

#[path = "model/explore.rs"]
#[allow(dead_code, reason = "these models do not wait")]
mod explore;

use std::hash::{BuildHasherDefault, DefaultHasher};
use std::sync::Arc;

use explore::explore;
use loom::thread;
use tollgate::{
    AllOf, AtomicTokenBucket, KeyedLimiter, ManualClock, OnFull, Quota, RateLimiter, Timestamp,
};

const SECOND: u64 = 1_000_000_000;

/// The same in every execution, as the model checker wants it.
type Hasher = BuildHasherDefault<DefaultHasher>;

fn at(nanos: u64) -> Timestamp {
    Timestamp::from_nanos(nanos)
}

fn one_place() -> Arc<KeyedLimiter<u64, Hasher, ManualClock>> {
    let builder = KeyedLimiter::builder("1/s burst 2".parse().unwrap(), 1).on_full(OnFull::Deny);
    let builder = builder.hasher(Hasher::default()).clock(ManualClock::new());
    Arc::new(builder.build().unwrap())
}

#[test]
fn a_key_that_is_evicted_and_comes_back_gains_nothing() {
    // One place: key 2 evicts key 1 at two seconds, while a thread that is still at one second
    // takes from key 1.
    explore("insert x evict x acquire", None, || {
        let limiter = one_place();
        limiter.key(&1).try_acquire_at(2, at(0)).unwrap();
        let evicting = {
            let limiter = Arc::clone(&limiter);
            thread::spawn(move || limiter.key(&2).try_acquire_at(1, at(2 * SECOND)).is_ok())
        };
        let stale = [(); 2].map(|()| limiter.key(&1).try_acquire_at(1, at(SECOND)).is_ok());
        evicting.join().unwrap();
        let taken = stale.into_iter().filter(|admitted| *admitted).count();
        assert!(taken <= 1, "one token had come by then");
        assert!(limiter.len() <= 1);
    });
}

#[test]
fn takers_of_one_key_beside_each_other_share_what_there_is() {
    explore("acquire x acquire x acquire of one key", None, || {
        let limiter = one_place();
        limiter.key(&1).try_acquire_at(1, at(0)).unwrap();
        let others = [(); 2].map(|()| {
            let limiter = Arc::clone(&limiter);
            thread::spawn(move || limiter.key(&1).try_acquire_at(1, at(SECOND)).is_ok())
        });
        let mut admitted = usize::from(limiter.key(&1).try_acquire_at(1, at(SECOND)).is_ok());
        for other in others {
            admitted += usize::from(other.join().unwrap());
        }
        assert_eq!(admitted, 2);
        assert_eq!(limiter.key(&1).available_at(at(SECOND)), 0);
    });
}

#[test]
fn a_change_of_the_quota_beside_a_take_mints_nothing() {
    explore("set_quota x acquire", None, || {
        let limiter = one_place();
        let changing = {
            let limiter = Arc::clone(&limiter);
            thread::spawn(move || {
                let quota = Quota::per_second(1).unwrap().burst(9).unwrap();
                let carry = tollgate::CarryOver::Tokens;
                limiter.set_quota_at(quota, carry, at(0)).unwrap();
            })
        };
        let taken = [(); 3].map(|()| limiter.key(&1).try_acquire_at(1, at(0)).is_ok());
        changing.join().unwrap();
        assert_eq!(taken, [true, true, false]);
        assert_eq!(limiter.key(&1).available_at(at(0)), 0);
    });
}

#[test]
fn combined_limits_in_opposite_orders_do_not_make_each_other_fail() {
    explore("AllOf x AllOf", None, || {
        let bucket = || {
            let quota = "1/s burst 1".parse().unwrap();
            Arc::new(AtomicTokenBucket::with_clock(quota, ManualClock::new()).unwrap())
        };
        let (one, two) = (bucket(), bucket());
        let other = {
            let pair = [Arc::clone(&two), Arc::clone(&one)];
            thread::spawn(move || AllOf::new(pair).try_acquire_at(1, at(0)).is_ok())
        };
        let pair = AllOf::new((Arc::clone(&one), Arc::clone(&two)));
        let mine = pair.try_acquire_at(1, at(0)).is_ok();
        // There is enough for one of them.
        assert_ne!(mine, other.join().unwrap());
        assert_eq!((one.available_at(at(0)), two.available_at(at(0))), (0, 0));
    });
}
