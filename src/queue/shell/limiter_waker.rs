//! The waker that a queue leaves in its limiters' lines.

use std::sync::{Arc, Weak};
use std::task::Wake;

use crate::clock::Clock;
use crate::queue::core::groups::group_table::GroupId;
use crate::queue::shell::shared::Shared;
use crate::unwind::Panics;

/// Woken by a limiter that may have a token for the queue, or for one of its groups.
pub(crate) struct LimiterWaker<K, C, S> {
    /// Weak: the queue owns its place in the limiter's line, and the place owns this waker. A strong
    /// handle would close a cycle.
    pub(crate) queue: Weak<Shared<K, C, S>>,
    /// `None`: the queue's own limiter.
    pub(crate) group: Option<GroupId>,
}

impl<K, C, S> Wake for LimiterWaker<K, C, S>
where
    K: Send + Sync + 'static,
    C: Clock + 'static,
    S: Send + Sync + 'static,
{
    fn wake(self: Arc<Self>) {
        if let Some(shared) = self.queue.upgrade() {
            // Without an instant if the clock panics: a lost wake-up would hold the keys back for
            // ever. The panic continues after the wake-up.
            let mut panics = Panics::default();
            let now = panics.catch(|| shared.clock.now());
            shared.with_state(|state| state.on_limiter_wake(self.group, now));
        }
    }
}
