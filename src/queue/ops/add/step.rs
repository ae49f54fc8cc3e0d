//! The add that waits for room.

use std::fmt;
use std::mem;
use std::sync::Arc;
use std::task::Waker;

use crate::clock::{Clock, SystemClock, Timestamp};
use crate::queue::core::add_error::AddError;
use crate::queue::core::entry::KeyHash;
use crate::queue::core::hash::FastHash;
use crate::queue::core::machine::add::{AddRefusal, Room};
use crate::queue::core::options::AddOptions;
use crate::queue::core::waiting::queue_state::QueueState;
use crate::queue::shell::shared::Shared;
use crate::wait::{Progress, Step, WaitId};

/// The operation of [`WorkQueue::add`](crate::WorkQueue::add) and its variants, named so that a
/// caller can store or return it.
///
/// ```
/// use tollgate::queue::Add;
/// use tollgate::{Wait, WorkQueue};
///
/// fn enqueue<'a>(queue: &'a WorkQueue<String>, team: &str) -> Wait<Add<'a, String>> {
///     queue.add(format!("team/{team}"))
/// }
///
/// let queue = WorkQueue::new(8)?;
/// enqueue(&queue, "storage").wait().unwrap(); // or `.await` in a task
/// assert_eq!(*queue.try_get().unwrap(), "team/storage");
/// # Ok::<(), tollgate::QueueError>(())
/// ```
pub struct Add<'a, K, C = SystemClock, S = FastHash> {
    pub(super) shared: &'a Arc<Shared<K, C, S>>,
    pub(super) hash: KeyHash,
    /// `None` once the add has ended.
    pub(super) key: Option<K>,
    pub(super) options: AddOptions,
    /// Set by the first step if there is a timeout.
    pub(super) deadline: Option<Timestamp>,
    /// The adder's place in line, in line or woken.
    pub(super) place: Option<WaitId>,
}

impl<K, C, S> Add<'_, K, C, S> {
    /// Returns the room that this adder may use, and redeems the promise if it has one.
    fn take_room(&self, state: &mut QueueState<K>) -> Room {
        let Some(place) = self.place else {
            return Room::Unreserved;
        };
        if !mem::take(&mut state.adders.line.wants_mut(place).promised) {
            // No barging: an adder that was woken for another reason waits for its promise.
            return Room::None;
        }
        state.machine.promised -= 1;
        let group = state.adders.group_of(place);
        if let (Some(group), Some(groups)) = (group, state.machine.ready.groups.as_mut()) {
            groups.release_room(group);
        }
        // Live keys and promises together never exceed the capacity, so there is a place. Since the
        // promise a worker's related key may have used the last one outside the reserve: then the
        // promised place is one of the reserve.
        Room::WithReserve
    }

    /// Leaves the line; returns a waker to drop once the lock is released.
    fn leave(&mut self, state: &mut QueueState<K>) -> Option<Waker> {
        // A promise that the adder does not redeem must be called off, or its room is lost.
        self.take_room(state);
        let place = self.place.take()?;
        let group = state.adders.group_of(place);
        let gone = state.adders.leave(place);
        if let (Some(group), Some(groups)) = (group, state.machine.ready.groups.as_mut()) {
            groups.adder_left(group, gone.wanted.is_group_blocked);
        }
        gone.waker
    }
}

impl<K: Eq, C: Clock, S> Step for Add<'_, K, C, S> {
    type Output = Result<(), AddError<K>>;

    fn clock(&self) -> &dyn Clock {
        &self.shared.clock
    }

    #[inline]
    fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    fn step(&mut self, now: Timestamp, waker: &Waker) -> Progress<Self::Output> {
        let mut key = self.key.take();
        assert!(key.is_some(), "polled after the add has ended");
        if let Some(timeout) = self.options.timeout {
            self.deadline
                .get_or_insert_with(|| now.saturating_add(timeout));
        }
        let shared = self.shared;
        let in_time = self.deadline.is_none_or(|deadline| now < deadline);
        // Dropped once the lock is released: a waker's destructor may run any code.
        let mut stale = None;
        let added = shared.with_adder_of(&mut key, |state, key, mut group| {
            let room = self.take_room(state);
            let (hash, options) = (self.hash, self.options);
            match state.add::<true>(hash, key, options, room, now, group.as_deref_mut()) {
                Err(AddRefusal::Full) if in_time => {
                    state.awaited = true;
                    let joins = self.place.is_none();
                    let group = group.filter(|_| joins);
                    let group = group.map(|group| state.machine.ready.adder_group(group));
                    stale = state.adders.wait(&mut self.place, waker, hash, group);
                    let id = self.place.and_then(|place| state.adders.group_of(place));
                    if let (Some(id), Some(groups)) = (id, state.machine.ready.groups.as_mut()) {
                        groups.adder_waits(id, joins);
                    }
                    Ok(None)
                }
                // The closure runs again at once, with the limiter. The promise outlives the unlock
                // in between: otherwise the adder finds no room of its own, waits again, is
                // promised the same room, and so on for ever.
                Err(AddRefusal::NeedsLimiter) => {
                    if room == Room::WithReserve
                        && let Some(place) = self.place
                    {
                        // Of the queue's room only: the key's group is absent, or its limiter would
                        // be known.
                        state.machine.promised += 1;
                        stale = state.adders.promise(place);
                    }
                    Err(AddRefusal::NeedsLimiter)
                }
                decided => {
                    stale = self.leave(state);
                    decided.map(Some)
                }
            }
        });
        drop(stale);
        match added.transpose() {
            None => {
                self.key = key;
                Progress::Waiting(self.deadline)
            }
            Some(added) => Progress::Done(shared.observe_add(added, key)),
        }
    }

    #[inline]
    fn at_once(&mut self, now: Timestamp) -> Option<Self::Output> {
        if self.place.is_some() || self.key.is_none() {
            return None;
        }
        let (hash, options, shared) = (self.hash, self.options, self.shared);
        match shared.try_admit(hash, &mut self.key, options, Room::Unreserved, now) {
            Err(AddRefusal::Full) => None,
            added => Some(shared.observe_add(added, self.key.take())),
        }
    }
}

impl<K, C, S> Drop for Add<'_, K, C, S> {
    fn drop(&mut self) {
        if self.place.is_some() {
            let shared = self.shared;
            drop(shared.with_state(|state| self.leave(state)));
        }
    }
}

impl<K, C, S> fmt::Debug for Add<'_, K, C, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Add")
            .field("in_line", &self.place.is_some())
            .finish_non_exhaustive()
    }
}
