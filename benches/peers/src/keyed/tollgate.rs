//! Our `KeyedLimiter`.

use tollgate::{CarryOver, KeyedLimiter, RateLimiter};

use super::{Key, Keyed};
use crate::clock::{Clock, Tsc};
use crate::quota::Quota;

impl<K: Key> Keyed<K> for KeyedLimiter<K> {
    fn new(quota: Quota, capacity: usize) -> Self {
        Self::new(quota.tollgate(), capacity).expect("the workloads' quotas fit the word")
    }

    #[inline]
    fn try_acquire(&self, key: &K) -> bool {
        self.key(key).try_acquire(1).is_ok()
    }

    fn nanos(&self) -> u64 {
        Tsc::default().nanos()
    }

    fn set_quota(&self, quota: Quota) -> bool {
        self.set_quota(quota.tollgate(), CarryOver::Tokens).is_ok()
    }
}
