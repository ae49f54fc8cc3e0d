//! The operator's own endpoint: probes, and the state of queues and budget as JSON and as a page.

use std::future::pending;
use std::net::SocketAddr;
use std::time::Duration;

use http::{Request, StatusCode};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::client::Body;
use kube::runtime::watcher;
use kube::{Api, Client, Config, ResourceExt};
use serde_json::{Value, json};
use testserver::{ApiServer, Options};
use tokio::process::Command;
use tollgate::{ExponentialBackoff, Quota};
use tollgate_kube::budget::Budget;
use tollgate_kube::{Action, Context, Object, Operator, ReconcileError};

/// Only a hang takes this long.
const PATIENCE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
/// The rows of the page, besides which it only counts.
const MOST_ROWS: usize = 500;

/// An operator whose objects fail, run for ever, or wait for an hour, by their names.
struct Setup {
    server: ApiServer,
    budget: Budget,
    address: SocketAddr,
    client: Client,
}

impl Setup {
    /// Starts the operator against a server with `objects` ConfigMaps, which hangs if `hung`.
    async fn new(objects: impl IntoIterator<Item = String>, hung: bool) -> Self {
        let server = ApiServer::start(Options::default()).await.unwrap();
        for name in objects {
            let map = json!({ "metadata": { "name": name, "labels": { "a": "b" } } });
            server.create("configmaps", "shop", map).unwrap();
        }
        server.hang(hung);
        let budget = Budget::new(Quota::per_second(1_000).unwrap().burst(100).unwrap()).unwrap();
        let builder = Operator::builder(Config::new(server.url())).budget(budget.clone());
        let builder = builder.listen("127.0.0.1:0".parse().unwrap());
        let mut operator = builder.build().await.unwrap();
        let maps = Api::<ConfigMap>::all(operator.client());
        operator
            .for_kind(maps)
            .config(watcher::Config::default().labels("a=b"))
            .concurrency(2)
            .queue(|queue| queue.backoff(ExponentialBackoff::new(HOUR, HOUR)))
            .reconcile(reconcile)
            .unwrap();
        let address = operator.address().unwrap();
        let mut endpoint = Config::new(format!("http://{address}").parse().unwrap());
        // A probe that fails is an answer.
        endpoint.default_retry = false;
        tokio::spawn(operator.run_until(pending()));
        Self {
            server,
            budget,
            address,
            client: Client::try_from(endpoint).unwrap(),
        }
    }

