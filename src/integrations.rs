//! Bridges to what others have built; each is a feature of its name, none is on by default. The
//! feature `tracing` has no module: it is for events of a [`Controller`](crate::Controller).

#[cfg(feature = "metrics")]
pub mod metrics;
#[cfg(feature = "serde")]
pub mod serde;
#[cfg(feature = "tokio")]
pub mod tokio;
#[cfg(feature = "tower")]
pub mod tower;
