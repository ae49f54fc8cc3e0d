//! The lock order of callers that take from several limiters at once. Every
//! [`AllOf`](crate::AllOf) locks its members by ascending rank, so no two of them deadlock.

use crate::sync::{Mutex, MutexGuard, UnmodelledU64, const_unless_modelled};

/// A lock that only [`AllOf`](crate::AllOf) takes, with its rank in the lock order.
///
/// The lock keeps two `AllOf` takes from failing because of each other. It protects no data: single
/// takes do not know of it.
#[derive(Debug)]
pub struct OrderedLock {
    /// Zero until the first call of [`rank`](Self::rank).
    rank: UnmodelledU64,
    lock: Mutex<()>,
}

impl OrderedLock {
    const_unless_modelled! {
        pub(crate) fn new() -> Self {
            Self {
                rank: UnmodelledU64::new(0),
                lock: Mutex::new(()),
            }
        }
    }

    /// Returns the rank of this lock: unique in the process, and the same in every call.
    pub(crate) fn rank(&self) -> u64 {
        static NEXT: UnmodelledU64 = UnmodelledU64::new(1);
        // Relaxed: ranks publish nothing. Atomic modification makes them unique, and the first
        // thread to set a rank wins.
        match self.rank.load_relaxed() {
            0 => self.rank.set_once_relaxed(NEXT.fetch_add_relaxed(1)),
            rank => rank,
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, ()> {
        self.lock.lock()
    }
}
