//! Validates objects: their shape (400) and their values (422).

mod batch;
mod custom;
mod event;
mod labels;
mod lease;
pub mod quantities;
mod statefulset;

use serde_json::{Value, json};

use super::names;
use super::resource::ResourceType;
use super::status::{Cause, Status};
use super::store::Key;

/// Checks that the parts that the server reads have the right JSON types, and that the object has the type of
/// its path.
pub fn shape(ty: &ResourceType, object: &Value) -> Result<(), Status> {
    if !object.is_object() {
        return Err(Status::bad_request("the body must be a JSON object"));
    }
    for (field, expected) in [("apiVersion", ty.api_version), ("kind", ty.kind)] {
        match &object[field] {
            Value::Null => {}
            Value::String(found) if found == expected => {}
            found => {
                let message =
                    format!("{field} in the body is {found}, the path is of {expected:?}");
                return Err(Status::bad_request(message));
            }
        }
    }
    let metadata = &object["metadata"];
    check(
        metadata.is_null() || metadata.is_object(),
        "metadata",
        "an object",
    )?;
    for field in [
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "deletionTimestamp",
    ] {
        let value = &metadata[field];
        check(value.is_null() || value.is_string(), field, "a string")?;
    }
    for field in ["labels", "annotations"] {
        check(is_string_map(&metadata[field]), field, "a map of strings")?;
    }
    check(
        is_list(&metadata["finalizers"], Value::is_string),
        "finalizers",
        "a list of strings",
    )?;
    let is_reference = |value: &Value| {
        ["apiVersion", "kind", "name", "uid"]
            .into_iter()
            .all(|field| value[field].as_str().is_some_and(|text| !text.is_empty()))
    };
    let expected = "a list of references with apiVersion, kind, name and uid";
    check(
        is_list(&metadata["ownerReferences"], is_reference),
        "ownerReferences",
        expected,
    )
}

fn check(holds: bool, field: &str, expected: &str) -> Result<(), Status> {
    if holds {
        return Ok(());
    }
    let path = if field == "metadata" {
        field.to_owned()
    } else {
        format!("metadata.{field}")
    };
    Err(Status::bad_request(format!("{path} must be {expected}")))
}

fn is_string_map(value: &Value) -> bool {
    value.is_null()
        || value.as_object().is_some_and(|map| {
            map.values()
                .all(|value| value.is_string() || value.is_null())
        })
}

fn is_list(value: &Value, is_item: impl Fn(&Value) -> bool) -> bool {
    value.is_null()
        || value
            .as_array()
            .is_some_and(|items| items.iter().all(is_item))
}

/// Checks the values of an object before it is stored.
pub fn values(ty: &ResourceType, key: &Key, object: &Value) -> Result<(), Status> {
    let mut causes = Vec::new();
    let verdict = match ty.kind {
        // These names become a part of host names.
        "Service" | "Namespace" => names::dns_label(&key.name),
        _ => names::dns_subdomain(&key.name),
    };
    if let Some(why) = verdict {
        causes.push(Cause::invalid(
            "metadata.name",
            &key.name.as_str().into(),
            &why,
        ));
    }
    let labels = &object["metadata"]["labels"];
    labels::check("metadata.labels", labels, &mut causes);
    let template = &object["spec"]["template"]["metadata"]["labels"];
    match ty.kind {
        "Database" => custom::database(object, &mut causes),
        "Lease" => lease::check(object, &mut causes),
        "Event" => event::check(&key.namespace, object, &mut causes),
        "CronJob" => batch::cron_job(&key.name, object, &mut causes),
        "StatefulSet" => labels::check("spec.template.labels", template, &mut causes),
        "Job" => {
            labels::check("spec.template.labels", template, &mut causes);
            // The server puts the job's name on its pods.
            let label = json!({ "batch.kubernetes.io/job-name": key.name });
            labels::check("spec.template.labels", &label, &mut causes);
        }
        _ => {}
    }
    refuse(ty, &key.name, &causes)
}

/// Checks that an update leaves the immutable fields as they are.
pub fn update(ty: &ResourceType, name: &str, old: &Value, new: &Value) -> Result<(), Status> {
    let mut causes = Vec::new();
    match ty.kind {
        "StatefulSet" => statefulset::check_update(old, new, &mut causes),
        "Event" => event::check_update(old, new, &mut causes),
        _ => {}
    }
    refuse(ty, name, &causes)
}

fn refuse(ty: &ResourceType, name: &str, causes: &[Cause]) -> Result<(), Status> {
    if causes.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(ty, name, causes))
}
