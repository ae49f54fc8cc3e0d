//! The sequential core of the queue: the state of each key, the order of hand-outs, and the callers
//! that wait.
//!
//! Nothing here reads a clock, takes a lock or wakes a waker: `now` is an argument, and wakers are
//! returned for the shell to wake once the lock is released.

pub(crate) mod add_error;
pub(crate) mod bands;
pub(crate) mod debounce;
pub(crate) mod entry;
pub(crate) mod given_up;
pub(crate) mod groups;
pub(crate) mod hash;
pub(crate) mod index;
pub(crate) mod keys;
pub(crate) mod machine;
pub(crate) mod options;
pub(crate) mod priority;
pub(crate) mod run;
pub(crate) mod throttle;
pub(crate) mod waiting;
pub(crate) mod wheel;
