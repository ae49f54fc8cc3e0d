//! Minimal discovery documents of the served types.

use serde_json::{Value, json};

use super::resource::ResourceType;
use super::status::Status;

/// `/version`.
pub fn version() -> Value {
    json!({
        "major": "1",
        "minor": "35",
        "gitVersion": "v1.35.0",
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "",
        "platform": "",
    })
}

/// `/api`.
pub fn core_versions() -> Value {
    json!({ "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [] })
}

/// `/apis`.
pub fn groups(served: &[&ResourceType]) -> Value {
    let named = served.iter().filter(|ty| !ty.group.is_empty());
    let mut named: Vec<&ResourceType> = named.copied().collect();
    // Types of one group stand together in the table, and every group has one version.
    named.dedup_by_key(|ty| ty.group);
    let groups: Vec<Value> = named.into_iter().map(group_of).collect();
    json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups })
}

/// `/apis/GROUP`.
pub fn group(served: &[&ResourceType], name: &str) -> Result<Value, Status> {
    let ty = served
        .iter()
        .find(|ty| !name.is_empty() && ty.group == name);
    let mut group = ty.map(|ty| group_of(ty)).ok_or_else(Status::no_such_path)?;
    group["kind"] = "APIGroup".into();
    group["apiVersion"] = "v1".into();
    Ok(group)
}

fn group_of(ty: &ResourceType) -> Value {
    let version = json!({ "groupVersion": ty.api_version, "version": ty.version });
    json!({ "name": ty.group, "versions": [version], "preferredVersion": version })
}

/// `/api/v1` and `/apis/GROUP/VERSION`.
pub fn resources(served: &[&ResourceType], group: &str, version: &str) -> Result<Value, Status> {
    let of_version = served
        .iter()
        .filter(|ty| ty.group == group && ty.version == version);
    let types: Vec<_> = of_version.collect();
    let first = types.first().ok_or_else(Status::no_such_path)?;
    let resources: Vec<Value> = types.iter().flat_map(|ty| resources_of(ty)).collect();
    Ok(json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": first.api_version,
        "resources": resources,
    }))
}

fn resources_of(ty: &ResourceType) -> Vec<Value> {
    let resource = |name: String, singular: String, verbs: &[&str]| {
        json!({
            "name": name,
            "singularName": singular,
            "namespaced": ty.namespaced,
            "kind": ty.kind,
            "verbs": verbs,
        })
    };
    let all = [
        "create", "delete", "get", "list", "patch", "update", "watch",
    ];
    let mut resources = vec![resource(ty.plural.to_owned(), ty.kind.to_lowercase(), &all)];
    if ty.has_status {
        let name = format!("{}/status", ty.plural);
        resources.push(resource(name, String::new(), &["get", "patch", "update"]));
    }
    resources
}
