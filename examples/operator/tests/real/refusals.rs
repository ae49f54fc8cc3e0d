//! What the server refuses of one object: the operator goes on, and the status says why.

use serde_json::json;

use crate::case::{Case, path};

#[tokio::test]
async fn a_namespace_that_is_being_deleted_ends_nothing() {
    let Some(case) = Case::new("leaving").await else {
        return;
    };
    case.create_namespace("leaving-not").await;
    let user = case.operator_user(&["leaving", "leaving-not"]).await;
    let flags = [
        "--namespaces",
        "leaving,leaving-not",
        "--lease-namespace",
        "leaving-not",
    ];
    let operator = case.operator_as(&user, case.cluster.api, &flags).await;
    case.database("a", "1Gi").await.unwrap();
    case.eventually("the children are there", async || {
        case.get("services", "a").await.ok_or("none")
    })
    .await;
    case.admin
        .delete("/api/v1/namespaces/leaving")
        .await
        .unwrap();
    case.admin
        .delete(&case.path("services", "a"))
        .await
        .unwrap();
    case.until_refused("a", "because it is being terminated")
        .await;
    case.database_in("leaving-not", "b", "1Gi").await.unwrap();
    case.eventually("another namespace has its children", async || {
        case.admin
            .get(&path("leaving-not", "statefulsets", "b"))
            .await
            .ok_or("none")
    })
    .await;
    operator.drain().await;
}

#[tokio::test]
async fn a_quota_is_an_error_of_its_object_until_it_is_raised() {
    let Some(case) = Case::new("quota").await else {
        return;
    };
    let _controllers = case.controller_manager();
    let quota = |n: &str| json!({ "count/statefulsets.apps": n });
    let object = json!({ "metadata": { "name": "sets" }, "spec": { "hard": quota("1") } });
    let quotas = "/api/v1/namespaces/quota/resourcequotas";
    case.admin.create(quotas, object).await.unwrap();
    let limit = async |hard: &str| {
        // The part of the controller manager.
        let status = json!({ "status": { "hard": quota(hard), "used": quota("0") } });
        case.admin
            .patch(&format!("{quotas}/sets/status"), status)
            .await
            .unwrap();
    };
    limit("0").await;
    let operator = case.operator().await;
    case.database("a", "1Gi").await.unwrap();
    case.until_refused("a", "exceeded quota: sets").await;
    let events = case
        .admin
        .list("/apis/events.k8s.io/v1/namespaces/quota/events")
        .await;
    let told = events.iter().any(|event| {
        event["regarding"]["kind"] == "Database"
            && event["note"]
                .as_str()
                .is_some_and(|note| note.contains("exceeded quota"))
    });
    assert!(told, "{events:?}");
    limit("1").await;
    case.until_ready("databases", "a").await;
    operator.drain().await;
}

#[tokio::test]
async fn storage_that_is_no_size_is_refused_and_deletes_nothing() {
    let Some(case) = Case::new("lots").await else {
        return;
    };
    let _controllers = case.controller_manager();
    let operator = case.operator().await;
    case.database("new", "lots").await.unwrap();
    case.until_refused("new", "is not a number of bytes").await;
    case.database("old", "1Gi").await.unwrap();
    case.until_ready("databases", "old").await;
    let before = case.get("statefulsets", "old").await.unwrap();
    case.edit("old", json!({ "storage": "lots" })).await;
    case.until_refused("old", "is not a number of bytes").await;
    let after = case.get("statefulsets", "old").await.unwrap();
    assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
    assert!(after["metadata"]["deletionTimestamp"].is_null());
    for name in ["new", "old"] {
        case.edit(name, json!({ "storage": "2Gi" })).await;
        case.until_ready("databases", name).await;
    }
    operator.drain().await;
}

#[tokio::test]
async fn a_stateful_set_of_another_owner_is_not_replaced() {
    let Some(case) = Case::new("foreign").await else {
        return;
    };
    let _controllers = case.controller_manager();
    let operator = case.operator().await;
    case.database("a", "1Gi").await.unwrap();
    case.until_ready("databases", "a").await;
    let orphaned = json!({ "metadata": { "ownerReferences": null } });
    let before = case
        .admin
        .patch(&case.path("statefulsets", "a"), orphaned)
        .await
        .unwrap();
    case.edit("a", json!({ "storage": "2Gi" })).await;
    case.until_refused("a", "StatefulSet a exists and is not controlled by")
        .await;
    assert_eq!(case.get("statefulsets", "a").await, Some(before));
    operator.drain().await;
}

#[tokio::test]
async fn an_edit_that_the_stateful_set_refuses_stands_in_the_status() {
    let Some(case) = Case::new("immutable").await else {
        return;
    };
    let _controllers = case.controller_manager();
    let operator = case.operator().await;
    case.database("a", "1Gi").await.unwrap();
    case.until_ready("databases", "a").await;
    operator.drain().await;
    // A user has made it by hand, with another service.
    let mut set = case.get("statefulsets", "a").await.unwrap();
    case.admin
        .delete(&case.path("statefulsets", "a"))
        .await
        .unwrap();
    let metadata = set["metadata"].as_object_mut().unwrap();
    metadata.retain(|name, _| {
        ["name", "namespace", "labels", "ownerReferences"].contains(&name.as_str())
    });
    set["spec"]["serviceName"] = json!("another");
    case.eventually("the set is made by hand", async || {
        case.admin
            .create(&case.path("statefulsets", ""), set.clone())
            .await
    })
    .await;
    let operator = case.operator().await;
    case.until_refused("a", "updates to statefulset spec for fields other than")
        .await;
    case.admin
        .delete(&case.path("statefulsets", "a"))
        .await
        .unwrap();
    case.until_ready("databases", "a").await;
    operator.drain().await;
}

#[tokio::test]
async fn an_operator_without_a_right_names_the_rule() {
    let Some(case) = Case::new("rightless").await else {
        return;
    };
    let user = case.operator_user(&[]).await;
    let flags = ["--start-timeout", "1", "--no-election"];
    let line = case
        .operator_as(&user, case.cluster.api, &flags)
        .await
        .failed()
        .await;
    assert!(
        line.starts_with("forbidden: the operator needs list and watch of "),
        "{line}"
    );
    assert!(
        line.contains("/namespaces/rightless/") && !line.contains('\n'),
        "{line}"
    );
}
