//! Removed keys, on their way out of a lock.

use crate::limiter::keyed::core::capacity::Capacity;
use crate::limiter::keyed::core::line_table::LineEntry;

/// Keys that were removed under a lock. The caller declares it before it takes the lock, so that the
/// keys are dropped after the lock is released. Dropping it, also by a panic, releases their capacity.
pub(crate) struct RemovedKeys<'a, K> {
    capacity: &'a Capacity,
    /// Keys that counted towards the capacity.
    pub(crate) counted: Vec<K>,
    /// Keys with a quota of their own, which did not.
    uncounted: Vec<K>,
}

impl<'a, K> RemovedKeys<'a, K> {
    pub(crate) const fn new(capacity: &'a Capacity) -> Self {
        Self {
            capacity,
            counted: Vec::new(),
            uncounted: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, entry: LineEntry<K>) {
        if entry.is_counted {
            self.counted.push(entry.key);
        } else {
            self.uncounted.push(entry.key);
        }
    }
}

impl<K> Drop for RemovedKeys<'_, K> {
    fn drop(&mut self) {
        self.capacity.release(self.counted.len() as u64);
    }
}
