//! `governor` over its two maps. Neither evicts a key by itself.

use governor::RateLimiter;
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::{DashMapStateStore, HashMapStateStore};

use super::{Key, Keyed};
use crate::limiter::governor::{Given, Stamps};
use crate::quota::Quota;

type Limiter<K, S, C> =
    RateLimiter<K, S, C, NoOpMiddleware<<C as governor::clock::Clock>::Instant>>;

/// Over a dashmap.
pub struct DashMap<K: Key, C: Stamps>(Limiter<K, DashMapStateStore<K>, C>);

/// Over the standard library's map, in a lock.
pub struct HashMap<K: Key>(Limiter<K, HashMapStateStore<K>, Given>);

impl<K: Key, C: Stamps> Keyed<K> for DashMap<K, C> {
    fn new(quota: Quota, _capacity: usize) -> Self {
        Self(RateLimiter::dashmap_with_clock(
            quota.governor(),
            C::default(),
        ))
    }

    #[inline]
    fn try_acquire(&self, key: &K) -> bool {
        self.0.check_key(key).is_ok()
    }

    fn nanos(&self) -> u64 {
        Stamps::nanos(self.0.clock())
    }
}

impl<K: Key> Keyed<K> for HashMap<K> {
    fn new(quota: Quota, _capacity: usize) -> Self {
        Self(RateLimiter::hashmap_with_clock(
            quota.governor(),
            Given::default(),
        ))
    }

    #[inline]
    fn try_acquire(&self, key: &K) -> bool {
        self.0.check_key(key).is_ok()
    }

    fn nanos(&self) -> u64 {
        Stamps::nanos(self.0.clock())
    }
}
