//! The rules for the creation of objects that depend on their namespace: its end, and its quotas.

use std::collections::{BTreeMap, BTreeSet};

use super::resource::ResourceType;
use super::status::{Cause, Status};
use super::store::{Key, Store};

/// The namespaces that end, and the quotas of the others.
#[derive(Debug, Default)]
pub struct Admission {
    terminating: BTreeSet<String>,
    quotas: BTreeMap<(String, usize), usize>,
}

impl Store {
    /// Refuses all further creates in a namespace.
    pub fn terminate_namespace(&mut self, namespace: &str) {
        self.admission.terminating.insert(namespace.to_owned());
    }

    /// Allows at most this many objects of a type in a namespace. What is there already stays.
    pub fn limit_quota(&mut self, ty: &ResourceType, namespace: &str, limit: usize) {
        let quota = (namespace.to_owned(), ty.index);
        self.admission.quotas.insert(quota, limit);
    }

    /// Refuses an object of a namespace that is being deleted. Comes before the validation of the object.
    pub(super) fn check_lifecycle(&self, ty: &ResourceType, key: &Key) -> Result<(), Status> {
        let namespace = &key.namespace;
        if !self.admission.terminating.contains(namespace) {
            return Ok(());
        }
        let why = format!(
            "unable to create new content in namespace {namespace} because it is being terminated"
        );
        let cause = Cause {
            reason: "NamespaceTerminating",
            message: format!("namespace {namespace} is being terminated"),
            field: "metadata.namespace".to_owned(),
        };
        Err(Status::forbidden(ty, &key.name, &why).with_causes(&[cause]))
    }

    /// Refuses an object that exceeds a quota. Comes after the validation of the object, and before its name is found
    /// to be taken.
    pub(super) fn check_quota(&self, ty: &ResourceType, key: &Key) -> Result<(), Status> {
        let quota = (key.namespace.clone(), ty.index);
        let Some(limit) = self.admission.quotas.get(&quota) else {
            return Ok(());
        };
        let first = Key::new(&key.namespace, "");
        let used = self.objects(ty).range(first..);
        let used = used
            .take_while(|(other, _)| other.namespace == key.namespace)
            .count();
        if used < *limit {
            return Ok(());
        }
        let counted = format!("count/{}", ty.qualified_plural());
        let why = format!(
            "exceeded quota: quota, requested: {counted}=1, used: {counted}={used}, limited: {counted}={limit}"
        );
        Err(Status::forbidden(ty, &key.name, &why))
    }
}
