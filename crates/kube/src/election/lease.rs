//! The Lease object: its conversion to and from the machine's record, and the requests for it.

use std::fmt;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp as WallTime;
use kube::api::{Api, PostParams};

use super::error::LeaseError;
use super::machine::{Answer, Operation};
use super::record::{Record, Stored};

/// Reads the record and the `resourceVersion` of a Lease; an absent `spec` is an empty record.
///
/// # Errors
/// A Lease without a `resourceVersion`: an update of it would be unconditional.
pub(super) fn stored(lease: &Lease) -> Result<Stored, &'static str> {
    let version = lease.metadata.resource_version.clone();
    let version = version.filter(|version| !version.is_empty());
    Ok(Stored {
        record: lease.spec.as_ref().map(record).unwrap_or_default(),
        version: version.ok_or("it has no resourceVersion")?,
    })
}

fn record(spec: &LeaseSpec) -> Record {
    let micros = |time: &Option<MicroTime>| Some(time.as_ref()?.0.as_microsecond());
    Record {
        holder: spec.holder_identity.clone(),
        duration_seconds: spec.lease_duration_seconds,
        acquire_time: micros(&spec.acquire_time),
        renew_time: micros(&spec.renew_time),
        transitions: spec.lease_transitions,
    }
}

/// Returns `lease` with `record` in its `spec`. All that the election does not use is kept: labels,
/// annotations, owners, the strategy.
pub(super) fn with_record(mut lease: Lease, record: &Record) -> Lease {
    let time = |micros: Option<i64>| WallTime::from_microsecond(micros?).ok().map(MicroTime);
    let spec = lease.spec.get_or_insert_default();
    spec.holder_identity.clone_from(&record.holder);
    spec.lease_duration_seconds = record.duration_seconds;
    spec.acquire_time = time(record.acquire_time);
    spec.renew_time = time(record.renew_time);
    spec.lease_transitions = record.transitions;
    lease
}

/// Where the Lease is, and how to reach it.
#[derive(Clone, Debug)]
pub(super) struct LeaseApi {
    pub(super) api: Api<Lease>,
    pub(super) namespace: String,
    pub(super) name: String,
}

/// The answer for the machine, with the Lease it was read from or the error that it stands for.
pub(super) type Answered = (Answer, Result<Option<Lease>, LeaseError>);

impl LeaseApi {
    /// Performs `operation`; `last` is the Lease last read, whose other fields an update keeps.
    pub(super) async fn perform(self, operation: Operation, last: Lease) -> Answered {
        let params = PostParams::default();
        let result = match &operation {
            Operation::Read => self.api.get(&self.name).await,
            Operation::Create(record) => {
                let mut lease = with_record(Lease::default(), record);
                lease.metadata.name = Some(self.name.clone());
                self.api.create(&params, &lease).await
            }
            Operation::Update(Stored { record, version }) => {
                let mut lease = with_record(last, record);
                lease.metadata.name = Some(self.name.clone());
                lease.metadata.resource_version = Some(version.clone());
                self.api.replace(&self.name, &params, &lease).await
            }
        };
        self.answer(&operation, result)
    }

    fn answer(&self, operation: &Operation, result: kube::Result<Lease>) -> Answered {
        let lease = self.to_string();
        match result {
            Ok(object) => match stored(&object) {
                Ok(stored) => (Answer::Stored(stored), Ok(Some(object))),
                Err(message) => {
                    let message = message.to_owned();
                    (
                        Answer::Failed,
                        Err(LeaseError::Malformed { lease, message }),
                    )
                }
            },
            Err(kube::Error::Api(status)) => {
                let error = LeaseError::refused(&self.namespace, &self.name, &status);
                match (status.code, operation) {
                    // To a create, it means that the namespace does not exist.
                    (404, Operation::Create(_)) => (Answer::NotFound, Err(error)),
                    (404, _) => (Answer::NotFound, Ok(None)),
                    (409, _) => (Answer::Conflict, Ok(None)),
                    _ => (Answer::Failed, Err(error)),
                }
            }
            Err(kube::Error::SerdeError(error)) => {
                let message = error.to_string();
                (
                    Answer::Failed,
                    Err(LeaseError::Malformed { lease, message }),
                )
            }
            Err(error) => {
                let message = error.to_string();
                (Answer::Failed, Err(LeaseError::NoAnswer { lease, message }))
            }
        }
    }
}

impl fmt::Display for LeaseApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests;
