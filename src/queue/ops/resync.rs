//! Resync: a level-triggered producer may drop a key that a full queue refuses, because the queue
//! asks it to list all keys again once there is room.

use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::task::Waker;

use crate::clock::{Clock, SystemClock, Timestamp};
use crate::list::NIL;
use crate::queue::core::add_error::AddError;
use crate::queue::core::hash::FastHash;
use crate::queue::core::machine::add::{AddRefusal, Room};
use crate::queue::core::options::AddOptions;
use crate::queue::core::waiting::queue_state::{Event, QueueState};
use crate::queue::ops::event_wait::EventWait;
use crate::queue::ops::work_queue::WorkQueue;
use crate::wait::{Progress, Step, Wait};

impl<K: Hash + Eq, C: Clock, S: BuildHasher> WorkQueue<K, C, S> {
    /// Adds `key`, or hands it back and requests a resync if it is new and the queue is full.
    ///
    /// Otherwise the same as [`try_add_with`](Self::try_add_with). [`resync`](Self::resync) fires
    /// once there is room; for a key whose [group](crate::queue::Groups::max_live) was full, once a
    /// key has left a group. For a producer that can list all keys again, such as a watch in a
    /// level-triggered system: it may drop the key and need not wait.
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
    /// queue.try_get().unwrap().done(); // there is room
    /// assert_eq!(queue.try_resync(), Some(1)); // list all keys, and add them
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn try_add_or_resync(
        &self,
        key: K,
        options: impl Into<AddOptions>,
    ) -> Result<(), AddError<K>> {
        let (hash, options, now) = (self.0.hash(&key), options.into(), self.0.clock.now());
        let mut key = Some(key);
        let added = self.0.with_adder_of(&mut key, |state, key, group| {
            let added = state.add::<true>(hash, key, options, Room::Unreserved, now, group);
            if matches!(added, Err(AddRefusal::Full)) {
                state.miss_key();
            }
            added
        });
        self.0.observe_add(added, key).map(drop)
    }
}

impl<K, C: Clock, S> WorkQueue<K, C, S> {
    /// Returns how many keys [`try_add_or_resync`](Self::try_add_or_resync) has refused since the
    /// last resync, or `None` if none or if there is no room yet.
    pub fn try_resync(&self) -> Option<u64> {
        self.0.with_state(QueueState::take_missed)
    }

    /// Waits until a resync is due: [`try_add_or_resync`](Self::try_add_or_resync) has refused a
    /// key, and there is room again. Returns how many keys it has refused since the last resync.
    ///
    /// Call it in a loop that lists all keys and adds them by `try_add_or_resync`. Room may be
    /// taken before the list is added: then the refused keys request the next resync.
    ///
    /// `None`: the queue is closed, and no resync was due. Blocked adders are served before. If
    /// several callers wait, one of them gets the resync.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the resync to the next call.
    pub fn resync(&self) -> Wait<Resync<'_, K, C, S>> {
        Wait::new(Resync(EventWait::new(&self.0, Event::Resync, NIL)))
    }
}

/// The operation of [`WorkQueue::resync`], named so that a caller can store or return it.
pub struct Resync<'a, K, C = SystemClock, S = FastHash>(EventWait<'a, K, C, S>);

impl<K, C: Clock, S> Step for Resync<'_, K, C, S> {
    type Output = Option<u64>;

    fn clock(&self) -> &dyn Clock {
        &self.0.shared.clock
    }

    fn step(&mut self, _: Timestamp, waker: &Waker) -> Progress<Self::Output> {
        self.0.step(waker, None, |state| {
            let missed = state.take_missed();
            (missed.is_some() || state.machine.is_closed()).then_some(missed)
        })
    }
}

impl<K, C, S> fmt::Debug for Resync<'_, K, C, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resync").finish_non_exhaustive()
    }
}
