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
