//! The validating webhook, called over HTTPS.

mod hook;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{pending, ready};
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::response::Status;
use serde_json::{Value, json};

use super::super::{ApiServer, Options, Reviews, Webhook};
use super::{code, config_map, database, databases, start, typed};
use hook::{Answer, Hook, allow, response};

/// A server with a webhook.
async fn server_with(hook: &Hook) -> ApiServer {
    let server = start(Options::default()).await;
    server
        .admit_with(hook.webhook.clone())
        .expect("a valid webhook");
    server
}

/// The status of a refusal.
fn refusal<T: std::fmt::Debug>(result: Result<T, kube::Error>) -> Box<Status> {
    match result.expect_err("a refusal") {
        kube::Error::Api(status) => status,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_denied_write_is_not_stored_and_says_why() {
    let hook = Hook::start(|review| {
        let status = json!({ "code": 422, "message": "it is Monday" });
        let answer = json!({ "allowed": false, "status": status });
        ready(response(&review, answer)).boxed()
    })
    .await;
    let server = server_with(&hook).await;
    let api = databases(&server);
    let denied = refusal(
        api.create(&PostParams::default(), &typed(database("db")))
            .await,
    );
    let message = "admission webhook \"rules.example.com\" denied the request: it is Monday";
    assert_eq!(denied.message, message);
    assert_eq!((denied.code, denied.reason.as_str()), (422, "Invalid"));
    assert_eq!(server.count("databases"), 0);

    server
        .create("databases", "ns", database("db"))
        .expect("what a test does itself is not reviewed");
    let patch = Patch::Merge(json!({ "spec": { "replicas": 1 } }));
    assert_eq!(
        code(api.patch("db", &PatchParams::default(), &patch).await),
        422
    );
    let stored = server.get("databases", "ns", "db").expect("there");
    assert_eq!(stored["spec"]["replicas"], 3);
    let expected = Reviews {
        denied: 2,
        ..Reviews::default()
    };
    assert_eq!(server.reviews(), expected);
}

#[tokio::test]
async fn a_denial_has_a_code_and_a_reason_in_any_case() {
    for (status, code, why) in [
        (Value::Null, 400, " without explanation"),
        (json!({ "code": 200, "reason": "Monday" }), 400, ": Monday"),
        (json!({ "code": 403, "message": "no" }), 403, ": no"),
        (json!({ "code": 99_999_999, "message": "no" }), 400, ": no"),
    ] {
        let hook = Hook::start(move |review| {
            let answer = json!({ "allowed": false, "status": status });
            ready(response(&review, answer)).boxed()
        })
        .await;
        let server = server_with(&hook).await;
        let create = databases(&server)
            .create(&PostParams::default(), &typed(database("db")))
            .await;
        let denied = refusal(create);
        assert_eq!(denied.code, code);
        assert!(
            denied
                .message
                .ends_with(&format!("denied the request{why}"))
        );
    }
}

#[tokio::test]
async fn creates_updates_patches_and_applies_of_its_resources_are_reviewed() {
    let hook = Hook::start(|review| ready(allow(&review)).boxed()).await;
    let server = server_with(&hook).await;
    let api = databases(&server);
    let (post, params) = (PostParams::default(), PatchParams::default());
    let created = api.create(&post, &typed(database("a"))).await;
    let mut object = created.expect("allowed");
    object.data["spec"]["replicas"] = 4.into();
    api.replace("a", &post, &object).await.expect("allowed");
    let patch = Patch::Merge(json!({ "metadata": { "finalizers": ["a.b/c"] } }));
    api.patch("a", &params, &patch).await.expect("allowed");
    let apply = PatchParams::apply("user").force();
    for name in ["a", "b"] {
        let mut config = database(name);
        config["spec"]["replicas"] = 5.into();
        let applied = api.patch(name, &apply, &Patch::Apply(config)).await;
        applied.expect("allowed");
    }
    let requests = hook.requests();
    let seen: Vec<_> = requests
        .iter()
        .map(|request| {
            let replicas = |object: &str| request[object]["spec"]["replicas"].as_i64();
            let text = |field: &str| request[field].as_str().unwrap_or_default().to_owned();
            let operation = text("operation");
            (
                operation,
                text("name"),
                replicas("oldObject"),
                replicas("object"),
            )
        })
        .collect();
    let of = |operation: &str, name: &str, old, new| {
        (operation.to_owned(), name.to_owned(), old, Some(new))
    };
    assert_eq!(
        seen,
        [
            of("CREATE", "a", None, 3),
            of("UPDATE", "a", Some(3), 4),
            of("UPDATE", "a", Some(4), 4),
            of("UPDATE", "a", Some(4), 5),
            of("CREATE", "b", None, 5),
        ]
    );
    let first = &requests[0];
    assert_eq!(first["namespace"], "ns");
    assert_eq!(first["object"]["metadata"]["name"], "a");
    assert_eq!(
        first["kind"],
        json!({ "group": "example.com", "version": "v1", "kind": "Database" })
    );
    assert_eq!(first["resource"]["resource"], "databases");

    // Neither a status, nor a delete, nor another resource.
    let status = Patch::Merge(json!({ "status": { "phase": "Ready" } }));
    api.patch_status("a", &params, &status)
        .await
        .expect("there");
    api.delete("b", &DeleteParams::default())
        .await
        .expect("there");
    let maps: Api<k8s_openapi::api::core::v1::ConfigMap> =
        Api::namespaced(super::client(&server), "ns");
    maps.create(&post, &typed(config_map("c")))
        .await
        .expect("new");
    // What is refused otherwise is not reviewed.
    let mut invalid = database("c");
    invalid["spec"]["replicas"] = 6.into();
    assert_eq!(code(api.create(&post, &typed(invalid)).await), 422);
    assert_eq!(hook.requests().len(), 5);
    assert_eq!(server.reviews().allowed, 5);
}

/// A webhook during whose first review of an update another client changes the object.
async fn interrupted() -> (Hook, Arc<ApiServer>) {
    let server: Arc<OnceLock<Arc<ApiServer>>> = Arc::default();
    let (changed, of) = (AtomicBool::new(false), server.clone());
    let hook = Hook::start(move |review| {
        if review["request"]["operation"] == "UPDATE" && !changed.swap(true, Ordering::Relaxed) {
            // The store is not locked.
            let label = json!({ "metadata": { "labels": { "a": "b" } } });
            let server = of.get().expect("started");
            server.merge("databases", "ns", "db", label).expect("there");
        }
        ready(allow(&review)).boxed()
    })
    .await;
    let started = Arc::new(server_with(&hook).await);
    assert!(server.set(started.clone()).is_ok());
    let created = started.create("databases", "ns", database("db"));
    created.expect("valid");
    (hook, started)
}

#[tokio::test]
async fn an_object_that_changes_during_a_review_is_reviewed_again() {
    let (hook, server) = interrupted().await;
    let patch = Patch::Merge(json!({ "spec": { "replicas": 4 } }));
    let patched = databases(&server)
        .patch("db", &PatchParams::default(), &patch)
        .await;
    patched.expect("allowed");
    let requests = hook.requests();
    assert_eq!(requests.len(), 2);
    assert!(requests[0]["oldObject"]["metadata"]["labels"].is_null());
    for object in ["object", "oldObject"] {
        assert_eq!(requests[1][object]["metadata"]["labels"]["a"], "b");
    }
    let stored = server.get("databases", "ns", "db").expect("there");
    assert_eq!(stored["spec"]["replicas"], 4);
    assert_eq!(stored["metadata"]["labels"]["a"], "b");
}

#[tokio::test]
async fn an_update_of_an_object_that_changes_during_its_review_is_a_conflict() {
    let (hook, server) = interrupted().await;
    let api = databases(&server);
    let mut object: DynamicObject = api.get("db").await.expect("there");
    object.data["spec"]["replicas"] = 4.into();
    assert_eq!(
        code(api.replace("db", &PostParams::default(), &object).await),
        409
    );
    assert_eq!(hook.requests().len(), 1);
    let stored = server.get("databases", "ns", "db").expect("there");
    assert_eq!(stored["spec"]["replicas"], 3);
}

/// Creates a Database, which a webhook that fails lets pass, and returns the failure.
async fn failure_of(webhook: Webhook) -> String {
    let server = start(Options::default()).await;
    server.admit_with(webhook).expect("a valid webhook");
    let created = databases(&server)
        .create(&PostParams::default(), &typed(database("db")))
        .await;
    created.expect("failures are ignored");
    let expected = Reviews {
        failed: 1,
        ..Reviews::default()
    };
    assert_eq!(server.reviews(), expected);
    server.webhook_failure().expect("a failure")
}

#[tokio::test]
async fn a_webhook_that_fails_is_ignored() {
    let response = json!({ "uid": "another", "allowed": false });
    let other = json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response });
    let answers: [(Answer, &str); 5] = [
        ((500, "broken".into()), "500 Internal Server Error: broken"),
        ((200, "ok".into()), "expected value"),
        ((200, "{}".into()), "no AdmissionReview"),
        ((200, other.to_string()), "uid of another"),
        ((200, "x".repeat(2 << 20)), "length limit"),
    ];
    for (answer, what) in answers {
        let hook = Hook::start(move |_| ready(answer.clone()).boxed()).await;
        let failure = failure_of(hook.webhook.clone()).await;
        let start = "failed calling webhook \"rules.example.com\": ";
        assert!(
            failure.starts_with(start) && failure.contains(what),
            "{failure}"
        );
    }
    let hook = Hook::start(|review| ready(hook::response(&review, json!({}))).boxed()).await;
    assert!(
        failure_of(hook.webhook.clone())
            .await
            .contains("does not say")
    );

    let silent = Hook::start(|_| pending().boxed()).await;
    let mut webhook = silent.webhook.clone();
    webhook.timeout = Duration::from_millis(50);
    assert!(failure_of(webhook).await.contains("in time"));

    // It shows a certificate of another authority, and then nothing listens.
    let mut webhook = hook.webhook.clone();
    webhook.ca_pem = silent.webhook.ca_pem.clone();
    let failure = failure_of(webhook.clone()).await;
    assert!(failure.contains("certificate"), "{failure}");
    drop(hook);
    let failure = failure_of(webhook).await;
    assert!(failure.contains("refused"), "{failure}");
}

#[tokio::test]
async fn a_webhook_has_an_https_url_and_an_authority() {
    let hook = Hook::start(|review| ready(allow(&review)).boxed()).await;
    let server = start(Options::default()).await;
    let mut plain = hook.webhook.clone();
    plain.url = "http://127.0.0.1:1/".parse().expect("a URL");
    let mut unknown = hook.webhook.clone();
    unknown.ca_pem = "none".to_owned();
    for (webhook, what) in [(plain, "https"), (unknown, "authority")] {
        let refused = server.admit_with(webhook).expect_err("invalid");
        assert!(refused.contains(what), "{refused}");
    }
    assert_eq!(server.reviews(), Reviews::default());
}
