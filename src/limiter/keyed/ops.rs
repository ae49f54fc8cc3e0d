//! The operations of a keyed limiter and of its keys.

pub(crate) mod address;
pub(crate) mod builder;
pub(crate) mod change;
pub(crate) mod handle;
pub(crate) mod keys;
pub(crate) mod owned;
