//! Conditions of a status.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

/// Puts `condition` in place of the one of its type. Its transition time becomes the present if its status
/// changes, and stays otherwise: a condition that says the same leaves the status equal, and nothing is written.
///
/// ```
/// use tollgate_kube::conditions::{new, set};
///
/// let mut conditions = Vec::new();
/// set(&mut conditions, new("Ready", false, "Waiting", "0 of 3 are ready", Some(1)));
/// let before = conditions.clone();
/// set(&mut conditions, new("Ready", false, "Waiting", "0 of 3 are ready", Some(1)));
/// assert_eq!(conditions, before);
/// ```
pub fn set(conditions: &mut Vec<Condition>, mut condition: Condition) {
    match conditions
        .iter_mut()
        .find(|each| each.type_ == condition.type_)
    {
        Some(before) => {
            if before.status == condition.status {
                condition.last_transition_time = before.last_transition_time.clone();
            }
            *before = condition;
        }
        None => conditions.push(condition),
    }
}

/// A condition that changed now: `True` or `False`, with the generation that it describes.
pub fn new(
    type_: &str,
    status: bool,
    reason: &str,
    message: impl Into<String>,
    generation: Option<i64>,
) -> Condition {
    let now = Timestamp::now();
    Condition {
        type_: type_.to_owned(),
        status: if status { "True" } else { "False" }.to_owned(),
        reason: reason.to_owned(),
        message: message.into(),
        // In whole seconds, as the API server stores it.
        last_transition_time: Time(Timestamp::from_second(now.as_second()).unwrap_or(now)),
        observed_generation: generation,
    }
}
