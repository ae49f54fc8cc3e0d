//! A clock that returns stale reads, as for a thread that reads it and then waits for a lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tollgate::{Clock, ManualClock, Timestamp};

#[derive(Clone, Debug, Default)]
pub(crate) struct LateClock {
    exact: ManualClock,
    /// How far reads are behind, in nanoseconds.
    behind: Arc<AtomicU64>,
}

impl LateClock {
    pub(crate) fn exact(&self) -> &ManualClock {
        &self.exact
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.exact.advance(by);
    }

    pub(crate) fn be_behind(&self, by: Duration) {
        let nanos = u64::try_from(by.as_nanos()).expect("64 bits");
        self.behind.store(nanos, Ordering::SeqCst);
    }
}

impl Clock for LateClock {
    fn now(&self) -> Timestamp {
        let behind = self.behind.load(Ordering::SeqCst);
        Timestamp::from_nanos(self.exact.now().as_nanos().saturating_sub(behind))
    }

    fn sleep_until(&self, deadline: Timestamp) -> tollgate::clock::Sleep {
        self.exact.sleep_until(deadline)
    }

    fn park_until(&self, deadline: Option<Timestamp>) {
        self.exact.park_until(deadline);
    }
}
