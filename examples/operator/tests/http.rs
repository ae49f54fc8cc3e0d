//! The operator against the embedded API server, through real HTTP: what goes wrong on a real
//! cluster, on request.

use std::sync::Arc;
use std::time::Duration;

use kube::{Client, Config};
use operator::apiserver::account::largest_excess;
use operator::apiserver::{ApiServer, Fault, Injection, Options, Verb};
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

struct Scene {
    server: ApiServer,
    client: Client,
    load: Load,
}

impl Scene {
    async fn set(objects: usize, options: Options) -> Self {
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

    /// Waits until `enough` objects are as they should be.
    async fn until(&self, enough: usize) {
        let reached = async {
            let mut look = tokio::time::interval(Duration::from_millis(5));
            while self.converged() < enough {
                look.tick().await;
            }
        };
        if tokio::time::timeout(PATIENCE, reached).await.is_err() {
            panic!(
                "not as they should be: {:?}",
                unconverged(&self.server, &self.load.expected)
            );
        }
    }

    async fn until_all(&self) {
        self.until(self.load.expected.len()).await;
    }

    fn assert_in_budget(&self) {
        let arrivals = self.server.arrivals(OPERATOR_AGENT);
        assert!(
            arrivals.len() > self.load.expected.len(),
            "the operator was heard"
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
async fn objects_are_made_changed_and_deleted() {
    let mut scene = Scene::set(60, Options::default()).await;
    let operator = scene.start();
    scene.load.create().await.unwrap();
    scene.until_all().await;
    scene.load.change().await.unwrap();
    scene.until_all().await;
    let gone = scene
        .load
        .expected
        .values()
        .filter(|(_, fate)| matches!(fate, Fate::Gone { snapshot: true }));
    assert!(gone.count() > 3, "deleted, each after its snapshot");
    assert_eq!(operator.drain(PATIENCE).await.in_flight, 0);
    scene.assert_in_budget();
}

#[tokio::test]
async fn a_killed_watch_loses_nothing() {
    let mut scene = Scene::set(40, Options::default()).await;
    let operator = scene.start();
    scene.load.create().await.unwrap();
    scene.until(10).await;
    assert!(scene.server.cut_watches() > 0);
    scene.until_all().await;
    // What happens while nobody watches, and can no longer be told by a watch, is found by a new
    // list.
    scene.server.expire_history();
    scene.server.cut_watches();
    scene.load.change().await.unwrap();
    scene.until_all().await;
    drop(operator);
}

#[tokio::test]
async fn a_restart_with_half_of_the_objects_done_finishes_the_rest() {
    let scene = Scene::set(60, Options::default()).await;
    scene.load.create().await.unwrap();
    let first = scene.start();
    scene.until(30).await;
    let left = first.drain(PATIENCE).await;
    assert_eq!(left.in_flight, 0, "nobody is at work any more");
    let done = scene.converged();
    assert!(done < scene.load.expected.len(), "half-way, not at the end");
    let second = scene.start();
    scene.until_all().await;
    drop(second);
    scene.assert_in_budget();
}

#[tokio::test]
async fn conflicts_are_retried() {
    let mut scene = Scene::set(40, Options::default()).await;
    for resource in ["databases", "databases/status", "statefulsets"] {
        inject(&scene.server, Verb::Patch, resource, Fault::Conflict, 25);
    }
    let operator = scene.start();
    scene.load.create().await.unwrap();
    scene.until_all().await;
    inject(&scene.server, Verb::Patch, "databases", Fault::Conflict, 4);
    scene.load.change().await.unwrap();
    scene.until_all().await;
    assert_eq!(scene.server.faults_injected(), 79);
    drop(operator);
}

#[tokio::test]
async fn a_server_that_fails_one_request_in_five_is_outlasted() {
    let options = Options {
        fault_rate: 0.2,
        seed: 7,
        ..Options::default()
    };
    let mut scene = Scene::set(40, options).await;
    let operator = scene.start();
    scene.load.create().await.unwrap();
    scene.until(20).await;
    scene.load.change().await.unwrap();
    scene.until_all().await;
    assert!(scene.server.faults_injected() > 20);
    scene.assert_in_budget();
    drop(operator);
}

#[tokio::test]
async fn a_forbidden_verb_ends_the_run_with_a_line() {
    let scene = Scene::set(1, Options::default()).await;
    scene.server.forbid("patch", "statefulsets");
    let operator = scene.start();
    scene.load.create().await.unwrap();
    let line = tokio::time::timeout(PATIENCE, operator.failed())
        .await
        .unwrap();
    assert!(line.starts_with("forbidden: "), "{line}");
    assert!(!line.contains('\n'));
}

#[tokio::test]
async fn a_forbidden_watch_ends_the_run_with_a_line() {
    let scene = Scene::set(1, Options::default()).await;
    scene.server.forbid("watch", "databases");
    let operator = scene.start();
    let line = tokio::time::timeout(PATIENCE, operator.failed())
        .await
        .unwrap();
    assert!(line.contains("forbidden"), "{line}");
}

#[tokio::test]
async fn what_is_wrong_with_a_server_is_said_in_one_line() {
    let scene = Scene::set(0, Options::default()).await;
    install_crd(&scene.client).await.unwrap();
    check(&scene.client).await.unwrap();
    scene.server.forbid("list", "databases");
    let line = check(&scene.client).await.unwrap_err();
    assert!(line.starts_with("forbidden: "), "{line}");
    scene.server.stop().await;
    let line = check(&scene.client).await.unwrap_err();
    assert!(
        line.starts_with("the API server cannot be reached: "),
        "{line}"
    );
    assert!(!line.contains('\n'));
}
