//! The schemas of the custom resources.

use serde_json::Value;

use super::super::status::Cause;

/// Checks a Database.
pub fn database(object: &Value, causes: &mut Vec<Cause>) {
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
