//! The keyed limiters under test, one file each.

mod governor;
mod tollgate;

use std::hash::Hash;

use ::tollgate::KeyedLimiter;

use crate::quota::Quota;
use crate::subject::{About, Family};
use crate::workload::keys::drive::{Driven, Of};

/// A limiter with a bucket for each key.
pub trait Keyed<K>: Sync {
    /// Makes a limiter with room for at least `capacity` keys.
    fn new(quota: Quota, capacity: usize) -> Self;

    /// Takes one token of `key` now, or none.
    fn try_acquire(&self, key: &K) -> bool;

    /// Returns the time of the limiter's own clock, in nanoseconds.
    fn nanos(&self) -> u64;

    /// Changes the quota and keeps the current tokens; returns whether it supports that.
    fn set_quota(&self, _quota: Quota) -> bool {
        false
    }
}

/// A key of a workload.
pub trait Key: Hash + Eq + Clone + Send + Sync + 'static {}
impl<K: Hash + Eq + Clone + Send + Sync + 'static> Key for K {}

/// Returns all of them, ours first.
pub fn all<K: Key>() -> Vec<Box<dyn Driven<K>>> {
    use crate::limiter::governor::{Default, Given};

    let peer = |name, clock| About::new(name, Family::Peer, clock);
    vec![
        Of::<KeyedLimiter<K>>::boxed(About::new("KeyedLimiter", Family::Ours, "TSC")),
        Of::<governor::DashMap<K, Given>>::boxed(peer("governor, dashmap", "TSC")),
        Of::<governor::DashMap<K, Default>>::boxed(peer(
            "governor, dashmap, default clock",
            "quanta",
        )),
        Of::<governor::HashMap<K>>::boxed(peer("governor, hash map in a lock", "TSC")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limiter::governor::{Default, Given};

    fn admits_its_burst_to_each_key<L: Keyed<u64>>() {
        let quota = Quota {
            burst: 50,
            ..Quota::STINGY
        };
        let limiter = L::new(quota, 100);
        for key in 0..2 {
            let admitted = (0..100).filter(|_| limiter.try_acquire(&key)).count();
            assert_eq!(admitted, 50);
        }
    }

    #[test]
    fn adapters_admit_the_burst_and_no_more() {
        admits_its_burst_to_each_key::<KeyedLimiter<u64>>();
        admits_its_burst_to_each_key::<governor::DashMap<u64, Given>>();
        admits_its_burst_to_each_key::<governor::DashMap<u64, Default>>();
        admits_its_burst_to_each_key::<governor::HashMap<u64>>();
    }
}
