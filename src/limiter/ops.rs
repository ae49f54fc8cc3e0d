//! The operations of the public limiters.

pub(crate) mod acquire;
pub(crate) mod all_of;
pub(crate) mod at;
pub(crate) mod atomic;
pub(crate) mod bucket;
pub(crate) mod interval_bucket;
pub(crate) mod lease;
pub(crate) mod limiter;
pub(crate) mod locked;
pub(crate) mod metered;
pub(crate) mod quota_limiter;
pub(crate) mod rate_limiter;
pub(crate) mod reservation;
pub(crate) mod single;
pub(crate) mod sliding_window;
pub(crate) mod striped;
