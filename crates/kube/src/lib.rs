#![doc = include_str!("../README.md")]
//!
//! The [guide] has a page for those who come from kube's `Controller`, and each [promise](guide::promises) with its
//! test.

pub mod budget;
pub mod call;
pub mod client;
mod context;
mod controller;
mod debug;
mod drive;
pub mod election;
mod explain;
pub mod guide;
mod kinds;
mod leading;
mod observers;
mod operator;
mod progress;
pub mod rbac;
mod serve;
mod source;
mod stores;
mod writes;

pub use context::{Context, Object, Reconciler};
pub use controller::{ControllerBuilder, Handle, Left};
pub use explain::explain;
pub use kinds::{Kind, Queue, Scope};
pub use operator::{Operator, OperatorBuilder, OperatorError, Report};
pub use stores::Stores;
pub use tollgate::{Action, ReconcileError};
pub use writes::{ApplyError, conditions, is_controlled};
