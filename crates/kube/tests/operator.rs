//! Operators against the embedded API server: what is reconciled, in which order, and what a write may overwrite.

#[path = "operator/order.rs"]
mod order;
#[path = "operator/setup.rs"]
mod setup;
#[path = "operator/terms.rs"]
mod terms;
#[path = "operator/watching.rs"]
mod watching;
#[path = "operator/writing.rs"]
mod writing;
