//! The concurrent shell around the core: the atomic word, the lock, and the line of waiters behind it.

pub(crate) mod bucket_fill;
pub(crate) mod cached_denial;
pub(crate) mod cell;
pub(crate) mod configs;
pub(crate) mod desk;
pub(crate) mod gate;
pub(crate) mod locked_line;
