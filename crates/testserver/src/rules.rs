//! The rules for writes to existing objects.

use serde_json::{Value, json};

use super::meta;
use super::status::{Cause, Status};
use super::store::{Key, Target};

/// Increments the generation, at a change of the desired state.
pub fn bump_generation(object: &mut Value) {
    let generation = object["metadata"]["generation"]
        .as_i64()
        .unwrap_or_default();
    meta::set(object, "generation", generation + 1);
}

/// The name under which claims are kept; claims on the status have a name of their own.
pub fn claimant(target: &Target, manager: &str) -> String {
    if target.status {
        format!("{manager}/status")
    } else {
        manager.to_owned()
    }
}

/// The part of an apply configuration that the target lets its manager own.
pub fn declared(target: &Target, config: &Value) -> Value {
    let mut declared = config.clone();
    meta::strip_nulls(&mut declared);
    if target.status {
        return match declared["status"].take() {
            Value::Null => json!({}),
            status => json!({ "status": status }),
        };
    }
    if let Some(fields) = declared.as_object_mut() {
        fields.retain(|field, _| !matches!(field.as_str(), "apiVersion" | "kind"));
        if target.ty.has_status {
            fields.remove("status");
        }
    }
    if let Some(metadata) = meta::metadata_mut(&mut declared) {
        let identity = ["name", "namespace", "managedFields", "selfLink"];
        metadata.retain(|field, _| {
            !identity.contains(&field.as_str()) && !meta::SERVER_FIELDS.contains(&field.as_str())
        });
    }
    declared
}

/// A name or namespace in a written object must be that of the path.
pub fn check_identity(key: &Key, object: &Value) -> Result<(), Status> {
    for (field, expected) in [("name", &key.name), ("namespace", &key.namespace)] {
        let found = meta::text(object, field);
        if !found.is_empty() && found != expected {
            return Err(Status::bad_request(format!(
                "the {field} of the object ({found}) does not match the {field} on the request ({expected})"
            )));
        }
    }
    Ok(())
}

/// An apply or an update may create an object unless it names a status or a uid.
pub fn check_may_create(target: &Target, config: &Value) -> Result<(), Status> {
    let (ty, name) = (target.ty, &target.key.name);
    if target.status {
        return Err(Status::not_found(ty, name));
    }
    let uid = meta::text(config, "uid");
    if uid.is_empty() {
        return Ok(());
    }
    let why = format!("Precondition failed: no object with uid {uid} was found");
    Err(Status::conflict(ty, name, &why))
}

/// A uid or resource version in a written object must be that of the stored one.
pub fn check_preconditions(target: &Target, old: &Value, new: &Value) -> Result<(), Status> {
    let (ty, name) = (target.ty, &target.key.name);
    let differs = |field| {
        let wanted = meta::text(new, field);
        !wanted.is_empty() && wanted != meta::text(old, field)
    };
    if differs("uid") {
        let (wanted, found) = (meta::text(new, "uid"), meta::text(old, "uid"));
        let why = format!(
            "Precondition failed: UID in precondition: {wanted}, UID in object meta: {found}"
        );
        return Err(Status::conflict(ty, name, &why));
    }
    if differs("resourceVersion") {
        return Err(Status::stale(ty, name));
    }
    Ok(())
}

/// A deleted object may lose finalizers but gains none.
pub fn check_no_new_finalizers(target: &Target, old: &Value, new: &Value) -> Result<(), Status> {
    let added: Vec<&str> = meta::finalizers(new)
        .filter(|finalizer| !meta::finalizers(old).any(|known| known == *finalizer))
        .collect();
    if added.is_empty() {
        return Ok(());
    }
    let why = format!(
        "no new finalizers can be added if the object is being deleted, found new finalizers {added:?}"
    );
    let cause = Cause::forbidden("metadata.finalizers", &why);
    Err(Status::invalid(target.ty, &target.key.name, &[cause]))
}

/// The server has its types from the start, so a definition is established at once.
pub fn establish(definition: &mut Value) {
    let names = definition["spec"]["names"].clone();
    let condition = |kind: &str, reason: &str| json!({ "type": kind, "status": "True", "reason": reason, "message": "" });
    let conditions = [
        condition("NamesAccepted", "NoConflicts"),
        condition("Established", "InitialNamesAccepted"),
    ];
    let status = json!({
        "acceptedNames": names,
        "conditions": conditions,
        "storedVersions": ["v1"],
    });
    meta::set_status(definition, status);
}
