//! Direct access to the objects: no faults, no outage, no webhook, and no entry in the account.

use std::ops::Deref;
use std::sync::Arc;

use serde_json::Value;

use super::ApiServer;
use super::patch::Patch;
use super::resource;
use super::status::Status;
use super::store::{Key, Object, Preconditions, Target};

impl ApiServer {
    /// All objects of a type, in order of namespace and name.
    pub fn list(&self, plural: &str) -> Vec<Value> {
        let Some(ty) = resource::by_plural(plural) else {
            return Vec::new();
        };
        // Copy only the references under the lock.
        let objects: Vec<_> = self
            .shell
            .read(|store| store.objects(ty).values().cloned().collect());
        objects.iter().map(|object| object.value.clone()).collect()
    }

    /// One object; the namespace of cluster-scoped ones is empty.
    pub fn get(
        &self,
        plural: &str,
        namespace: &str,
        name: &str,
    ) -> Option<impl Deref<Target = Value> + use<>> {
        let ty = resource::by_plural(plural)?;
        self.shell
            .read(|store| store.get(ty, &Key::new(namespace, name)))
            .ok()
            .map(Stored)
    }

    /// The number of objects of a type.
    pub fn count(&self, plural: &str) -> usize {
        resource::by_plural(plural).map_or(0, |ty| self.shell.read(|store| store.objects(ty).len()))
    }

    /// Creates an object; the namespace of cluster-scoped ones is empty. A refusal is an object of kind `Status`.
    ///
    /// # Panics
    ///
    /// If the server knows no such type.
    pub fn create(&self, plural: &str, namespace: &str, object: Value) -> Result<Value, Value> {
        let ty = resource::known(plural);
        let created = self
            .shell
            .write(|store, now| store.create(ty, namespace, object, now));
        outcome(created)
    }

    /// Changes an object (`jobs`) or its status (`jobs/status`) by a JSON merge patch.
    ///
    /// # Panics
    ///
    /// If the server knows no such type.
    pub fn merge(
        &self,
        resource: &str,
        namespace: &str,
        name: &str,
        patch: Value,
    ) -> Result<Value, Value> {
        let plural = resource.strip_suffix("/status");
        let target = Target {
            ty: resource::known(plural.unwrap_or(resource)),
            key: Key::new(namespace, name),
            status: plural.is_some(),
        };
        let patched = self
            .shell
            .write(|store, now| store.patch(&target, &Patch::Merge(patch), now));
        outcome(patched.map(|(_, object)| object))
    }

    /// Deletes an object, or marks it as deleted while it has finalizers.
    ///
    /// # Panics
    ///
    /// If the server knows no such type.
    pub fn delete(&self, plural: &str, namespace: &str, name: &str) -> Result<(), Value> {
        let (ty, key) = (resource::known(plural), Key::new(namespace, name));
        self.shell
            .write(|store, now| store.delete(ty, &key, &Preconditions::default(), now))
            .map(|_| ())
            .map_err(|status| status.to_json())
    }
}

fn outcome(result: Result<Arc<Object>, Status>) -> Result<Value, Value> {
    result
        .map(|object| object.value.clone())
        .map_err(|status| status.to_json())
}

/// An object as it is stored.
struct Stored(Arc<Object>);

impl Deref for Stored {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.0.value
    }
}
