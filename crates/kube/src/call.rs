//! [`Call`]: what a request asks of the API server.
//!
//! The API server authorizes a request by its verb, API group, resource, subresource, namespace and name,
//! all of which it reads from the method and the URI. [`Call`] reads the same. The [budget](crate::budget)
//! and the [recorder of rules](crate::rbac) decide by it.
//!
//! ```
//! use http::{Method, Uri};
//! use tollgate_kube::call::{Call, Verb};
//!
//! let uri = Uri::from_static("/apis/apps/v1/namespaces/shop/statefulsets/db/status?force=true");
//! let Call::Resource(call) = Call::new(&Method::PATCH, &uri) else { panic!("a resource") };
//! assert_eq!((call.verb, call.group.as_str(), call.full_resource().as_str()),
//!     (Verb::Patch, "apps", "statefulsets/status"));
//! assert_eq!((call.namespace.as_deref(), call.name.as_deref()), (Some("shop"), Some("db")));
//! ```

#[cfg(test)]
mod tests;

use std::fmt;

use http::{Method, Request, Uri};

/// A request as the API server authorizes it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// A request for objects of a resource.
    Resource(ResourceCall),
    /// A request outside of the resources: discovery, health, version.
    Path(PathCall),
}

/// A request for objects of a resource.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ResourceCall {
    /// What is done with them.
    pub verb: Verb,
    /// The API group; empty for the core group.
    pub group: String,
    /// The version of the group.
    pub version: String,
    /// The plural of the resource.
    pub resource: String,
    /// The subresource, such as `status`.
    pub subresource: Option<String>,
    /// The namespace. `None` for a cluster-scoped object, a namespace itself among them, and for a request
    /// across all namespaces.
    pub namespace: Option<String>,
    /// The name of the object as the URI has it, percent-encoding included. `None` for a request of many
    /// objects and for a creation.
    pub name: Option<String>,
}

/// A request outside of the resources.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathCall {
    /// The method in lower case, as in a rule of RBAC.
    pub verb: String,
    /// The path, without the query.
    pub path: String,
}

/// What a request does with a resource. The order is the one in which people write rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verb {
    /// Reads one object.
    Get,
    /// Reads many objects.
    List,
    /// Follows the changes of objects.
    Watch,
    /// Creates an object.
    Create,
    /// Replaces an object.
    Update,
    /// Changes a part of an object, by a patch or by server-side apply.
    Patch,
    /// Deletes one object.
    Delete,
    /// Deletes many objects.
    DeleteCollection,
}

impl Verb {
    /// Returns the verb as a rule of RBAC names it: in lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
        }
    }

    /// Returns true if the verb changes objects.
    pub const fn writes(self) -> bool {
        !matches!(self, Self::Get | Self::List | Self::Watch)
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Call {
    /// Reads a request. The URI starts at the root of the API server, as in every layer of a client: what a
    /// proxy puts before it is added last.
    pub fn of<B>(request: &Request<B>) -> Self {
        Self::new(request.method(), request.uri())
    }

    /// Same as [`of`](Self::of), from the method and the URI.
    pub fn new(method: &Method, uri: &Uri) -> Self {
        let parts: Vec<&str> = uri
            .path()
            .split('/')
            .filter(|part| !part.is_empty())
            .collect();
        resource(method, &parts, uri.query().unwrap_or_default()).map_or_else(
            || {
                Self::Path(PathCall {
                    verb: method.as_str().to_ascii_lowercase(),
                    path: uri.path().to_owned(),
                })
            },
            Self::Resource,
        )
    }

    /// Returns the verb as a rule of RBAC names it: in lower case.
    pub fn verb(&self) -> &str {
        match self {
            Self::Resource(call) => call.verb.as_str(),
            Self::Path(call) => &call.verb,
        }
    }

    /// Returns true if the request changes objects. A request outside of the resources never does.
    pub const fn writes(&self) -> bool {
        match self {
            Self::Resource(call) => call.verb.writes(),
            Self::Path(_) => false,
        }
    }
}

impl ResourceCall {
    /// Returns the resource with its subresource as a rule of RBAC names it: `databases/status`.
    pub fn full_resource(&self) -> String {
        match &self.subresource {
            Some(subresource) => format!("{}/{subresource}", self.resource),
            None => self.resource.clone(),
        }
    }

    /// Returns true if the request goes to this resource of this group, or to a subresource of it.
    pub fn is_to(&self, group: &str, resource: &str) -> bool {
        self.group == group && self.resource == resource
    }
}

/// Displays `patch databases/status.example.com shop/db`, or `get /version`.
impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resource(call) => call.fmt(f),
            Self::Path(call) => write!(f, "{} {}", call.verb, call.path),
        }
    }
}

impl fmt::Display for ResourceCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.full_resource())?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        match (&self.namespace, &self.name) {
            (Some(namespace), Some(name)) => write!(f, " {namespace}/{name}"),
            (Some(namespace), None) => write!(f, " in {namespace}"),
            (None, Some(name)) => write!(f, " {name}"),
            (None, None) => Ok(()),
        }
    }
}

/// The subresources of a namespace. Every other part after its name is a resource in it.
const OF_NAMESPACES: [&str; 2] = ["status", "finalize"];

/// Reads a path by the rules of the API server (`RequestInfoFactory`); `None` if it is not of a resource.
fn resource(method: &Method, parts: &[&str], query: &str) -> Option<ResourceCall> {
    let (group, version, rest) = match parts {
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return None,
    };
    // The old form of a watch: `/api/v1/watch/namespaces/shop/pods`.
    let (old_watch, rest) = match rest {
        ["watch", rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let (namespace, rest) = match rest {
        ["namespaces", namespace, rest @ ..]
            if rest
                .first()
                .is_some_and(|part| !OF_NAMESPACES.contains(part)) =>
        {
            (Some(*namespace), rest)
        }
        rest => (None, rest),
    };
    let name = rest.get(1).copied();
    let verb = if old_watch {
        Verb::Watch
    } else {
        verb(method, name.is_some(), query)?
    };
    Some(ResourceCall {
        verb,
        group: group.to_owned(),
        version: version.to_owned(),
        resource: (*rest.first()?).to_owned(),
        subresource: rest.get(2).map(|part| (*part).to_owned()),
        namespace: namespace.map(str::to_owned),
        name: name.map(str::to_owned),
    })
}

fn verb(method: &Method, named: bool, query: &str) -> Option<Verb> {
    Some(match (method.as_str(), named) {
        ("GET" | "HEAD", true) => Verb::Get,
        ("GET" | "HEAD", false) if asks_to_watch(query) => Verb::Watch,
        ("GET" | "HEAD", false) => Verb::List,
        ("POST", _) => Verb::Create,
        ("PUT", _) => Verb::Update,
        ("PATCH", _) => Verb::Patch,
        ("DELETE", true) => Verb::Delete,
        ("DELETE", false) => Verb::DeleteCollection,
        _ => return None,
    })
}

/// Whether a query has `watch` set. As in the API server, every value but `false` and `0` sets it.
fn asks_to_watch(query: &str) -> bool {
    let watch = query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == "watch").then_some(value)
    });
    watch.is_some_and(|value| value != "0" && !value.eq_ignore_ascii_case("false"))
}
