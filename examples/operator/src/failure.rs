//! Why a reconcile failed, and which failures a user should see in the status of an object.

use std::error::Error;
use std::fmt;

use tollgate_kube::ApplyError;

/// Why a reconcile failed.
#[derive(Debug)]
pub enum Failure {
    /// A request failed, or was not made.
    Apply(ApplyError),
    /// The storage of a Database is not a number of bytes.
    Storage(String),
}

impl Failure {
    /// Whether it is likely to last until somebody changes something. Conflicts, overload and outages pass by
    /// themselves.
    pub fn is_shown(&self) -> bool {
        match self {
            Self::Apply(ApplyError::Api(kube::Error::Api(status))) => {
                !matches!(status.code, 409 | 429 | 503 | 504)
            }
            Self::Apply(ApplyError::Api(_)) => false,
            _ => true,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Apply(error) => error.fmt(f),
            Self::Storage(storage) => {
                write!(f, "spec.storage: {storage:?} is not a number of bytes")
            }
        }
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Apply(error) => error.source(),
            Self::Storage(_) => None,
        }
    }
}

impl From<ApplyError> for Failure {
    fn from(error: ApplyError) -> Self {
        Self::Apply(error)
    }
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        Self::Apply(error.into())
    }
}