    async fn get(&self, path: &str) -> (StatusCode, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let answer = self.client.send(request).await.unwrap();
        let status = answer.status();
        let body = answer.into_body().collect_bytes().await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn state(&self) -> Value {
        serde_json::from_str(&self.get("/debug/queue").await.1).unwrap()
    }

    /// Waits until the state of the queues is as `reached` wants it.
    async fn until(&self, reached: impl Fn(&Value) -> bool) -> Value {
        let holds = async {
            let mut poll = tokio::time::interval(Duration::from_millis(5));
            loop {
                poll.tick().await;
                let state = self.state().await;
                if reached(&state) {
                    return state;
                }
            }
        };
        let held = tokio::time::timeout(PATIENCE, holds).await;
        held.expect("the queues come to this state")
    }
}

async fn reconcile(object: Object<ConfigMap>, _: Context) -> Result<Action, ReconcileError> {
    let Object::Found(map) = object else {
        return Ok(Action::done());
    };
    match map.name_any().as_str() {
        "broken" => Err("<b>refused</b>".into()),
        "endless" => pending().await,
        _ => Ok(Action::requeue_after(HOUR)),
    }
}

#[tokio::test]
async fn probes_tell_what_the_operator_waits_for() {
    let setup = Setup::new([], true).await;
    assert_eq!(setup.get("/healthz").await, (StatusCode::OK, "ok\n".into()));
    let waiting = "waiting for the first list of /api/v1/configmaps with labels a=b\n";
    let not_ready = (StatusCode::SERVICE_UNAVAILABLE, waiting.to_owned());
    assert_eq!(setup.get("/readyz").await, not_ready);

    setup.server.hang(false);
    let ready = async {
        let mut poll = tokio::time::interval(Duration::from_millis(5));
        while setup.get("/readyz").await == not_ready {
            poll.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, ready).await.unwrap();
    assert_eq!(setup.get("/readyz").await, (StatusCode::OK, "ok\n".into()));
    assert_eq!(setup.get("/nonsense").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_state_has_each_key_and_the_budget() {
    let names = ["broken", "endless", "late"].map(str::to_owned);
    let setup = Setup::new(names, false).await;
    let state = setup
        .until(|state| {
            let queue = &state["queues"][0];
            queue["delayed"] == 2 && queue["processing"] == 1
        })
        .await;
    assert_eq!(state["leading"], Value::Null);
    let queue = &state["queues"][0];
    assert_eq!(
        (&queue["controller"], &queue["ready"]),
        (&json!("configmap"), &json!(0))
    );
    let key = |name: &str| {
        let mut keys = queue["keys"].as_array().unwrap().iter();
        keys.find(|key| key["key"] == format!("shop/{name}"))
            .unwrap()
    };
    let (broken, endless, late) = (key("broken"), key("endless"), key("late"));
    assert_eq!(broken["state"], "delayed");
    assert_eq!(
        (&broken["failures"], &broken["last_error"]),
        (&json!(1), &json!("<b>refused</b>"))
    );
    let due = |key: &Value| key["due_in_s"].as_f64().unwrap();
    // A delay ends at the tick of the queue's wheel that follows it.
    let hour = 1.0..=3_600.5;
    assert!(hour.contains(&due(broken)), "{}", due(broken));
    assert!(hour.contains(&due(late)), "{}", due(late));
    assert_eq!(
        (&endless["state"], &endless["due_in_s"]),
        (&json!("processing"), &Value::Null)
    );
    assert_eq!(
        (&late["failures"], &late["last_error"]),
        (&json!(0), &Value::Null)
    );

    let budget = &state["budget"];
    assert_eq!(budget["quota"], "1000/s burst 100");
    assert_eq!(
        (&budget["waiting"], &budget["pause_left_s"]),
        (&json!(0), &Value::Null)
    );
    setup.budget.pause_for(HOUR);
    let paused = &setup.state().await["budget"];
    assert_eq!(paused["available"], 0);
    assert!((3_000.0..=3_600.0).contains(&paused["pause_left_s"].as_f64().unwrap()));
}

#[tokio::test]
async fn a_browser_shows_the_keys() {
    let names = (0..=MOST_ROWS).map(|n| format!("map-{n:03}"));
    let setup = Setup::new(names.chain(["broken".to_owned()]), false).await;
    let all = MOST_ROWS + 2;
    setup
        .until(|state| state["queues"][0]["delayed"] == all)
        .await;
    let Some(page) = dump_dom(setup.address).await else {
        eprintln!("skipped: Chromium is not installed");
        return;
    };
    // The one that fails comes first, and its error is text.
    let first = page
        .split("<tbody>")
        .nth(1)
        .unwrap_or_else(|| panic!("no table: {page}"));
    assert!(
        first.starts_with("<tr><td>shop/broken</td><td>delayed</td>"),
        "{page}"
    );
    assert!(first.contains("&lt;b&gt;refused&lt;/b&gt;"));
    assert_eq!(first.matches("<td>shop/").count(), MOST_ROWS);
    assert!(first.contains("and 2 more"));
    assert!(page.contains("Budget 1000/s burst 100:"));
}

/// The page after its scripts have run; `None` without Chromium.
async fn dump_dom(address: SocketAddr) -> Option<String> {
    let profile = std::env::temp_dir().join(format!("tollgate-page-{}", std::process::id()));
    for browser in ["chromium", "chromium-browser", "google-chrome"] {
        let run = Command::new(browser)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"])
            .args([
                "--virtual-time-budget=3000",
                &format!("http://{address}/debug"),
            ])
            .arg(format!("--user-data-dir={}", profile.display()))
            .output();
        let Ok(shown) = run.await else { continue };
        let _ = std::fs::remove_dir_all(&profile);
        assert!(
            shown.status.success(),
            "{}",
            String::from_utf8_lossy(&shown.stderr)
        );
        return Some(String::from_utf8(shown.stdout).unwrap());
    }
    None
}
