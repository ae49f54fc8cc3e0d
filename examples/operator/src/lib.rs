//! A Kubernetes operator for a `Database` resource, with tollgate's work queue, controller and
//! limiter in the place of kube's own scheduler; and an API server inside the process to run it
//! against.
//!
//! `watches` turn news of objects into keys; `operator` wires them to queue and controller; `reconcile` is what it does with one
//! object; `demo` runs it against the embedded server, with `load` as its users, and checks that it
//! kept every promise.

pub mod apiserver;
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
