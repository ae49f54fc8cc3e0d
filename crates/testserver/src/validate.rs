//! Validates objects: their shape (400) and their values (422).

use serde_json::Value;

use super::resource::ResourceType;
use super::status::{Cause, Status};

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
pub fn values(ty: &ResourceType, name: &str, object: &Value) -> Result<(), Status> {
    let mut causes = Vec::new();
    if !is_subdomain(name) {
        let why = "must be a lowercase DNS subdomain of at most 253 characters";
        causes.push(Cause::invalid("metadata.name", &name.into(), why));
    }
    if ty.kind == "Database" {
        database(object, &mut causes);
    }
    if causes.is_empty() {
        Ok(())
    } else {
        Err(Status::invalid(ty, name, &causes))
    }
}

fn is_subdomain(name: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

/// The schema of the custom resource.
fn database(object: &Value, causes: &mut Vec<Cause>) {
    let spec = &object["spec"];
    match &spec["replicas"] {
        Value::Null => causes.push(Cause::required("spec.replicas", "")),
        value => match value.as_i64() {
            Some(1..=5) => {}
            Some(_) => {
                causes.push(Cause::invalid(
                    "spec.replicas",
                    value,
                    "must be between 1 and 5",
                ));
            }
            None => causes.push(Cause::invalid("spec.replicas", value, "must be an integer")),
        },
    }
    for field in ["engine", "storage"] {
        let path = format!("spec.{field}");
        match &spec[field] {
            Value::Null => causes.push(Cause::required(&path, "")),
            Value::String(text) if !text.is_empty() => {}
            value => causes.push(Cause::invalid(&path, value, "must be a non-empty string")),
        }
    }
}
