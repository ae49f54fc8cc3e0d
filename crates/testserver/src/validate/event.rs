//! The strict rules for events of `events.k8s.io/v1`.

use serde_json::Value;

use super::super::names;
use super::super::status::Cause;

/// The longest value of each required text.
const REQUIRED: [(&str, usize); 3] = [("reportingInstance", 128), ("action", 128), ("reason", 128)];

const LONGEST_NOTE: usize = 1_024;

/// Fields of older versions, which a new event leaves unset.
const DEPRECATED: [&str; 4] = [
    "deprecatedFirstTimestamp",
    "deprecatedLastTimestamp",
    "deprecatedCount",
    "deprecatedSource",
];

/// Checks an event of a namespace.
pub fn check(namespace: &str, event: &Value, causes: &mut Vec<Cause>) {
    let text = |field: &str| event[field].as_str().unwrap_or_default();
    if text("eventTime").is_empty() {
        causes.push(Cause::required("eventTime", ""));
    }
    match text("reportingController") {
        "" => causes.push(Cause::required("reportingController", "")),
        controller => {
            if let Some(why) = names::qualified_name(controller) {
                let value = controller.into();
                causes.push(Cause::invalid("reportingController", &value, &why));
            }
        }
    }
    for (field, longest) in REQUIRED {
        match text(field).len() {
            0 => causes.push(Cause::required(field, "")),
            length => check_length(field, length, longest, causes),
        }
    }
    check_length("message", text("note").len(), LONGEST_NOTE, causes);
    if !["Normal", "Warning"].contains(&text("type")) {
        let why = format!("has invalid value: {}", text("type"));
        causes.push(Cause::invalid("type", &"".into(), &why));
    }
    for field in DEPRECATED {
        if !event[field].is_null() {
            causes.push(Cause::invalid(field, &"".into(), "needs to be unset"));
        }
    }
    let regarding = event["regarding"]["namespace"].as_str().unwrap_or_default();
    if regarding.is_empty() && !["default", "kube-system"].contains(&namespace) {
        let why = "does not match event.namespace";
        causes.push(Cause::invalid(
            "involvedObject.namespace",
            &regarding.into(),
            why,
        ));
    }
    check_series(&event["series"], causes);
}

fn check_length(field: &str, length: usize, longest: usize, causes: &mut Vec<Cause>) {
    if length > longest {
        let why = format!("can have at most {longest} characters");
        causes.push(Cause::invalid(field, &"".into(), &why));
    }
}

fn check_series(series: &Value, causes: &mut Vec<Cause>) {
    if series.is_null() {
        return;
    }
    if series["count"].as_i64().unwrap_or_default() < 2 {
        causes.push(Cause::invalid(
            "series.count",
            &"".into(),
            "should be at least 2",
        ));
    }
    if series["lastObservedTime"].is_null() {
        causes.push(Cause::required("series.lastObservedTime", ""));
    }
}

/// Checks that an update changes nothing but the metadata and the series.
pub fn check_update(old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    for field in [
        "regarding",
        "reason",
        "note",
        "type",
        "eventTime",
        "action",
        "related",
        "reportingController",
        "reportingInstance",
    ] {
        if old[field] != new[field] {
            causes.push(Cause::invalid(field, &new[field], "field is immutable"));
        }
    }
}
