//! [`Recorder`]: the rights that a client needs, from the requests that it makes.
//!
//! The recorder is a layer of a client. It notes verb, group, resource and namespace of each request and
//! writes the least Role or ClusterRole that allows them. A test that takes an operator through all it can
//! do then compares that with the manifest: nothing [missing](Recorder::missing), nothing
//! [unused](Recorder::unused).
//!
//! ```
//! use http::{Method, Uri};
//! use tollgate_kube::call::Call;
//! use tollgate_kube::rbac::{Recorder, to_yaml};
//!
//! let recorder = Recorder::new(); // a layer: `client_with(config, &budget, &Identity::new(), &recorder)`
//! for (method, uri) in [
//!     (Method::GET, "/apis/example.com/v1/databases?watch=true"),
//!     (Method::GET, "/apis/example.com/v1/databases"),
//!     (Method::PATCH, "/apis/example.com/v1/namespaces/a/databases/d/status"),
//! ] {
//!     recorder.record(&Call::new(&method, &Uri::from_static(uri)));
//! }
//! assert_eq!(
//!     to_yaml(&recorder.cluster_role("operator")),
//!     "\
//! apiVersion: rbac.authorization.k8s.io/v1
//! kind: ClusterRole
//! metadata:
//!   name: operator
//! rules:
//! - apiGroups:
//!   - example.com
//!   resources:
//!   - databases
//!   verbs:
//!   - list
//!   - watch
//! - apiGroups:
//!   - example.com
//!   resources:
//!   - databases/status
//!   verbs:
//!   - patch
//! "
//! );
//! ```
//!
//! # What is noted
//! - Each request, whatever its answer.
//! - `create` too, if a patch or an update has created its object: the API server asks for both.
//! - Not what every authenticated client may do: discovery, version and health, and reviews of its own
//!   rights (the cluster roles `system:discovery` and `system:basic-user`).
//! - Not the names of objects: a rule that is limited to names counts as one for all names.

mod layer;
mod permission;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, Role};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;

use crate::call::Call;

pub use layer::Recorded;
pub use permission::Permission;

/// A layer that notes which rights the requests of its services need. Clones share their notes.
///
/// The [module](self) says what is noted. The layer stands outside the budget, so that a request is noted
/// once; its services are as ready as the inner ones.
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    noted: Arc<Mutex<BTreeSet<Noted>>>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Noted {
    permission: Permission,
    namespace: Option<String>,
}

impl Recorder {
    /// Creates a recorder without notes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes a request.
    pub fn record(&self, call: &Call) {
        if let Some(permission) = Permission::of(call) {
            self.note(call, permission);
        }
    }

    /// Notes that a request has created its object, which needs the right to create it as well.
    fn record_creation(&self, call: &Call) {
        if let Call::Resource(resource) = call {
            self.note(call, Permission::to_create(resource));
        }
    }

    fn note(&self, call: &Call, permission: Permission) {
        let namespace = match call {
            Call::Resource(call) => call.namespace.clone(),
            Call::Path(_) => None,
        };
        self.noted().insert(Noted {
            permission,
            namespace,
        });
    }

    /// Returns the least rules for all that was noted, in a fixed order. Resources of a group with the same
    /// verbs share a rule.
    pub fn rules(&self) -> Vec<PolicyRule> {
        permission::rules(self.permissions())
    }

    /// Returns the least rules for the requests within `namespace`; `None`: for those of cluster-scoped
    /// objects and across namespaces.
    pub fn rules_in(&self, namespace: Option<&str>) -> Vec<PolicyRule> {
        let noted = self.noted();
        let within = noted
            .iter()
            .filter(|noted| noted.namespace.as_deref() == namespace);
        permission::rules(within.map(|noted| noted.permission.clone()).collect())
    }

    /// Returns the ClusterRole that allows all that was noted, in every namespace.
    pub fn cluster_role(&self, name: &str) -> ClusterRole {
        ClusterRole {
            metadata: named(name),
            rules: Some(self.rules()),
            ..ClusterRole::default()
        }
    }

    /// Returns the Role that allows the requests within `namespace`.
    pub fn role(&self, name: &str, namespace: &str) -> Role {
        Role {
            metadata: ObjectMeta {
                namespace: Some(namespace.to_owned()),
                ..named(name)
            },
            rules: Some(self.rules_in(Some(namespace))),
        }
    }

    /// Returns what was noted and `granted` does not allow, in order.
    ///
    /// ```
    /// use tollgate_kube::rbac::Recorder;
    ///
    /// let recorder = Recorder::new();
    /// let role = recorder.cluster_role("operator"); // or the manifest's
    /// let granted = role.rules.unwrap_or_default();
    /// assert_eq!((recorder.missing(&granted), recorder.unused(&granted)), (vec![], vec![]));
    /// ```
    pub fn missing(&self, granted: &[PolicyRule]) -> Vec<Permission> {
        let needed = self.permissions().into_iter();
        needed
            .filter(|permission| !granted.iter().any(|rule| permission.is_allowed_by(rule)))
            .collect()
    }

    /// Returns what `granted` allows and no request has needed, in order. A wildcard always allows more than
    /// was needed.
    pub fn unused(&self, granted: &[PolicyRule]) -> Vec<Permission> {
        let needed = self.permissions();
        let allowed: BTreeSet<_> = granted.iter().flat_map(permission::of_rule).collect();
        allowed.difference(&needed).cloned().collect()
    }

    fn permissions(&self) -> BTreeSet<Permission> {
        self.noted()
            .iter()
            .map(|noted| noted.permission.clone())
            .collect()
    }

    fn noted(&self) -> MutexGuard<'_, BTreeSet<Noted>> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes a Role, a ClusterRole or another object as YAML, for a manifest.
///
/// # Panics
/// If the object cannot be written as YAML. Those of Kubernetes can.
pub fn to_yaml<K: Serialize>(object: &K) -> String {
    serde_saphyr::to_string(object).expect("an object of Kubernetes can be written as YAML")
}

fn named(name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        ..ObjectMeta::default()
    }
}
