//! The concurrent shells around the sequential core: the atomic word, the lock, and the line of
//! waiters behind it. A shell holds no arithmetic of its own: it chooses where a decision of the
//! core is made, and publishes the result.

pub(crate) mod bucket;
pub(crate) mod cached_denial;
pub(crate) mod config_ring;
pub(crate) mod line_shell;
pub(crate) mod locked_line;
pub(crate) mod ordered_lock;
pub(crate) mod stripes;
pub(crate) mod turn;
#[cfg(all(test, not(tollgate_loom)))]
mod turn_tests;
pub(crate) mod word_cell;
