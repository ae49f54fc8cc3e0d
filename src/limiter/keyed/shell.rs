//! The concurrent shell of a keyed limiter: which lock a key is behind, and how a key gets a place.

pub(crate) mod admit;
pub(crate) mod change;
pub(crate) mod in_line;
pub(crate) mod keyed_limiter;
pub(crate) mod place;
