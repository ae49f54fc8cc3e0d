//! Writes that a reconcile makes: only what differs, and never over a newer write.

use std::sync::Arc;

use kube::api::{Patch, PatchParams};
use kube::core::Request;
use kube::runtime::reflector::ObjectRef;
use kube::{Client, ResourceExt};
use serde::Serialize;
use serde_json::{Value, json};

use crate::context::Context;
use crate::drive::key_of;
use crate::kinds::Kind;
use crate::writes::compare::is_applied;

mod compare;
pub mod conditions;

/// Why [`Context::apply`] wrote nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// An object of that name exists, and it is not a child of the owner. It was left as it is.
    #[error("{kind} {name} exists and is not controlled by {owner}")]
    NotOwned {
        /// The kind of the object.
        kind: String,
        /// Its name.
        name: String,
        /// The object that should control it.
        owner: String,
    },
    /// The desired state has no name.
    #[error("the desired state has no metadata.name")]
    Unnamed,
    /// The API server refused, or could not be reached.
    #[error(transparent)]
    Api(#[from] kube::Error),
}

impl Context {
    /// Brings a child of `owner` to the desired state by server-side apply, under the controller's name as field
    /// manager. Returns the child; nothing is sent if the store shows that it is in that state already.
    ///
    /// `desired` is the JSON of the fields that this controller wants to own, with `metadata.name`. A null is the
    /// same as an absent field: a field that this controller owned is removed. The owner
    /// reference and the namespace of `owner`, if it has one, are added. A child that exists is written with the resource version
    /// of the store, so that a late write never replaces a newer one: then the API server answers with a conflict,
    /// and a retry finds the newer state. A child that the store does not have is read first, so that an object
    /// of another owner with the same name is not taken over. What remains is one that is created between the read
    /// and the write, and sets none of the fields to another value.
    ///
    /// Write quantities as the API server returns them (`500m`, not `0.5`); it rewrites others, which then differ
    /// for ever.
    ///
    /// # Errors
    /// [`ApplyError::NotOwned`] if an object of that name is not a child of `owner`.
    pub async fn apply<K: Kind, T: Kind + Serialize>(
        &self,
        owner: &K,
        mut desired: Value,
    ) -> Result<Arc<T>, ApplyError> {
        desired = without_nulls(&desired);
        let name = desired["metadata"]["name"].as_str();
        let name = name.ok_or(ApplyError::Unnamed)?.to_owned();
        desired["apiVersion"] = T::api_version(&()).into();
        desired["kind"] = T::kind(&()).into();
        let metadata = &mut desired["metadata"];
        // The child of an owner in no namespace says where it lives.
        let namespace = owner
            .namespace()
            .or_else(|| metadata["namespace"].as_str().map(str::to_owned));
        if let Some(namespace) = &namespace {
            metadata["namespace"] = namespace.as_str().into();
        }
        if let Some(reference) = owner.controller_owner_ref(&()) {
            metadata["ownerReferences"] = json!([reference]);
        }
        let mut reference = ObjectRef::<T>::new(&name);
        reference.namespace = namespace;
        let live = match self.get(&reference) {
            Some(live) => Some(live),
            // The store may be behind, or not select the object.
            None => read(self.client(), &reference).await?.map(Arc::new),
        };
        let Some(live) = live else {
            // Not forced: should another writer create the object first, the fields in dispute are a conflict.
            let params = PatchParams::apply(self.controller());
            let body = Patch::Apply(desired);
            let created = patch(self.client(), &reference, None, &params, &body).await?;
            return Ok(Arc::new(created));
        };
        if !is_controlled(&*live, owner) {
            return Err(ApplyError::NotOwned {
                kind: T::kind(&()).into_owned(),
                name,
                owner: format!("{} {}", K::kind(&()), owner.name_any()),
            });
        }
        if is_applied(&desired, &*live, self.controller()) {
            return Ok(live);
        }
        desired["metadata"]["resourceVersion"] = live.resource_version().into();
        let params = PatchParams::apply(self.controller()).force();
        let body = Patch::Apply(desired);
        let patched = patch(self.client(), &reference, None, &params, &body).await?;
        Ok(Arc::new(patched))
    }

