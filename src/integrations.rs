//! Bridges to other crates, each behind a feature of its name. No feature is on by default. The
//! feature `tracing` has no module: it adds the events of a [`Controller`](crate::Controller).

#[cfg(feature = "metrics")]
pub mod metrics;
#[cfg(feature = "serde")]
pub mod serde;
#[cfg(feature = "tokio")]
pub mod tokio;
#[cfg(feature = "tower")]
pub mod tower;
