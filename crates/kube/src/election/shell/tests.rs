use std::convert::Infallible;
use std::sync::Mutex;
use std::time::Duration;

use http::{Method, Response};
use http_body_util::{BodyExt, Full};
use kube::client::Body;
use serde_json::{Value, json};
use tollgate::ManualClock;

use super::super::{Role, Term};
use super::*;

/// A server with one Lease.
#[derive(Default)]
struct Fake {
    lease: Option<Value>,
    revision: u64,
    mode: Mode,
}

#[derive(Clone, Copy, Default)]
enum Mode {
    #[default]
    Answers,
    Forbids,
    Hangs,
}

type Shared = Arc<Mutex<Fake>>;

impl Fake {
    /// Changes the Lease as `kubectl label` does.
    fn label(&mut self) {
        self.revision += 1;
        let metadata = &mut self.lease.as_mut().unwrap()["metadata"];
        metadata["labels"] = json!({"team": "x"});
        metadata["resourceVersion"] = json!(self.revision.to_string());
    }

    fn apply(&mut self, method: &Method, body: Option<Value>) -> (u16, Value) {
        let refusal = |code, message: &str| {
            (
                code,
                json!({"kind": "Status", "status": "Failure", "code": code, "message": message}),
            )
        };
        if matches!(self.mode, Mode::Forbids) {
            return refusal(
                403,
                "leases is forbidden: User \"u\" cannot get resource \"leases\"",
            );
        }
        let version = |lease: &Value| lease["metadata"]["resourceVersion"].clone();
        match (method, &self.lease, body) {
            (&Method::GET, Some(lease), _) => (200, lease.clone()),
            (&Method::GET | &Method::PUT, None, _) => refusal(404, "not found"),
            (&Method::POST, Some(_), _) => refusal(409, "already exists"),
            (&Method::PUT, Some(lease), Some(body)) if version(lease) != version(&body) => {
                refusal(409, "the object has been modified")
            }
            (_, _, Some(mut body)) => {
                self.revision += 1;
                body["metadata"]["resourceVersion"] = json!(self.revision.to_string());
                self.lease = Some(body.clone());
                (200, body)
            }
            (_, _, None) => refusal(400, "no body"),
        }
    }
}

fn client(fake: &Shared) -> Client {
    let fake = Arc::clone(fake);
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let fake = Arc::clone(&fake);
        async move {
            let method = request.method().clone();
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let body = serde_json::from_slice(&body).ok();
            if matches!(fake.lock().unwrap().mode, Mode::Hangs) {
                std::future::pending::<()>().await;
            }
            let (code, answer) = fake.lock().unwrap().apply(&method, body);
            let mut response = Response::new(Full::new(answer.to_string().into()));
            *response.status_mut() = http::StatusCode::from_u16(code).unwrap();
            Ok::<Response<Full<bytes::Bytes>>, Infallible>(response)
        }
    });
    Client::new(service, "prod")
}

fn options(identity: &str) -> ElectionOptions {
    ElectionOptions {
        identity: identity.to_owned(),
        ..ElectionOptions::new("prod", "operator")
    }
}

fn start(fake: &Shared, identity: &str, clock: &ManualClock) -> Election<ManualClock> {
    Election::spawn_with_clock(client(fake), options(identity), clock.clone()).unwrap()
}

/// Lets the tasks run, on a runtime with one thread, until they wait for the clock.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

/// Moves the clock on by `millis`, in steps in which the tasks run.
async fn pass(clock: &ManualClock, millis: u64) {
    for _ in 0..millis / 100 {
        clock.advance(Duration::from_millis(100));
        settle().await;
    }
}

#[tokio::test]
async fn a_candidate_leads_renews_and_releases_to_the_next() {
    let (fake, clock) = (Shared::default(), ManualClock::new());
    let first = start(&fake, "a", &clock);
    let (leads, term) = (first.leadership(), Term::new(0));
    settle().await;
    assert_eq!(
        (leads.check(), leads.role()),
        (Some(term), Role::Leading(term))
    );
    fake.lock().unwrap().label();

    let second = start(&fake, "b", &clock);
    let mut follows = second.leadership();
    pass(&clock, 30_000).await;
    assert_eq!((leads.check(), leads.error()), (Some(term), None));
    let holder = Some("a".to_owned());
    assert_eq!(follows.check(), None);
    assert_eq!(follows.changed().await, Some(Role::Following { holder }));

    assert_eq!(first.release().await, Outcome::Released);
    assert_eq!(leads.check(), None);
    leads.lost(term).await;
    pass(&clock, 2_500).await;
    assert_eq!(follows.check(), Some(Term::new(1)));
    let lease = fake.lock().unwrap().lease.clone().unwrap();
    assert_eq!(lease["metadata"]["labels"]["team"], "x");
    assert_eq!(lease["spec"]["holderIdentity"], "b");
}

