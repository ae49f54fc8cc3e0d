//! Which failures a user should see in the status of an object.

use tollgate_kube::ApplyError;

/// Whether a failure is likely to last until somebody changes something. Conflicts, overload and outages pass by
/// themselves.
pub fn is_shown(error: &ApplyError) -> bool {
    match error {
        ApplyError::Api(kube::Error::Api(status)) => !matches!(status.code, 409 | 429 | 503 | 504),
        ApplyError::Api(_) => false,
        _ => true,
    }
}
