use crate::queue::core::add_error::AddError;
use std::fmt;
use std::hash::{BuildHasher, Hash as HashKey};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use crate::clock::{Clock, SystemClock, Timestamp};
use crate::queue::core::admit::{Added, Refused, Room};
use crate::queue::core::entry::Hash;
use crate::queue::core::hash::FastHash;
use crate::queue::core::options::AddOptions;
use crate::queue::core::waiting::adders::Promise;
use crate::queue::core::waiting::state::State;
use crate::queue::ops::work_queue::WorkQueue;
use crate::queue::shell::shared::Shared;
use crate::wait::{Progress, Step, Wait, WaitId};

impl<K: HashKey + Eq, C: Clock, S: BuildHasher> WorkQueue<K, C, S> {
    /// Adds a key, if it is live already or there is room for it.
    ///
    /// # Errors
    /// [`AddError`], which gives the key back.
    ///
    /// ```
    /// use tollgate::{AddError, WorkQueue};
    ///
    /// let queue = WorkQueue::new(1)?;
    /// assert!(queue.try_add("a").is_ok());
    /// assert!(queue.try_add("a").is_ok()); // live: needs no room
    /// assert_eq!(queue.try_add("b"), Err(AddError::Full("b")));
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    #[inline]
    pub fn try_add(&self, key: K) -> Result<(), AddError<K>> {
        self.try_add_with(key, AddOptions::new())
    }

    /// As [`try_add`](Self::try_add), but the key is not handed out before `delay` has passed.
    ///
    /// A key that is delayed already keeps the earlier time; one that is ready, or dirty, stays so.
    /// A delay of zero is `try_add`; no delay is too long.
    ///
    /// # Errors
    /// [`AddError`], which gives the key back.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{ManualClock, WorkQueue};
    ///
    /// let clock = ManualClock::new();
    /// let queue = WorkQueue::builder(8).clock(clock.clone()).build()?;
    /// queue.try_add_after("later", Duration::from_secs(1)).unwrap();
    /// assert!(queue.try_get().is_none());
    /// clock.advance(Duration::from_secs(1));
    /// assert_eq!(*queue.try_get().unwrap(), "later");
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn try_add_after(&self, key: K, delay: Duration) -> Result<(), AddError<K>> {
        self.try_add_with(key, delay)
    }

    /// As [`try_add`](Self::try_add), with a priority, a delay, or both: see [`AddOptions`].
    ///
    /// # Errors
    /// [`AddError`], which gives the key back.
    ///
    /// ```
    /// use tollgate::{Priority, WorkQueue};
    ///
    /// let queue = WorkQueue::new(8)?;
    /// queue.try_add("some time").unwrap();
    /// queue.try_add_with("first", Priority::HIGH).unwrap();
    /// assert_eq!(*queue.try_get().unwrap(), "first");
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    #[inline]
    pub fn try_add_with(&self, key: K, options: impl Into<AddOptions>) -> Result<(), AddError<K>> {
        self.0.add(key, options.into(), Room::Free)
    }

    /// Adds many keys under one lock. Returns those that were not taken, each with the reason.
    ///
    /// ```
    /// use tollgate::{AddError, AddOptions, WorkQueue};
    ///
    /// let queue = WorkQueue::new(2)?;
    /// let refused = queue.try_add_batch([1, 2, 1, 3], AddOptions::new());
    /// assert_eq!(refused, [AddError::Full(3)]);
    /// assert_eq!(queue.stats().ready, 2);
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    #[must_use = "keys that were not taken are returned"]
    pub fn try_add_batch(
        &self,
        keys: impl IntoIterator<Item = K>,
        options: impl Into<AddOptions>,
    ) -> Vec<AddError<K>> {
        let options = options.into();
        // The caller's iterator and `Hash` run here, without the lock.
        let keys = keys.into_iter();
        let keys = keys.map(|key| (self.0.hash(&key), Some(key), Ok(Added::New)));
        let mut keys: Vec<_> = keys.collect();
        let now = self.0.clock.now();
        if self.0.adds_specially {
            for (hash, key, added) in &mut keys {
                *added = self.0.try_admit(*hash, key, options, Room::Free, now);
            }
        } else {
            self.0.with_adder(|state| {
                for (hash, key, added) in &mut keys {
                    *added = state.add(*hash, key, options, Room::Free, now);
                }
            });
        }
        let refused = |(_, left, added)| self.0.observe_add(added, left).err();
        keys.into_iter().filter_map(refused).collect()
    }
}

