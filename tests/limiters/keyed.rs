//! Limiters by key.

mod caller_code;
mod cases;
mod model;
mod quota_change;
