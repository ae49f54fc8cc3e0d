//! The series that alerts and dashboard name.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use http::Request;
use kube::client::Body;
use kube::{Client, Config};
use serde_json::{Value, json};
use tollgate_kube::rbac::{Recorder, to_yaml};

use crate::files::{object, read};
use crate::run::{PATIENCE, Running, USERS, backup, database, server};

/// Where the series of an operator begin: what else stands in an expression is a function, a keyword or a label.
const FAMILIES: [&str; 5] = [
    "controller_runtime_",
    "leader_election_",
    "operator_",
    "rest_client_",
    "workqueue_",
];

/// Every string under a key named `expr`.
fn expressions(value: &Value) -> Vec<&str> {
    match value {
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(name, value)| match value.as_str() {
                Some(text) if name == "expr" => vec![text],
                _ => expressions(value),
            })
            .collect(),
        Value::Array(items) => items.iter().flat_map(expressions).collect(),
        _ => Vec::new(),
    }
}

/// The series of an expression, each with its selector: identifiers that a selector or a range follows, and those
/// of our families.
fn series(expression: &str) -> BTreeSet<(String, String)> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut found = BTreeSet::new();
    let mut rest = expression;
    while let Some(start) = rest.find(|c: char| c.is_ascii_alphabetic() || c == '_') {
        let word = &rest[start..];
        let end = word.find(|c| !is_part(c)).unwrap_or(word.len());
        let (word, after) = word.split_at(end);
        // What stands in a selector or in a range is no series.
        let (inner, after) = match after.chars().next() {
            Some('{') => after[1..].split_once('}').expect("a selector ends"),
            Some('[') => ("", after.split_once(']').expect("a range ends").1),
            _ if FAMILIES.iter().any(|family| word.starts_with(family)) => ("", after),
            _ => {
                rest = after;
                continue;
            }
        };
        found.insert((word.to_owned(), inner.to_owned()));
        rest = after;
    }
    found
}

/// The label that Prometheus adds to all series of the Service.
fn job() -> String {
    let service = object("webhook.yaml", "Service");
    format!("job={}", service["metadata"]["name"])
}

/// Whether a page of metrics has a series of this name whose labels match the selector, but for the job.
fn has(page: &str, (name, selector): &(String, String)) -> bool {
    let job = job();
    let mut lines = page.lines().filter(|line| !line.starts_with('#'));
    lines.any(|line| {
        let Some(labels) = line.strip_prefix(name.as_str()) else {
            return false;
        };
        let mut matchers = selector.split(", ").filter(|matcher| *matcher != job);
        labels.starts_with(['{', ' ']) && matchers.all(|matcher| labels.contains(matcher))
    })
}

/// The series of the dashboard and of the alerts.
fn all_series() -> BTreeSet<(String, String)> {
    let dashboard: Value = serde_json::from_str(&read("dashboard.json")).unwrap();
    let alerts = object("alerts.yaml", "PrometheusRule");
    let texts = [expressions(&dashboard), expressions(&alerts)];
    assert!(texts.iter().all(|texts| texts.len() >= 5));
    texts.concat().into_iter().flat_map(series).collect()
}

/// Other controllers, those of Kubernetes among them, export `workqueue_depth` and its like too.
#[test]
fn each_series_is_selected_by_its_job() {
    let job = job();
    for (name, selector) in all_series() {
        let mut matchers = selector.split(", ");
        assert!(
            matchers.any(|matcher| matcher == job),
            "{name}{{{selector}}}"
        );
    }
}

#[test]
fn an_expression_is_read() {
    let expression =
        r#"quantile(0.9, sum by (le) (rate(a_bucket{x="y"}[10m]))) > workqueue_depth + b[5m]"#;
    let found = series(expression);
    let found: Vec<_> = found
        .iter()
        .map(|(name, inner)| (name.as_str(), inner.as_str()))
        .collect();
    assert_eq!(
        found,
        [("a_bucket", r#"x="y""#), ("b", ""), ("workqueue_depth", "")]
    );
}

#[tokio::test]
async fn each_series_of_the_alerts_and_the_dashboard_is_exported() {
    let server = server().await;
    server
        .create("databases", USERS, database("orders"))
        .unwrap();
    server
        .create("backups", USERS, backup("nightly", "orders"))
        .unwrap();
    // Its reconcile fails, since the ConfigMap is not its own.
    let map = json!({ "metadata": { "name": "taken" } });
    server.create("configmaps", USERS, map).unwrap();
    server
        .create("databases", USERS, database("taken"))
        .unwrap();
    let operator = Running::start(&server, Recorder::new(), &["--listen", "127.0.0.1:0"]).await;
    let wanted = all_series();

    let url = format!("http://{}", operator.address.unwrap());
    let client = Client::try_from(Config::new(url.parse().unwrap())).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let mut poll = tokio::time::interval(Duration::from_millis(20));
    loop {
        poll.tick().await;
        let request = Request::get("/metrics").body(Body::empty()).unwrap();
        let answer = client.send(request).await.unwrap();
        let page = answer.into_body().collect_bytes().await.unwrap();
        let page = std::str::from_utf8(&page).unwrap();
        let missing: Vec<_> = wanted.iter().filter(|series| !has(page, series)).collect();
        if missing.is_empty() {
            break;
        }
        assert!(Instant::now() < deadline, "not on /metrics: {missing:?}");
    }
    operator.drain().await;
}

#[test]
fn promtool_takes_the_rules() {
    let rules = &object("alerts.yaml", "PrometheusRule")["spec"];
    let file = std::env::temp_dir().join(format!("rules-{}.yaml", std::process::id()));
    std::fs::write(&file, to_yaml(rules)).unwrap();
    let checked = Command::new("promtool")
        .args(["check", "rules"])
        .arg(&file)
        .output();
    std::fs::remove_file(&file).unwrap();
    match checked {
        Err(_) => eprintln!("skipped: promtool is not installed"),
        Ok(checked) => assert!(
            checked.status.success(),
            "{}",
            String::from_utf8_lossy(&checked.stderr)
        ),
    }
}
