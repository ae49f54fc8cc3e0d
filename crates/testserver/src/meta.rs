//! Reads and normalizes object metadata.

use serde_json::{Map, Value};

use super::resource::ResourceType;

/// Metadata that only the server writes.
pub const SERVER_FIELDS: [&str; 6] = [
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "resourceVersion",
];

/// Metadata that the server does not keep at all.
const UNKEPT_FIELDS: [&str; 2] = ["managedFields", "selfLink"];

/// A text field of the metadata; empty when absent.
pub fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}

/// Whether the object was deleted and waits for its finalizers.
pub fn is_deleting(object: &Value) -> bool {
    !text(object, "deletionTimestamp").is_empty()
}

/// The remaining finalizers.
pub fn finalizers(object: &Value) -> impl Iterator<Item = &str> {
    list(object, "finalizers").iter().filter_map(Value::as_str)
}

/// The uids of the owners.
pub fn owner_uids(object: &Value) -> impl Iterator<Item = &str> {
    list(object, "ownerReferences")
        .iter()
        .filter_map(|reference| reference["uid"].as_str())
}

fn list<'a>(object: &'a Value, field: &str) -> &'a [Value] {
    object["metadata"][field]
        .as_array()
        .map_or(&[], Vec::as_slice)
}

/// The metadata for writing; created when the object has none.
pub fn metadata_mut(object: &mut Value) -> Option<&mut Map<String, Value>> {
    let metadata = object
        .as_object_mut()?
        .entry("metadata")
        .or_insert(Value::Null);
    if metadata.is_null() {
        *metadata = Map::new().into();
    }
    metadata.as_object_mut()
}

/// Sets one field of the metadata.
pub fn set(object: &mut Value, field: &str, value: impl Into<Value>) {
    if let Some(metadata) = metadata_mut(object) {
        metadata.insert(field.to_owned(), value.into());
    }
}

/// Gives the object the same server-written metadata as `old`, whatever the client sent.
pub fn keep_server_fields(object: &mut Value, old: &Value) {
    let Some(metadata) = metadata_mut(object) else {
        return;
    };
    for field in SERVER_FIELDS {
        match &old["metadata"][field] {
            Value::Null => metadata.remove(field),
            value => metadata.insert(field.to_owned(), value.clone()),
        };
    }
}

/// Brings an object into the one form that is stored, so that equal objects compare equal:
/// no nulls, no empty lists or maps in the metadata, the type always named.
pub fn tidy(object: &mut Value, ty: &ResourceType) {
    strip_nulls(object);
    if let Some(metadata) = metadata_mut(object) {
        metadata.retain(|field, value| {
            !UNKEPT_FIELDS.contains(&field.as_str())
                && value.as_array().is_none_or(|list| !list.is_empty())
                && value.as_object().is_none_or(|map| !map.is_empty())
        });
    }
    if let Some(fields) = object.as_object_mut() {
        fields.insert("apiVersion".into(), ty.api_version.into());
        fields.insert("kind".into(), ty.kind.into());
    }
}

/// Removes every field set to null: to Kubernetes null and absent mean the same.
pub fn strip_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(strip_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(strip_nulls),
        _ => {}
    }
}

/// Whether anything outside of metadata and status differs.
pub fn spec_differs(old: &Value, new: &Value) -> bool {
    fn spec(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
        let fields = object.as_object().into_iter().flatten();
        fields.filter(|(field, _)| !matches!(field.as_str(), "metadata" | "status"))
    }
    spec(old).count() != spec(new).count() || spec(new).any(|(field, value)| old[field] != *value)
}

/// Replaces the status of an object; null removes it.
pub fn set_status(object: &mut Value, status: Value) {
    let Some(fields) = object.as_object_mut() else {
        return;
    };
    match status {
        Value::Null => fields.remove("status"),
        status => fields.insert("status".into(), status),
    };
}
