//! `metadata.managedFields`: what each field manager has applied, in the format of Kubernetes.
//!
//! Written by server-side apply only: the entries of other writes, which no client here reads, are left out, and so
//! are times.

use serde_json::{Map, Value, json};

use super::apply::Managers;

/// The entries of an object.
pub fn managed_fields(object: &Value, managers: &Managers) -> Vec<Value> {
    let entry = |(claimant, fields): (&str, Vec<&[String]>)| {
        let (manager, subresource) = match claimant.strip_suffix("/status") {
            Some(manager) => (manager, Some("status")),
            None => (claimant, None),
        };
        let mut tree = Map::new();
        for path in fields {
            insert(&mut tree, path);
        }
        let mut entry = json!({
            "manager": manager,
            "operation": "Apply",
            "apiVersion": object["apiVersion"],
            "fieldsType": "FieldsV1",
            "fieldsV1": tree,
        });
        if let Some(subresource) = subresource {
            entry["subresource"] = subresource.into();
        }
        entry
    };
    managers.holding(object).map(entry).collect()
}

/// Inserts a leaf, whose path may lead through a list that is merged item by item.
fn insert(tree: &mut Map<String, Value>, path: &[String]) {
    let mut at = tree;
    let mut parent = "";
    for name in path {
        let step = match parent {
            "finalizers" => format!("v:{}", json!(name)),
            "ownerReferences" => format!("k:{}", json!({ "uid": name })),
            _ => format!("f:{name}"),
        };
        // A label may be called `finalizers`.
        parent =
            if path.first().is_some_and(|first| first == "metadata") && path.get(1) == Some(name) {
                name
            } else {
                ""
            };
        let below = at.entry(step).or_insert_with(|| Map::new().into());
        let Some(below) = below.as_object_mut() else {
            return;
        };
        at = below;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::apply;

    #[test]
    fn fields_items_of_sets_and_lists_are_written_as_kubernetes_does() {
        let config = json!({
            "metadata": {
                "labels": { "finalizers": "a" },
                "finalizers": ["x/y"],
                "ownerReferences": [{ "uid": "u", "name": "n" }],
            },
            "spec": { "ports": [1] },
        });
        let applied = apply(&json!({}), &Managers::default(), "m", &config, false);
        let (mut object, managers) = applied.expect("no conflict");
        let fields = |object: &Value| managed_fields(object, &managers)[0]["fieldsV1"].clone();
        let expected = json!({
            "f:metadata": {
                "f:labels": { "f:finalizers": {} },
                "f:finalizers": { "v:\"x/y\"": {} },
                "f:ownerReferences": { "k:{\"uid\":\"u\"}": { "f:uid": {}, "f:name": {} } },
            },
            "f:spec": { "f:ports": {} },
        });
        assert_eq!(fields(&object), expected);
        // Another write has changed it, so it is not owned any more.
        object["spec"]["ports"] = json!([2]);
        assert!(fields(&object).get("f:spec").is_none());
    }
}
