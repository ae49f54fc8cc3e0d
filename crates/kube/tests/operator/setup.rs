//! An embedded server, and an operator that runs beside the test.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::{Api, Config};
use serde_json::{Value, json};
use testserver::{ApiServer, Options};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tollgate::Quota;
use tollgate_kube::budget::Budget;
use tollgate_kube::{Action, Object, Operator, OperatorBuilder, OperatorError, Report};

pub const AGENT: &str = "tests";
/// Only a hang takes this long.
const PATIENCE: Duration = Duration::from_secs(60);

pub async fn server() -> ApiServer {
    ApiServer::start(Options::default()).await.unwrap()
}

/// An operator whose budget is no bound.
pub fn builder(server: &ApiServer) -> OperatorBuilder {
    let quota = Quota::per_second(1_000_000).unwrap();
    Operator::builder(Config::new(server.url()))
        .name(AGENT)
        .budget(Budget::new(quota).unwrap())
}

pub async fn operator(server: &ApiServer) -> Operator {
    builder(server).build().await.unwrap()
}

pub fn all(operator: &Operator) -> Api<ConfigMap> {
    Api::all(operator.client())
}

/// A controller that notes what it reconciles.
pub fn note(operator: &mut Operator, log: &Log) {
    let (maps, seen) = (all(operator), log.clone());
    let controller = operator.for_kind(maps).reconcile(move |object, _| {
        seen.note(&object);
        async { Ok(Action::done()) }
    });
    controller.unwrap();
}

/// A controller whose reconciles do not end. It notes when one starts and when it is dropped.
pub fn hold(operator: &mut Operator, log: &Log) {
    let (maps, seen) = (all(operator), log.clone());
    let controller = operator.for_kind(maps).reconcile(move |_, _| {
        let seen = seen.clone();
        async move {
            seen.push("started");
            let _dropped = OnDrop(seen);
            std::future::pending().await
        }
    });
    controller.unwrap();
}

pub struct OnDrop(pub Log);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.push("dropped");
    }
}

/// An operator that runs.
pub struct Running {
    stop: oneshot::Sender<()>,
    pub task: JoinHandle<Result<Report, OperatorError>>,
}

pub fn run(operator: Operator) -> Running {
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async move { drop(stopped.await) };
    let task = tokio::spawn(operator.run_until(stopped));
    Running { stop, task }
}

impl Running {
    pub async fn stop(self) -> Report {
        self.stop.send(()).expect("it runs");
        self.task.await.unwrap().unwrap()
    }
}

/// What was reconciled, in order.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub fn push(&self, line: impl Into<String>) {
        self.0.lock().unwrap().push(line.into());
    }

    pub fn note(&self, object: &Object<ConfigMap>) {
        self.push(match object {
            Object::Found(map) => map.name_any(),
            Object::Gone(reference) => format!("{} is gone", reference.name),
        });
    }

    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    pub async fn wait_for(&self, line: &str) {
        until(|| self.lines().iter().any(|each| each == line)).await;
    }
}

/// Polls until it holds.
pub async fn until(holds: impl Fn() -> bool) {
    let reached = async {
        let mut poll = tokio::time::interval(Duration::from_millis(1));
        while !holds() {
            poll.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, reached)
        .await
        .expect("a hang");
}

pub fn map(name: &str) -> Value {
    json!({ "metadata": { "name": name }, "data": { "a": "1" } })
}

pub fn create(server: &ApiServer, name: &str) {
    server.create("configmaps", "ns", map(name)).unwrap();
}
