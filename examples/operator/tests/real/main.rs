//! The operator against etcd and kube-apiserver, which are found by `KUBEBUILDER_ASSETS`; `ci/kube-assets` builds
//! them. There is no controller manager: the tests make StatefulSets ready, and nothing is collected.

mod case;
mod cluster;
mod election;
mod occupation;
mod process;
mod proxy;
mod refusals;
mod server;
mod user;

use kube::ResourceExt;
use operator::database::{Database, snapshot_name};
use serde_json::{Value, json};

use crate::case::{Case, path};

#[tokio::test]
async fn names_that_no_child_can_have_are_refused() {
    let Some(case) = Case::new("names").await else {
        return;
    };
    for name in [&"a".repeat(53), &"a".repeat(64), "a.b", "1a"] {
        let status = case.database(name, "1Gi").await.unwrap_err();
        assert_eq!(status.code, 422, "{name}: {status:?}");
        assert!(
            status
                .message
                .contains("a DNS label of at most 52 characters"),
            "{status:?}"
        );
    }
    let operator = case.operator().await;
    let _controllers = case.controller_manager();
    let longest = "a".repeat(52);
    case.database(&longest, "1Gi").await.unwrap();
    case.until_ready("databases", &longest).await;
    operator.drain().await;
}

#[tokio::test]
async fn objects_converge_and_then_cost_no_write() {
    let Some(case) = Case::new("converge").await else {
        return;
    };
    let _controllers = case.controller_manager();
    let operator = case.operator().await;
    // The server has its own words for most of these.
    let storages = [
        ("a", "1Gi"),
        ("b", "1024Mi"),
        ("c", "0.5Gi"),
        ("d", "1073741824"),
        ("e", "1.5e9"),
    ];
    for (name, storage) in storages {
        case.database(name, storage).await.unwrap();
    }
    let backup = json!({
        "apiVersion": "example.com/v1",
        "kind": "Backup",
        "metadata": { "name": "nightly" },
        "spec": { "database": "a", "schedule": "30 3 * * *", "retention": 7 },
    });
    case.admin
        .create(&case.path("backups", ""), backup)
        .await
        .unwrap();
    for (name, _) in storages {
        case.until_ready("databases", name).await;
    }
    case.until_ready("backups", "nightly").await;
    let (config, service) = (
        case.get("configmaps", "a").await,
        case.get("services", "a").await,
    );
    assert_eq!(config.unwrap()["data"]["engine"], "postgres");
    assert_eq!(service.unwrap()["spec"]["clusterIP"], "None");
    assert!(operator.drain().await.released);

    let second = case.operator().await;
    case.eventually("every object is reconciled", async || {
        match second.reconciles() {
            n if n > storages.len() as u64 => Ok(()),
            n => Err(n),
        }
    })
    .await;
    let user = second.user.clone();
    second.drain().await;
    let mut writes = case.cluster.asked(&user);
    writes.retain(|asked| asked.writes());
    assert!(writes.is_empty(), "{writes:?}");
}

#[tokio::test]
async fn edits_of_children_are_undone() {
    let Some(case) = Case::new("drift").await else {
        return;
    };
    let _controllers = case.controller_manager();
    let operator = case.operator().await;
    case.database("a", "1Gi").await.unwrap();
    case.until_ready("databases", "a").await;

    let config = json!({ "data": { "engine": "other", "theirs": "stays" } });
    case.admin
        .patch(&case.path("configmaps", "a"), config)
        .await
        .unwrap();
    let scaled = json!({ "spec": { "replicas": 5 } });
    case.admin
        .patch(&case.path("statefulsets", "a"), scaled)
        .await
        .unwrap();
    case.admin
        .delete(&case.path("services", "a"))
        .await
        .unwrap();
    case.eventually("the children are as desired", async || {
        let [config, set, service] = children(&case, "a").await;
        let restored = config["data"]["engine"] == "postgres"
            && set["spec"]["replicas"] == 2
            && service["spec"]["clusterIP"] == "None";
        if restored {
            Ok(())
        } else {
            Err([config, set, service])
        }
    })
    .await;
    let [config, ..] = children(&case, "a").await;
    assert_eq!(
        config["data"]["theirs"], "stays",
        "a field that the operator does not own"
    );

    // Without their owner they belong to no Database.
    let orphaned = json!({ "metadata": { "ownerReferences": null } });
    case.admin
        .patch(&case.path("configmaps", "a"), orphaned)
        .await
        .unwrap();
    case.until_refused("a", "is not controlled by").await;
    operator.drain().await;
}

#[tokio::test]
async fn an_object_of_the_same_name_is_left_alone_and_named() {
    let Some(case) = Case::new("adoption").await else {
        return;
    };
    let _controllers = case.controller_manager();
    let theirs = json!({ "metadata": { "name": "mine" }, "data": { "key": "value" } });
    let before = case
        .admin
        .create(&case.path("configmaps", ""), theirs)
        .await
        .unwrap();
    let operator = case.operator().await;
    case.database("mine", "1Gi").await.unwrap();
    case.until_refused(
        "mine",
        "ConfigMap mine exists and is not controlled by Database mine",
    )
    .await;
    assert_eq!(case.get("configmaps", "mine").await.unwrap(), before);
    case.admin
        .delete(&case.path("configmaps", "mine"))
        .await
        .unwrap();
    case.until_ready("databases", "mine").await;
    operator.drain().await;
}

