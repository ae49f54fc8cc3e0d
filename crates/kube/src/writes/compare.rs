//! Whether an object is in the state that a server-side apply would bring it to, by its own record of who owns
//! which field.
//!
//! Two things must hold: each desired field has its value, and the field manager owns no field that is no longer
//! desired, since the apply would remove it. The second is read from `metadata.managedFields`, in the format of
//! the structured-merge-diff library: `f:name` is a field, `k:{..}` the item of a list with these keys, `v:..` an
//! item that equals a value, and `.` the object itself.

use kube::ResourceExt;
use serde::Serialize;
use serde_json::Value;

/// Whether an apply of `desired` by `manager` would change nothing in `live`.
pub(crate) fn is_applied<T: ResourceExt + Serialize>(
    desired: &Value,
    live: &T,
    manager: &str,
) -> bool {
    let mut applied = live.managed_fields().iter().filter(|entry| {
        entry.manager.as_deref() == Some(manager)
            && entry.operation.as_deref() == Some("Apply")
            && entry.subresource.as_deref().unwrap_or_default().is_empty()
    });
    let Some(owned) = applied.next().and_then(|entry| entry.fields_v1.as_ref()) else {
        return false;
    };
    let Ok(live) = serde_json::to_value(live) else {
        return false;
    };
    is_contained(desired, &live) && owns_no_more(&owned.0, desired)
}

/// Whether `live` has every field of `desired`, with its value. The items of lists are compared in order.
fn is_contained(desired: &Value, live: &Value) -> bool {
    match (desired, live) {
        (Value::Object(desired), Value::Object(live)) => desired.iter().all(|(name, value)| {
            value.is_null() || live.get(name).is_some_and(|live| is_contained(value, live))
        }),
        (Value::Array(desired), Value::Array(live)) => {
            desired.len() == live.len()
                && desired
                    .iter()
                    .zip(live)
                    .all(|(desired, live)| is_contained(desired, live))
        }
        // An empty map or list may be absent from the typed object.
        (desired, Value::Null) => is_empty(desired),
        (desired, live) => desired == live,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Null => true,
        _ => false,
    }
}

/// Whether every field of `owned` is a field of `desired`.
fn owns_no_more(owned: &Value, desired: &Value) -> bool {
    let Value::Object(owned) = owned else {
        return true;
    };
    owned
        .iter()
        .all(|(path, below)| match path.split_once(':') {
            // `.`: the object itself.
            None => true,
            Some(("f", name)) => match desired.get(name) {
                Some(value) => owns_no_more(below, value),
                // Not part of the desired state: an apply sends them, and does not own them.
                None => false,
            },
            Some(("k", keys)) => {
                item_with(desired, keys).is_some_and(|item| owns_no_more(below, item))
            }
            Some(("v", value)) => has_item(desired, value),
            Some(("i", index)) => index
                .parse::<usize>()
                .ok()
                .and_then(|index| desired.get(index))
                .is_some(),
            // A path that this version does not know: apply, which is always right.
            Some(_) => false,
        })
}

/// The item of a list whose keys have these values. A key that the item leaves out has the default that the API
/// server chose, such as the protocol of a port.
fn item_with<'a>(list: &'a Value, keys: &str) -> Option<&'a Value> {
    let keys: serde_json::Map<String, Value> = serde_json::from_str(keys).ok()?;
    list.as_array()?.iter().find(|item| {
        keys.iter()
            .all(|(name, value)| item.get(name).is_none_or(|found| found == value))
    })
}

fn has_item(list: &Value, value: &str) -> bool {
    let value: Option<Value> = serde_json::from_str(value).ok();
    let items = list.as_array();
    value.is_some_and(|value| items.is_some_and(|items| items.contains(&value)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Service;
    use serde_json::json;

    fn live() -> Service {
        let fields = json!({
            "f:metadata": { "f:labels": { "f:app": {} }, "f:ownerReferences": { "k:{\"uid\":\"u\"}": {} } },
            "f:spec": {
                "f:clusterIP": {},
                "f:ports": {
                    "k:{\"port\":80,\"protocol\":\"TCP\"}": { ".": {}, "f:name": {}, "f:port": {} },
                },
            },
        });
        let entry = json!({ "manager": "us", "operation": "Apply", "fieldsType": "FieldsV1", "fieldsV1": fields });
        let service = json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {
                "name": "a",
                "labels": { "app": "a", "theirs": "b" },
                "ownerReferences": [{ "apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u" }],
                "managedFields": [entry],
            },
            "spec": {
                "clusterIP": "None",
                "ports": [{ "name": "http", "port": 80, "protocol": "TCP", "targetPort": 80 }],
            },
        });
        serde_json::from_value(service).unwrap()
    }

    fn desired() -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {
                "name": "a",
                "labels": { "app": "a" },
                "ownerReferences": [{ "apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u" }],
            },
            "spec": { "clusterIP": "None", "ports": [{ "name": "http", "port": 80 }] },
        })
    }

    fn is(desired: &Value) -> bool {
        is_applied(desired, &live(), "us")
    }

    #[test]
    fn fields_of_others_and_defaults_do_not_count() {
        assert!(is(&desired()));
    }

    #[test]
    fn another_value_an_added_field_and_a_removed_field_differ() {
        let mut value = desired();
        value["metadata"]["labels"]["app"] = json!("b");
        assert!(!is(&value));
        let mut added = desired();
        added["metadata"]["annotations"] = json!({ "a": "b" });
        assert!(!is(&added));
        let mut removed = desired();
        removed["metadata"]["labels"] = json!({});
        assert!(!is(&removed));
        let mut port = desired();
        port["spec"]["ports"] = json!([]);
        assert!(!is(&port));
        let mut name = desired();
        name["spec"]["ports"] = json!([{ "port": 80 }]);
        assert!(!is(&name));
    }

    #[test]
    fn an_object_that_another_manager_applied_differs() {
        assert!(!is_applied(&desired(), &live(), "others"));
    }
}
