//! Bridges to what others have built; each is a feature, none is on by default.

#[cfg(feature = "metrics")]
pub mod metrics;
#[cfg(feature = "serde")]
pub mod serde;
#[cfg(feature = "tokio")]
pub mod tokio;
#[cfg(feature = "tower")]
pub mod tower;
