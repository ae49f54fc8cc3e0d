use kube::core::ObjectMeta;

use super::*;

fn record_of_all() -> Record {
    Record {
        holder: Some("a".to_owned()),
        duration_seconds: Some(15),
        acquire_time: Some(1_700_000_000_000_001),
        renew_time: Some(1_700_000_002_000_000),
        transitions: Some(4),
    }
}

fn with_version(mut lease: Lease, version: &str) -> Lease {
    lease.metadata.resource_version = Some(version.to_owned());
    lease
}

#[test]
fn a_record_survives_the_way_to_the_server_and_back() {
    let record = record_of_all();
    let lease = with_version(with_record(Lease::default(), &record), "7");
    let json = serde_json::to_value(&lease).unwrap();
    assert_eq!(json["spec"]["renewTime"], "2023-11-14T22:13:22.000000Z");
    assert_eq!(json["spec"]["acquireTime"], "2023-11-14T22:13:20.000001Z");
    let back = serde_json::from_value(json).unwrap();
    let version = "7".to_owned();
    assert_eq!(stored(&back), Ok(Stored { record, version }));
}

#[test]
fn an_update_keeps_what_the_election_does_not_use() {
    let lease: Lease = serde_json::from_value(serde_json::json!({
        "metadata": { "name": "x", "labels": { "team": "a" }, "annotations": { "k": "v" } },
        "spec": { "holderIdentity": "old", "strategy": "OldestEmulationVersion" },
    }))
    .unwrap();
    let changed = with_record(lease.clone(), &record_of_all());
    assert_eq!(changed.metadata, lease.metadata);
    let spec = changed.spec.unwrap();
    assert_eq!(spec.strategy.as_deref(), Some("OldestEmulationVersion"));
    assert_eq!(spec.holder_identity.as_deref(), Some("a"));
}

#[test]
fn a_lease_without_a_spec_is_free_and_one_without_a_version_is_an_error() {
    let empty = stored(&with_version(Lease::default(), "1")).unwrap();
    assert_eq!(empty.record, Record::default());
    assert_eq!(empty.record.holder(), None);
    assert!(stored(&Lease::default()).is_err());
    assert!(stored(&with_version(Lease::default(), "")).is_err());
}

#[test]
fn a_time_out_of_range_is_left_out() {
    let record = Record {
        renew_time: Some(i64::MAX),
        ..record_of_all()
    };
    let spec = with_record(Lease::default(), &record).spec.unwrap();
    assert_eq!(spec.renew_time, None);
    assert!(spec.acquire_time.is_some());
}

#[test]
fn durations_that_make_no_sense_are_not_believed() {
    for (seconds, believed) in [
        (None, None),
        (Some(0), None),
        (Some(-5), None),
        (Some(i32::MIN), None),
        (Some(i32::MAX), None),
        (Some(86_401), None),
        (Some(86_400), Some(86_400)),
        (Some(1), Some(1)),
    ] {
        let record = Record {
            duration_seconds: seconds,
            ..Record::default()
        };
        let duration = record.duration().map(|duration| duration.as_secs());
        assert_eq!(duration, believed, "{seconds:?}");
    }
}

#[test]
fn errors_name_the_missing_rule_or_the_lease() {
    let status = |code, message: &str| kube::core::Status {
        code,
        message: message.to_owned(),
        ..kube::core::Status::default()
    };
    let cannot = "leases.coordination.k8s.io \"x\" is forbidden: User \"u\" cannot get resource";
    let error = LeaseError::refused("prod", "x", &status(403, cannot)).to_string();
    let rule = "forbidden: leases.coordination.k8s.io: needs get, create, update in namespace prod";
    assert!(error.starts_with(rule), "{error}");
    assert!(error.contains("User \"u\" cannot get"), "{error}");

    let terminating =
        "unable to create new content in namespace prod because it is being terminated";
    let error = LeaseError::refused("prod", "x", &status(403, terminating)).to_string();
    assert!(error.contains("answered 403 for lease prod/x"), "{error}");
}

#[tokio::test]
async fn answers_are_told_apart() {
    let service = tower::service_fn(async |_: http::Request<kube::client::Body>| {
        Ok::<_, std::convert::Infallible>(http::Response::new(
            http_body_util::Empty::<bytes::Bytes>::new(),
        ))
    });
    let lease = LeaseApi {
        api: Api::namespaced(kube::Client::new(service, "prod"), "prod"),
        namespace: "prod".to_owned(),
        name: "x".to_owned(),
    };
    let refusal = |code| {
        let status = kube::core::Status {
            code,
            ..kube::core::Status::default()
        };
        Err(kube::Error::Api(Box::new(status)))
    };
    let create = Operation::Create(Record::default());
    assert_eq!(
        lease.answer(&Operation::Read, refusal(404)),
        (Answer::NotFound, Ok(None))
    );
    assert_eq!(
        lease.answer(&create, refusal(409)),
        (Answer::Conflict, Ok(None))
    );
    let (answer, error) = lease.answer(&create, refusal(404));
    assert_eq!(answer, Answer::NotFound);
    assert!(
        matches!(error, Err(LeaseError::Refused { code: 404, .. })),
        "{error:?}"
    );
    let (answer, error) = lease.answer(&Operation::Read, refusal(500));
    assert_eq!(answer, Answer::Failed);
    assert!(
        matches!(error, Err(LeaseError::Refused { code: 500, .. })),
        "{error:?}"
    );
    let (answer, error) = lease.answer(&Operation::Read, Ok(Lease::default()));
    assert_eq!(answer, Answer::Failed);
    assert!(
        matches!(error, Err(LeaseError::Malformed { .. })),
        "{error:?}"
    );

    let named = Lease {
        metadata: ObjectMeta {
            resource_version: Some("3".to_owned()),
            ..ObjectMeta::default()
        },
        ..Lease::default()
    };
    let (answer, result) = lease.answer(&Operation::Read, Ok(named.clone()));
    assert!(matches!(answer, Answer::Stored(Stored { version, .. }) if version == "3"));
    assert_eq!(result, Ok(Some(named)));
}
