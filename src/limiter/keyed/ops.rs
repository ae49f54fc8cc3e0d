//! The operations of a keyed limiter, on one key and on all.

pub(crate) mod address;
pub(crate) mod builder;
pub(crate) mod change;
pub(crate) mod handle;
pub(crate) mod keys;
pub(crate) mod owned;
