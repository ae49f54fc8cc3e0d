//! The operator against the embedded API server over HTTP, under the failures of a real cluster.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::Parser;
use kube::{Client, Config};
use operator::cli::Args;
use operator::cluster::builder;
use operator::demo::{OPERATOR_AGENT, SLACK, unconverged};
use operator::load::{Fate, Load};
use operator::measure::Measure;
use operator::operator::set_up;
use serde_json::{Value, json};
use testserver::account::largest_excess;
use testserver::{ApiServer, Fault, Injection, Options, Verb};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tollgate::Observer;
use tollgate_kube::{Operator, OperatorError, Report};

const QPS: u64 = 2_000;
const BURST: u64 = 100;
/// Only a hang takes this long.
const PATIENCE: Duration = Duration::from_secs(120);

struct Setup {
    server: ApiServer,
    load: Load,
}

/// An operator that runs.
struct Running {
    measure: Arc<Measure>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<Report, OperatorError>>,
}

impl Running {
    async fn drain(self) -> Report {
        self.stop.send(()).expect("the operator runs");
        self.task.await.unwrap().unwrap()
    }

    /// The line with which the operator ends by itself.
    async fn failed(self) -> String {
        let ended = tokio::time::timeout(PATIENCE, self.task).await;
        ended.unwrap().unwrap().unwrap_err().to_string()
    }
}

impl Setup {
    async fn new(objects: usize, options: Options) -> Self {
        let options = Options {
            faults_for: OPERATOR_AGENT.into(),
            ready_after: Duration::from_millis(1),
            ..options
        };
        let server = ApiServer::start(options).await.unwrap();
        let users = Client::try_from(Config::new(server.url())).unwrap();
        Self {
            load: Load::new(users, objects).unwrap(),
            server,
        }
    }

    async fn operator(&self, flags: &[&str]) -> (Operator, Args) {
        let (qps, burst) = (QPS.to_string(), BURST.to_string());
        let fixed = [
            "operator",
            "--qps",
            &qps,
            "--burst",
            &burst,
            "--workers",
            "8",
        ];
        let args = Args::try_parse_from(fixed.iter().chain(flags)).unwrap();
        let config = Config::new(self.server.url());
        (builder(&args, config).unwrap().build().await.unwrap(), args)
    }

    async fn start(&self) -> Running {
        self.start_with(&[]).await
    }

    async fn start_with(&self, flags: &[&str]) -> Running {
        let (mut operator, args) = self.operator(flags).await;
        let measure = Arc::new(Measure::new());
        let observer: Arc<dyn Observer> = measure.clone();
        set_up(&mut operator, &args.settings(), &observer).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async move { drop(stopped.await) };
        let task = tokio::spawn(operator.run_until(stopped));
        Running {
            measure,
            stop,
            task,
        }
    }

    fn converged(&self) -> usize {
        self.load.expected.len() - unconverged(&self.server, &self.load.expected).len()
    }

    /// Waits until this many objects have converged.
    async fn wait_for(&self, enough: usize) {
        let reached = async {
            let mut poll = tokio::time::interval(Duration::from_millis(5));
            while self.converged() < enough {
                poll.tick().await;
            }
        };
        if tokio::time::timeout(PATIENCE, reached).await.is_err() {
            panic!(
                "not converged: {:?}",
                unconverged(&self.server, &self.load.expected)
            );
        }
    }

    /// Waits until the operator has reconciled this often.
    async fn wait_for_reconciles(&self, operator: &Running, enough: usize) {
        let reached = async {
            let mut poll = tokio::time::interval(Duration::from_millis(5));
            while (operator.measure.reconciles.load(Ordering::Relaxed) as usize) < enough {
                poll.tick().await;
            }
        };
        tokio::time::timeout(PATIENCE, reached).await.unwrap();
    }

    async fn wait_for_all(&self) {
        self.wait_for(self.load.expected.len()).await;
    }

