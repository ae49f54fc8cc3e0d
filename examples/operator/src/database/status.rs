//! The status of a Database.

use k8s_openapi::api::apps::v1::StatefulSet;
use tollgate_kube::conditions;

use super::crd::{Database, DatabaseStatus};
use crate::failure::Failure;

/// The status by the instances.
pub fn observed(database: &Database, instances: &StatefulSet) -> DatabaseStatus {
    // Before its controller has seen the latest generation, the status is outdated, and an event follows.
    let fresh = instances
        .status
        .as_ref()
        .filter(|status| status.observed_generation == instances.metadata.generation);
    let ready = fresh.and_then(|status| status.ready_replicas).unwrap_or(0);
    let wanted = database.spec.replicas;
    let reason = if ready == wanted {
        "AllReplicasReady"
    } else {
        "ReplicasNotReady"
    };
    let message = format!("{ready} of {wanted} replicas are ready");
    with_condition(database, ready, ready == wanted, reason, message)
}

/// The status while the instances are deleted, to be made anew with other claims.
pub fn replacing(database: &Database) -> DatabaseStatus {
    let before = database.status.as_ref();
    let ready = before.map_or(0, |status| status.ready_replicas);
    let message = "the StatefulSet is being replaced".to_owned();
    with_condition(database, ready, false, "Replacing", message)
}

/// The status of an object that the API server refuses to bring to its desired state.
pub fn refused(database: &Database, error: &Failure) -> DatabaseStatus {
    let before = database.status.as_ref();
    let ready = before.map_or(0, |status| status.ready_replicas);
    with_condition(database, ready, false, "Refused", error.to_string())
}

fn with_condition(
    database: &Database,
    ready_replicas: i32,
    is_ready: bool,
    reason: &str,
    message: String,
) -> DatabaseStatus {
    let mut status = database.status.clone().unwrap_or_default();
    let generation = database.metadata.generation;
    let condition = conditions::new("Ready", is_ready, reason, message, generation);
    conditions::set(&mut status.conditions, condition);
    DatabaseStatus {
        observed_generation: generation,
        ready_replicas,
        conditions: status.conditions,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::DatabaseSpec;
    use k8s_openapi::api::apps::v1::StatefulSetStatus;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    fn database(replicas: i32) -> Database {
        let spec = DatabaseSpec {
            engine: "postgres".into(),
            replicas,
            storage: "1Gi".into(),
        };
        let mut database = Database::new("db", spec);
        database.metadata.generation = Some(4);
        database
    }

    fn instances(ready: i32, observed: i64) -> StatefulSet {
        let status = StatefulSetStatus {
            ready_replicas: Some(ready),
            observed_generation: Some(observed),
            ..StatefulSetStatus::default()
        };
        let mut set = StatefulSet {
            status: Some(status),
            ..StatefulSet::default()
        };
        set.metadata.generation = Some(2);
        set
    }

    #[test]
    fn a_database_is_ready_once_all_replicas_of_its_generation_are() {
        let status = observed(&database(3), &instances(3, 2));
        assert_eq!(
            (status.ready_replicas, status.observed_generation),
            (3, Some(4))
        );
        assert_eq!(status.conditions[0].status, "True");
        let stale = observed(&database(3), &instances(3, 1));
        assert_eq!(
            (stale.ready_replicas, stale.conditions[0].status.as_str()),
            (0, "False")
        );
    }

    #[test]
    fn a_condition_keeps_its_transition_time_until_it_changes() {
        let mut database = database(3);
        let long_ago = Time(k8s_openapi::jiff::Timestamp::from_second(1).unwrap());
        let mut status = observed(&database, &instances(3, 2));
        status.conditions[0].last_transition_time = long_ago.clone();
        database.status = Some(status);
        let same = observed(&database, &instances(3, 2));
        assert_eq!(same.conditions[0].last_transition_time, long_ago);
        let changed = observed(&database, &instances(2, 2));
        assert_ne!(changed.conditions[0].last_transition_time, long_ago);
    }

    #[test]
    fn a_refusal_says_why_and_keeps_the_replicas() {
        let mut database = database(3);
        database.status = Some(observed(&database, &instances(3, 2)));
        let status = refused(&database, &Failure::Storage("lots".into()));
        assert_eq!(
            (status.ready_replicas, status.conditions[0].status.as_str()),
            (3, "False")
        );
        assert!(status.conditions[0].message.contains("\"lots\""));
    }
}
