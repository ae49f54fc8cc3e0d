//! What happens to the server as a whole: a restart, a compaction, overload.

use std::sync::Mutex;
use std::time::Instant;

use serde_json::json;
use tokio::net::TcpStream;

use crate::case::Case;
use crate::occupation::Occupation;
use crate::proxy::Proxy;

#[tokio::test]
async fn operators_outlive_a_restart_of_the_server_and_a_compaction() {
    let Some(case) = Case::alone("restart").await else {
        return;
    };
    let proxy = Proxy::start(case.cluster.api).await;
    let user = case.operator_user(&["restart"]).await;
    let operator = case.operator_as(&user, proxy.port, &[]).await;
    let controllers = case.controller_manager();
    for name in ["a", "b", "c"] {
        case.database(name, "1Gi").await.unwrap();
        case.until_ready("databases", name).await;
    }
    // The operator hears of nothing until the revisions of these changes are gone.
    proxy.close();
    drop(controllers);
    case.edit("a", json!({ "engine": "mysql" })).await;
    case.admin
        .delete(&case.path("databases", "b"))
        .await
        .unwrap();
    case.admin
        .delete(&case.path("services", "c"))
        .await
        .unwrap();
    case.database("d", "1Gi").await.unwrap();
    let users = [
        case.operator_user(&["restart"]).await,
        case.operator_user(&["restart"]).await,
    ];
    case.cluster.stop_api_server();
    case.cluster.compact().await;
    let early = case.operator_as(&users[0], case.cluster.api, &[]).await;
    case.cluster.start_api_server();
    case.eventually("the server listens", async || {
        TcpStream::connect(("127.0.0.1", case.cluster.api)).await
    })
    .await;
    // Its first requests come before the server has read its roles.
    let eager = case.operator_as(&users[1], case.cluster.api, &[]).await;
    proxy.open();
    case.cluster.wait_until_ready().await;
    let _controllers = case.controller_manager();
    case.eventually("the edit has arrived", async || {
        let set = case.get("statefulsets", "a").await.unwrap_or_default();
        let image = set["spec"]["template"]["spec"]["containers"][0]["image"].clone();
        if image == "mysql:latest" {
            Ok(())
        } else {
            Err(image)
        }
    })
    .await;
    for name in ["a", "c", "d"] {
        case.until_ready("databases", name).await;
    }
    case.eventually("b is gone", async || {
        case.get("databases", "b").await.map_or(Ok(()), Err)
    })
    .await;
    case.eventually("c has its service", async || {
        case.get("services", "c").await.ok_or("none")
    })
    .await;
    let lists = case.cluster.asked(&operator.user);
    let lists = lists
        .iter()
        .filter(|asked| asked.verb == "list" && asked.resource == "databases" && asked.code == 200);
    assert!(lists.count() >= 2, "the revisions of its watch were gone");
    for operator in [operator, early, eager] {
        operator.drain().await;
    }
}

#[tokio::test]
async fn an_overloaded_server_gets_the_pause_that_it_asks_for() {
    let Some(case) = Case::new("overload").await else {
        return;
    };
    let _controllers = case.controller_manager();
    let user = case.operator_user(&["overload"]).await;
    let flow = "/apis/flowcontrol.apiserver.k8s.io/v1";
    let limited = |shares: u32| {
        json!({ "spec": { "type": "Limited", "limited": {
            "nominalConcurrencyShares": shares,
            "lendablePercent": 0,
            "borrowingLimitPercent": 0,
            "limitResponse": { "type": "Reject" },
        } } })
    };
    let mut level = limited(30);
    level["metadata"] = json!({ "name": "overload" });
    case.admin
        .create(&format!("{flow}/prioritylevelconfigurations"), level)
        .await
        .unwrap();
    let schema = json!({
        "metadata": { "name": "overload" },
        "spec": {
            "matchingPrecedence": 10,
            "priorityLevelConfiguration": { "name": "overload" },
            "rules": [{
                "subjects": [{ "kind": "User", "user": { "name": user } }],
                // Not leases: they have a level of their own.
                "resourceRules": [{
                    "apiGroups": ["", "apps", "batch", "example.com", "events.k8s.io"],
                    "resources": ["*"],
                    "verbs": ["*"],
                    "namespaces": ["*"],
                    "clusterScope": true,
                }],
            }],
        },
    });
    case.admin
        .create(&format!("{flow}/flowschemas"), schema)
        .await
        .unwrap();
    let probe = case.cluster.user(&user).await;
    let occupied = Mutex::new(None);
    // Whether the server refuses is seen by a request of the same user.
    let load = async |shares: u32| {
        let level = format!("{flow}/prioritylevelconfigurations/overload");
        case.admin.patch(&level, limited(shares)).await.unwrap();
        // Without a share there is one seat all the same, which a request without an end takes.
        let endless = match shares {
            0 => Some(Occupation::start(case.cluster, &user, &case.path("configmaps", "")).await),
            _ => None,
        };
        *occupied.lock().unwrap() = endless;
        let wanted = if shares == 0 { 429 } else { 200 };
        case.eventually("the level is in force", async || {
            match probe.code(&case.path("databases", "")).await {
                code if code == wanted => Ok(()),
                code => Err(code),
            }
        })
        .await;
    };
    let refused = || {
        let audit = case.cluster.asked(&user);
        audit.iter().filter(|asked| asked.code == 429).count()
    };
    let until_refused = async |n: usize| {
        let (start, before) = (Instant::now(), refused());
        case.eventually("requests are refused", async || match refused() - before {
            count if count >= n => Ok(()),
            count => Err(count),
        })
        .await;
        (start.elapsed(), refused() - before)
    };

    load(0).await;
    let operator = case.operator_as(&user, case.cluster.api, &[]).await;
    // At most the five lists in each second, for which the server asks.
    let (took, count) = until_refused(15).await;
    assert!(
        count as f64 <= 6.0 * (took.as_secs_f64() + 1.0),
        "{count} in {took:?}"
    );
    load(30).await;
    case.database("a", "1Gi").await.unwrap();
    case.until_ready("databases", "a").await;

    load(0).await;
    for n in 0..20 {
        case.database(&format!("b{n}"), "1Gi").await.unwrap();
    }
    // At most one request of each of the eight workers.
    let (took, count) = until_refused(20).await;
    assert!(
        count as f64 <= 9.0 * (took.as_secs_f64() + 1.0),
        "{count} in {took:?}"
    );
    load(30).await;
    for n in 0..20 {
        case.until_ready("databases", &format!("b{n}")).await;
    }
    operator.drain().await;
}