    fn assert_in_budget(&self) {
        let arrivals = self.server.arrivals(OPERATOR_AGENT);
        assert!(
            arrivals.len() > self.load.expected.len(),
            "the server saw the operator's requests"
        );
        assert!(largest_excess(&arrivals, BURST, QPS, SLACK) <= 0);
    }
}

fn inject(server: &ApiServer, verb: Verb, resource: &str, fault: Fault, times: usize) {
    server.inject(Injection {
        verb: Some(verb),
        resource: Some(resource.into()),
        fault,
        times,
    });
}

#[tokio::test]
async fn created_changed_and_deleted_objects_converge() {
    let mut setup = Setup::new(60, Options::default()).await;
    let operator = setup.start().await;
    setup.load.create().await.unwrap();
    setup.wait_for_all().await;
    setup.load.change().await.unwrap();
    setup.wait_for_all().await;
    let gone = setup
        .load
        .expected
        .values()
        .filter(|(_, fate)| matches!(fate, Fate::Gone { snapshot: Some(_) }));
    assert!(
        gone.count() > 3,
        "objects were deleted after their snapshots"
    );
    assert!(
        operator
            .drain()
            .await
            .controllers
            .iter()
            .all(|left| left.in_flight == 0)
    );
    setup.assert_in_budget();
}

#[tokio::test]
async fn a_broken_watch_loses_no_change() {
    let mut setup = Setup::new(40, Options::default()).await;
    let operator = setup.start().await;
    setup.load.create().await.unwrap();
    setup.wait_for(10).await;
    assert!(setup.server.cut_watches() > 0);
    setup.wait_for_all().await;
    // A new list finds the changes that happen without a watch, and that have left the history.
    setup.server.expire_history();
    setup.server.cut_watches();
    setup.load.change().await.unwrap();
    setup.wait_for_all().await;
    drop(operator);
}

#[tokio::test]
async fn a_restarted_operator_finishes_the_remaining_objects() {
    let setup = Setup::new(60, Options::default()).await;
    setup.load.create().await.unwrap();
    let first = setup.start().await;
    setup.wait_for(30).await;
    let left = first.drain().await;
    assert!(left.controllers.iter().all(|left| left.in_flight == 0));
    assert!(left.released, "the lease is free for the next operator");
    let done = setup.converged();
    assert!(
        done < setup.load.expected.len(),
        "the first operator stopped half-way"
    );
    let second = setup.start().await;
    setup.wait_for_all().await;
    drop(second);
    setup.assert_in_budget();
}

#[tokio::test]
async fn conflicts_are_retried() {
    let mut setup = Setup::new(40, Options::default()).await;
    for resource in ["databases", "databases/status", "statefulsets"] {
        inject(&setup.server, Verb::Patch, resource, Fault::Conflict, 25);
    }
    let operator = setup.start().await;
    setup.load.create().await.unwrap();
    setup.wait_for_all().await;
    inject(&setup.server, Verb::Patch, "databases", Fault::Conflict, 4);
    setup.load.change().await.unwrap();
    setup.wait_for_all().await;
    assert_eq!(setup.server.faults_injected(), 79);
    drop(operator);
}

#[tokio::test]
async fn all_objects_converge_though_one_request_in_five_fails() {
    let options = Options {
        fault_rate: 0.2,
        seed: 7,
        ..Options::default()
    };
    let mut setup = Setup::new(40, options).await;
    let operator = setup.start().await;
    setup.load.create().await.unwrap();
    setup.wait_for(20).await;
    setup.load.change().await.unwrap();
    setup.wait_for_all().await;
    assert!(setup.server.faults_injected() > 20);
    setup.assert_in_budget();
    drop(operator);
}

#[tokio::test]
async fn an_operator_that_may_not_watch_a_kind_ends_with_the_rule_that_is_missing() {
    let setup = Setup::new(1, Options::default()).await;
    setup.server.forbid("list", "statefulsets");
    let operator = setup.start_with(&["--start-timeout", "0"]).await;
    let line = operator.failed().await;
    let rule = "forbidden: the operator needs list and watch of statefulsets.apps";
    assert!(line.starts_with(rule), "{line}");
    assert!(!line.contains('\n'));
}

