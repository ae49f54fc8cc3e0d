//! The immutable fields of a StatefulSet.

use serde_json::{Value, json};

use super::super::status::Cause;
use super::quantities;

const MUTABLE: [&str; 7] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

const RULE: &str = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
     'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are \
     forbidden";

/// Checks that an update leaves the immutable fields as they are.
pub fn check_update(old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    if fixed(&old["spec"]) != fixed(&new["spec"]) {
        causes.push(Cause::forbidden("spec", RULE));
    }
}

/// The immutable fields, with defaults and in the one form in which equal values compare equal.
fn fixed(spec: &Value) -> Value {
    let mut spec = spec.clone();
    let Some(fields) = spec.as_object_mut() else {
        return json!({});
    };
    fields.retain(|field, _| !MUTABLE.contains(&field.as_str()));
    fields
        .entry("podManagementPolicy")
        .or_insert("OrderedReady".into());
    fields.entry("serviceName").or_insert("".into());
    let claims = fields.entry("volumeClaimTemplates").or_insert(json!([]));
    claims
        .as_array_mut()
        .into_iter()
        .flatten()
        .for_each(normalize_claim);
    spec
}

fn normalize_claim(claim: &mut Value) {
    let Some(fields) = claim.as_object_mut() else {
        return;
    };
    fields.retain(|field, _| matches!(field.as_str(), "metadata" | "spec"));
    let Some(spec) = fields.get_mut("spec").and_then(Value::as_object_mut) else {
        return;
    };
    spec.entry("volumeMode").or_insert("Filesystem".into());
    for kind in ["requests", "limits"] {
        let amounts = spec
            .get_mut("resources")
            .and_then(|resources| resources.get_mut(kind));
        for (_, amount) in amounts.and_then(Value::as_object_mut).into_iter().flatten() {
            // The text of the value is only compared.
            *amount = format!("{:?}", quantities::read(amount)).into();
        }
    }
}
