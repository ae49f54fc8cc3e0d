//! Tests of the core verb by verb, and of the whole through the real Kubernetes client.

mod access;
mod client;
mod core;
mod events;
mod faulty;
mod leases;
mod lists;
mod outages;
mod refusals;
mod watches;
mod webhook;

use std::time::Duration;

use kube::api::Api;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::{ApiServer, Options};

/// The `User-Agent` of the client in these tests.
const AGENT: &str = "operator/test";

/// Only a broken test waits this long.
const PATIENCE: Duration = Duration::from_secs(20);

fn database(name: &str) -> Value {
    json!({
        "apiVersion": "example.com/v1",
        "kind": "Database",
        "metadata": { "name": name },
        "spec": { "engine": "postgres", "storage": "1Gi", "replicas": 3 },
    })
}

fn config_map(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": name },
        "data": { "a": "1" },
    })
}

fn owned_by(mut object: Value, owner: &Value) -> Value {
    object["metadata"]["ownerReferences"] = json!([{
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
    }]);
    object
}

async fn start(options: Options) -> ApiServer {
    ApiServer::start(options).await.expect("a free port")
}

fn client(server: &ApiServer) -> kube::Client {
    let mut config = kube::Config::new(server.url());
    config.default_retry = false;
    let agent = http::HeaderValue::from_static(AGENT);
    config.headers.push((http::header::USER_AGENT, agent));
    kube::Client::try_from(config).expect("a plain client")
}

fn databases(server: &ApiServer) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("example.com", "v1", "Database");
    Api::namespaced_with(client(server), "ns", &ApiResource::from_gvk(&kind))
}

fn typed<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("a well-formed object")
}

/// The code of an API error; 0 for an error of the connection.
fn code<T: std::fmt::Debug>(result: Result<T, kube::Error>) -> u16 {
    match result.expect_err("an error") {
        kube::Error::Api(status) => status.code,
        _ => 0,
    }
}

/// Waits until this many requests of the client have arrived.
async fn arrived(server: &ApiServer, requests: usize) {
    let arrived = async {
        while server.requests(AGENT) < requests {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, arrived)
        .await
        .expect("the request arrives");
}
