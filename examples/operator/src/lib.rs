//! A Kubernetes operator for a `Database` resource, with tollgate's work queue, controller and limiter in the
//! place of kube's own scheduler, and an embedded API server to run it against.
//!
//! `watches` turns events into keys; `operator` wires them to queue and controller; `reconcile` brings one object
//! to its desired state; `demo` runs the operator against the embedded server, with the users of `load`, and
//! checks convergence and budget.

pub mod children;
pub mod cli;
pub mod client;
pub mod cluster;
pub mod crd;
pub mod demo;
pub mod load;
pub mod measure;
pub mod metrics_endpoint;
pub mod operator;
pub mod progress;
pub mod reconcile;
pub mod report;
pub mod watches;
