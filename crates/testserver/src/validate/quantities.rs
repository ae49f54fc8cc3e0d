//! The quantities in the resources of pods and volume claims.

use serde_json::Value;

use super::super::quantity::{self, Quantity};
use super::super::resource::ResourceType;
use super::super::status::{Cause, Status};

/// Why an object cannot be read as its type. The status of the refusal depends on the verb.
#[derive(Debug)]
pub struct Unreadable;

impl Unreadable {
    /// 400, of a create or an update.
    pub fn in_body(self, ty: &ResourceType) -> Status {
        Status::bad_request(format!(
            "{kind} in version {version:?} cannot be handled as a {kind}: {rule}",
            kind = ty.kind,
            version = ty.version,
            rule = quantity::RULE
        ))
    }

    /// 422, of a merge patch or a JSON patch.
    pub fn in_patched(self, ty: &ResourceType, name: &str, patched: &Value) -> Status {
        let cause = Cause::invalid("patch", &patched.to_string().into(), quantity::RULE);
        Status::invalid(ty, name, &[cause])
    }

    /// 500, of a server-side apply.
    pub fn in_applied(self, ty: &ResourceType) -> Status {
        Status::internal(format!(
            "unable to convert unstructured object to {}, Kind={}: {}",
            ty.api_version,
            ty.kind,
            quantity::RULE
        ))
    }
}

/// Checks all quantities of an object. Those of a custom resource are texts like any other.
pub fn check(ty: &ResourceType, object: &Value) -> Result<(), Unreadable> {
    let has_pods = ["StatefulSet", "Job", "CronJob"].contains(&ty.kind);
    if has_pods && !are_quantities(&object["spec"]) {
        return Err(Unreadable);
    }
    Ok(())
}

/// Whether the requests and limits of all `resources` are quantities.
fn are_quantities(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.iter().all(|(name, field)| {
            let amounts = ["requests", "limits"].map(|kind| &field[kind]);
            let mut amounts = amounts.into_iter().filter_map(Value::as_object).flatten();
            let readable = name != "resources" || amounts.all(|(_, amount)| read(amount).is_some());
            readable && are_quantities(field)
        }),
        Value::Array(items) => items.iter().all(are_quantities),
        _ => true,
    }
}

/// Reads a quantity: a text or a number; null is zero.
pub fn read(value: &Value) -> Option<Quantity> {
    match value {
        Value::Null => Quantity::parse("0"),
        Value::Number(number) => Quantity::parse(&number.to_string()),
        value => Quantity::parse(value.as_str()?),
    }
}
