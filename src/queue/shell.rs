//! The concurrent shell: the lock around the sequential core, and what runs after its release.

pub(crate) mod finish;
pub(crate) mod limiter_waker;
pub(crate) mod shared;
pub(crate) mod state_guard;
