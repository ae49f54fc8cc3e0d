//! One test: its namespace, its users, its operators.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::Parser;
use kube::core::Status;
use operator::cli::Args;
use operator::cluster::builder;
use operator::measure::Measure;
use operator::operator::set_up;
use serde_json::{Value, json};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard, oneshot};
use tokio::task::JoinHandle;
use tollgate::Observer;
use tollgate_kube::{OperatorError, Report};

use crate::cluster::{Cluster, cluster};
use crate::user::User;

/// Only a hang takes this long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Held by tests that need the server to stay up, and by one alone that restarts it.
static RUNNING: RwLock<()> = RwLock::const_new(());

enum Hold {
    Shared {
        _guard: RwLockReadGuard<'static, ()>,
    },
    Alone {
        _guard: RwLockWriteGuard<'static, ()>,
    },
}

pub struct Case {
    pub cluster: &'static Cluster,
    pub namespace: String,
    pub admin: User,
    _hold: Hold,
}

impl Case {
    /// A namespace of this name, which no other test has. `None` without a server.
    pub async fn new(namespace: &str) -> Option<Self> {
        let cluster = cluster().await?;
        let hold = Hold::Shared {
            _guard: RUNNING.read().await,
        };
        Some(Self::with(cluster, namespace, hold).await)
    }

    /// Waits until no other test runs.
    pub async fn alone(namespace: &str) -> Option<Self> {
        let cluster = cluster().await?;
        let hold = Hold::Alone {
            _guard: RUNNING.write().await,
        };
        Some(Self::with(cluster, namespace, hold).await)
    }

    async fn with(cluster: &'static Cluster, namespace: &str, hold: Hold) -> Self {
        let case = Self {
            cluster,
            namespace: namespace.to_owned(),
            admin: cluster.admin().await,
            _hold: hold,
        };
        case.create_namespace(namespace).await;
        case
    }

    pub async fn create_namespace(&self, name: &str) {
        let namespace = json!({ "metadata": { "name": name } });
        self.admin
            .create("/api/v1/namespaces", namespace)
            .await
            .unwrap();
    }

    /// The path of an object in the case's namespace.
    pub fn path(&self, plural: &str, name: &str) -> String {
        path(&self.namespace, plural, name)
    }

    pub async fn get(&self, plural: &str, name: &str) -> Option<Value> {
        self.admin.get(&self.path(plural, name)).await
    }

    pub async fn database(&self, name: &str, storage: &str) -> Result<Value, Box<Status>> {
        self.database_in(&self.namespace, name, storage).await
    }

    pub async fn database_in(
        &self,
        namespace: &str,
        name: &str,
        storage: &str,
    ) -> Result<Value, Box<Status>> {
        let spec = json!({ "engine": "postgres", "replicas": 2, "storage": storage });
        let database = json!({
            "apiVersion": "example.com/v1",
            "kind": "Database",
            "metadata": { "name": name },
            "spec": spec,
        });
        self.admin
            .create(&path(namespace, "databases", ""), database)
            .await
    }

    /// Changes the spec of a Database.
    pub async fn edit(&self, name: &str, spec: Value) {
        let change = json!({ "spec": spec });
        self.admin
            .patch(&self.path("databases", name), change)
            .await
            .unwrap();
    }

    /// The condition `Ready` of an object, if its status describes the present generation.
    pub async fn condition(&self, plural: &str, name: &str) -> Option<Value> {
        let object = self.get(plural, name).await?;
        if object["status"]["observedGeneration"] != object["metadata"]["generation"] {
            return None;
        }
        Some(object["status"]["conditions"][0].clone())
    }

    /// Waits until an object is ready.
    pub async fn until_ready(&self, plural: &str, name: &str) {
        let what = format!("{plural} {name} is ready");
        self.eventually(&what, async || {
            let condition = self.condition(plural, name).await;
            match condition {
                Some(condition) if condition["status"] == "True" => Ok(()),
                other => Err(other),
            }
        })
        .await;
    }

    /// Waits until an object is not ready, for a reason that contains `why`.
    pub async fn until_refused(&self, name: &str, why: &str) {
        self.eventually(&format!("{name} is refused: {why}"), async || {
            let condition = self.condition("databases", name).await;
            let message = condition
                .as_ref()
                .and_then(|condition| condition["message"].as_str());
            match message {
                Some(message) if message.contains(why) => {
                    let condition = condition.unwrap_or_default();
                    assert_eq!(
                        (&condition["status"], &condition["reason"]),
                        (&json!("False"), &json!("Refused"))
                    );
                    Ok(())
                }
                _ => Err(condition),
            }
        })
        .await;
    }

