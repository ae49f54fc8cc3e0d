//! Requests as a client of Kubernetes writes them.

use super::*;

fn call(method: &str, uri: &str) -> Call {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    Call::new(&method, &uri.parse().unwrap())
}

/// The verb, group, version, resource with subresource, namespace and name of a request.
type Row<'a> = (&'a str, &'a str, [&'a str; 6]);

const RESOURCES: &[Row<'static>] = &[
    ("GET", "/api/v1/pods", ["list", "", "v1", "pods", "-", "-"]),
    (
        "GET",
        "/api/v1/pods?watch=true",
        ["watch", "", "v1", "pods", "-", "-"],
    ),
    (
        "GET",
        "/api/v1/pods?limit=5&watch=1&x=y",
        ["watch", "", "v1", "pods", "-", "-"],
    ),
    (
        "GET",
        "/api/v1/pods?watch",
        ["watch", "", "v1", "pods", "-", "-"],
    ),
    (
        "GET",
        "/api/v1/pods?watch=false",
        ["list", "", "v1", "pods", "-", "-"],
    ),
    (
        "GET",
        "/api/v1/pods?watch=0",
        ["list", "", "v1", "pods", "-", "-"],
    ),
    (
        "GET",
        "/api/v1/pods?allowWatchBookmarks=true",
        ["list", "", "v1", "pods", "-", "-"],
    ),
    (
        "GET",
        "/api/v1/watch/namespaces/a/pods",
        ["watch", "", "v1", "pods", "a", "-"],
    ),
    (
        "GET",
        "/api/v1/namespaces/a/pods",
        ["list", "", "v1", "pods", "a", "-"],
    ),
    (
        "GET",
        "/api/v1/namespaces/a/pods/p",
        ["get", "", "v1", "pods", "a", "p"],
    ),
    (
        "GET",
        "/api/v1/namespaces/a/pods/p?watch=true",
        ["get", "", "v1", "pods", "a", "p"],
    ),
    (
        "HEAD",
        "/api/v1/namespaces/a/pods/p",
        ["get", "", "v1", "pods", "a", "p"],
    ),
    (
        "GET",
        "/api/v1/namespaces/a/pods/p/log?follow=true",
        ["get", "", "v1", "pods/log", "a", "p"],
    ),
    (
        "POST",
        "/api/v1/namespaces/a/pods/p/eviction",
        ["create", "", "v1", "pods/eviction", "a", "p"],
    ),
    (
        "POST",
        "/api/v1/namespaces/a/pods?",
        ["create", "", "v1", "pods", "a", "-"],
    ),
    (
        "PUT",
        "/api/v1/namespaces/a/pods/p",
        ["update", "", "v1", "pods", "a", "p"],
    ),
    (
        "DELETE",
        "/api/v1/namespaces/a/pods/p",
        ["delete", "", "v1", "pods", "a", "p"],
    ),
    (
        "DELETE",
        "/api/v1/namespaces/a/pods",
        ["deletecollection", "", "v1", "pods", "a", "-"],
    ),
    (
        "GET",
        "/api/v1/namespaces",
        ["list", "", "v1", "namespaces", "-", "-"],
    ),
    (
        "GET",
        "/api/v1/namespaces/a",
        ["get", "", "v1", "namespaces", "-", "a"],
    ),
    (
        "GET",
        "/api/v1/namespaces/a/",
        ["get", "", "v1", "namespaces", "-", "a"],
    ),
    (
        "PATCH",
        "/api/v1/namespaces/a/status",
        ["patch", "", "v1", "namespaces/status", "-", "a"],
    ),
    (
        "PUT",
        "/api/v1/namespaces/a/finalize",
        ["update", "", "v1", "namespaces/finalize", "-", "a"],
    ),
    (
        "PATCH",
        "/apis/example.com/v1/namespaces/a/databases/d/status?fieldManager=op&force=true",
        ["patch", "example.com", "v1", "databases/status", "a", "d"],
    ),
    (
        "PATCH",
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/databases.example.com",
        [
            "patch",
            "apiextensions.k8s.io",
            "v1",
            "customresourcedefinitions",
            "-",
            "databases.example.com",
        ],
    ),
    (
        "PUT",
        "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/op",
        [
            "update",
            "coordination.k8s.io",
            "v1",
            "leases",
            "kube-system",
            "op",
        ],
    ),
    (
        "POST",
        "/apis/events.k8s.io/v1/namespaces/a/events",
        ["create", "events.k8s.io", "v1", "events", "a", "-"],
    ),
];

#[test]
fn paths_of_resources() {
    for (method, uri, expected) in RESOURCES {
        let Call::Resource(call) = call(method, uri) else {
            panic!("{method} {uri} is a resource")
        };
        let (of, none) = (call.full_resource(), || "-".to_owned());
        let found = [
            call.verb.to_string(),
            call.group.clone(),
            call.version.clone(),
            of,
            call.namespace.unwrap_or_else(none),
            call.name.unwrap_or_else(none),
        ];
        assert_eq!(found, *expected, "{method} {uri}");
    }
}

#[test]
fn paths_outside_of_resources() {
    for (method, uri, path) in [
        ("GET", "/", "/"),
        ("GET", "/version", "/version"),
        ("GET", "/api", "/api"),
        ("GET", "/api/v1", "/api/v1"),
        ("GET", "/api/v1/watch", "/api/v1/watch"),
        ("GET", "/apis", "/apis"),
        ("GET", "/apis/apps", "/apis/apps"),
        ("GET", "/apis/apps/v1?timeout=1s", "/apis/apps/v1"),
        ("GET", "/readyz/etcd?verbose", "/readyz/etcd"),
        ("POST", "/openapi/v3", "/openapi/v3"),
        ("OPTIONS", "/api/v1/pods", "/api/v1/pods"),
    ] {
        let (verb, path) = (method.to_lowercase(), path.to_owned());
        let expected = Call::Path(PathCall { verb, path });
        assert_eq!(call(method, uri), expected, "{method} {uri}");
        assert!(!expected.writes());
    }
}

#[test]
fn writes_are_what_changes_objects() {
    let writes = |method| call(method, "/api/v1/namespaces/a/pods/p").writes();
    assert_eq!(["GET", "HEAD"].map(writes), [false; 2]);
    assert_eq!(["POST", "PUT", "PATCH", "DELETE"].map(writes), [true; 4]);
}

#[test]
fn a_call_is_shown_in_a_line() {
    for (method, uri, line) in [
        ("GET", "/version", "get /version"),
        ("GET", "/api/v1/pods", "list pods"),
        ("GET", "/api/v1/namespaces/a/pods", "list pods in a"),
        ("GET", "/api/v1/namespaces/a", "get namespaces a"),
        (
            "PATCH",
            "/apis/example.com/v1/namespaces/a/databases/d/status",
            "patch databases/status.example.com a/d",
        ),
    ] {
        assert_eq!(call(method, uri).to_string(), line);
    }
}
