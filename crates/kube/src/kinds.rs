//! The kinds that an operator watches.

use std::fmt::Debug;

use kube::runtime::reflector::ObjectRef;
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tollgate::WorkQueue;

/// A kind that the operator can watch: one that is known when the operator is built, such as those of
/// `k8s-openapi` and of `#[derive(CustomResource)]`.
pub trait Kind:
    Resource<DynamicType = (), Scope: 'static>
    + Clone
    + Debug
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
}

impl<T> Kind for T where
    T: Resource<DynamicType = (), Scope: 'static>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static
{
}

/// A queue of references to objects.
pub type Queue<K> = WorkQueue<ObjectRef<K>>;

/// Where to watch a kind: in the whole cluster, in one namespace, or in several.
#[derive(Clone, Debug)]
pub struct Scope<T>(pub(crate) Vec<Api<T>>);

impl<T> From<Api<T>> for Scope<T> {
    fn from(api: Api<T>) -> Self {
        Self(vec![api])
    }
}

impl<T> From<Vec<Api<T>>> for Scope<T> {
    fn from(apis: Vec<Api<T>>) -> Self {
        Self(apis)
    }
}