    /// Writes the status of `object`, if it differs from what the store has. Returns whether it was written.
    ///
    /// The write carries the resource version of `object`. A predicate of the controller must let a change of the
    /// status pass: the store may be behind the last write, and only the event of that write shows it.
    ///
    /// # Errors
    /// A conflict if the object has changed since the store saw it.
    pub async fn set_status<K: Kind + Serialize>(
        &self,
        object: &K,
        status: &impl Serialize,
    ) -> kube::Result<bool> {
        let to_json = kube::Error::SerdeError;
        let mut status = serde_json::to_value(status).map_err(to_json)?;
        let before = serde_json::to_value(object).map_err(to_json)?;
        if without_nulls(&before["status"]) == without_nulls(&status) {
            return Ok(false);
        }
        remove_what_is_gone(&mut status, &before["status"]);
        let version = object.resource_version();
        let body = json!({ "metadata": { "resourceVersion": version }, "status": status });
        let (params, body) = (PatchParams::default(), Patch::Merge(body));
        patch::<K>(
            self.client(),
            &key_of(object),
            Some("status"),
            &params,
            &body,
        )
        .await?;
        Ok(true)
    }

    /// Adds a finalizer to `object`, or does nothing if it has it or is being deleted. Returns whether it was added:
    /// then the object has a newer version, so return from the reconcile, and the event of the write starts the next.
    ///
    /// # Errors
    /// A conflict if the object has changed since the store saw it.
    pub async fn add_finalizer<K: Kind>(&self, object: &K, finalizer: &str) -> kube::Result<bool> {
        let mut finalizers = object.finalizers().to_vec();
        let is_deleting = object.meta().deletion_timestamp.is_some();
        if is_deleting || finalizers.iter().any(|each| each == finalizer) {
            return Ok(false);
        }
        finalizers.push(finalizer.to_owned());
        self.set_finalizers(object, &finalizers)
            .await
            .map(|()| true)
    }

    /// Removes a finalizer from `object`. An object that is gone already is no error.
    ///
    /// # Errors
    /// A conflict if the object has changed since the store saw it.
    pub async fn remove_finalizer<K: Kind>(&self, object: &K, finalizer: &str) -> kube::Result<()> {
        let mut finalizers = object.finalizers().to_vec();
        finalizers.retain(|each| each != finalizer);
        if finalizers.len() == object.finalizers().len() {
            return Ok(());
        }
        match self.set_finalizers(object, &finalizers).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            other => other,
        }
    }

    async fn set_finalizers<K: Kind>(&self, object: &K, finalizers: &[String]) -> kube::Result<()> {
        let version = object.resource_version();
        let metadata = json!({ "finalizers": finalizers, "resourceVersion": version });
        let body = Patch::Merge(json!({ "metadata": metadata }));
        let params = PatchParams::default();
        patch::<K>(self.client(), &key_of(object), None, &params, &body)
            .await
            .map(drop)
    }
}

/// Whether `owner` is the controller of `object`.
pub fn is_controlled(object: &impl ResourceExt, owner: &impl ResourceExt) -> bool {
    let uid = owner.uid();
    let mut owners = object.owner_references().iter();
    owners.any(|each| each.controller == Some(true) && Some(&each.uid) == uid.as_ref())
}

async fn read<T: Kind>(client: &Client, reference: &ObjectRef<T>) -> kube::Result<Option<T>> {
    let path = T::url_path(&(), reference.namespace.as_deref());
    let request = Request::new(path).get(&reference.name, &Default::default());
    let request = request.map_err(kube::Error::BuildRequest)?;
    match client.request(request).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(None),
        other => other.map(Some),
    }
}

async fn patch<T: Kind>(
    client: &Client,
    reference: &ObjectRef<T>,
    subresource: Option<&str>,
    params: &PatchParams,
    body: &Patch<Value>,
) -> kube::Result<T> {
    let request = Request::new(T::url_path(&(), reference.namespace.as_deref()));
    let name = &reference.name;
    let request = match subresource {
        None => request.patch(name, params, body),
        Some(part) => request.patch_subresource(part, name, params, body),
    };
    client
        .request(request.map_err(kube::Error::BuildRequest)?)
        .await
}

/// Sets the fields that only `before` has to null, at every depth: a merge patch keeps the fields that it leaves out.
fn remove_what_is_gone(after: &mut Value, before: &Value) {
    if let (Some(after), Some(before)) = (after.as_object_mut(), before.as_object()) {
        for (name, before) in before {
            match after.get_mut(name) {
                Some(after) => remove_what_is_gone(after, before),
                None => drop(after.insert(name.clone(), Value::Null)),
            }
        }
    }
}

/// The fields that have a value: an absent field and a null are the same to the API server.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.clone(), without_nulls(value)))
            .collect(),
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}