#[tokio::test]
async fn an_operator_that_is_refused_for_the_start_timeout_ends() {
    let setup = Setup::new(1, Options::default()).await;
    setup.server.forbid("list", "statefulsets");
    let operator = setup.start_with(&["--start-timeout", "1"]).await;
    let line = operator.failed().await;
    assert!(line.contains("statefulsets.apps"), "{line}");
}

#[tokio::test]
async fn an_operator_whose_lease_is_refused_for_the_start_timeout_ends() {
    let setup = Setup::new(1, Options::default()).await;
    setup.server.forbid("get", "leases");
    let operator = setup.start_with(&["--start-timeout", "1"]).await;
    let line = operator.failed().await;
    assert!(line.contains("leases.coordination.k8s.io"), "{line}");
}

#[tokio::test]
async fn an_operator_of_a_kind_that_is_not_served_ends() {
    let setup = Setup::new(1, Options::default()).await;
    setup.server.unserve("backups");
    let operator = setup.start_with(&["--start-timeout", "0"]).await;
    let error = tokio::time::timeout(PATIENCE, operator.task).await;
    let error = error.unwrap().unwrap().unwrap_err();
    assert!(
        matches!(&error, OperatorError::NotServed(line) if line.contains("backups.example.com")),
        "{error:?}"
    );
}

#[tokio::test]
async fn an_operator_that_may_not_use_leases_ends_with_the_rule_that_is_missing() {
    let setup = Setup::new(1, Options::default()).await;
    setup.server.forbid("get", "leases");
    let operator = setup.start_with(&["--start-timeout", "0"]).await;
    let line = operator.failed().await;
    assert!(
        line.contains("leases.coordination.k8s.io: needs get"),
        "{line}"
    );
    assert!(!line.contains('\n'));
}

