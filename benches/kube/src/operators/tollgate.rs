//! The operator on `tollgate-kube`.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, Patch, PatchParams};
use kube::{Config, ResourceExt};
use serde_json::json;
use tollgate_kube::budget::Budget;
use tollgate_kube::{Action, Context, Object, Operator, ReconcileError};

use crate::bench;

pub async fn run(config: Config, budget: Budget) -> anyhow::Result<()> {
    let builder = Operator::builder(config).name("bench-tollgate");
    let mut operator = builder.budget(budget).build().await?;
    let maps = Api::all(operator.client());
    operator
        .for_kind::<ConfigMap>(maps)
        .concurrency(3)
        .reconcile(reconcile)?;
    operator.run().await?;
    Ok(())
}

async fn reconcile(object: Object<ConfigMap>, context: Context) -> Result<Action, ReconcileError> {
    let Object::Found(map) = object else {
        return Ok(Action::done());
    };
    let edit = map.data.as_ref().and_then(|data| data.get("edit"));
    bench::begin(&map.name_any(), edit);
    bench::work().await;
    if map.annotations().get("example.com/edit") != edit {
        let namespace = map.namespace().unwrap_or_default();
        let maps = Api::<ConfigMap>::namespaced(context.client().clone(), &namespace);
        let patch =
            Patch::Merge(json!({ "metadata": { "annotations": { "example.com/edit": edit } } }));
        maps.patch(&map.name_any(), &PatchParams::default(), &patch)
            .await?;
    }
    Ok(Action::done())
}
