//! The operator on kube's own `Controller`.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::controller::{self, Action, Controller};
use kube::runtime::watcher;
use kube::{Client, Config, ResourceExt};
use serde_json::json;

use crate::bench;

pub async fn run(config: Config) -> anyhow::Result<()> {
    let client = Client::try_from(config)?;
    let maps = Api::<ConfigMap>::all(client.clone());
    Controller::new(maps, watcher::Config::default())
        .with_config(controller::Config::default().concurrency(3))
        .shutdown_on_signal()
        .run(reconcile, error_policy, Arc::new(client))
        .for_each(|_| ready(()))
        .await;
    Ok(())
}

async fn reconcile(map: Arc<ConfigMap>, client: Arc<Client>) -> Result<Action, kube::Error> {
    let edit = map.data.as_ref().and_then(|data| data.get("edit"));
    bench::begin(&map.name_any(), edit);
    bench::work().await;
    if map.annotations().get("example.com/edit") != edit {
        let namespace = map.namespace().unwrap_or_default();
        let maps = Api::<ConfigMap>::namespaced((*client).clone(), &namespace);
        let patch =
            Patch::Merge(json!({ "metadata": { "annotations": { "example.com/edit": edit } } }));
        maps.patch(&map.name_any(), &PatchParams::default(), &patch)
            .await?;
    }
    Ok(Action::await_change())
}

fn error_policy(_: Arc<ConfigMap>, _: &kube::Error, _: Arc<Client>) -> Action {
    Action::requeue(Duration::from_secs(5))
}
