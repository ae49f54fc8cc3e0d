//! [`Request`]: the key that a reconciler gets, with what is known of its run.

use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::time::Duration;

use crate::queue::{AddError, AddOptions, ErasedWork, Priority};

/// A key to reconcile, with what is known of its run. Dereferences to the key.
///
/// ```
/// use tollgate::{Action, ReconcileError, Request};
///
/// async fn reconcile(request: Request<'_, String>) -> Result<Action, ReconcileError> {
///     let (namespace, name) = request.split_once('/').ok_or("no namespace")?; // a method of the key
///     if request.failures() > 0 {
///         println!("retrying {name} in {namespace}");
///     }
///     Ok(Action::done())
/// }
/// ```
pub struct Request<'a, K> {
    pub(super) work: &'a dyn ErasedWork<K>,
    pub(super) id: u64,
}

impl<K> Clone for Request<'_, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for Request<'_, K> {}

impl<'a, K> Request<'a, K> {
    /// Returns the key. The reference outlives the `Request` value, which is `Copy`.
    pub fn key(&self) -> &'a K {
        self.work.key()
    }

    /// Returns the key's failures in a row before this run:
    /// [`Work::failures`](crate::Work::failures).
    pub fn failures(&self) -> u32 {
        self.work.run().failures.into()
    }

    /// Returns how long the key was ready before this run: [`Work::queued`](crate::Work::queued).
    pub fn queued(&self) -> Duration {
        self.work.run().queued()
    }

    /// Returns the priority with which the key was handed out.
    pub fn priority(&self) -> Priority {
        self.work.run().priority
    }

    /// Returns true if the key was added without a delay during this run:
    /// [`Work::is_dirty`](crate::Work::is_dirty).
    ///
    /// A long run may stop then: its input is out of date, and the key runs once more.
    pub fn is_dirty(&self) -> bool {
        self.work.is_dirty()
    }

    /// Waits until the key [is dirty](Self::is_dirty): [`Work::dirtied`](crate::Work::dirtied).
    ///
    /// The future never completes if the key is not added: race it with the work itself, as in a
    /// `select!`.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub fn dirtied(&self) -> impl Future<Output = ()> + Send + use<'a, K> {
        self.work.dirtied()
    }

    /// Adds another key that this run has found to need work:
    /// [`Work::add_related`](crate::Work::add_related).
    ///
    /// Never waits, and may use the queue's [reserve](crate::queue::QueueBuilder::reserve): a
    /// worker that adds to a full queue cannot deadlock the pool.
    ///
    /// # Errors
    /// [`AddError`], which gives the key back.
    pub fn add_related(&self, key: K) -> Result<(), AddError<K>> {
        self.add_related_with(key, AddOptions::new())
    }

    /// Same as [`add_related`](Self::add_related), with options.
    ///
    /// # Errors
    /// [`AddError`], which gives the key back.
    pub fn add_related_with(
        &self,
        key: K,
        options: impl Into<AddOptions>,
    ) -> Result<(), AddError<K>> {
        self.work.add_related(key, options.into())
    }

    /// Returns a number that no other request of this controller has.
    pub const fn id(&self) -> u64 {
        self.id
    }
}

impl<K> Deref for Request<'_, K> {
    type Target = K;

    fn deref(&self) -> &K {
        self.work.key()
    }
}

impl<K: fmt::Debug> fmt::Debug for Request<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("key", self.key())
            .field("failures", &self.failures())
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
