//! What the election reads from a Lease, and what it writes.

use std::fmt;
use std::time::Duration;

use super::config::LONGEST_LEASE;

/// One uninterrupted leadership, numbered by the `leaseTransitions` of its Lease.
///
/// The number is a fencing number: it increases with each term of any candidate, and no two terms
/// of a Lease share one. A candidate that loses its lease and wins it again starts another term.
/// Deleting the Lease starts anew, except for candidates that have seen it before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(u32);

impl Term {
    /// Returns the term with the number `number`.
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// Returns the fencing number.
    pub const fn number(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The fields of a Lease's `spec` that the election uses.
///
/// The times are for people: no decision depends on them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// `holderIdentity`; absent or empty if no candidate holds the lease.
    pub holder: Option<String>,
    /// `leaseDurationSeconds`.
    pub duration_seconds: Option<i32>,
    /// `acquireTime`, in microseconds since the Unix epoch by the holder's wall clock.
    pub acquire_time: Option<i64>,
    /// `renewTime`, in microseconds since the Unix epoch by the holder's wall clock.
    pub renew_time: Option<i64>,
    /// `leaseTransitions`.
    pub transitions: Option<i32>,
}

impl Record {
    /// Returns the identity of the holder, if the record names one.
    pub fn holder(&self) -> Option<&str> {
        self.holder.as_deref().filter(|holder| !holder.is_empty())
    }

    /// Returns the duration that the holder wrote; `None` if it is absent, not positive, or longer
    /// than a day, which no valid configuration writes.
    pub fn duration(&self) -> Option<Duration> {
        let seconds = u64::try_from(self.duration_seconds?).ok()?;
        let duration = Duration::from_secs(seconds);
        (!duration.is_zero() && duration <= LONGEST_LEASE).then_some(duration)
    }

    /// Returns whether other candidates judge `other` as they judge this record.
    pub(super) fn counts_as(&self, other: &Self) -> bool {
        self.holder() == other.holder()
            && self.duration_seconds == other.duration_seconds
            && self.transitions == other.transitions
    }

    /// Returns the number of the record's term; an absent or negative number counts as zero.
    pub fn term(&self) -> Term {
        Term(
            self.transitions
                .map_or(0, |number| number.max(0).unsigned_abs()),
        )
    }
}

/// A record as the server stored it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The record.
    pub record: Record,
    /// The `resourceVersion` of the Lease: differs after each change of the object.
    pub version: String,
}
