//! An operator that runs against the embedded server.

use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use kube::Config;
use operator::cli::Args;
use operator::cluster::builder;
use operator::measure::Measure;
use operator::operator::set_up;
use serde_json::{Value, json};
use testserver::{ApiServer, Options};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tollgate::Observer;
use tollgate_kube::rbac::Recorder;
use tollgate_kube::{OperatorError, Report};

/// Only a hang takes this long.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// The namespace of the Deployment, and so of its lease.
pub const LEASES: &str = "tollgate-operator";
/// The namespace of the users' objects.
pub const USERS: &str = "shop";

/// A server without objects, whose StatefulSets are ready at once.
pub async fn server() -> ApiServer {
    let options = Options {
        ready_after: Duration::from_millis(1),
        ..Options::default()
    };
    ApiServer::start(options).await.unwrap()
}

/// An operator, its address, and what it has asked for.
pub struct Running {
    pub address: Option<std::net::SocketAddr>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<Report, OperatorError>>,
}

impl Running {
    pub async fn start(server: &ApiServer, recorder: Recorder, flags: &[&str]) -> Self {
        let fixed = ["operator", "--demo", "--lease-namespace", LEASES];
        let args = Args::try_parse_from(fixed.iter().chain(flags)).unwrap();
        let operator = builder(&args, Config::new(server.url()))
            .unwrap()
            .record(recorder);
        let mut operator = operator.build().await.unwrap();
        let observer: Arc<dyn Observer> = Arc::new(Measure::new());
        set_up(&mut operator, &args.settings(), &observer).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        Self {
            address: operator.address(),
            stop,
            task: tokio::spawn(operator.run_until(async move { drop(stopped.await) })),
        }
    }

    pub async fn drain(self) -> Report {
        self.stop.send(()).expect("the operator runs");
        self.task.await.unwrap().unwrap()
    }
}

/// Waits until the server is as `reached` wants it.
pub async fn until(what: &str, reached: impl Fn() -> bool) {
    let holds = async {
        let mut poll = tokio::time::interval(Duration::from_millis(5));
        while !reached() {
            poll.tick().await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, holds).await;
    assert!(waited.is_ok(), "never: {what}");
}

pub fn database(name: &str) -> Value {
    json!({
        "apiVersion": "example.com/v1",
        "kind": "Database",
        "metadata": { "name": name },
        "spec": { "engine": "postgres", "replicas": 1, "storage": "1Gi" },
    })
}

pub fn backup(name: &str, database: &str) -> Value {
    json!({
        "apiVersion": "example.com/v1",
        "kind": "Backup",
        "metadata": { "name": name },
        "spec": { "database": database, "schedule": "30 3 * * *", "retention": 7 },
    })
}

/// The reason of the condition of an object, if it has one.
pub fn reason(server: &ApiServer, plural: &str, name: &str) -> Option<String> {
    let object = server.get(plural, USERS, name)?;
    let reason = object["status"]["conditions"][0]["reason"].as_str();
    reason.map(str::to_owned)
}
