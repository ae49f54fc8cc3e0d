//! The sequential core: the states of keys, and who waits for what. `now` is an argument; nothing here
//! reads a clock or takes a lock.

pub(crate) mod add_error;
pub(crate) mod admit;
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
pub(crate) mod rest;
pub(crate) mod run;
pub(crate) mod throttle;
pub(crate) mod waiting;
pub(crate) mod wheel;
