//! [`Permission`]: one right, and the rules that are made of rights.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use k8s_openapi::api::rbac::v1::PolicyRule;

use crate::call::{Call, ResourceCall, Verb};

/// A right of RBAC: a verb on a resource, or on a path outside of the resources.
///
/// It is displayed as `patch databases/status.example.com` or `get /metrics`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Permission {
    /// A verb on a resource.
    Resource {
        /// The API group; empty for the core group.
        group: String,
        /// The resource, with its subresource: `databases/status`.
        resource: String,
        /// The verb in lower case.
        verb: String,
    },
    /// A verb on a path outside of the resources.
    Path {
        /// The path.
        path: String,
        /// The method in lower case.
        verb: String,
    },
}

/// The paths that `system:discovery` allows every client to `get`.
const DISCOVERY: [&str; 11] = [
    "/api",
    "/api/*",
    "/apis",
    "/apis/*",
    "/healthz",
    "/livez",
    "/openapi",
    "/openapi/*",
    "/readyz",
    "/version",
    "/version/",
];
/// The resources that `system:basic-user` allows every client to create.
const REVIEWS: [(&str, &str); 3] = [
    ("authorization.k8s.io", "selfsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectrulesreviews"),
    ("authentication.k8s.io", "selfsubjectreviews"),
];

impl Permission {
    /// Returns the right that a request needs; `None` if every client has it.
    pub(super) fn of(call: &Call) -> Option<Self> {
        match call {
            Call::Resource(call) => {
                let review = (call.group.as_str(), call.resource.as_str());
                let is_everyones = call.verb == Verb::Create && REVIEWS.contains(&review);
                (!is_everyones).then(|| Self::to(call.verb, call))
            }
            Call::Path(call) => {
                let discovers = || DISCOVERY.iter().any(|allowed| covers(allowed, &call.path));
                (call.verb != "get" || !discovers()).then(|| Self::Path {
                    path: call.path.clone(),
                    verb: call.verb.clone(),
                })
            }
        }
    }

    /// Returns the right to create what a request has created.
    pub(super) fn to_create(call: &ResourceCall) -> Self {
        Self::to(Verb::Create, call)
    }

    fn to(verb: Verb, call: &ResourceCall) -> Self {
        Self::Resource {
            group: call.group.clone(),
            resource: call.full_resource(),
            verb: verb.as_str().to_owned(),
        }
    }

    /// Returns true if the rule allows this, by its wildcards too.
    pub(super) fn is_allowed_by(&self, rule: &PolicyRule) -> bool {
        let has = |list: &Option<Vec<String>>, wanted: &str| {
            let mut list = list.iter().flatten();
            list.any(|listed| listed == "*" || listed == wanted)
        };
        let allows = |verb: &str| {
            rule.verbs
                .iter()
                .any(|listed| listed == "*" || listed == verb)
        };
        match self {
            Self::Resource {
                group,
                resource,
                verb,
            } => {
                let any_of_sub = resource.split_once('/').map(|(_, sub)| format!("*/{sub}"));
                allows(verb)
                    && has(&rule.api_groups, group)
                    && (has(&rule.resources, resource)
                        || any_of_sub.is_some_and(|any| has(&rule.resources, &any)))
            }
            Self::Path { path, verb } => {
                let mut paths = rule.non_resource_urls.iter().flatten();
                allows(verb) && paths.any(|allowed| covers(allowed, path))
            }
        }
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resource {
                group,
                resource,
                verb,
            } if group.is_empty() => write!(f, "{verb} {resource}"),
            Self::Resource {
                group,
                resource,
                verb,
            } => write!(f, "{verb} {resource}.{group}"),
            Self::Path { path, verb } => write!(f, "{verb} {path}"),
        }
    }
}

/// Whether the path of a rule, which may end in `*`, covers a path.
fn covers(allowed: &str, path: &str) -> bool {
    match allowed.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix),
        None => allowed == path,
    }
}

/// Returns all that a rule allows, each wildcard as it stands.
pub(super) fn of_rule(rule: &PolicyRule) -> BTreeSet<Permission> {
    let mut permissions = BTreeSet::new();
    for verb in &rule.verbs {
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                permissions.insert(Permission::Resource {
                    group: group.clone(),
                    resource: resource.clone(),
                    verb: verb.clone(),
                });
            }
        }
        for path in rule.non_resource_urls.iter().flatten() {
            permissions.insert(Permission::Path {
                path: path.clone(),
                verb: verb.clone(),
            });
        }
    }
    permissions
}

/// Returns the rules that allow these and no more, one for all resources of a group with the same verbs,
/// in the order of group and first resource; rules of paths come last.
pub(super) fn rules(permissions: BTreeSet<Permission>) -> Vec<PolicyRule> {
    let mut of_resources: BTreeMap<_, Vec<_>> = BTreeMap::new();
    let mut of_paths: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for permission in permissions {
        match permission {
            Permission::Resource {
                group,
                resource,
                verb,
            } => of_resources
                .entry((group, resource))
                .or_default()
                .push(verb),
            Permission::Path { path, verb } => of_paths.entry(path).or_default().push(verb),
        }
    }
    let mut rules = Vec::new();
    for ((group, resource), verbs) in of_resources {
        let rule = rule_with(&mut rules, Some(vec![group]), verbs);
        rule.resources.get_or_insert_default().push(resource);
    }
    for (path, verbs) in of_paths {
        let rule = rule_with(&mut rules, None, verbs);
        rule.non_resource_urls.get_or_insert_default().push(path);
    }
    rules
}

/// Returns the rule of these groups and verbs, a new one if there is none.
fn rule_with(
    rules: &mut Vec<PolicyRule>,
    api_groups: Option<Vec<String>>,
    mut verbs: Vec<String>,
) -> &mut PolicyRule {
    verbs.sort_by_key(|verb| place(verb));
    let mut each = rules.iter();
    let found = each.position(|rule| rule.api_groups == api_groups && rule.verbs == verbs);
    let at = found.unwrap_or(rules.len());
    if at == rules.len() {
        rules.push(PolicyRule {
            api_groups,
            verbs,
            ..PolicyRule::default()
        });
    }
    &mut rules[at]
}

/// Where people write a verb: reads, then writes.
fn place(verb: &str) -> usize {
    const ORDER: [Verb; 8] = [
        Verb::Get,
        Verb::List,
        Verb::Watch,
        Verb::Create,
        Verb::Update,
        Verb::Patch,
        Verb::Delete,
        Verb::DeleteCollection,
    ];
    ORDER
        .iter()
        .position(|known| known.as_str() == verb)
        .unwrap_or(ORDER.len())
}