#[tokio::test]
async fn a_forbidden_write_is_an_error_of_its_object_and_stands_in_its_status() {
    let setup = Setup::new(3, Options::default()).await;
    setup.server.forbid("patch", "services");
    let operator = setup.start().await;
    setup.load.create().await.unwrap();
    let refused = |database: &serde_json::Value| {
        let condition = &database["status"]["conditions"][0];
        condition["reason"] == "Refused" && condition["status"] == "False"
    };
    let shown = async {
        let mut poll = tokio::time::interval(Duration::from_millis(5));
        while !setup.server.list("databases").iter().all(refused) {
            poll.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, shown).await.unwrap();
    assert!(!operator.task.is_finished());
    operator.drain().await;
}

#[tokio::test]
async fn a_converged_object_costs_no_write() {
    let setup = Setup::new(20, Options::default()).await;
    let operator = setup.start().await;
    setup.load.create().await.unwrap();
    setup.wait_for_all().await;
    operator.drain().await;
    let before = setup.server.calls(OPERATOR_AGENT);
    // A new operator reconciles every object once.
    let second = setup.start().await;
    setup
        .wait_for_reconciles(&second, setup.load.expected.len())
        .await;
    second.drain().await;
    let writes = |calls: BTreeMap<(Verb, String), usize>| {
        let writes = calls.into_iter().filter(|((verb, _), _)| verb.writes());
        writes.collect::<Vec<_>>()
    };
    let after = setup.server.calls(OPERATOR_AGENT);
    assert_eq!(writes(after), writes(before));
}

/// A server with one Database that has converged, with a claim of `storage`.
async fn converged_with(storage: &str) -> (Setup, Running) {
    let setup = Setup::new(0, Options::default()).await;
    let operator = setup.start().await;
    let spec = json!({ "engine": "postgres", "replicas": 1, "storage": storage });
    let database = json!({
        "apiVersion": "example.com/v1",
        "kind": "Database",
        "metadata": { "name": "one" },
        "spec": spec,
    });
    setup.server.create("databases", "ns", database).unwrap();
    setup
        .until(|setup| setup.reason() == "AllReplicasReady")
        .await;
    (setup, operator)
}

impl Setup {
    /// Waits until `holds`.
    async fn until(&self, holds: impl Fn(&Self) -> bool) {
        let reached = async {
            let mut poll = tokio::time::interval(Duration::from_millis(5));
            while !holds(self) {
                poll.tick().await;
            }
        };
        if tokio::time::timeout(PATIENCE, reached).await.is_err() {
            panic!(
                "never: {:?} {:?}",
                self.one("databases"),
                self.one("statefulsets")
            );
        }
    }

    /// The object `one`, or null.
    fn one(&self, plural: &str) -> Value {
        let found = self.server.get(plural, "ns", "one");
        found.map(|object| object.clone()).unwrap_or_default()
    }

    /// The reason of the condition of the present generation.
    fn reason(&self) -> String {
        let database = self.one("databases");
        let status = &database["status"];
        let current = status["observedGeneration"] == database["metadata"]["generation"];
        let reason = status["conditions"][0]["reason"].as_str();
        reason.filter(|_| current).unwrap_or_default().to_owned()
    }

    fn edit_storage(&self, storage: &str) {
        let change = json!({ "spec": { "storage": storage } });
        self.server.merge("databases", "ns", "one", change).unwrap();
    }
}

#[tokio::test]
async fn a_stateful_set_is_deleted_once_for_more_storage() {
    let (setup, operator) = converged_with("1Gi").await;
    let before = setup.one("statefulsets");
    // As with a garbage collector that takes a while.
    let held = json!({ "metadata": { "finalizers": ["example.com/slow"] } });
    setup
        .server
        .merge("statefulsets", "ns", "one", held)
        .unwrap();
    setup.edit_storage("2Gi");
    setup.until(|setup| setup.reason() == "Replacing").await;
    // An edit meanwhile is another reconcile.
    let change = json!({ "spec": { "engine": "mysql" } });
    setup
        .server
        .merge("databases", "ns", "one", change)
        .unwrap();
    setup.until(|setup| setup.reason() == "Replacing").await;
    let freed = json!({ "metadata": { "finalizers": null } });
    setup
        .server
        .merge("statefulsets", "ns", "one", freed)
        .unwrap();
    setup
        .until(|setup| setup.reason() == "AllReplicasReady")
        .await;
    assert_ne!(
        setup.one("statefulsets")["metadata"]["uid"],
        before["metadata"]["uid"]
    );
    operator.drain().await;
    let calls = setup.server.calls(OPERATOR_AGENT);
    let deletions = calls.get(&(Verb::Delete, "statefulsets".to_owned()));
    assert_eq!(deletions, Some(&1), "{calls:?}");
}

#[tokio::test]
async fn storage_that_is_no_size_changes_no_child() {
    let (setup, operator) = converged_with("1Gi").await;
    let children = || ["configmaps", "services", "statefulsets"].map(|plural| setup.one(plural));
    let before = children();
    setup.edit_storage("lots");
    setup.until(|setup| setup.reason() == "Refused").await;
    let database = setup.one("databases");
    let message = database["status"]["conditions"][0]["message"].as_str();
    assert!(
        message.unwrap().contains("is not a number of bytes"),
        "{message:?}"
    );
    assert_eq!(children(), before);
    setup.edit_storage("1024Mi");
    setup
        .until(|setup| setup.reason() == "AllReplicasReady")
        .await;
    assert_eq!(
        setup.one("statefulsets"),
        before[2],
        "the same quantity in other words"
    );
    operator.drain().await;
}

#[tokio::test]
async fn a_stateful_set_of_another_owner_is_not_replaced() {
    let (setup, operator) = converged_with("1Gi").await;
    let orphaned = json!({ "metadata": { "ownerReferences": null } });
    let before = setup
        .server
        .merge("statefulsets", "ns", "one", orphaned)
        .unwrap();
    setup.edit_storage("2Gi");
    setup.until(|setup| setup.reason() == "Refused").await;
    assert_eq!(setup.one("statefulsets"), before);
    operator.drain().await;
}
