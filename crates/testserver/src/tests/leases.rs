//! Leases through the real Kubernetes client: the writes on which leader election stands.

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use serde_json::{Value, json};

use super::super::{ApiServer, Options};
use super::{client, code, start, typed};

fn leases(server: &ApiServer) -> Api<Lease> {
    Api::namespaced(client(server), "ns")
}

fn lease(holder: &str) -> Lease {
    lease_with("leaseDurationSeconds", json!(15), holder)
}

fn lease_with(field: &str, value: Value, holder: &str) -> Lease {
    let time = "2026-01-01T00:00:00.000001Z";
    let mut lease = json!({
        "metadata": { "name": "leader" },
        "spec": { "holderIdentity": holder, "acquireTime": time, "renewTime": time },
    });
    lease["spec"][field] = value;
    typed(lease)
}

fn holder(lease: &Lease) -> &str {
    let spec = lease.spec.as_ref().expect("a spec");
    spec.holder_identity.as_deref().unwrap_or_default()
}

#[tokio::test]
async fn of_two_candidates_one_takes_the_lease() {
    let server = start(Options::default()).await;
    let api = leases(&server);
    let post = PostParams::default();
    let created = api.create(&post, &lease("a")).await.expect("new");
    assert_eq!(code(api.create(&post, &lease("b")).await), 409);

    let (mut by_a, mut by_b) = (created.clone(), created);
    by_a.spec.as_mut().expect("a spec").lease_transitions = Some(1);
    let renewed = api.replace("leader", &post, &by_a).await.expect("latest");
    by_b.spec.as_mut().expect("a spec").holder_identity = Some("b".into());
    // The version that b has read is stale.
    assert_eq!(code(api.replace("leader", &post, &by_b).await), 409);
    by_b.metadata.resource_version = renewed.metadata.resource_version;
    let taken = api.replace("leader", &post, &by_b).await.expect("latest");
    assert_eq!(holder(&taken), "b");
    assert_eq!(holder(&api.get("leader").await.expect("there")), "b");
}

#[tokio::test]
async fn a_lease_is_never_replaced_without_a_version() {
    let server = start(Options::default()).await;
    let api = leases(&server);
    let post = PostParams::default();
    // A missing lease is created by an update.
    let created = api
        .replace("leader", &post, &lease("a"))
        .await
        .expect("new");
    assert!(created.metadata.uid.is_some());
    assert_eq!(code(api.replace("leader", &post, &lease("b")).await), 422);
    api.delete("leader", &DeleteParams::default())
        .await
        .expect("there");
    // The uid tells the deleted lease from a new one.
    assert_eq!(code(api.replace("leader", &post, &created).await), 409);
    assert_eq!(server.count("leases"), 0);
    assert_eq!(code(api.get("leader").await), 404);
}

#[tokio::test]
async fn the_numbers_of_a_lease_have_bounds() {
    let server = start(Options::default()).await;
    let api = leases(&server);
    for (field, value, expected) in [
        ("leaseDurationSeconds", 0, Some(422)),
        ("leaseTransitions", -1, Some(422)),
        ("leaseDurationSeconds", 1, None),
    ] {
        let lease = lease_with(field, json!(value), "a");
        let created = api.create(&PostParams::default(), &lease).await;
        assert_eq!(created.is_err().then(|| code(created)), expected, "{field}");
    }
}

#[tokio::test]
async fn leases_are_listed_page_by_page() {
    let server = start(Options::default()).await;
    let api = leases(&server);
    for name in ["a", "b", "c"] {
        let mut lease = lease("x");
        lease.metadata.name = Some(name.into());
        api.create(&PostParams::default(), &lease)
            .await
            .expect("new");
    }
    let page = api
        .list(&ListParams::default().limit(2))
        .await
        .expect("a page");
    assert_eq!(page.items.len(), 2);
    let token = page.metadata.continue_.expect("more");
    api.delete("c", &DeleteParams::default())
        .await
        .expect("there");
    let rest = ListParams::default().limit(2).continue_token(&token);
    let rest = api.list(&rest).await.expect("a page");
    assert_eq!(rest.items[0].metadata.name.as_deref(), Some("c"));
    assert_eq!(rest.metadata.continue_, None);
}
