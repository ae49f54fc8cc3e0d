//! Refusals as they look on the wire: their code, headers and body.

use http_body_util::BodyExt;
use kube::api::ListParams;
use serde_json::{Value, json};

use super::super::{ApiServer, Fault, Injection, Options, Verb};
use super::{arrived, client, code, database, databases, start};

/// A reply as it came over the wire.
struct Reply {
    code: u16,
    content_type: String,
    retry_after: Option<String>,
    body: String,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("valid JSON")
    }
}

async fn get(server: &ApiServer, path: &str) -> Reply {
    let request = http::Request::get(path).body(kube::client::Body::empty());
    let reply = client(server).send(request.expect("valid")).await;
    let (head, body) = reply.expect("a reply").into_parts();
    let body = body.collect().await.expect("a whole body").to_bytes();
    let header = |name: &str| {
        let value = head.headers.get(name)?;
        Some(value.to_str().expect("text").to_owned())
    };
    Reply {
        code: head.status.as_u16(),
        content_type: header("content-type").unwrap_or_default(),
        retry_after: header("retry-after"),
        body: String::from_utf8(body.to_vec()).expect("text"),
    }
}

fn once(server: &ApiServer, fault: Fault) {
    server.inject(Injection {
        verb: None,
        resource: None,
        fault,
        times: 1,
    });
}

const DATABASE: &str = "/apis/example.com/v1/namespaces/ns/databases/db";

#[tokio::test]
async fn priority_and_fairness_refuses_in_plain_text() {
    let server = start(Options::default()).await;
    once(&server, Fault::TooManyRequestsText { retry_after_s: 7 });
    let reply = get(&server, DATABASE).await;
    assert_eq!((reply.code, reply.retry_after.as_deref()), (429, Some("7")));
    assert_eq!(reply.content_type, "text/plain; charset=utf-8");
    assert_eq!(reply.body, "Too many requests, please try again later.\n");
    assert_eq!(get(&server, DATABASE).await.code, 404);
}

#[tokio::test]
async fn a_passing_403_names_user_verb_and_resource() {
    let server = start(Options::default()).await;
    once(&server, Fault::Forbidden);
    let reply = get(&server, DATABASE).await;
    let status = reply.json();
    assert_eq!((reply.code, &status["reason"]), (403, &json!("Forbidden")));
    assert_eq!(
        status["message"],
        json!(
            "databases.example.com \"db\" is forbidden: User \"system:anonymous\" cannot get resource \"databases\" in \
             API group \"example.com\" in the namespace \"ns\""
        )
    );
    assert_eq!(status["details"]["kind"], json!("databases"));
    assert_eq!(get(&server, DATABASE).await.code, 404);

    // A lasting lack of a permission reads the same.
    server.forbid("list", "databases");
    let status = get(&server, "/apis/example.com/v1/databases").await.json();
    assert_eq!(
        status["message"],
        json!(
            "databases.example.com is forbidden: User \"system:anonymous\" cannot list resource \"databases\" in API \
             group \"example.com\" at the cluster scope"
        )
    );
    once(&server, Fault::Forbidden);
    let status = get(&server, "/version").await.json();
    assert_eq!(
        status["message"],
        json!("forbidden: User \"system:anonymous\" cannot get path \"/version\"")
    );
}

#[tokio::test]
async fn an_unavailable_server_says_when_to_retry() {
    let server = start(Options::default()).await;
    once(&server, Fault::Unavailable { retry_after_s: 4 });
    let reply = get(&server, DATABASE).await;
    let status = reply.json();
    assert_eq!((reply.code, reply.retry_after.as_deref()), (503, Some("4")));
    assert_eq!(status["reason"], json!("ServiceUnavailable"));
    assert_eq!(status["details"]["retryAfterSeconds"], json!(4));
}

