//! What makes it safe to drop a key that a full queue has no room for: a resync that is certain.

use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::task::Waker;

use crate::clock::{Clock, SystemClock, Timestamp};
use crate::queue::core::add_error::AddError;
use crate::queue::core::hash::FastHash;
use crate::queue::core::machine::add::{AddRefusal, AddRequest, Room};
use crate::queue::core::options::AddOptions;
use crate::queue::core::waiting::queue_state::QueueState;
use crate::queue::ops::work_queue::WorkQueue;
use crate::queue::shell::shared::Shared;
use crate::wait::{Progress, Step, Wait, WaitId};

impl<K: Hash + Eq, C: Clock, S: BuildHasher> WorkQueue<K, C, S> {
    /// As [`try_add_with`](Self::try_add_with), but a key that there is no room for counts as
    /// missed: [`resync`](Self::resync) fires once there is.
    ///
    /// For whoever can list all keys again, as a watch of a level-triggered system can, and would
    /// rather do that later than wait here. What comes back may then be dropped.
    ///
    /// # Errors
    /// [`AddError`], which gives the key back.
    ///
    /// ```
    /// use tollgate::{AddError, AddOptions, WorkQueue};
    ///
    /// let queue = WorkQueue::new(1)?;
    /// queue.try_add_or_resync("a", AddOptions::new()).unwrap();
    /// assert_eq!(queue.try_add_or_resync("b", AddOptions::new()), Err(AddError::Full("b")));
    /// assert_eq!(queue.try_resync(), None); // not yet: there is no room
    /// queue.try_get().unwrap().done();
    /// assert_eq!(queue.try_resync(), Some(1)); // now list all keys, and add them
    /// assert_eq!(queue.try_resync(), None);
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn try_add_or_resync(
        &self,
        key: K,
        options: impl Into<AddOptions>,
    ) -> Result<(), AddError<K>> {
        let request = AddRequest {
            hash: self.0.hash(&key),
            options: options.into(),
            room: Room::Unreserved,
            now: self.0.clock.now(),
        };
        let mut key = Some(key);
        let added = self.0.with_adder_of(&mut key, |state, key, group| {
            let added = state.add_general(request, key, group);
            if matches!(added, Err(AddRefusal::Full)) {
                state.missed = state.missed.saturating_add(1);
            }
            added
        });
        self.0.observe_add(added, key).map(drop)
    }
}

impl<K, C: Clock, S> WorkQueue<K, C, S> {
    /// How many keys were missed by [`try_add_or_resync`](Self::try_add_or_resync) since this was
    /// last asked, if any were and there is room again.
    ///
    /// ```
    /// let queue = tollgate::WorkQueue::<u64>::new(1)?;
    /// assert_eq!(queue.try_resync(), None);
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn try_resync(&self) -> Option<u64> {
        self.0.with_state(take_missed)
    }
}

impl<K, C: Clock, S> WorkQueue<K, C, S> {
    /// Waits until a resync is needed and there is room for it: a key was missed by
    /// [`try_add_or_resync`](Self::try_add_or_resync), and the queue is no longer full. Returns how
    /// many were missed since the last one. `None` once the queue is closed, if none were missed or
    /// it is still full: a closed queue takes no key that is listed again.
    ///
    /// Blocked adders are served first. If several wait, one of them gets it.
    ///
    /// # Cancel safety
    /// Dropping the future before it is ready leaves the resync to the next call.
    ///
    /// ```
    /// let queue = tollgate::WorkQueue::new(1)?;
    /// queue.try_add("a").unwrap();
    /// let _ = queue.try_add_or_resync("b", tollgate::AddOptions::new());
    /// queue.try_get().unwrap().done();
    /// assert_eq!(queue.resync().wait(), Some(1)); // `queue.resync().await` in a task
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn resync(&self) -> Wait<Resync<'_, K, C, S>> {
        let (shared, place) = (&self.0, None);
        Wait::new(Resync { shared, place })
    }
}

fn take_missed<K>(state: &mut QueueState<K>) -> Option<u64> {
    state
        .resync_due()
        .then(|| std::mem::take(&mut state.missed))
}

/// The operation of [`WorkQueue::resync`].
///
/// ```
/// use tollgate::queue::Resync;
/// use tollgate::{AddOptions, Wait, WorkQueue};
///
/// struct Watch<'a> {
///     missed: Wait<Resync<'a, u64>>,
/// }
///
/// let queue = WorkQueue::new(1)?;
/// let watch = Watch { missed: queue.resync() };
/// for key in 0..3 {
///     let _ = queue.try_add_or_resync(key, AddOptions::new());
/// }
/// queue.try_get().unwrap().done();
/// assert_eq!(watch.missed.wait(), Some(2));
/// # Ok::<(), tollgate::QueueError>(())
/// ```
pub struct Resync<'a, K, C = SystemClock, S = FastHash> {
    shared: &'a Arc<Shared<K, C, S>>,
    place: Option<WaitId>,
}

impl<K, C: Clock, S> Step for Resync<'_, K, C, S> {
    type Output = Option<u64>;

    fn clock(&self) -> &dyn Clock {
        &self.shared.clock
    }

    fn step(&mut self, _: Timestamp, waker: &Waker) -> Progress<Self::Output> {
        // Dropped once the lock is released.
        let mut stale = None;
        self.shared.with_state(|state| {
            let missed = take_missed(state);
            if missed.is_some() || state.machine.is_closed() {
                return Progress::Done(missed);
            }
            state.awaited = true;
            stale = state.resyncers.wait(&mut self.place, waker, ());
            Progress::Waiting(None)
        })
    }
}

impl<K, C, S> Drop for Resync<'_, K, C, S> {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            drop(self.shared.with_state(|state| state.resyncers.leave(place)));
        }
    }
}

impl<K, C, S> fmt::Debug for Resync<'_, K, C, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resync").finish_non_exhaustive()
    }
}
