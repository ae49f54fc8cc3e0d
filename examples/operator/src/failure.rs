//! Why a reconcile failed, and which failures a user should see in the status of an object.

use std::error::Error;
use std::fmt;

use tollgate_kube::ApplyError;

/// Errors of the server in a row that do not pass by themselves.
const LASTING: u32 = 5;

/// Why a reconcile failed.
#[derive(Debug)]
pub enum Failure {
    /// A request failed, or was not made.
    Apply(ApplyError),
    /// The storage of a Database is not a number of bytes.
    Storage(String),
}

impl Failure {
    /// Whether it is likely to last until a user changes something. Conflicts, overload and outages pass by
    /// themselves. So do most of the server's own errors, unless there were `failures` in a row before.
    pub fn is_shown(&self, failures: u32) -> bool {
        match self {
            Self::Apply(ApplyError::Api(kube::Error::Api(status))) => match status.code {
                409 | 429 | 503 | 504 => false,
                500.. => failures >= LASTING,
                _ => true,
            },
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

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    #[test]
    fn what_passes_by_itself_is_not_shown() {
        let failure = |code| {
            let status = Status {
                code,
                ..Status::default()
            };
            Failure::from(kube::Error::Api(status.boxed()))
        };
        for code in [400, 403, 404, 422] {
            assert!(failure(code).is_shown(0), "{code}");
        }
        for code in [409, 429, 503, 504] {
            assert!(!failure(code).is_shown(100), "{code}");
        }
        assert!(!failure(500).is_shown(4) && failure(500).is_shown(5));
    }
}
