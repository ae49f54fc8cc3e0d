//! The keys and values of labels.

use serde_json::Value;

use super::super::names;
use super::super::status::Cause;

/// Checks the labels at a path.
pub fn check(path: &str, labels: &Value, causes: &mut Vec<Cause>) {
    for (key, value) in labels.as_object().into_iter().flatten() {
        if let Some(why) = names::qualified_name(key) {
            causes.push(Cause::invalid(path, &key.as_str().into(), &why));
        }
        let verdict = value.as_str().and_then(names::label_value);
        if let Some(why) = verdict {
            causes.push(Cause::invalid(path, value, &why));
        }
    }
}
