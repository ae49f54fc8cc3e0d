//! Refusals as they look on the wire: their code, headers and body.

use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::super::{ApiServer, Fault, Injection, Options};
use super::{client, start};

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
