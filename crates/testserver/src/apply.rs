//! Server-side apply: merges declared fields, and records which manager declared them.
//!
//! Ownership is kept per leaf of the object. A claim holds only while the live object still has
//! the claimed value: once another kind of write has changed a field, its applier no longer owns
//! it. Finalizers and owner references are sets, so each of their items is a leaf (or a map) of
//! its own; every other list is one leaf.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// The path of a field, one name per level.
type Path = Vec<String>;

/// Leaf fields and their values.
type Fields = BTreeMap<Path, Value>;

/// What each field manager has declared, for one object.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Managers(BTreeMap<String, Fields>);

/// A field declared by one manager and owned by another: the owner and the field.
pub type Conflict = (String, String);

/// Merges `config`, declared by `manager`, into `live`.
///
/// Returns the merged object and the new claims, or the conflicts unless `force` is set. Fields that the
/// manager no longer declares are removed.
pub fn apply(
    live: &Value,
    managers: &Managers,
    manager: &str,
    config: &Value,
    force: bool,
) -> Result<(Value, Managers), Vec<Conflict>> {
    let mut object = lists_to_maps(live);
    let mut wanted = Fields::new();
    collect_leaves(&lists_to_maps(config), &mut Vec::new(), &mut wanted);
    let mut managers = managers.clone();
    let before = managers.0.remove(manager).unwrap_or_default();

    let conflicts = take_over(&object, &mut managers, &wanted);
    if !conflicts.is_empty() && !force {
        return Err(conflicts);
    }
    for (path, value) in &before {
        let still_wanted = wanted.keys().any(|kept| kept.starts_with(path));
        if !still_wanted && lookup(&object, path) == Some(value) && !managers.claim(path) {
            remove(&mut object, path);
        }
    }
    for (path, value) in &wanted {
        set(&mut object, path, value);
    }
    if !wanted.is_empty() {
        managers.0.insert(manager.to_owned(), wanted);
    }
    Ok((maps_to_lists(object, live), managers))
}

impl Managers {
    /// The managers whose claims hold in `object`, each with the paths of those claims.
    pub fn holding<'a>(
        &'a self,
        object: &Value,
    ) -> impl Iterator<Item = (&'a str, Vec<&'a [String]>)> {
        let object = lists_to_maps(object);
        self.0.iter().filter_map(move |(manager, fields)| {
            let held = fields
                .iter()
                .filter(|(path, value)| lookup(&object, path) == Some(value));
            let held: Vec<_> = held.map(|(path, _)| path.as_slice()).collect();
            (!held.is_empty()).then_some((manager.as_str(), held))
        })
    }

    fn claim(&self, path: &Path) -> bool {
        self.0.values().any(|fields| fields.contains_key(path))
    }
}

/// Removes the claims of other managers that conflict with `wanted`, and returns them.
fn take_over(object: &Value, managers: &mut Managers, wanted: &Fields) -> Vec<Conflict> {
    let mut conflicts = Vec::new();
    for (manager, fields) in &mut managers.0 {
        fields.retain(|path, claim| {
            let holds = lookup(object, path) == Some(&*claim);
            let clash = holds && wanted.iter().any(|field| clashes(field, (path, claim)));
            if clash {
                conflicts.push((manager.clone(), display(path)));
            }
            !clash
        });
    }
    conflicts
}

/// Whether two leaves conflict: one field with two values, or a value where the other needs a map.
fn clashes(one: (&Path, &Value), other: (&Path, &Value)) -> bool {
    if one.0 == other.0 {
        return one.1 != other.1;
    }
    let (shorter, longer) = if one.0.len() < other.0.len() {
        (one, other)
    } else {
        (other, one)
    };
    longer.0.starts_with(shorter.0) && !shorter.1.is_object()
}

fn display(path: &Path) -> String {
    path.iter().map(|name| format!(".{name}")).collect()
}

fn collect_leaves(value: &Value, path: &mut Path, leaves: &mut Fields) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, field) in fields {
                path.push(name.clone());
                collect_leaves(field, path, leaves);
                path.pop();
            }
        }
        leaf if !path.is_empty() => {
            leaves.insert(path.clone(), leaf.clone());
        }
        _ => {}
    }
}

fn lookup<'a>(object: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(object, |value, name| value.get(name))
}

fn set(object: &mut Value, path: &[String], value: &Value) {
    let Some((name, rest)) = path.split_first() else {
        // A declared empty map requires a map, and removes no field of it.
        if !(value.is_object() && object.is_object()) {
            *object = value.clone();
        }
        return;
    };
    if !object.is_object() {
        *object = Map::new().into();
    }
    if let Some(fields) = object.as_object_mut() {
        set(fields.entry(name).or_insert(Value::Null), rest, value);
    }
}

/// Removes a field, and its parent maps that become empty.
fn remove(object: &mut Value, path: &[String]) {
    let (Some((name, rest)), Some(fields)) = (path.split_first(), object.as_object_mut()) else {
        return;
    };
    if let Some(field) = fields.get_mut(name).filter(|_| !rest.is_empty()) {
        remove(field, rest);
        if field.as_object().is_none_or(|left| !left.is_empty()) {
            return;
        }
    }
    fields.remove(name);
}

/// The lists in metadata that are merged item by item.
const SETS: [&str; 2] = ["finalizers", "ownerReferences"];

fn item_key(item: &Value) -> Option<&str> {
    item.as_str().or_else(|| item["uid"].as_str())
}

