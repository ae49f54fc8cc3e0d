//! Between the library's controller and a user's reconciler: finds the object, holds to the lease, and gives
//! each reconcile its span.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt;
use kube::core::Status;
use kube::runtime::reflector::{ObjectRef, Store};
use tollgate::{Action, ReconcileError, Request};
use tracing::Instrument;

use crate::context::{Context, Object, Reconciler, Shared};
use crate::debug::LastErrors;
use crate::election::NotLeading;
use crate::kinds::Kind;
use crate::leading::Leading;
use crate::writes::ApplyError;

/// How long a key waits that was handed out at the end of a term. By then its queue is paused.
const AFTER_TERM: Duration = Duration::from_millis(100);
/// How long a key waits after a conflict, unless the watch shows the newer version earlier. Until then each try
/// fails, so a conflict is no failure that lengthens the backoff.
const AFTER_CONFLICT: Duration = Duration::from_secs(5);

/// Runs a user's reconciler in the library's controller.
pub(crate) struct Drive<K: Kind, R> {
    pub(crate) reconciler: R,
    pub(crate) stores: Vec<Store<K>>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) leading: Leading,
    pub(crate) errors: Arc<LastErrors<K>>,
}

impl<K: Kind, R: Reconciler<K>> tollgate::Reconciler<ObjectRef<K>> for Drive<K, R> {
    async fn reconcile(
        &self,
        request: Request<'_, ObjectRef<K>>,
    ) -> Result<Action, ReconcileError> {
        let Ok(term) = self.leading.check() else {
            return Ok(Action::defer(AFTER_TERM));
        };
        let key = request.key();
        let context = Context {
            shared: Arc::clone(&self.shared),
            term,
            leading: self.leading.clone(),
            failures: request.failures(),
            request_id: request.id(),
        };
        let span = tracing::info_span!(
            "reconcile",
            controller = self.shared.controller,
            request_id = request.id(),
            resource_key = path_of(key),
        );
        let object = self
            .stores
            .iter()
            .find_map(|store| store.get(key))
            .map_or_else(|| Object::Gone(key.clone()), Object::Found);
        let work = self.reconciler.reconcile(object, context);
        let result = tokio::select! {
            biased;
            result = work.instrument(span) => result,
            () = self.leading.lost(term) => Ok(Action::defer(AFTER_TERM)),
        };
        match result {
            // The lease was lost, so the next leader reconciles the object.
            Err(error) if is_not_leading(&error) => Ok(Action::defer(AFTER_TERM)),
            Err(error) if is_conflict(&error) => {
                let (controller, request_id) = (&self.shared.controller, request.id());
                tracing::debug!(controller, request_id, resource_key = path_of(key), %error, "a conflict");
                Ok(Action::defer(AFTER_CONFLICT))
            }
            Ok(action) => {
                self.errors.clear(key);
                Ok(action)
            }
            Err(error) => Err(error),
        }
    }
}

/// Namespace and name, as `kubectl` writes them.
pub(crate) fn path_of<K: Kind>(key: &ObjectRef<K>) -> String {
    match &key.namespace {
        Some(namespace) => format!("{namespace}/{}", key.name),
        None => key.name.clone(),
    }
}

/// Whether a request was refused because the lease is lost.
fn is_not_leading(error: &ReconcileError) -> bool {
    has_cause(error, <dyn Error>::is::<NotLeading>)
}

/// Whether a write was refused because the object has a newer version, which the store will have. A field that another
/// manager owns is a conflict that lasts.
fn is_conflict(error: &ReconcileError) -> bool {
    has_cause(error, |cause| {
        status_of(cause).is_some_and(|status| {
            let mut causes = status.details.iter().flat_map(|details| &details.causes);
            status.is_conflict() && !causes.any(|cause| cause.reason == "FieldManagerConflict")
        })
    })
}

/// The answer of the API server, whichever of the errors around it a reconciler has kept.
fn status_of<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Status> {
    if let Some(kube::Error::Api(status)) = error.downcast_ref() {
        return Some(status);
    }
    if let Some(ApplyError::Api(kube::Error::Api(status))) = error.downcast_ref() {
        return Some(status);
    }
    let boxed = || error.downcast_ref::<Box<Status>>().map(AsRef::as_ref);
    error.downcast_ref().or_else(boxed)
}

fn has_cause(error: &ReconcileError, is: impl Fn(&(dyn Error + 'static)) -> bool) -> bool {
    let mut cause = Some(error.source());
    while let Some(error) = cause {
        if is(error) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The reference to an object, without the version and the uid that it had: a queue keeps one for each object.
pub(crate) fn key_of<K: Kind>(object: &K) -> ObjectRef<K> {
    let reference = ObjectRef::new(&object.name_any());
    match object.namespace() {
        Some(namespace) => reference.within(&namespace),
        None => reference,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::response::{StatusCause, StatusDetails};

    fn answer(reason: &str, cause: &str) -> ReconcileError {
        let cause = StatusCause {
            reason: cause.to_owned(),
            message: String::new(),
            field: String::new(),
        };
        let status = Status {
            code: 409,
            reason: reason.to_owned(),
            details: Some(StatusDetails {
                name: String::new(),
                group: String::new(),
                kind: String::new(),
                uid: String::new(),
                causes: vec![cause],
                retry_after_seconds: 0,
            }),
            ..Status::default()
        };
        ApplyError::Api(kube::Error::Api(status.boxed())).into()
    }

    #[test]
    fn only_a_newer_version_is_a_conflict_that_passes() {
        assert!(is_conflict(&answer("Conflict", "")));
        assert!(!is_conflict(&answer("Conflict", "FieldManagerConflict")));
        assert!(!is_conflict(&answer("AlreadyExists", "")));
    }
}
