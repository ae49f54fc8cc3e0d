//! Kubernetes operators on [tollgate]'s work queue, controller and limiters.
//!
//! The place of kube's own `Controller`, with what an operator needs in production around it: live changes ahead
//! of resyncs, a backoff for each object, an exact budget of API calls, leader election that does not trust wall
//! clocks, and a shutdown that loses nothing.
//!
//! ```no_run
//! use k8s_openapi::api::core::v1::{ConfigMap, Service};
//! use kube::runtime::watcher;
//! use kube::{Api, Config};
//! use serde_json::json;
//! use tollgate_kube::{Action, Context, Object, Operator, ReconcileError};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut operator = Operator::builder(Config::infer().await?).name("services").build().await?;
//! let client = operator.client();
//! operator
//!     .for_kind::<ConfigMap>(Api::all(client.clone()))
//!     .config(watcher::Config::default().labels("example.com/web=true"))
//!     .owns::<Service>(Api::all(client), watcher::Config::default())
//!     .concurrency(3)
//!     .reconcile(async |object, context| reconcile(object, context).await)?;
//! let report = operator.run().await?;
//! println!("{report:?}");
//! # Ok(())
//! # }
//!
//! /// Gives each ConfigMap with the label a Service of its name.
//! async fn reconcile(object: Object<ConfigMap>, context: Context) -> Result<Action, ReconcileError> {
//!     let Object::Found(map) = object else { return Ok(Action::done()) };
//!     let port = map.data.as_ref().and_then(|data| data.get("port")?.parse::<u16>().ok());
//!     let service = json!({
//!         "metadata": { "name": map.metadata.name },
//!         "spec": { "ports": [{ "port": port.unwrap_or(80), "protocol": "TCP" }] },
//!     });
//!     context.apply::<_, Service>(&*map, service).await?;
//!     Ok(Action::done())
//! }
//! ```
//!
//! | question | answer |
//! |---|---|
//! | What is reconciled first? | Live changes; then, at a lower priority, what a list found. Keys that wait long rise. |
//! | What happens to a failure? | The object is retried with its own backoff, which events do not cut short. |
//! | What if the server says 429? | The [`budget`] pauses for all requests, for as long as the server asks. |
//! | What may a late write overwrite? | Nothing: [`Context::apply`] and the other writes carry the version that they were computed from. |
//! | Who is leader? | See [`election`], which also says what a lease cannot promise. |
//! | What rights does it need? | Those that [`rbac`] recorded in a run. |
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
pub use controller::{ControllerBuilder, Handle, Left, Queue};
pub use explain::explain;
pub use kinds::{Kind, Scope};
pub use operator::{Operator, OperatorBuilder, OperatorError, Report};
pub use stores::Stores;
pub use tollgate::{Action, ReconcileError};
pub use writes::{ApplyError, conditions, is_controlled};
