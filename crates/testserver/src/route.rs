//! Parses method, path and query into a typed request.

use http::Method;

use super::faults::Call;
use super::query::Query;
use super::resource::{self, ResourceType};
use super::status::Status;

/// A verb, as authorization rules name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// Read one object.
    Get,
    /// Read many.
    List,
    /// Follow changes.
    Watch,
    /// POST.
    Create,
    /// PUT.
    Update,
    /// PATCH.
    Patch,
    /// DELETE one object.
    Delete,
}

impl Verb {
    /// The verb in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Get => "get",
            Verb::List => "list",
            Verb::Watch => "watch",
            Verb::Create => "create",
            Verb::Update => "update",
            Verb::Patch => "patch",
            Verb::Delete => "delete",
        }
    }

    /// Whether it changes objects.
    pub fn writes(self) -> bool {
        matches!(
            self,
            Verb::Create | Verb::Update | Verb::Patch | Verb::Delete
        )
    }
}

/// A request the server can answer.
#[derive(Debug)]
pub enum Request {
    /// `/version`.
    Version,
    /// `/api`.
    CoreVersions,
    /// `/apis`.
    Groups,
    /// `/apis/GROUP`.
    Group(String),
    /// `/api/v1` or `/apis/GROUP/VERSION`.
    Resources {
        /// API group; empty for the core group.
        group: String,
        /// Version in the group.
        version: String,
    },
    /// A request about objects.
    Resource(Box<ResourceRequest>),
}

/// A request about objects.
#[derive(Debug)]
pub struct ResourceRequest {
    /// The verb.
    pub verb: Verb,
    /// The resource type.
    pub ty: &'static ResourceType,
    /// The namespace; empty for all, and for cluster-scoped types.
    pub namespace: String,
    /// The object's name; empty for collections.
    pub name: String,
    /// Whether the path ends in the `/status` subresource.
    pub status: bool,
    /// The query parameters.
    pub query: Query,
}

impl ResourceRequest {
    /// The parts that faults, the authorization hook and the account look at.
    pub fn call(&self) -> Call {
        Call {
            verb: Some(self.verb),
            plural: self.ty.plural,
            status: self.status,
        }
    }
}

/// Reads a request line.
pub fn parse(method: &Method, path: &str, query: &str) -> Result<Request, Status> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let (group, version, rest) = match parts.as_slice() {
        ["version"] => return discovery(method, Request::Version),
        ["api"] => return discovery(method, Request::CoreVersions),
        ["apis"] => return discovery(method, Request::Groups),
        ["apis", group] => return discovery(method, Request::Group((*group).to_owned())),
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return Err(Status::no_such_path()),
    };
    if rest.is_empty() {
        let (group, version) = (group.to_owned(), version.to_owned());
        return discovery(method, Request::Resources { group, version });
    }
    let (ty, namespace, rest) = resource_path(group, version, rest)?;
    let (name, status) = match rest {
        [] => ("", false),
        [name] => (*name, false),
        [name, "status"] if ty.has_status => (*name, true),
        _ => return Err(Status::no_such_path()),
    };
    let query = Query::parse(query)?;
    let verb = verb(method, name, status, query.watch)?;
    if ty.namespaced && namespace.is_empty() && !matches!(verb, Verb::List | Verb::Watch) {
        let status = if name.is_empty() {
            Status::method_not_allowed()
        } else {
            Status::no_such_path()
        };
        return Err(status);
    }
    let (namespace, name) = (namespace.to_owned(), name.to_owned());
    let request = ResourceRequest {
        verb,
        ty,
        namespace,
        name,
        status,
        query,
    };
    Ok(Request::Resource(Box::new(request)))
}

fn discovery(method: &Method, request: Request) -> Result<Request, Status> {
    if method == Method::GET {
        Ok(request)
    } else {
        Err(Status::method_not_allowed())
    }
}

type ResourcePath<'a, 'p> = (&'static ResourceType, &'p str, &'a [&'p str]);

/// Splits a path below the version into type, namespace and the rest.
fn resource_path<'a, 'p>(
    group: &str,
    version: &str,
    parts: &'a [&'p str],
) -> Result<ResourcePath<'a, 'p>, Status> {
    if let ["namespaces", namespace, plural, rest @ ..] = parts
        && let Some(ty) = resource::find(group, version, plural)
        && ty.namespaced
    {
        return Ok((ty, namespace, rest));
    }
    let (plural, rest) = parts.split_first().ok_or_else(Status::no_such_path)?;
    let ty = resource::find(group, version, plural).ok_or_else(Status::no_such_path)?;
    Ok((ty, "", rest))
}

fn verb(method: &Method, name: &str, status: bool, watch: bool) -> Result<Verb, Status> {
    let collection = name.is_empty();
    match *method {
        Method::GET if collection && watch => Ok(Verb::Watch),
        Method::GET if collection => Ok(Verb::List),
        Method::GET => Ok(Verb::Get),
        Method::POST if collection => Ok(Verb::Create),
        Method::PUT if !collection => Ok(Verb::Update),
        Method::PATCH if !collection => Ok(Verb::Patch),
        Method::DELETE if !collection && !status => Ok(Verb::Delete),
        _ => Err(Status::method_not_allowed()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(method: Method, path: &str, query: &str) -> Result<ResourceRequest, u16> {
        match parse(&method, path, query).map_err(|status| status.code)? {
            Request::Resource(request) => Ok(*request),
            other => panic!("not about a resource: {other:?}"),
        }
    }

    #[test]
    fn paths_name_types_namespaces_and_subresources() {
        let path = "/apis/example.com/v1/namespaces/ns/databases/db/status";
        let request = resource(Method::PATCH, path, "fieldManager=op&force=true").expect("valid");
        assert_eq!(
            (request.verb, request.ty.plural),
            (Verb::Patch, "databases")
        );
        assert_eq!(
            (request.namespace.as_str(), request.name.as_str()),
            ("ns", "db")
        );
        assert!(request.status && request.query.force);
        assert_eq!(request.query.field_manager.as_deref(), Some("op"));

        let request = resource(Method::GET, "/api/v1/configmaps", "&watch=true").expect("valid");
        assert_eq!(
            (request.verb, request.namespace.as_str()),
            (Verb::Watch, "")
        );
        let request = resource(Method::GET, "/api/v1/namespaces/ns", "").expect("valid");
        assert_eq!((request.verb, request.ty.plural), (Verb::Get, "namespaces"));
        let request = resource(Method::POST, "/api/v1/namespaces/ns/services", "").expect("valid");
        assert_eq!(
            (request.verb, request.ty.plural),
            (Verb::Create, "services")
        );
    }

    #[test]
    fn unknown_paths_are_rejected() {
        let code = |method, path, query| resource(method, path, query).map(|_| ()).unwrap_err();
        assert_eq!(code(Method::GET, "/api/v1/pods", ""), 404);
        assert_eq!(code(Method::GET, "/nowhere", ""), 404);
        assert_eq!(
            code(Method::GET, "/api/v1/namespaces/n/services/s/status", ""),
            404
        );
        assert_eq!(code(Method::POST, "/api/v1/configmaps", ""), 405);
        assert_eq!(
            code(Method::DELETE, "/api/v1/namespaces/n/services", ""),
            405
        );
        assert_eq!(code(Method::GET, "/api/v1/services", "limit=many"), 400);
        assert_eq!(
            code(Method::GET, "/api/v1/services", "labelSelector=%zz"),
            400
        );
        assert_eq!(
            code(Method::GET, "/api/v1/services", "labelSelector=%e"),
            400
        );
    }
}
