//! Events through the recorder of the real Kubernetes client, and their rules.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use serde_json::{Value, json};

use super::super::Options;
use super::core::{Core, error_code};
use super::{client, start};

#[tokio::test]
async fn repeated_events_become_a_series() {
    let server = start(Options::default()).await;
    let reporter = Reporter::from("example.com/operator");
    let recorder = Recorder::new(client(&server), reporter);
    let event = Event {
        type_: EventType::Warning,
        reason: "Refused".into(),
        note: Some("the server refused the object".into()),
        action: "Apply".into(),
        secondary: None,
    };
    let reference = ObjectReference {
        kind: Some("Database".into()),
        name: Some("db".into()),
        namespace: Some("ns".into()),
        ..ObjectReference::default()
    };
    for _ in 0..3 {
        recorder.publish(&event, &reference).await.expect("valid");
    }
    let events = server.list("events");
    let [event] = events.as_slice() else {
        panic!("one event: {events:?}")
    };
    assert_eq!(event["series"]["count"], json!(3));
    assert_eq!(event["reason"], json!("Refused"));
}

fn event() -> Value {
    json!({
        "metadata": { "name": "db.1" },
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "example.com/operator",
        "reportingInstance": "operator-1",
        "action": "Apply",
        "reason": "Refused",
        "type": "Warning",
        "note": "the server refused the object",
        "regarding": { "kind": "Database", "name": "db", "namespace": "ns" },
    })
}

#[test]
fn an_event_without_its_required_fields_is_refused() {
    let mut core = Core::new();
    let long = "x".repeat(1_025);
    for (field, value) in [
        ("eventTime", json!(null)),
        ("reportingController", json!(null)),
        ("reportingController", json!("a b")),
        ("reportingInstance", json!("")),
        ("action", json!(null)),
        ("reason", json!(long[..129])),
        ("type", json!("Error")),
        ("note", json!(long)),
        ("regarding", json!({ "kind": "Database", "name": "db" })),
        ("deprecatedCount", json!(1)),
        (
            "series",
            json!({ "count": 1, "lastObservedTime": "2026-01-01T00:00:00.000000Z" }),
        ),
        ("series", json!({ "count": 2 })),
    ] {
        let mut broken = event();
        broken[field] = value;
        assert_eq!(error_code(core.create("events", broken)), 422, "{field}");
    }
    let mut longest = event();
    longest["note"] = json!(long[..1_024]);
    longest["reason"] = json!(long[..128]);
    core.create("events", longest).expect("valid");
}

#[test]
fn only_the_series_of_an_event_changes() {
    let mut core = Core::new();
    core.create("events", event()).expect("valid");
    for patch in [
        json!({ "note": "another" }),
        json!({ "regarding": { "name": "other" } }),
        json!({ "type": "Normal" }),
    ] {
        assert_eq!(error_code(core.merge("events", "db.1", patch)), 422);
    }
    let series = json!({ "count": 2, "lastObservedTime": "2026-01-01T00:00:01.000000Z" });
    let patch = json!({ "series": series, "metadata": { "labels": { "a": "b" } } });
    let patched = core.merge("events", "db.1", patch).expect("valid");
    assert_eq!(patched["series"], series);
}
