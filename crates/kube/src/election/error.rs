//! Why a request to the API server failed, in a line for the operator's log.

use kube::core::Status;

/// Why a request for the Lease failed. The election goes on: it tries again each retry period.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseError {
    /// The server refused the request (403) for lack of a permission.
    ///
    /// A server that has just started may answer so for a moment.
    #[error(
        "forbidden: leases.coordination.k8s.io: needs get, create, update in namespace {namespace}: {message}"
    )]
    Forbidden {
        /// The namespace of the Lease.
        namespace: String,
        /// The server's words.
        message: String,
    },
    /// The server answered with another error.
    #[error("the API server answered {code} for lease {lease}: {message}")]
    Refused {
        /// The namespace and name of the Lease.
        lease: String,
        /// The HTTP status.
        code: u16,
        /// The server's words.
        message: String,
    },
    /// The Lease cannot be used.
    #[error("lease {lease} is malformed: {message}")]
    Malformed {
        /// The namespace and name of the Lease.
        lease: String,
        /// What is wrong.
        message: String,
    },
    /// No answer came: the connection failed, or the answer could not be read.
    #[error("no answer from the API server for lease {lease}: {message}")]
    NoAnswer {
        /// The namespace and name of the Lease.
        lease: String,
        /// The client's words.
        message: String,
    },
}

impl LeaseError {
    pub(super) fn refused(namespace: &str, name: &str, status: &Status) -> Self {
        let message = status.message.clone();
        // A quota or a namespace that is being deleted is a 403 too, and no rule helps.
        let other = ["exceeded quota", "being terminated"];
        if status.code == 403 && !other.iter().any(|why| message.contains(why)) {
            let namespace = namespace.to_owned();
            return Self::Forbidden { namespace, message };
        }
        Self::Refused {
            lease: format!("{namespace}/{name}"),
            code: status.code,
            message,
        }
    }
}
