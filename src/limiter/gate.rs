//! What keeps those who take from several limiters at once out of each other's way.

use crate::sync::{Mutex, MutexGuard, UnmodelledU64};

/// A lock that only [`AllOf`](super::AllOf) takes, and its place in the order in which those of
/// several limiters are taken.
#[derive(Debug)]
pub struct Gate {
    order: u64,
    lock: Mutex<()>,
}

impl Gate {
    pub(super) fn new() -> Self {
        static GATES: UnmodelledU64 = UnmodelledU64::new(0);
        Self {
            // Only that no two are the same matters.
            order: GATES.fetch_add_relaxed(1),
            lock: Mutex::new(()),
        }
    }

    pub(super) const fn order(&self) -> u64 {
        self.order
    }

    pub(super) fn enter(&self) -> MutexGuard<'_, ()> {
        self.lock.lock()
    }
}
