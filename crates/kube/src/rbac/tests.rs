use std::convert::Infallible;
use std::future::ready;

use http::{Method, Request, Response};
use k8s_openapi::api::rbac::v1::PolicyRule;
use tower::{Layer, ServiceExt, service_fn};

use super::*;

fn call(method: &str, uri: &str) -> Call {
    let method: Method = method.parse().unwrap();
    Call::new(&method, &uri.parse().unwrap())
}

const DATABASES: &str = "/apis/example.com/v1/databases";
const DATABASE: &str = "/apis/example.com/v1/namespaces/a/databases/d";
const CONFIG: &str = "/api/v1/namespaces/a/configmaps/c";

/// What an operator does, in no order.
fn operator() -> Recorder {
    let recorder = Recorder::new();
    for (method, uri) in [
        (
            "PATCH",
            "/apis/example.com/v1/namespaces/a/databases/d/status",
        ),
        ("GET", "/apis/example.com/v1/databases?watch=true"),
        ("PATCH", CONFIG),
        ("POST", "/api/v1/namespaces/a/services"),
        ("PATCH", "/api/v1/namespaces/b/services/s"),
        ("GET", DATABASES),
        ("GET", DATABASES),
        ("PATCH", DATABASE),
        ("POST", "/api/v1/namespaces/a/configmaps"),
        ("GET", "/metrics"),
        ("GET", "/version"),
        ("GET", "/apis/example.com/v1"),
        (
            "POST",
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
        ),
        ("GET", "/api/v1/namespaces/a"),
    ] {
        recorder.record(&call(method, uri));
    }
    recorder
}

/// Groups, resources or paths, and verbs, each joined by a comma.
fn lines(rules: &[PolicyRule]) -> Vec<String> {
    let join = |list: &Option<Vec<String>>| list.as_ref().map(|list| list.join(","));
    let line = |rule: &PolicyRule| {
        let targets = join(&rule.resources).or_else(|| join(&rule.non_resource_urls));
        let (groups, targets) = (join(&rule.api_groups), targets.unwrap());
        format!(
            "{} {targets} {}",
            groups.unwrap_or("-".into()),
            rule.verbs.join(",")
        )
    };
    rules.iter().map(line).collect()
}

fn shown(permissions: Vec<Permission>) -> Vec<String> {
    permissions.iter().map(ToString::to_string).collect()
}

fn rule(groups: &[&str], resources: &[&str], verbs: &[&str]) -> PolicyRule {
    let owned = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    PolicyRule {
        api_groups: Some(owned(groups)),
        resources: Some(owned(resources)),
        verbs: owned(verbs),
        ..PolicyRule::default()
    }
}

fn path_rule(path: &str) -> PolicyRule {
    PolicyRule {
        non_resource_urls: Some(vec![path.to_owned()]),
        verbs: vec!["get".to_owned()],
        ..PolicyRule::default()
    }
}

#[test]
fn resources_with_the_same_verbs_share_a_rule() {
    let all = [
        " configmaps,services create,patch",
        " namespaces get",
        "example.com databases list,watch,patch",
        "example.com databases/status patch",
        "- /metrics get",
    ];
    assert_eq!(lines(&operator().rules()), all);
    let role = operator().cluster_role("operator");
    assert_eq!(lines(&role.rules.unwrap()), all);
    assert_eq!(role.metadata.name.as_deref(), Some("operator"));
}

#[test]
fn rules_of_a_namespace_are_those_of_requests_within_it() {
    let recorder = operator();
    assert_eq!(lines(&recorder.rules_in(Some("b"))), [" services patch"]);
    let cluster_wide = [
        " namespaces get",
        "example.com databases list,watch",
        "- /metrics get",
    ];
    assert_eq!(lines(&recorder.rules_in(None)), cluster_wide);
    let role = recorder.role("operator", "b");
    let place = (role.metadata.name, role.metadata.namespace);
    assert_eq!(place, (Some("operator".to_owned()), Some("b".to_owned())));
    assert_eq!(lines(&role.rules.unwrap()), [" services patch"]);
}

