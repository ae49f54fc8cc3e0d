//! Which tokens a request takes.

use crate::call::{Call, ResourceCall, Verb};

/// The tokens that a request takes. The [module](crate::budget) has the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// The lease bucket's, which no pause reaches.
    Lease,
    /// The budget's.
    Normal,
    /// The budget's, as long as its floor stays.
    Low,
}

/// A mark of a request for the low lane: an extension of the [`http::Request`].
///
/// It is for callers that build requests themselves; [`Budget::low`](super::Budget::low) marks all requests
/// of a client.
///
/// ```
/// use http::Request;
/// use tollgate_kube::budget::LowPriority;
///
/// let request = Request::get("/api/v1/nodes/a").extension(LowPriority).body(Vec::<u8>::new())?;
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct LowPriority;

impl Lane {
    /// Returns the lane of a request, which its caller has marked as low or not.
    pub fn of(call: &Call, marked_low: bool) -> Self {
        match call {
            Call::Resource(call) if is_lease(call) => Self::Lease,
            _ if marked_low => Self::Low,
            Call::Resource(call) if call.verb == Verb::List || is_event(call) => Self::Low,
            _ => Self::Normal,
        }
    }
}

/// Whether a request reads or writes one lease, as an election does. One that lists or watches leases is a
/// controller's, which could use up the lane.
fn is_lease(call: &ResourceCall) -> bool {
    let one = !matches!(call.verb, Verb::List | Verb::Watch | Verb::DeleteCollection);
    one && call.is_to("coordination.k8s.io", "leases")
}

fn is_event(call: &ResourceCall) -> bool {
    call.is_to("events.k8s.io", "events") || call.is_to("", "events")
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    fn lane(method: &Method, uri: &str, marked_low: bool) -> Lane {
        Lane::of(&Call::new(method, &uri.parse().unwrap()), marked_low)
    }

    #[test]
    fn each_request_has_its_lane() {
        let (get, post, put) = (&Method::GET, &Method::POST, &Method::PUT);
        let (patch, delete) = (&Method::PATCH, &Method::DELETE);
        let leases = "/apis/coordination.k8s.io/v1/namespaces/a/leases";
        let lease = &format!("{leases}/op");
        let databases = "/apis/example.com/v1/databases";
        let status = "/apis/example.com/v1/namespaces/a/databases/d/status";
        for (method, uri, expected) in [
            (get, lease.as_str(), Lane::Lease),
            (put, lease, Lane::Lease),
            (patch, lease, Lane::Lease),
            (delete, lease, Lane::Lease),
            (post, leases, Lane::Lease),
            (get, leases, Lane::Low),
            (get, &format!("{leases}?watch=1"), Lane::Normal),
            (delete, leases, Lane::Normal),
            (
                get,
                "/apis/example.com/v1/namespaces/a/leases/op",
                Lane::Normal,
            ),
            (get, databases, Lane::Low),
            (get, &format!("{databases}?watch=true"), Lane::Normal),
            (patch, status, Lane::Normal),
            (get, "/api/v1/namespaces/a/configmaps/c", Lane::Normal),
            (post, "/api/v1/namespaces/a/events", Lane::Low),
            (
                patch,
                "/apis/events.k8s.io/v1/namespaces/a/events/e",
                Lane::Low,
            ),
            (
                post,
                "/apis/example.com/v1/namespaces/a/events",
                Lane::Normal,
            ),
            (get, "/version", Lane::Normal),
        ] {
            assert_eq!(lane(method, uri, false), expected, "{method} {uri}");
            let marked = match expected {
                Lane::Normal => Lane::Low,
                other => other,
            };
            assert_eq!(lane(method, uri, true), marked, "{method} {uri}, marked");
        }
    }
}
