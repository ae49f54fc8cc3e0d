//! What keeps those who take from several limiters at once out of each other's way.

use crate::sync::{Mutex, MutexGuard, UnmodelledU64, const_unless_modelled};

/// A lock that only [`AllOf`](crate::AllOf) takes, and its place in the order in which those of
/// several limiters are taken.
#[derive(Debug)]
pub struct Gate {
    /// 0 until it is first asked for.
    order: UnmodelledU64,
    lock: Mutex<()>,
}

impl Gate {
    const_unless_modelled! {
        pub(crate) fn new() -> Self {
            Self {
                order: UnmodelledU64::new(0),
                lock: Mutex::new(()),
            }
        }
    }

    pub(crate) fn order(&self) -> u64 {
        static GATES: UnmodelledU64 = UnmodelledU64::new(1);
        match self.order.load_relaxed() {
            // Only that no two are the same, and that it stays, matters.
            0 => self.order.set_once_relaxed(GATES.fetch_add_relaxed(1)),
            order => order,
        }
    }

    pub(crate) fn enter(&self) -> MutexGuard<'_, ()> {
        self.lock.lock()
    }
}