#[test]
fn what_is_noted_is_neither_missing_nor_unused() {
    let recorder = operator();
    let rules = recorder.rules();
    assert_eq!(shown(recorder.missing(&rules)), [""; 0]);
    assert_eq!(shown(recorder.unused(&rules)), [""; 0]);
    assert_eq!(recorder.missing(&[]).len(), 10);
}

#[test]
fn a_right_that_no_rule_gives_is_missing() {
    let recorder = operator();
    let mut rules = recorder.rules();
    rules[0].verbs.pop();
    rules[3] = rule(&["example.com"], &["databases"], &["patch"]);
    rules.pop();
    let missing = [
        "patch configmaps",
        "patch services",
        "patch databases/status.example.com",
        "get /metrics",
    ];
    assert_eq!(shown(recorder.missing(&rules)), missing);
}

#[test]
fn a_right_that_no_request_needs_is_unused() {
    let recorder = operator();
    let mut rules = recorder.rules();
    rules.push(rule(&["", "apps"], &["services"], &["patch", "delete"]));
    rules.push(path_rule("/metrics"));
    rules.push(path_rule("/logs"));
    let unused = [
        "delete services",
        "delete services.apps",
        "patch services.apps",
        "get /logs",
    ];
    assert_eq!(shown(recorder.unused(&rules)), unused);
}

#[test]
fn wildcards_give_what_they_cover_and_are_always_unused() {
    for (wildcard, missing, unused) in [
        (rule(&["*"], &["*"], &["*"]), 1, "* *.*"),
        (
            rule(&["example.com"], &["*"], &["patch"]),
            8,
            "patch *.example.com",
        ),
        (
            rule(&["*"], &["databases"], &["patch"]),
            9,
            "patch databases.*",
        ),
        (
            rule(&["example.com"], &["*/status"], &["patch"]),
            9,
            "patch */status.example.com",
        ),
        (
            rule(&["example.com"], &["databases"], &["*"]),
            7,
            "* databases.example.com",
        ),
        (path_rule("*"), 9, "get *"),
        (path_rule("/met*"), 9, "get /met*"),
    ] {
        let (recorder, rules) = (operator(), [wildcard]);
        assert_eq!(recorder.missing(&rules).len(), missing, "{unused}");
        assert_eq!(shown(recorder.unused(&rules)), [unused]);
    }
}

/// Sends requests to a service that answers with this status.
async fn recorded(status: u16, requests: &[(&str, &str)]) -> Vec<String> {
    let service = service_fn(move |_: Request<()>| {
        ready(Ok::<_, Infallible>(
            Response::builder().status(status).body(()).unwrap(),
        ))
    });
    let recorder = Recorder::new();
    for (method, uri) in requests {
        let request = Request::builder()
            .method(*method)
            .uri(*uri)
            .body(())
            .unwrap();
        let answer = recorder.layer(service).oneshot(request).await;
        assert_eq!(answer.unwrap().status(), status);
    }
    lines(&recorder.rules())
}

#[tokio::test]
async fn the_layer_notes_each_request_and_what_it_creates() {
    let requests = [("PATCH", CONFIG), ("PUT", DATABASE), ("GET", "/healthz")];
    let plain = [" configmaps patch", "example.com databases update"];
    assert_eq!(recorded(200, &requests).await, plain);
    assert_eq!(recorded(403, &requests).await, plain);
    let creating = [
        " configmaps create,patch",
        "example.com databases create,update",
    ];
    assert_eq!(recorded(201, &requests).await, creating);
    // A creation through a subresource needs no other right.
    let eviction = [("POST", "/api/v1/namespaces/a/pods/p/eviction")];
    assert_eq!(recorded(201, &eviction).await, [" pods/eviction create"]);
}

#[test]
fn a_role_is_written_as_a_manifest() {
    let recorder = Recorder::new();
    recorder.record(&call("GET", CONFIG));
    recorder.record(&call("GET", "/metrics"));
    let expected = "\
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: operator
  namespace: a
rules:
- apiGroups:
  - \"\"
  resources:
  - configmaps
  verbs:
  - get
";
    assert_eq!(to_yaml(&recorder.role("operator", "a")), expected);
    let read: Role = serde_saphyr::from_str(expected).unwrap();
    assert_eq!(read, recorder.role("operator", "a"));
}