#[tokio::test]
async fn a_missing_definition_is_a_404_in_plain_text_until_it_is_created() {
    let server = start(Options::default()).await;
    server
        .create("databases", "ns", database("db"))
        .expect("valid");
    server.unserve("databases");
    let reply = get(&server, DATABASE).await;
    assert_eq!(
        (reply.code, reply.body.as_str()),
        (404, "404 page not found\n")
    );
    assert_eq!(reply.content_type, "text/plain; charset=utf-8");
    let listed = databases(&server).list(&ListParams::default()).await;
    assert_eq!(code(listed), 404);
    let resources = get(&server, "/apis/example.com/v1").await.json();
    assert_eq!(resources["resources"][0]["name"], json!("backups"));
    server.unserve("backups");
    assert_eq!(get(&server, "/apis/example.com/v1").await.code, 404);
    assert_eq!(get(&server, "/apis/example.com").await.code, 404);
    assert!(!get(&server, "/apis").await.body.contains("example.com"));

    let definition = json!({
        "metadata": { "name": "databases.example.com" },
        "spec": { "names": { "plural": "databases", "kind": "Database" } },
    });
    server
        .create("customresourcedefinitions", "", definition)
        .expect("valid");
    assert_eq!(get(&server, DATABASE).await.code, 200);
    let resources = get(&server, "/apis/example.com/v1").await.json();
    assert_eq!(resources["resources"][0]["name"], json!("databases"));
    let backups = get(&server, "/apis/example.com/v1/backups").await;
    assert_eq!(backups.code, 404);
    // The lack of a permission comes before the lack of a type.
    server.forbid("list", "backups");
    let backups = get(&server, "/apis/example.com/v1/backups").await;
    assert_eq!(backups.code, 403);
}

#[tokio::test]
async fn a_namespace_may_be_closed_or_full() {
    let server = start(Options::default()).await;
    server.limit_quota("ns", "databases", 0);
    let status = server
        .create("databases", "ns", database("db"))
        .expect_err("full");
    assert_eq!(status["code"], json!(403));
    server.limit_quota("ns", "databases", 1);
    server
        .create("databases", "ns", database("db"))
        .expect("room for one");
    server.terminate_namespace("ns");
    let status = server
        .create("configmaps", "ns", super::config_map("c"))
        .expect_err("closed");
    let cause = &status["details"]["causes"][0]["reason"];
    assert_eq!(cause, &json!("NamespaceTerminating"));
    server
        .create("configmaps", "open", super::config_map("c"))
        .expect("another namespace");
}

#[tokio::test]
async fn more_requests_than_may_be_in_flight_are_refused() {
    let options = Options {
        max_in_flight: Some(2),
        latency: std::time::Duration::from_millis(300),
        ..Options::default()
    };
    let server = start(options.clone()).await;
    // A hang holds the requests until all have arrived.
    server.hang(true);
    let release = async {
        arrived(&server, 5).await;
        server.hang(false);
    };
    let requests = futures::future::join_all((0..5).map(|_| get(&server, DATABASE)));
    let (replies, ()) = tokio::join!(requests, release);
    let of = |code: u16| replies.iter().filter(move |reply| reply.code == code);
    assert_eq!((of(404).count(), of(429).count()), (2, 3));
    for reply in of(429) {
        assert_eq!(reply.retry_after.as_deref(), Some("1"));
        assert!(
            reply.body.starts_with("Too many requests"),
            "{}",
            reply.body
        );
    }
    assert_eq!(server.refused_in_flight(), 3);
    assert_eq!(get(&server, DATABASE).await.code, 404);

    // Watches take no seat, and neither do clients without faults.
    let full = start(Options {
        max_in_flight: Some(0),
        ..options.clone()
    })
    .await;
    let watch = "/apis/example.com/v1/databases?watch=true&timeoutSeconds=1";
    assert_eq!(get(&full, watch).await.code, 200);
    assert_eq!(get(&full, DATABASE).await.code, 429);
    let others = start(Options {
        max_in_flight: Some(0),
        latency: std::time::Duration::from_secs(3_600),
        faults_for: "another client".into(),
        ..Options::default()
    })
    .await;
    assert_eq!(get(&others, DATABASE).await.code, 404);
    assert_eq!(others.refused_in_flight(), 0);
    assert_eq!(full.requests(super::AGENT), 2);
    assert_eq!(
        full.calls(super::AGENT)[&(Verb::Watch, "databases".into())],
        1
    );
}