/// Turns the item-wise lists into maps from item key to item.
fn lists_to_maps(object: &Value) -> Value {
    let mut object = object.clone();
    for field in SETS {
        let Some(list) = object
            .get_mut("metadata")
            .and_then(|metadata| metadata.get_mut(field))
        else {
            continue;
        };
        let items = list.as_array_mut().map(std::mem::take).unwrap_or_default();
        let keyed = items
            .into_iter()
            .filter_map(|item| Some((item_key(&item)?.to_owned(), item)));
        *list = keyed.collect::<Map<_, _>>().into();
    }
    object
}

/// The inverse. Items of the live object keep their order, new items follow.
fn maps_to_lists(mut object: Value, live: &Value) -> Value {
    for field in SETS {
        let Some(list) = object
            .get_mut("metadata")
            .and_then(|metadata| metadata.get_mut(field))
        else {
            continue;
        };
        let mut keyed = list.as_object_mut().map(std::mem::take).unwrap_or_default();
        let known = live["metadata"][field].as_array().into_iter().flatten();
        let mut items: Vec<Value> = known
            .filter_map(|item| keyed.remove(item_key(item)?))
            .collect();
        items.extend(keyed.into_iter().map(|(_, item)| item));
        *list = items.into();
    }
    object
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn apply_ok(live: &Value, managers: &mut Managers, manager: &str, config: Value) -> Value {
        let (object, after) =
            apply(live, managers, manager, &config, false).expect("no conflict expected");
        *managers = after;
        object
    }

    #[test]
    fn merges_maps_and_replaces_lists() {
        let mut managers = Managers::default();
        let live = json!({ "spec": { "a": { "x": 1 }, "ports": [1, 2] } });
        let config = json!({ "spec": { "a": { "y": 2 }, "ports": [3] } });
        let merged = apply_ok(&live, &mut managers, "m", config);
        assert_eq!(
            merged,
            json!({ "spec": { "a": { "x": 1, "y": 2 }, "ports": [3] } })
        );
    }

    #[test]
    fn undeclared_fields_are_removed_unless_changed_or_shared() {
        let mut managers = Managers::default();
        let all = json!({ "data": { "a": "1", "b": "2", "c": "3" }, "labels": { "x": "y" } });
        let live = apply_ok(&json!({}), &mut managers, "m", all);
        let mut live = apply_ok(&live, &mut managers, "n", json!({ "data": { "c": "3" } }));
        live["data"]["b"] = json!("changed by hand");
        let live = apply_ok(&live, &mut managers, "m", json!({ "kept": true }));
        assert_eq!(
            live,
            json!({ "data": { "b": "changed by hand", "c": "3" }, "kept": true })
        );
    }

    #[test]
    fn another_managers_value_conflicts_unless_forced() {
        let mut managers = Managers::default();
        let live = apply_ok(
            &json!({}),
            &mut managers,
            "m",
            json!({ "spec": { "n": 1 } }),
        );
        let same = apply_ok(
            &live,
            &mut managers.clone(),
            "n",
            json!({ "spec": { "n": 1 } }),
        );
        assert_eq!(same, live);
        let config = json!({ "spec": { "n": 2 } });
        let conflicts = apply(&live, &managers, "n", &config, false).expect_err("a conflict");
        assert_eq!(conflicts, [("m".to_owned(), ".spec.n".to_owned())]);
        let (live, managers) = apply(&live, &managers, "n", &config, true).expect("forced");
        assert_eq!(live, config);
        let back = json!({ "spec": { "n": 1 } });
        let conflicts = apply(&live, &managers, "m", &back, false).expect_err("now n's");
        assert_eq!(conflicts, [("n".to_owned(), ".spec.n".to_owned())]);
    }

    #[test]
    fn a_value_and_a_map_in_one_place_conflict() {
        let mut managers = Managers::default();
        let live = apply_ok(&json!({}), &mut managers, "m", json!({ "a": { "b": 1 } }));
        assert!(apply(&live, &managers, "n", &json!({ "a": 1 }), false).is_err());
        assert!(apply(&live, &managers, "n", &json!({ "a": { "c": 1 } }), false).is_ok());
        assert!(apply(&live, &managers, "n", &json!({ "a": {} }), false).is_ok());
    }

    #[test]
    fn finalizers_and_owners_merge_as_sets_and_keep_their_order() {
        let mut managers = Managers::default();
        let live = json!({ "metadata": {
            "finalizers": ["z", "a"],
            "ownerReferences": [{ "uid": "1", "name": "one" }],
        } });
        let config = json!({ "metadata": {
            "finalizers": ["m"],
            "ownerReferences": [{ "uid": "2", "name": "two" }],
        } });
        let merged = apply_ok(&live, &mut managers, "op", config);
        assert_eq!(merged["metadata"]["finalizers"], json!(["z", "a", "m"]));
        let owners = json!([{ "uid": "1", "name": "one" }, { "uid": "2", "name": "two" }]);
        assert_eq!(merged["metadata"]["ownerReferences"], owners);
        let fewer = json!({ "metadata": { "finalizers": [] } });
        let merged = apply_ok(&merged, &mut managers, "op", fewer);
        assert_eq!(merged["metadata"]["finalizers"], json!(["z", "a"]));
        assert_eq!(
            merged["metadata"]["ownerReferences"],
            json!([{ "uid": "1", "name": "one" }])
        );
    }
}
