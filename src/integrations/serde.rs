//! Serializes a [`Quota`] as its text, `"100/s burst 20"`, for configuration files.
//!
//! ```
//! use tollgate::Quota;
//!
//! let limits: std::collections::BTreeMap<String, Quota> =
//!     serde_json::from_str(r#"{ "api": "100/s burst 20", "reports": "5000/h" }"#)?;
//! assert_eq!(limits["api"].max_burst(), 20);
//! assert_eq!(serde_json::to_string(&limits["reports"])?, r#""5000/h""#);
//! let wrong = serde_json::from_str::<Quota>(r#""5/0s""#).unwrap_err();
//! assert!(wrong.to_string().starts_with("the period of a quota must be at least 1 ns"));
//! # Ok::<(), serde_json::Error>(())
//! ```

use std::fmt;

use ::serde::de::{Error, Visitor};
use ::serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::quota::Quota;

impl Serialize for Quota {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Quota {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text)
    }
}

struct Text;

impl Visitor<'_> for Text {
    type Value = Quota;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a quota such as \"100/s burst 20\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Quota, E> {
        text.parse().map_err(E::custom)
    }
}