impl<K: HashKey + Eq, C: Clock, S: BuildHasher> WorkQueue<K, C, S> {
    /// Adds a key, and waits for room if it is not live and the queue is full. First come, first
    /// served.
    ///
    /// In a worker use [`Work::add_related`](crate::Work::add_related), which never waits: workers
    /// who wait for room in the queue that they should empty may wait for ever.
    ///
    /// # Errors
    /// [`AddError::Closed`], which gives the key back.
    ///
    /// # Cancel safety
    /// Dropping the future before it is ready adds nothing, and the key is dropped with it.
    ///
    /// ```
    /// use tollgate::WorkQueue;
    ///
    /// let queue = WorkQueue::new(8)?;
    /// queue.add("key").wait().unwrap(); // `queue.add("key").await` in a task
    /// assert_eq!(queue.stats().ready, 1);
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn add(&self, key: K) -> Wait<Add<'_, K, C, S>> {
        self.add_with(key, AddOptions::new())
    }

    /// As [`add`](Self::add), but the key is not handed out before `delay` has passed, counted from
    /// when there is room.
    ///
    /// # Errors
    /// [`AddError::Closed`], which gives the key back.
    ///
    /// # Cancel safety
    /// As [`add`](Self::add).
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let queue = tollgate::WorkQueue::new(8)?;
    /// queue.add_after("key", Duration::MAX).wait().unwrap();
    /// assert_eq!(queue.stats().delayed, 1);
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn add_after(&self, key: K, delay: Duration) -> Wait<Add<'_, K, C, S>> {
        self.add_with(key, delay)
    }

    /// As [`add`](Self::add), but waits for room no longer than `timeout`, counted from when
    /// it is waited for or first polled.
    ///
    /// # Errors
    /// [`AddError`], which gives the key back; [`AddError::Full`] when the time is over.
    ///
    /// # Cancel safety
    /// As [`add`](Self::add).
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{AddError, WorkQueue};
    ///
    /// let queue = WorkQueue::new(1)?;
    /// queue.try_add("first").unwrap();
    /// let added = queue.add_timeout("second", Duration::from_millis(1)).wait();
    /// assert_eq!(added, Err(AddError::Full("second")));
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn add_timeout(&self, key: K, timeout: Duration) -> Wait<Add<'_, K, C, S>> {
        self.add_with(key, AddOptions::new().timeout(timeout))
    }

    /// As [`add`](Self::add), with a priority, a delay, a timeout, or all: see [`AddOptions`].
    ///
    /// # Errors
    /// [`AddError`], which gives the key back.
    ///
    /// # Cancel safety
    /// As [`add`](Self::add).
    ///
    /// ```
    /// use tollgate::{Priority, WorkQueue};
    ///
    /// let queue = WorkQueue::new(8)?;
    /// queue.add_with("key", Priority::HIGH).wait()?;
    /// assert_eq!(queue.try_get().unwrap().priority(), Priority::HIGH);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn add_with(&self, key: K, options: impl Into<AddOptions>) -> Wait<Add<'_, K, C, S>> {
        let step = Add {
            shared: &self.0,
            hash: self.0.hash(&key),
            key: Some(key),
            options: options.into(),
            deadline: None,
            place: None,
        };
        Wait::new(step)
    }
}

/// The operation of [`WorkQueue::add`] and its kin.
///
/// ```
/// use tollgate::queue::Add;
/// use tollgate::{Wait, WorkQueue};
///
/// /// For the caller to `.await`, or to `.wait()` for.
/// type Adding<'a> = Wait<Add<'a, String>>;
///
/// fn add<'a>(queue: &'a WorkQueue<String>, name: &str) -> Adding<'a> {
///     queue.add(format!("team/{name}"))
/// }
///
/// let queue = WorkQueue::new(8)?;
/// add(&queue, "storage").wait().unwrap();
/// assert_eq!(*queue.try_get().unwrap(), "team/storage");
/// # Ok::<(), tollgate::QueueError>(())
/// ```
pub struct Add<'a, K, C = SystemClock, S = FastHash> {
    shared: &'a Arc<Shared<K, C, S>>,
    hash: Hash,
    /// Until it has been added.
    key: Option<K>,
    options: AddOptions,
    /// From the first step on, if there is a timeout.
    deadline: Option<Timestamp>,
    place: Option<WaitId>,
}

