//! The concurrent shell of a keyed limiter: which lock a key is behind, and how a key gets a place.

pub(crate) mod decide;
pub(crate) mod keyed_limiter;
pub(crate) mod place;
pub(crate) mod reconfigure;
pub(crate) mod take;
pub(crate) mod with_line;
