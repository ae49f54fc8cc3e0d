//! Kubernetes operators on tollgate's work queue, controller and limiters.

pub mod budget;
pub mod call;
pub mod client;
pub mod election;
pub mod explain;
pub mod rbac;
