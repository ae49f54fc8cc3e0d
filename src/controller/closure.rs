//! Functions as reconcilers.

use std::future::Future;

use super::{Action, ReconcileError, Reconciler, Request};

/// A function that reconciles. The bound on its future stands here and not in the `impl` below, so
/// that the future may borrow from the request.
pub trait ReconcileFn<'a, K: 'a>: Fn(Request<'a, K>) -> Self::Future {
    type Future: Future<Output = Result<Action, ReconcileError>> + Send + 'a;
}

impl<'a, K: 'a, F, T> ReconcileFn<'a, K> for F
where
    F: Fn(Request<'a, K>) -> T,
    T: Future<Output = Result<Action, ReconcileError>> + Send + 'a,
{
    type Future = T;
}

impl<K: 'static, F> Reconciler<K> for F
where
    F: for<'a> ReconcileFn<'a, K> + Send + Sync,
{
    fn reconcile(
        &self,
        request: Request<'_, K>,
    ) -> impl Future<Output = Result<Action, ReconcileError>> + Send {
        self(request)
    }
}
