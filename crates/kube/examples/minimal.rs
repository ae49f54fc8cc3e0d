//! Gives each ConfigMap with the label `example.com/web` a Service of its name.
//!
//! `cargo run -p tollgate-kube --example minimal` runs it against an embedded API server, until the Service is there.
//! On a cluster, replace the server by `Config::infer().await?` and `run_until` by `run`.

use k8s_openapi::api::core::v1::{ConfigMap, Service};
use kube::api::{Api, PostParams};
use kube::runtime::{wait, watcher};
use kube::{Client, Config};
use serde_json::json;
use testserver::{ApiServer, Options};
use tollgate_kube::{Action, Context, Object, Operator, ReconcileError};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let server = ApiServer::start(Options::default()).await?;
    let mut operator = Operator::builder(Config::new(server.url()))
        .name("services")
        .build()
        .await?;
    let client = operator.client();
    operator
        .for_kind::<ConfigMap>(Api::all(client.clone()))
        .config(watcher::Config::default().labels("example.com/web=true"))
        .owns::<Service>(Api::all(client), watcher::Config::default())
        .concurrency(3)
        .reconcile(reconcile)?;
    let report = operator
        .run_until(user(Client::try_from(Config::new(server.url()))?))
        .await?;
    println!("{report:?}");
    Ok(())
}

async fn reconcile(object: Object<ConfigMap>, context: Context) -> Result<Action, ReconcileError> {
    let Object::Found(map) = object else {
        return Ok(Action::done());
    };
    let port = map
        .data
        .as_ref()
        .and_then(|data| data.get("port")?.parse::<u16>().ok());
    let service = json!({
        "metadata": { "name": map.metadata.name },
        "spec": { "ports": [{ "port": port.unwrap_or(80), "protocol": "TCP" }] },
    });
    context.apply::<_, Service>(&*map, service).await?;
    Ok(Action::done())
}

/// Creates a ConfigMap, and waits for its Service.
async fn user(client: Client) {
    let map = json!({
        "metadata": { "name": "shop", "labels": { "example.com/web": "true" } },
        "data": { "port": "8080" },
    });
    let map = serde_json::from_value(map).expect("a ConfigMap");
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    maps.create(&PostParams::default(), &map)
        .await
        .expect("the server takes it");
    let services: Api<Service> = Api::namespaced(client, "default");
    let found = wait::await_condition(services, "shop", |service: Option<&Service>| {
        service.is_some()
    });
    let service = found
        .await
        .expect("the Service can be watched")
        .expect("it exists");
    println!("Service {:?}", service.spec.and_then(|spec| spec.ports));
}
