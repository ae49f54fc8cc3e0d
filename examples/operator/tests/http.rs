//! The operator against the embedded API server over HTTP, under the failures of a real cluster.

use std::sync::Arc;
use std::time::Duration;

use kube::{Client, Config};
use testserver::account::largest_excess;
use testserver::{ApiServer, Fault, Injection, Options, Verb};
use operator::client::{self, OPERATOR_AGENT};
use operator::demo::{SLACK, unconverged};
use operator::load::{Fate, Load};
use operator::measure::Measure;
use operator::operator::{Operator, check, install_crd};
use tollgate::{AtomicTokenBucket, Observer, Quota};

const QPS: u64 = 2_000;
const BURST: u64 = 100;
/// Only a hang takes this long.
const PATIENCE: Duration = Duration::from_secs(120);

struct Setup {
    server: ApiServer,
    client: Client,
    load: Load,
}

impl Setup {
    async fn new(objects: usize, options: Options) -> Self {
        let options = Options {
            faults_for: OPERATOR_AGENT.into(),
            ready_after: Duration::from_millis(1),
            ..options
        };
        let server = ApiServer::start(options).await.unwrap();
        let quota = Quota::per_second(QPS).unwrap().burst(BURST).unwrap();
        let budget = Arc::new(AtomicTokenBucket::new(quota).unwrap());
        let client = client::throttled(Config::new(server.url()), &budget).unwrap();
        let users = client::unthrottled(Config::new(server.url())).unwrap();
        Self {
            load: Load::new(users, objects).unwrap(),
            server,
            client,
        }
    }

    fn start(&self) -> Operator {
        let observer: Arc<dyn Observer> = Arc::new(Measure::new());
        Operator::start(&self.client, 8, &observer)
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
    let operator = setup.start();
    setup.load.create().await.unwrap();
    setup.wait_for_all().await;
    setup.load.change().await.unwrap();
    setup.wait_for_all().await;
    let gone = setup
        .load
        .expected
        .values()
        .filter(|(_, fate)| matches!(fate, Fate::Gone { snapshot: true }));
    assert!(
        gone.count() > 3,
        "objects were deleted after their snapshots"
    );
    assert_eq!(operator.drain(PATIENCE).await.in_flight, 0);
    setup.assert_in_budget();
}

#[tokio::test]
async fn a_broken_watch_loses_no_change() {
    let mut setup = Setup::new(40, Options::default()).await;
    let operator = setup.start();
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
    let first = setup.start();
    setup.wait_for(30).await;
    let left = first.drain(PATIENCE).await;
    assert_eq!(left.in_flight, 0, "no reconcile is in flight");
    let done = setup.converged();
    assert!(
        done < setup.load.expected.len(),
        "the first operator stopped half-way"
    );
    let second = setup.start();
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
    let operator = setup.start();
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
    let operator = setup.start();
    setup.load.create().await.unwrap();
    setup.wait_for(20).await;
    setup.load.change().await.unwrap();
    setup.wait_for_all().await;
    assert!(setup.server.faults_injected() > 20);
    setup.assert_in_budget();
    drop(operator);
}

#[tokio::test]
async fn a_forbidden_verb_ends_the_run_with_one_line() {
    let setup = Setup::new(1, Options::default()).await;
    setup.server.forbid("patch", "statefulsets");
    let operator = setup.start();
    setup.load.create().await.unwrap();
    let line = tokio::time::timeout(PATIENCE, operator.failed())
        .await
        .unwrap();
    assert!(line.starts_with("forbidden: "), "{line}");
    assert!(!line.contains('\n'));
}

#[tokio::test]
async fn a_forbidden_watch_ends_the_run_with_one_line() {
    let setup = Setup::new(1, Options::default()).await;
    setup.server.forbid("watch", "databases");
    let operator = setup.start();
    let line = tokio::time::timeout(PATIENCE, operator.failed())
        .await
        .unwrap();
    assert!(line.contains("forbidden"), "{line}");
}

#[tokio::test]
async fn check_reports_a_broken_server_in_one_line() {
    let setup = Setup::new(0, Options::default()).await;
    install_crd(&setup.client).await.unwrap();
    check(&setup.client).await.unwrap();
    setup.server.forbid("list", "databases");
    let line = check(&setup.client).await.unwrap_err();
    assert!(line.starts_with("forbidden: "), "{line}");
    setup.server.stop().await;
    let line = check(&setup.client).await.unwrap_err();
    assert!(
        line.starts_with("the API server cannot be reached: "),
        "{line}"
    );
    assert!(!line.contains('\n'));
}
