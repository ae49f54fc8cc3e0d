//! Adds: at once, in a batch, or as a wait for room.

pub(crate) mod step;

use std::hash::{BuildHasher, Hash};
use std::time::Duration;

use crate::clock::Clock;
use crate::queue::core::add_error::AddError;
use crate::queue::core::machine::add::{Added, Room};
use crate::queue::core::options::AddOptions;
use crate::queue::ops::add::step::Add;
use crate::queue::ops::work_queue::WorkQueue;
use crate::wait::Wait;

impl<K: Hash + Eq, C: Clock, S: BuildHasher> WorkQueue<K, C, S> {
    /// Adds `key`, or hands it back if it is new and the queue is full.
    ///
    /// A live key needs no room, and its adds coalesce: a delayed key becomes ready, a key in
    /// process becomes dirty and runs once more, and a ready or dirty key stays as it is.
    ///
    /// # Errors
    /// [`AddError`], which gives the key back.
    ///
    /// ```
    /// use tollgate::{AddError, WorkQueue};
    ///
    /// let queue = WorkQueue::new(1)?;
    /// assert!(queue.try_add("a").is_ok());
    /// assert!(queue.try_add("a").is_ok()); // coalesced
    /// assert_eq!(queue.try_add("b"), Err(AddError::Full("b")));
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    #[inline]
    pub fn try_add(&self, key: K) -> Result<(), AddError<K>> {
        self.try_add_with(key, AddOptions::new())
    }

    /// Same as [`try_add`](Self::try_add), but the key becomes ready only after `delay`.
    ///
    /// A key that already has a delay keeps the earlier instant; a ready or dirty key stays as it
    /// is. A `delay` of zero is `try_add`; a `delay` beyond the clock's range saturates.
    ///
    /// # Errors
    /// [`AddError`], which gives the key back.
    pub fn try_add_after(&self, key: K, delay: Duration) -> Result<(), AddError<K>> {
        self.try_add_with(key, delay)
    }

    /// Same as [`try_add`](Self::try_add), with a [`Priority`](crate::Priority), a delay, or other
    /// [`AddOptions`].
    ///
    /// # Errors
    /// [`AddError`], which gives the key back.
    #[inline]
    pub fn try_add_with(&self, key: K, options: impl Into<AddOptions>) -> Result<(), AddError<K>> {
        self.0.add(key, options.into(), Room::Unreserved)
    }

    /// Adds many keys; returns those that were refused, each with the reason.
    ///
    /// Takes the queue's lock once, or once for each key if the queue has
    /// [groups](crate::queue::QueueBuilder::group_by), keeps the
    /// [newest](crate::queue::QueueBuilder::keep_newest) of equal keys, or lets keys rest. The
    /// queue has no `Extend`, which could not hand refused keys back.
    ///
    /// ```
    /// use tollgate::{AddError, AddOptions, WorkQueue};
    ///
    /// let queue = WorkQueue::new(2)?;
    /// let refused = queue.try_add_batch([1, 2, 1, 3], AddOptions::new());
    /// assert_eq!(refused, [AddError::Full(3)]);
    /// assert_eq!(queue.len(), 2);
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    #[must_use = "keys that were refused are returned"]
    pub fn try_add_batch(
        &self,
        keys: impl IntoIterator<Item = K>,
        options: impl Into<AddOptions>,
    ) -> Vec<AddError<K>> {
        let options = options.into();
        // The caller's iterator and `Hash` run before the lock is taken: they may use the queue.
        let keys = keys.into_iter();
        let keys = keys.map(|key| (self.0.hash(&key), Some(key), Ok(Added::New)));
        let mut keys: Vec<_> = keys.collect();
        let now = self.0.clock.now();
        let room = Room::Unreserved;
        if self.0.needs_general_add {
            for (hash, key, added) in &mut keys {
                *added = self.0.try_admit(*hash, key, options, room, now);
            }
        } else {
            self.0.with_adder(|state| {
                for (hash, key, added) in &mut keys {
                    *added = state.add::<false>(*hash, key, options, room, now, None);
                }
            });
        }
        let refused = |(_, left, added)| self.0.observe_add(added, left).err();
        keys.into_iter().filter_map(refused).collect()
    }

    /// Adds `key`, after waiting for room if it is new and the queue is full (back-pressure).
    ///
    /// Blocked adders are served first come, first served; with
    /// [groups](crate::queue::QueueBuilder::group_by), groups take turns. The wait also ends when
    /// another caller adds the same key: the key is live then, and needs no room.
    ///
    /// A worker calls [`Work::add_related`](crate::Work::add_related) instead: workers that wait
    /// for room in the queue that they empty deadlock the pool.
    ///
    /// # Errors
    /// [`AddError::Closed`], which gives the key back.
    ///
    /// # Cancel safety
    /// Dropping the future adds nothing and drops the key. The adder loses its place in line, and
    /// room that was promised to it goes to the next adder.
    pub fn add(&self, key: K) -> Wait<Add<'_, K, C, S>> {
        self.add_with(key, AddOptions::new())
    }

    /// Same as [`add`](Self::add), but the key becomes ready only after `delay`, counted from its
    /// admission.
    ///
    /// # Errors
    /// [`AddError::Closed`], which gives the key back.
    ///
    /// # Cancel safety
    /// As [`add`](Self::add).
    pub fn add_after(&self, key: K, delay: Duration) -> Wait<Add<'_, K, C, S>> {
        self.add_with(key, delay)
    }

    /// Same as [`add`](Self::add), but waits for room for at most `timeout`, counted from the first
    /// poll or the call of `wait`.
    ///
    /// Unlike [`Wait::wait_timeout`], it gives the key back.
    ///
    /// # Errors
    /// [`AddError::Full`] after the timeout, or [`AddError::Closed`]; both give the key back.
    ///
    /// # Cancel safety
    /// As [`add`](Self::add).
    pub fn add_timeout(&self, key: K, timeout: Duration) -> Wait<Add<'_, K, C, S>> {
        self.add_with(key, AddOptions::new().timeout(timeout))
    }

    /// Same as [`add`](Self::add), with a [`Priority`](crate::Priority), a delay, a timeout, or
    /// other [`AddOptions`].
    ///
    /// # Errors
    /// [`AddError`], which gives the key back.
    ///
    /// # Cancel safety
    /// As [`add`](Self::add).
    pub fn add_with(&self, key: K, options: impl Into<AddOptions>) -> Wait<Add<'_, K, C, S>> {
        Wait::new(Add {
            shared: &self.0,
            hash: self.0.hash(&key),
            key: Some(key),
            options: options.into(),
            deadline: None,
            place: None,
        })
    }
}