    /// Waits until `check` succeeds; panics with what it failed with last.
    pub async fn eventually<T, E: Debug>(
        &self,
        what: &str,
        check: impl AsyncFn() -> Result<T, E>,
    ) -> T {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            match check().await {
                Ok(value) => return value,
                Err(last) if tokio::time::Instant::now() >= deadline => {
                    panic!("never: {what}; at last {last:?}")
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(30)).await,
            }
        }
    }

    /// A user with the operator's role in these namespaces.
    pub async fn operator_user(&self, namespaces: &[&str]) -> String {
        let user = self.cluster.next_operator();
        for namespace in namespaces {
            let binding = json!({
                "metadata": { "name": user },
                "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "operator" },
                "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user }],
            });
            let path =
                format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings");
            self.admin.create(&path, binding).await.unwrap();
        }
        user
    }

    /// An operator in the case's namespace.
    pub async fn operator(&self) -> Running {
        let user = self.operator_user(&[&self.namespace]).await;
        self.operator_as(&user, self.cluster.api, &[]).await
    }

    /// An operator that reaches the server on `port` as `user`.
    pub async fn operator_as(&self, user: &str, port: u16, flags: &[&str]) -> Running {
        let mut words = vec!["operator", "--workers", "8"];
        words.extend([
            "--lease-duration",
            "3",
            "--renew-deadline",
            "2",
            "--retry-period",
            "1",
        ]);
        for flag in ["--namespaces", "--lease-namespace"] {
            if !flags.contains(&flag) {
                words.extend([flag, &self.namespace]);
            }
        }
        words.extend(flags);
        let args = Args::try_parse_from(words).unwrap();
        let config = self.cluster.config(user, port).await;
        let mut operator = builder(&args, config).unwrap().build().await.unwrap();
        let measure = Arc::new(Measure::new());
        let observer: Arc<dyn Observer> = measure.clone();
        set_up(&mut operator, &args.settings(), &observer).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        Running {
            user: user.to_owned(),
            measure,
            stop,
            task: tokio::spawn(operator.run_until(async move { drop(stopped.await) })),
        }
    }

    /// Plays the controllers that a bare API server lacks, in the case's namespace: makes the StatefulSets ready,
    /// and lets go those that are deleted.
    pub fn controller_manager(&self) -> ControllerManager {
        let (admin, namespace) = (self.admin.clone(), self.namespace.clone());
        let work = async move {
            loop {
                for set in admin.list(&path(&namespace, "statefulsets", "")).await {
                    let name = set["metadata"]["name"].as_str().unwrap_or_default();
                    let path = path(&namespace, "statefulsets", name);
                    // Refused if the object has changed meanwhile, and done again then.
                    let _ = play(&admin, &path, &set).await;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        ControllerManager(tokio::spawn(work))
    }
}

async fn play(admin: &User, path: &str, set: &Value) -> Result<(), Box<Status>> {
    let metadata = &set["metadata"];
    let version = &metadata["resourceVersion"];
    if !metadata["deletionTimestamp"].is_null() {
        let change = json!({ "metadata": { "finalizers": null, "resourceVersion": version } });
        admin.patch(path, change).await?;
    } else if set["status"]["observedGeneration"] != metadata["generation"] {
        let replicas = &set["spec"]["replicas"];
        let change = json!({
            "metadata": { "resourceVersion": version },
            "status": {
                "observedGeneration": metadata["generation"],
                "replicas": replicas,
                "readyReplicas": replicas,
            },
        });
        admin.patch(&format!("{path}/status"), change).await?;
    }
    Ok(())
}

/// Ends when it is dropped.
pub struct ControllerManager(JoinHandle<()>);

impl Drop for ControllerManager {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// An operator that runs.
pub struct Running {
    pub user: String,
    pub measure: Arc<Measure>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<Report, OperatorError>>,
}

impl Running {
    /// Stops it, and requires that it has not ended before.
    pub async fn drain(self) -> Report {
        assert!(
            !self.task.is_finished(),
            "the operator has ended: {:?}",
            self.task.await
        );
        let _ = self.stop.send(());
        self.task.await.unwrap().unwrap()
    }

    /// The line with which the operator ends by itself.
    pub async fn failed(self) -> String {
        let ended = tokio::time::timeout(PATIENCE, self.task).await;
        ended.unwrap().unwrap().unwrap_err().to_string()
    }

    pub fn reconciles(&self) -> u64 {
        self.measure.reconciles.load(Ordering::Relaxed)
    }
}

/// The path of an object, or of all objects if `name` is empty.
pub fn path(namespace: &str, plural: &str, name: &str) -> String {
    let version = match plural {
        "databases" | "backups" => "apis/example.com/v1",
        "statefulsets" => "apis/apps/v1",
        "cronjobs" => "apis/batch/v1",
        "leases" => "apis/coordination.k8s.io/v1",
        _ => "api/v1",
    };
    let path = format!("/{version}/namespaces/{namespace}/{plural}/{name}");
    path.trim_end_matches('/').to_owned()
}
