use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use super::machine::{Added, Refused};
use super::shared::{Shared, State};
use crate::clock::{Clock, Timestamp};
use crate::wait::{Progress, Step, WaitId};

/// A key that was not taken, given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddError<K> {
    /// The queue is full and the key is not live.
    Full(K),
    /// The queue is closed.
    Closed(K),
}

impl<K> AddError<K> {
    /// The key.
    ///
    /// ```
    /// assert_eq!(tollgate::AddError::Full("key").into_key(), "key");
    /// ```
    pub fn into_key(self) -> K {
        match self {
            Self::Full(key) | Self::Closed(key) => key,
        }
    }
}

impl<K> From<Refused<K>> for AddError<K> {
    fn from(refused: Refused<K>) -> Self {
        match refused {
            Refused::Full(key) => Self::Full(key),
            Refused::Closed(key) => Self::Closed(key),
        }
    }
}

impl<K> fmt::Display for AddError<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "the queue is full",
            Self::Closed(_) => "the queue is closed",
        })
    }
}

impl<K: fmt::Debug> std::error::Error for AddError<K> {}

/// The operation of [`WorkQueue::add`](super::WorkQueue::add) and
/// [`add_after`](super::WorkQueue::add_after).
pub struct Add<'a, K, C> {
    shared: &'a Arc<Shared<K, C>>,
    /// Until it has been added.
    key: Option<K>,
    delay: Option<Duration>,
    place: Option<WaitId>,
}

impl<'a, K, C> Add<'a, K, C> {
    pub(super) fn new(shared: &'a Arc<Shared<K, C>>, key: K, delay: Option<Duration>) -> Self {
        Self {
            shared,
            key: Some(key),
            delay,
            place: None,
        }
    }

    /// Leaves the line, with the promised room if there is any.
    fn leave(&mut self, state: &mut State<K>) {
        if let Some(place) = self.place.take()
            && state.adders.leave(place)
            && !cfg!(tollgate_mutant = "room-not-passed-on")
        {
            state.machine.release_room();
        }
    }
}

impl<K: Hash + Eq + Clone, C: Clock> Add<'_, K, C> {
    /// `None`: in line.
    fn try_add(
        &mut self,
        hash: u64,
        now: Timestamp,
        waker: &Waker,
    ) -> Option<Result<Added<K>, Refused<K>>> {
        let key = self.key.take()?;
        let shared = self.shared;
        shared.with_state(|state| {
            match self.place {
                Some(place) if !state.adders.was_woken(place) => {
                    state.adders.wait_on(place, waker);
                    self.key = Some(key);
                    return None;
                }
                _ => self.leave(state),
            }
            match state.add(hash, key, self.delay, now) {
                Err(Refused::Full(key)) => {
                    self.place = Some(state.adders.join(waker.clone(), false));
                    self.key = Some(key);
                    None
                }
                decided => Some(decided),
            }
        })
    }
}

impl<K: Hash + Eq + Clone, C: Clock> Step for Add<'_, K, C> {
    type Output = Result<(), AddError<K>>;

    fn step(&mut self, now: Timestamp, waker: &Waker) -> Progress<Self::Output> {
        let Some(key) = &self.key else {
            unreachable!("stepped after its end")
        };
        let hash = self.shared.hash(key);
        match self.try_add(hash, now, waker) {
            None => Progress::Waiting(None),
            Some(added) => Progress::Done(self.shared.observe_add(added)),
        }
    }
}

impl<K, C> Drop for Add<'_, K, C> {
    fn drop(&mut self) {
        if self.place.is_some() {
            let shared = self.shared;
            shared.with_state(|state| self.leave(state));
        }
    }
}

impl<K, C> fmt::Debug for Add<'_, K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Add")
            .field("in_line", &self.place.is_some())
            .finish_non_exhaustive()
    }
}
