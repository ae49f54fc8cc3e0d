//! The concurrent shell: the lock around the core, and what happens once it is released.

pub(crate) mod shared;
