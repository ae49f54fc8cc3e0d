//! The methods of the server itself: its objects, and the counts of a client's calls.

use kube::api::{ListParams, Patch, PatchParams, PostParams};
use serde_json::json;

use super::super::{Fault, Injection, Options, Verb};
use super::{AGENT, code, database, databases, start, typed};

#[tokio::test]
async fn calls_and_writes_are_counted_whatever_comes_of_them() {
    let server = start(Options::default()).await;
    let api = databases(&server);
    let (post, params) = (PostParams::default(), PatchParams::default());
    api.create(&post, &typed(database("db")))
        .await
        .expect("new");
    assert_eq!(code(api.create(&post, &typed(database("db"))).await), 409);
    server.inject(Injection {
        verb: Some(Verb::Patch),
        resource: None,
        fault: Fault::DropBefore,
        times: 1,
    });
    let patch = Patch::Merge(json!({ "status": { "phase": "Ready" } }));
    assert_eq!(code(api.patch_status("db", &params, &patch).await), 0);
    api.patch("db", &params, &patch).await.expect("there");
    api.list(&ListParams::default()).await.expect("a list");
    super::client(&server)
        .apiserver_version()
        .await
        .expect("a version");
    // A write of the test itself is no call.
    server
        .merge("databases", "ns", "db", json!({}))
        .expect("there");

    let calls = server.calls(AGENT);
    let times = |verb: Verb, resource: &str| calls.get(&(verb, resource.to_owned())).copied();
    assert_eq!(times(Verb::Create, "databases"), Some(2));
    assert_eq!(times(Verb::Patch, "databases"), Some(1));
    assert_eq!(times(Verb::Patch, "databases/status"), Some(1));
    assert_eq!(times(Verb::List, "databases"), Some(1));
    assert_eq!(calls.len(), 4);
    assert_eq!((server.writes(AGENT), server.requests(AGENT)), (4, 6));
    assert_eq!(server.writes("another"), 0);
}

#[tokio::test]
async fn a_test_plays_the_controllers_that_the_server_lacks() {
    let server = start(Options::default()).await;
    let job = json!({ "metadata": { "name": "j" }, "spec": {}, "status": { "succeeded": 9 } });
    let job = server.create("jobs", "ns", job).expect("valid");
    assert_eq!(
        (&job["kind"], &job["status"]),
        (&json!("Job"), &json!(null))
    );
    let done = json!({ "status": { "succeeded": 1 } });
    let job = server
        .merge("jobs/status", "ns", "j", done.clone())
        .expect("there");
    assert_eq!(job["status"], json!({ "succeeded": 1 }));
    server
        .merge("jobs", "ns", "j", json!({ "status": null }))
        .expect("there");
    assert_eq!(
        server.get("jobs", "ns", "j").expect("there")["status"],
        done["status"]
    );
    server.delete("jobs", "ns", "j").expect("there");
    assert!(server.get("jobs", "ns", "j").is_none());
    for refused in [
        server.delete("jobs", "ns", "j"),
        server.merge("jobs", "ns", "j", done).map(|_| ()),
    ] {
        assert_eq!(refused.expect_err("gone")["reason"], json!("NotFound"));
    }
}
