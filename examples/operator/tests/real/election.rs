//! Two operators as processes of their own: one is killed, and one is stopped for longer than its lease.

use std::collections::HashMap;
use std::fmt::Debug;
use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::{Api, Resource, ResourceExt};
use operator::database::Database;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::case::Case;
use crate::cluster::Asked;

const LEASE: u64 = 4;
const RETRY: u64 = 1;

/// The operator's binary.
struct Binary {
    child: Child,
    user: String,
}

impl Binary {
    async fn start(case: &Case) -> Self {
        let user = case.operator_user(&[&case.namespace]).await;
        let file = case.cluster.kubeconfig_file(&user);
        let log = File::create(file.with_extension("log")).unwrap();
        let (lease, retry) = (LEASE.to_string(), RETRY.to_string());
        let child = Command::new(env!("CARGO_BIN_EXE_operator"))
            .arg("--kubeconfig")
            .arg(file)
            .args([
                "--namespaces",
                &case.namespace,
                "--lease-namespace",
                &case.namespace,
            ])
            .args([
                "--lease-duration",
                &lease,
                "--renew-deadline",
                "3",
                "--retry-period",
                &retry,
            ])
            // Slow, so that objects wait when the leader is stopped.
            .args(["--qps", "60", "--burst", "5"])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { child, user }
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args([name, &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    /// The requests that it has made for the lease.
    fn lease_requests(&self, case: &Case) -> usize {
        let audit = case.cluster.audit(&self.user);
        audit
            .iter()
            .filter(|asked| asked.resource == "leases")
            .count()
    }

    /// Waits until it has asked for the lease this much more often.
    async fn until_lease_requests(&self, case: &Case, more: usize) {
        let before = self.lease_requests(case);
        case.eventually("the lease is asked for", async || {
            match self.lease_requests(case) - before {
                n if n >= more => Ok(()),
                n => Err(n),
            }
        })
        .await;
    }

    /// The writes that it has made, but for those of the lease.
    fn writes(&self, case: &Case) -> Vec<Asked> {
        let mut asked = case.cluster.asked(&self.user);
        asked.retain(Asked::writes);
        asked
    }
}

impl Drop for Binary {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn holder(case: &Case) -> Option<String> {
    let lease = case.get("leases", "tollgate-operator").await?;
    let holder = lease["spec"]["holderIdentity"].as_str()?;
    Some(holder.to_owned()).filter(|holder| !holder.is_empty())
}

/// Starts an operator that leads, and one that follows.
async fn leader_and_follower(case: &Case) -> (Binary, Binary, String) {
    let leader = Binary::start(case).await;
    let name = case
        .eventually("an operator leads", async || {
            holder(case).await.ok_or("none")
        })
        .await;
    let follower = Binary::start(case).await;
    follower.until_lease_requests(case, 2).await;
    assert_eq!(holder(case).await.as_ref(), Some(&name));
    (leader, follower, name)
}

async fn until_another_leads(case: &Case, than: &str) {
    case.eventually("another operator leads", async || {
        match holder(case).await {
            Some(name) if name != than => Ok(()),
            other => Err(other),
        }
    })
    .await;
}

#[tokio::test]
async fn another_operator_leads_soon_after_the_leader_is_killed() {
    let Some(case) = Case::new("killed").await else {
        return;
    };
    let _controllers = case.controller_manager();
    let (mut leader, follower, name) = leader_and_follower(&case).await;
    case.database("a", "1Gi").await.unwrap();
    case.until_ready("databases", "a").await;
    leader.child.kill().unwrap();
    let start = Instant::now();
    until_another_leads(&case, &name).await;
    // Retries come up to a fifth late; a busy machine takes two seconds more.
    let bound = Duration::from_secs(LEASE) + Duration::from_secs(2 * RETRY) * 6 / 5;
    assert!(
        start.elapsed() < bound + Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
    case.edit("a", json!({ "engine": "mysql" })).await;
    case.until_ready("databases", "a").await;
    drop(follower);
}

/// Databases whose engines are numbers that grow, so that each version of a child tells which spec it is of.
struct Engines<'a> {
    case: &'a Case,
    names: Vec<String>,
}

impl<'a> Engines<'a> {
    /// Creates the Databases.
    async fn create(case: &'a Case) -> Self {
        let names: Vec<_> = (0..20).map(|n| format!("d{n}")).collect();
        for name in &names {
            case.database(name, "1Gi").await.unwrap();
        }
        Self { case, names }
    }

    async fn edit(&self, engine: u64) {
        for name in &self.names {
            let spec = json!({ "engine": format!("v{engine}") });
            self.case.edit(name, spec).await;
        }
    }

    /// Waits until this many StatefulSets have the engine.
    async fn until(&self, engine: u64, enough: usize) {
        let path = self.case.path("statefulsets", "");
        let done = async || {
            let sets = self.case.admin.list(&path).await;
            let current = sets.iter().filter(|set| engine_of_set(set) == Some(engine));
            let current = current.count();
            if current >= enough {
                Ok(())
            } else {
                Err(current)
            }
        };
        self.case.eventually("the engines are current", done).await;
    }

    /// Waits until all Databases are ready with the engine.
    async fn until_all(&self, engine: u64) {
        self.until(engine, self.names.len()).await;
        for name in &self.names {
            self.case.until_ready("databases", name).await;
        }
    }
}

/// Starts two operators, and stops the one that leads when half of an edit is done. Another edit follows, which the
/// other operator completes.
async fn stop_in_the_midst(case: &Case) -> (Binary, Binary, Engines<'_>) {
    let (leader, follower, name) = leader_and_follower(case).await;
    let engines = Engines::create(case).await;
    engines.edit(1).await;
    engines.until_all(1).await;
    engines.edit(2).await;
    engines.until(2, 3).await;
    leader.signal("-STOP");
    engines.edit(3).await;
    until_another_leads(case, &name).await;
    engines.until_all(3).await;
    (leader, follower, engines)
}

#[tokio::test]
async fn a_leader_that_was_stopped_writes_nothing() {
    let Some(case) = Case::new("stopped").await else {
        return;
    };
    let _controllers = case.controller_manager();
    let history = History::start(&case).await;
    let (leader, follower, engines) = stop_in_the_midst(&case).await;
    let before = leader.writes(&case).len();
    engines.edit(4).await;
    leader.signal("-CONT");
    leader.until_lease_requests(&case, 3).await;
    engines.edit(5).await;
    engines.until_all(5).await;
    // A request whose body was not sent yet is cut off, and one that was sent in time finds a newer version.
    let mut after = leader.writes(&case).split_off(before);
    after.retain(|asked| asked.code < 400);
    assert!(after.is_empty(), "the old leader wrote: {after:?}");
    drop((leader, follower));
    history.assert_grows();
}

#[tokio::test]
async fn a_leader_that_was_stopped_and_leads_again_writes_nothing_old() {
    let Some(case) = Case::new("regained").await else {
        return;
    };
    let _controllers = case.controller_manager();
    let history = History::start(&case).await;
    let (leader, mut follower, engines) = stop_in_the_midst(&case).await;
    // It gives the lease back, so that the old leader has it as soon as it wakes, before its watches catch up.
    follower.signal("-TERM");
    assert!(follower.child.wait().unwrap().success());
    leader.signal("-CONT");
    engines.edit(4).await;
    engines.until_all(4).await;
    drop(leader);
    history.assert_grows();
}

fn engine_of_set(set: &Value) -> Option<u64> {
    let image = set["spec"]["template"]["spec"]["containers"][0]["image"].as_str()?;
    image
        .strip_prefix('v')?
        .strip_suffix(":latest")?
        .parse()
        .ok()
}

fn engine_of_config(config: &Value) -> Option<u64> {
    config["data"]["engine"]
        .as_str()?
        .strip_prefix('v')?
        .parse()
        .ok()
}

fn observed_generation(database: &Value) -> Option<u64> {
    database["status"]["observedGeneration"].as_u64()
}

/// The versions of each object, in order: a number that must not decrease.
type Versions = Arc<Mutex<HashMap<String, Vec<u64>>>>;

/// Every version that the server has had of the objects of a namespace.
struct History {
    versions: Versions,
    _watches: JoinSet<()>,
}

impl History {
    async fn start(case: &Case) -> Self {
        let versions = Versions::default();
        let mut watches = JoinSet::new();
        record::<Database>(case, &versions, &mut watches, observed_generation).await;
        record::<ConfigMap>(case, &versions, &mut watches, engine_of_config).await;
        record::<StatefulSet>(case, &versions, &mut watches, engine_of_set).await;
        Self {
            versions,
            _watches: watches,
        }
    }

    fn assert_grows(&self) {
        let versions = self.versions.lock().unwrap();
        assert!(versions.len() >= 60, "{}", versions.len());
        for (name, numbers) in &*versions {
            assert!(numbers.is_sorted(), "{name}: {numbers:?}");
        }
    }
}

async fn record<K>(
    case: &Case,
    versions: &Versions,
    watches: &mut JoinSet<()>,
    number: fn(&Value) -> Option<u64>,
) where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Serialize
        + Send
        + 'static,
{
    let api: Api<K> = Api::namespaced(case.admin.0.clone(), &case.namespace);
    let list = api.list(&ListParams::default()).await.unwrap();
    let start = list.metadata.resource_version.unwrap();
    let versions = Arc::clone(versions);
    watches.spawn(async move {
        let events = api.watch(&WatchParams::default(), &start).await.unwrap();
        let mut events = events.boxed();
        while let Some(event) = events.try_next().await.unwrap() {
            let (WatchEvent::Added(object) | WatchEvent::Modified(object)) = event else {
                continue;
            };
            let name = format!("{} {}", K::kind(&()), object.name_any());
            if let Some(number) = number(&serde_json::to_value(&object).unwrap()) {
                versions
                    .lock()
                    .unwrap()
                    .entry(name)
                    .or_default()
                    .push(number);
            }
        }
    });
}
