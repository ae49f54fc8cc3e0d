//! A clock as it is for a thread that has read it and then waited for a lock, while others went on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tollgate::{Clock, ManualClock, Timestamp};

#[derive(Clone, Debug, Default)]
pub(crate) struct LateClock {
    on_time: ManualClock,
    /// By so many nanoseconds what it reads is behind.
    behind: Arc<AtomicU64>,
}

impl LateClock {
    pub(crate) fn on_time(&self) -> &ManualClock {
        &self.on_time
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.on_time.advance(by);
    }

    pub(crate) fn be_behind(&self, by: Duration) {
        let nanos = u64::try_from(by.as_nanos()).expect("64 bits");
        self.behind.store(nanos, Ordering::SeqCst);
    }
}

impl Clock for LateClock {
    fn now(&self) -> Timestamp {
        let behind = self.behind.load(Ordering::SeqCst);
        Timestamp::from_nanos(self.on_time.now().as_nanos().saturating_sub(behind))
    }

    fn sleep_until(&self, deadline: Timestamp) -> tollgate::clock::Sleep {
        self.on_time.sleep_until(deadline)
    }

    fn park_until(&self, deadline: Option<Timestamp>) {
        self.on_time.park_until(deadline);
    }
}
