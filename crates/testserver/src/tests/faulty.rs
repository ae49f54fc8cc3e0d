//! Injected faults, invalid requests, and a watcher that converges in spite of them.

use futures::TryStreamExt;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::json;

use super::super::{Fault, Injection, Options, Verb};
use super::{AGENT, client, code, database, databases, start, typed};

fn next(verb: Verb, fault: Fault) -> Injection {
    Injection {
        verb: Some(verb),
        resource: Some("databases".into()),
        fault,
        times: 1,
    }
}

#[tokio::test]
async fn each_injected_fault_hits_once() {
    let server = start(Options {
        faults_for: AGENT.into(),
        ..Options::default()
    })
    .await;
    let api = databases(&server);
    let post = PostParams::default();
    server.inject(next(Verb::Create, Fault::DropBefore));
    assert_eq!(code(api.create(&post, &typed(database("a"))).await), 0);
    assert_eq!(server.count("databases"), 0);
    server.inject(next(Verb::Create, Fault::DropAfter));
    assert_eq!(code(api.create(&post, &typed(database("a"))).await), 0);
    assert_eq!(server.count("databases"), 1);

    server.inject(next(Verb::Get, Fault::TooManyRequests { retry_after_s: 7 }));
    let kube::Error::Api(status) = api.get("a").await.expect_err("too many") else {
        panic!("an API error");
    };
    assert_eq!(
        (status.code, status.reason.as_str()),
        (429, "TooManyRequests")
    );
    assert_eq!(status.details.expect("details").retry_after_seconds, 7);
    server.inject(next(Verb::Get, Fault::InternalError));
    assert_eq!(code(api.get("a").await), 500);
    server.inject(next(Verb::Patch, Fault::Conflict));
    let patch = Patch::Merge(json!({ "spec": { "replicas": 1 } }));
    assert_eq!(
        code(api.patch("a", &PatchParams::default(), &patch).await),
        409
    );
    api.patch("a", &PatchParams::default(), &patch)
        .await
        .expect("only once");
    assert_eq!(server.faults_injected(), 5);
    server.forbid("patch", "databases/status");
    assert_eq!(
        code(api.patch_status("a", &PatchParams::default(), &patch).await),
        403
    );
    assert!(
        api.patch("a", &PatchParams::default(), &patch)
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn retry_after_is_also_in_the_header() {
    let server = start(Options::default()).await;
    server.inject(next(
        Verb::List,
        Fault::TooManyRequests { retry_after_s: 3 },
    ));
    let request = http::Request::get("/apis/example.com/v1/databases");
    let request = request.body(kube::client::Body::empty()).expect("valid");
    let reply = client(&server).send(request).await.expect("a reply");
    assert_eq!(reply.status(), 429);
    assert_eq!(reply.headers()["retry-after"], "3");
}

#[tokio::test]
async fn invalid_requests_are_answered_with_a_status() {
    let server = start(Options::default()).await;
    let client = client(&server);
    let ask = async |method: &str, path: &str, kind: &str, body: &str| {
        let request = http::Request::builder().method(method).uri(path);
        let request = request
            .header("content-type", kind)
            .body(body.as_bytes().to_vec());
        code(
            client
                .request::<serde_json::Value>(request.expect("valid"))
                .await,
        )
    };
    let (all, one) = (
        "/api/v1/namespaces/n/configmaps",
        "/api/v1/namespaces/n/configmaps/c",
    );
    assert_eq!(ask("POST", all, "application/json", "{").await, 400);
    assert_eq!(ask("POST", all, "application/json", "[]").await, 400);
    assert_eq!(ask("POST", all, "text/plain", "{}").await, 415);
    assert_eq!(ask("PATCH", one, "text/plain", "{}").await, 415);
    assert_eq!(
        ask("PATCH", one, "application/merge-patch+json", "[]").await,
        400
    );
    assert_eq!(ask("PUT", all, "application/json", "{}").await, 405);
    assert_eq!(ask("GET", "/api/v1/pods", "", "").await, 404);
    assert_eq!(ask("GET", "/api/v1/configmaps?limit=x", "", "").await, 400);
    let large = format!("\"{}\"", "x".repeat(4 << 20));
    assert_eq!(ask("POST", all, "application/json", &large).await, 413);
}

#[tokio::test]
async fn a_watcher_converges_through_random_faults() {
    let options = Options {
        fault_rate: 0.2,
        seed: 3,
        faults_for: AGENT.into(),
        ready_after: std::time::Duration::ZERO,
        ..Options::default()
    };
    let server = start(options).await;
    let api = databases(&server);
    let config = watcher::Config::default().page_size(5);
    // Without the backoff, so that the test does not wait. Errors are expected.
    let follow = async {
        let mut stream = std::pin::pin!(watcher(api.clone(), config).touched_objects());
        let mut replicas = std::collections::BTreeMap::new();
        while replicas.len() < 20 || replicas.values().any(|replicas| *replicas != 5) {
            if let Ok(Some(object)) = stream.try_next().await {
                replicas.insert(
                    object.metadata.name,
                    object.data["spec"]["replicas"].clone(),
                );
            }
        }
    };
    let write = async {
        for round in 1..=5 {
            for index in 0..20 {
                let name = format!("db-{index}");
                let mut config = database(&name);
                config["spec"]["replicas"] = json!(round);
                let (params, patch) = (PatchParams::apply("op").force(), Patch::Apply(config));
                // An apply is idempotent, so it may be repeated.
                while api.patch(&name, &params, &patch).await.is_err() {}
            }
        }
    };
    tokio::join!(follow, write);
    assert!(server.faults_injected() > 0);
    assert_eq!(server.list("databases").len(), 20);
}