#[tokio::test]
async fn a_snapshot_replaces_no_object() {
    let Some(case) = Case::new("snapshot").await else {
        return;
    };
    let _controllers = case.controller_manager();
    let operator = case.operator().await;
    case.database("shop-snapshot", "1Gi").await.unwrap();
    let shop = case.database("shop", "1Gi").await.unwrap();
    case.until_ready("databases", "shop").await;
    case.until_ready("databases", "shop-snapshot").await;
    let before = children(&case, "shop-snapshot").await;
    let database: Database = serde_json::from_value(shop).unwrap();
    case.admin
        .delete(&case.path("databases", "shop"))
        .await
        .unwrap();
    case.eventually("shop is gone", async || {
        match case.get("databases", "shop").await {
            None => Ok(()),
            Some(shop) => Err(shop),
        }
    })
    .await;
    let name = snapshot_name("shop", &database.uid().unwrap());
    let snapshot = case.get("configmaps", &name).await.unwrap();
    assert_eq!(
        (
            &snapshot["data"]["database"],
            &snapshot["metadata"]["ownerReferences"]
        ),
        (&json!("shop"), &Value::Null)
    );
    assert_eq!(children(&case, "shop-snapshot").await, before);
    case.until_ready("databases", "shop-snapshot").await;
    operator.drain().await;
}

#[tokio::test]
async fn more_storage_replaces_the_stateful_set_once() {
    let Some(case) = Case::new("growth").await else {
        return;
    };
    let operator = case.operator().await;
    let controllers = case.controller_manager();
    case.database("a", "1Gi").await.unwrap();
    case.until_ready("databases", "a").await;
    let before = case.get("statefulsets", "a").await.unwrap();
    // No garbage is collected for a while.
    drop(controllers);
    case.edit("a", json!({ "storage": "2Gi" })).await;
    case.eventually("the set is deleted", async || {
        let set = case.get("statefulsets", "a").await.unwrap_or_default();
        if set["metadata"]["deletionTimestamp"].is_null() {
            Err(set)
        } else {
            Ok(())
        }
    })
    .await;
    let reconciles = operator.reconciles();
    // An edit of the config is not held up, and needs no second deletion.
    case.edit("a", json!({ "engine": "mysql" })).await;
    case.eventually("the config is current", async || {
        let [config, ..] = children(&case, "a").await;
        let current = config["data"]["engine"] == "mysql" && operator.reconciles() > reconciles;
        if current { Ok(()) } else { Err(config) }
    })
    .await;
    let _controllers = case.controller_manager();
    case.until_ready("databases", "a").await;
    let after = case.get("statefulsets", "a").await.unwrap();
    assert_ne!(after["metadata"]["uid"], before["metadata"]["uid"]);
    let claim =
        &after["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"];
    assert_eq!(claim, "2Gi");
    let asked = case.cluster.asked(&operator.user);
    let deletions: Vec<_> = asked
        .iter()
        .filter(|asked| asked.verb == "delete")
        .collect();
    assert_eq!(deletions.len(), 1, "{deletions:?}");
    operator.drain().await;
}

#[tokio::test]
async fn an_operator_of_some_namespaces_needs_and_touches_no_other() {
    let Some(case) = Case::new("tenants").await else {
        return;
    };
    case.create_namespace("tenants-too").await;
    case.create_namespace("tenants-not").await;
    let user = case.operator_user(&["tenants", "tenants-too"]).await;
    let flags = ["--namespaces", "tenants,tenants-too"];
    let operator = case.operator_as(&user, case.cluster.api, &flags).await;
    for namespace in ["tenants-not", "tenants-too", "tenants"] {
        case.database_in(namespace, "a", "1Gi").await.unwrap();
    }
    for namespace in ["tenants-too", "tenants"] {
        case.eventually("the children are there", async || {
            case.admin
                .get(&path(namespace, "statefulsets", "a"))
                .await
                .ok_or(namespace)
        })
        .await;
    }
    operator.drain().await;
    let other = case
        .admin
        .get(&path("tenants-not", "databases", "a"))
        .await
        .unwrap();
    assert_eq!(
        (&other["status"], &other["metadata"]["finalizers"]),
        (&Value::Null, &Value::Null)
    );
}

#[tokio::test]
async fn a_cluster_without_the_definitions_is_told_how_to_get_them() {
    let Some(cluster) = cluster::cluster().await else {
        return;
    };
    let ended = &cluster.without_crds;
    assert!(!ended.status.success());
    let errors = String::from_utf8_lossy(&ended.stderr);
    let lines: Vec<_> = errors
        .lines()
        .filter(|line| line.starts_with("error: "))
        .collect();
    assert_eq!(lines.len(), 1, "{errors}");
    assert!(
        lines[0].contains("example.com") && lines[0].contains("--install-crd"),
        "{}",
        lines[0]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_work_ends_the_operator_with_one_line() {
    let Some(cluster) = cluster::cluster().await else {
        return;
    };
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (flags, said) in [
        (["--namespaces", "nowhere"], "there is no namespace nowhere"),
        (["--listen", taken.as_str()], "cannot listen on"),
        (["--context", "nobody"], "kubeconfig cannot be used"),
    ] {
        let ended = cluster.run_to_its_end(&flags);
        let errors = String::from_utf8_lossy(&ended.stderr);
        let mut lines = errors.lines().filter(|line| line.starts_with("error: "));
        let line = lines.next().unwrap_or_default();
        assert!(!ended.status.success() && line.contains(said), "{errors}");
        assert_eq!(lines.next(), None, "{errors}");
    }
}

/// The ConfigMap, StatefulSet and Service of a Database, or null.
async fn children(case: &Case, name: &str) -> [Value; 3] {
    let mut found = [const { Value::Null }; 3];
    for (found, plural) in found
        .iter_mut()
        .zip(["configmaps", "statefulsets", "services"])
    {
        *found = case.get(plural, name).await.unwrap_or_default();
    }
    found
}
