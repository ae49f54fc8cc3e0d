//! What a reconcile is given.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder};
use kube::runtime::reflector::ObjectRef;
use tollgate::{Action, ReconcileError};

use crate::election::Term;
use crate::kinds::Kind;
use crate::leading::Leading;
use crate::stores::Stores;

/// The longest note of an event, in bytes.
const LONGEST_NOTE: usize = 1024;

/// Brings an object to its desired state. Closures and functions of the same shape implement it.
///
/// It must be idempotent: it runs again after a failure, after a change of the operator's leader, and when a
/// watch starts again.
pub trait Reconciler<K: Kind>: Send + Sync + 'static {
    /// Reconciles one object. A failure is retried with the object's backoff; see [`Action`] for the rest.
    ///
    /// The future is dropped at an await point if the operator loses its lease, if it takes longer than the
    /// controller's timeout, or if it does not end in time at a shutdown.
    fn reconcile(
        &self,
        object: Object<K>,
        context: Context,
    ) -> impl Future<Output = Result<Action, ReconcileError>> + Send;
}

impl<K: Kind, F, T> Reconciler<K> for F
where
    F: Fn(Object<K>, Context) -> T + Send + Sync + 'static,
    T: Future<Output = Result<Action, ReconcileError>> + Send,
{
    fn reconcile(
        &self,
        object: Object<K>,
        context: Context,
    ) -> impl Future<Output = Result<Action, ReconcileError>> + Send {
        self(object, context)
    }
}

/// The object of a reconcile.
#[derive(Clone, Debug)]
pub enum Object<K: Kind> {
    /// The object as the store has it. It may be older than the last write of the operator.
    Found(Arc<K>),
    /// No store of the controller has the object, and nothing but its name is left: it is deleted, does not match the
    /// selectors any more, or a mapper named it and it is not watched.
    Gone(ObjectRef<K>),
}

/// What a reconcile works with. Clones are cheap and refer to the same reconcile.
#[derive(Clone, Debug)]
pub struct Context {
    pub(crate) shared: Arc<Shared>,
    pub(crate) term: Option<Term>,
    pub(crate) leading: Leading,
    pub(crate) failures: u32,
    pub(crate) request_id: u64,
}

/// What all reconciles of one controller share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) controller: String,
    pub(crate) client: Client,
    pub(crate) stores: Stores,
    pub(crate) events: Recorder,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("controller", &self.controller)
            .finish_non_exhaustive()
    }
}

impl Context {
    /// A client whose every request takes a token of the operator's budget and, under an election, is refused
    /// with [`NotLeading`](crate::election::NotLeading) once the lease may be another's.
    pub fn client(&self) -> &Client {
        &self.shared.client
    }

    /// The name of the controller.
    pub fn controller(&self) -> &str {
        &self.shared.controller
    }

    /// An object that a watch of this operator has seen, of any kind that one of its controllers watches.
    pub fn get<T: Kind>(&self, reference: &ObjectRef<T>) -> Option<Arc<T>> {
        self.shared.stores.get(reference)
    }

    /// The stores of all kinds that the operator watches.
    pub fn stores(&self) -> &Stores {
        &self.shared.stores
    }

    /// The failures of this object since its last success.
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// The number of this reconcile, which its log lines carry.
    pub const fn request_id(&self) -> u64 {
        self.request_id
    }

    /// The term of the lease under which this reconcile started; `None` without an election. Its number grows
    /// with each change of the holder, so a system that remembers the highest it has seen can refuse the
    /// writes of an older leader.
    pub const fn term(&self) -> Option<Term> {
        self.term
    }

    /// `interval`, lengthened by up to a fifth, so that objects which were reconciled together spread out.
    pub fn jittered(&self, interval: Duration) -> Duration {
        // The golden ratio spreads consecutive numbers evenly.
        let fraction = self.request_id.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56;
        let fifth = (interval / 5 / 256).saturating_mul(u32::try_from(fraction).unwrap_or(0));
        interval.saturating_add(fifth)
    }

    /// Completes when the lease is lost; never without an election. For work that the reconcile has spawned:
    /// the reconcile itself is dropped.
    pub async fn cancelled(&self) {
        self.leading.lost(self.term).await;
    }

    /// Publishes an event about `object` under `events.k8s.io`. An event that is repeated within six minutes is
    /// counted in a series. A note is cut off after 1,024 bytes, more than which the API server refuses. A failure
    /// to publish is logged, since an event must not fail a reconcile.
    pub async fn event<T: Kind>(&self, object: &T, mut event: Event) {
        if let Some(note) = &mut event.note {
            let ends = note.char_indices().map(|(at, char)| at + char.len_utf8());
            let kept = ends.take_while(|end| *end <= LONGEST_NOTE).last();
            note.truncate(kept.unwrap_or(0));
        }
        let published = self
            .shared
            .events
            .publish(&event, &object.object_ref(&()))
            .await;
        if let Err(error) = published {
            tracing::warn!(reason = event.reason, %error, "an event was not published");
        }
    }

    /// Publishes a warning: see [`event`](Self::event).
    pub async fn warn<T: Kind>(&self, object: &T, reason: &str, note: impl Into<String>) {
        let event = Event {
            type_: EventType::Warning,
            reason: reason.to_owned(),
            note: Some(note.into()),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        self.event(object, event).await;
    }
}
