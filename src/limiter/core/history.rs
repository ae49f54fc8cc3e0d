//! The choice between the past admissions and a fresh start, when a limit changes.

/// What becomes of past admissions when a [`SlidingWindow`](crate::SlidingWindow) or an
/// [`IntervalTokenBucket`](crate::IntervalTokenBucket) changes its limit. Reservations still to come
/// stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum History {
    /// Past admissions count under the new limit, charges still to come included.
    Kept,
    /// Past admissions, charges and a pause are forgotten: a grant.
    Forgotten,
}
