//! Leader election on a `coordination.k8s.io/v1` Lease, judged by each candidate's own clock.

mod config;
pub mod machine;
mod record;

pub use config::{ConfigError, ElectionConfig};
pub use record::{Record, Stored, Term};