impl<K, C, S> Add<'_, K, C, S> {
    /// Which room is ours: what is free, or what was promised; none while others are before us.
    fn room(&self, state: &mut State<K>) -> Room {
        let Some(place) = self.place else {
            return Room::Free;
        };
        let Some(Promise { group }) = state.adders.take_promise(place) else {
            return Room::None;
        };
        state.machine.release_room();
        if let (Some(group), Some(groups)) = (group, state.machine.ready.groups_mut()) {
            groups.release_room(group);
        }
        // A worker may have taken the place of the one that was promised, from without the reserve;
        // then this one is the reserve's.
        Room::Reserve
    }

    /// Restores the promise that [`room`](Self::room) has redeemed. The key's group is absent, or
    /// its limiter would be known, so the promise is one of the queue's room only.
    fn restore_promise(&self, state: &mut State<K>) -> Option<Waker> {
        let place = self.place?;
        state.machine.promise_room();
        state.adders.promise(place)
    }

    /// Leaves the line. Returns a waker to be dropped once the lock is released.
    fn leave(&mut self, state: &mut State<K>) -> Option<Waker> {
        self.room(state);
        let gone = state.adders.leave(self.place.take()?);
        if let (Some(group), Some(groups)) = (gone.group, state.machine.ready.groups_mut()) {
            groups.adder_left(group, gone.was_apart);
        }
        gone.waker
    }
}

impl<K: Eq, C, S> Add<'_, K, C, S> {
    /// `None`: in line.
    fn try_add(
        &mut self,
        key: &mut Option<K>,
        now: Timestamp,
        waker: &Waker,
    ) -> Option<Result<Added, Refused>> {
        let shared = self.shared;
        let in_time = self.deadline.is_none_or(|deadline| now < deadline);
        // Dropped once the lock is released.
        let mut stale = None;
        let added = shared.with_adder_of(key, |state, key, mut group| {
            let room = self.room(state);
            let added = state.add_special(
                self.hash,
                key,
                self.options,
                room,
                now,
                group.as_deref_mut(),
            );
            match added {
                Err(Refused::Full) if in_time => {
                    state.awaited = true;
                    let joins = self.place.is_none();
                    let of = group.filter(|_| joins);
                    let of = of.map(|group| state.machine.ready.of_group(group));
                    stale = state.adders.wait(&mut self.place, waker, self.hash, of);
                    let id = self.place.and_then(|place| state.adders.group_of(place));
                    if let (Some(id), Some(groups)) = (id, state.machine.ready.groups_mut()) {
                        groups.adder_waits(id, joins);
                    }
                    Ok(None)
                }
                // The closure runs again at once, with the limiter. The promise outlives the unlock
                // in between: otherwise the adder finds no room of its own, waits again, is promised
                // the same room, and so on for ever.
                Err(Refused::NeedsLimiter) => {
                    if room == Room::Reserve {
                        stale = self.restore_promise(state);
                    }
                    Err(Refused::NeedsLimiter)
                }
                decided => {
                    stale = self.leave(state);
                    decided.map(Some)
                }
            }
        });
        added.transpose()
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
        assert!(key.is_some(), "stepped after its end");
        if let Some(timeout) = self.options.timeout {
            self.deadline
                .get_or_insert_with(|| now.saturating_add(timeout));
        }
        match self.try_add(&mut key, now, waker) {
            None => {
                self.key = key;
                Progress::Waiting(self.deadline)
            }
            Some(added) => Progress::Done(self.shared.observe_add(added, key)),
        }
    }

    #[inline]
    fn at_once(&mut self, now: Timestamp) -> Option<Self::Output> {
        if self.place.is_some() || self.key.is_none() {
            return None;
        }
        let (hash, options, shared) = (self.hash, self.options, self.shared);
        match shared.try_admit(hash, &mut self.key, options, Room::Free, now) {
            Err(Refused::Full) => None,
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
