//! The bounds of a Lease.

use serde_json::Value;

use super::super::status::Cause;

/// Checks a Lease.
pub fn check(object: &Value, causes: &mut Vec<Cause>) {
    for (field, lowest, why) in [
        ("leaseDurationSeconds", 1, "must be greater than 0"),
        ("leaseTransitions", 0, "must be greater than or equal to 0"),
    ] {
        let value = &object["spec"][field];
        if value.as_i64().is_some_and(|number| number < lowest) {
            causes.push(Cause::invalid(&format!("spec.{field}"), value, why));
        }
    }
}