#[tokio::test]
async fn a_missing_permission_is_reported_and_retried() {
    let (fake, clock) = (Shared::default(), ManualClock::new());
    fake.lock().unwrap().mode = Mode::Forbids;
    let election = start(&fake, "a", &clock);
    let leadership = election.leadership();
    pass(&clock, 10_000).await;
    let error = leadership.error().unwrap().to_string();
    let rule = "forbidden: leases.coordination.k8s.io: needs get, create, update in namespace prod";
    assert!(error.starts_with(rule), "{error}");
    fake.lock().unwrap().mode = Mode::Answers;
    pass(&clock, 2_500).await;
    assert_eq!(leadership.check(), Some(Term::new(0)));
    assert_eq!(leadership.error(), None);
}

#[tokio::test]
async fn a_hung_server_costs_the_term_at_its_deadline() {
    let (fake, clock) = (Shared::default(), ManualClock::new());
    let election = start(&fake, "a", &clock);
    let leadership = election.leadership();
    let term = leadership.leading().await.unwrap();
    fake.lock().unwrap().mode = Mode::Hangs;
    let lost = tokio::spawn({
        let leadership = leadership.clone();
        async move { leadership.lost(term).await }
    });
    pass(&clock, 9_900).await;
    assert_eq!(leadership.check(), Some(term));
    assert!(!lost.is_finished());
    pass(&clock, 100).await;
    assert_eq!(leadership.check(), None);
    assert!(lost.is_finished());
    let holder = Some("a".to_owned());
    assert_eq!(leadership.role(), Role::Following { holder });
    let error = leadership.error().unwrap().to_string();
    assert_eq!(
        error,
        "no answer from the API server for lease prod/operator: timed out"
    );

    fake.lock().unwrap().mode = Mode::Answers;
    pass(&clock, 10_000).await;
    assert_eq!(leadership.check(), Some(Term::new(1)));
}

#[tokio::test]
async fn a_process_that_was_stopped_wakes_without_a_term() {
    let (fake, clock) = (Shared::default(), ManualClock::new());
    let election = start(&fake, "a", &clock);
    let leadership = election.leadership();
    let term = leadership.leading().await.unwrap();
    // The clock goes on while no task runs.
    clock.advance(Duration::from_secs(35));
    assert_eq!(leadership.check(), None);
    settle().await;
    assert_eq!(leadership.check(), Some(Term::new(term.number() + 1)));
}

#[tokio::test]
async fn a_dropped_election_leads_no_more_and_keeps_the_lease() {
    let (fake, clock) = (Shared::default(), ManualClock::new());
    let election = start(&fake, "a", &clock);
    let leadership = election.leadership();
    leadership.leading().await.unwrap();
    drop(election);
    settle().await;
    assert_eq!(leadership.check(), None);
    let lease = fake.lock().unwrap().lease.clone().unwrap();
    assert_eq!(lease["spec"]["holderIdentity"], "a");
}

#[tokio::test]
async fn the_real_clock_drives_an_election() {
    let fake = Shared::default();
    let mut options = options("a");
    options.config = ElectionConfig {
        lease_duration: Duration::from_secs(1),
        renew_deadline: Duration::from_millis(600),
        retry_period: Duration::from_millis(20),
    };
    let election = Election::spawn(client(&fake), options).unwrap();
    let leadership = election.leadership();
    let term = leadership.leading().await.unwrap();
    let renewed = async {
        while fake.lock().unwrap().revision < 5 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let renewed = tokio::time::timeout(Duration::from_secs(30), renewed);
    renewed.await.expect("the lease is renewed");
    assert_eq!(leadership.check(), Some(term));
    assert_eq!(election.release().await, Outcome::Released);
    assert_eq!(leadership.check(), None);
}

#[tokio::test]
async fn options_are_checked_before_the_task_starts() {
    let fake = Shared::default();
    for (namespace, name, identity) in [("", "x", "a"), ("prod", "", "a"), ("prod", "x", "")] {
        let mut options = ElectionOptions::new(namespace, name);
        options.identity = identity.to_owned();
        let error = Election::spawn(client(&fake), options).unwrap_err();
        assert!(matches!(error, ConfigError::Empty(_)), "{error}");
    }
    let (one, other) = (
        ElectionOptions::new("a", "b"),
        ElectionOptions::new("a", "b"),
    );
    assert_ne!(one.identity, other.identity);
}
