//! The clock that all processes of a run share.

use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds of the machine's clock.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
    })
}
