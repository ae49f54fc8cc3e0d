use std::fmt;
use std::sync::Arc;
use std::task::Waker;

use crate::clock::{Clock, SystemClock, Timestamp};
use crate::list::Index;
use crate::queue::core::hash::FastHash;
use crate::queue::shell::shared::Shared;
use crate::wait::{Progress, Step, WaitId};

/// The operation of [`Work::dirtied`](crate::Work::dirtied).
///
/// ```
/// use tollgate::queue::Dirtied;
/// use tollgate::{Wait, Work, WorkQueue};
///
/// /// For the caller to `.await`, or to `.wait()` for.
/// type Change<'a> = Wait<Dirtied<'a, u64>>;
///
/// fn change(work: &Work<u64>) -> Change<'_> {
///     work.dirtied()
/// }
///
/// let queue = WorkQueue::new(8)?;
/// queue.try_add(7).unwrap();
/// let work = queue.try_get().unwrap();
/// assert!(change(&work).wait_timeout(std::time::Duration::ZERO).is_err());
/// queue.try_add(7).unwrap();
/// change(&work).wait();
/// # Ok::<(), tollgate::QueueError>(())
/// ```
pub struct Dirtied<'a, K, C = SystemClock, S = FastHash> {
    shared: &'a Arc<Shared<K, C, S>>,
    /// The entry of the key, which stays where it is while the key is held.
    key: Index,
    place: Option<WaitId>,
}

impl<'a, K, C, S> Dirtied<'a, K, C, S> {
    pub(crate) const fn new(shared: &'a Arc<Shared<K, C, S>>, key: Index) -> Self {
        let place = None;
        Self { shared, key, place }
    }
}

impl<K, C: Clock, S> Step for Dirtied<'_, K, C, S> {
    type Output = ();

    fn clock(&self) -> &dyn Clock {
        &self.shared.clock
    }

    fn step(&mut self, _: Timestamp, waker: &Waker) -> Progress<()> {
        // Dropped once the lock is released.
        let mut stale = None;
        self.shared.with_state(|state| {
            if state.machine.is_dirty(self.key) {
                return Progress::Done(());
            }
            state.awaited = true;
            stale = state.watchers.wait(&mut self.place, waker, self.key);
            Progress::Waiting(None)
        })
    }
}

impl<K, C, S> Drop for Dirtied<'_, K, C, S> {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            drop(self.shared.with_state(|state| state.watchers.leave(place)));
        }
    }
}

impl<K, C, S> fmt::Debug for Dirtied<'_, K, C, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dirtied").finish_non_exhaustive()
    }
}
