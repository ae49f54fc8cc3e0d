//! The conversion of a borrowed key to an owned one.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Makes an owned key of a borrowed one, for a [`KeyedLimiter`](crate::KeyedLimiter) that is asked for a
/// key it does not keep yet.
///
/// A `str` makes a `String` or an `Arc<str>`, and every key makes itself, by `Clone`. Implement it to
/// ask for keys by a borrowed form of your own. The limiter calls it without a lock.
///
/// ```
/// use std::sync::Arc;
/// use tollgate::{KeyedLimiter, RateLimiter};
///
/// let tenants: KeyedLimiter<Arc<str>> = KeyedLimiter::new("5/s".parse()?, 100)?;
/// assert!(tenants.key("ada").try_acquire(1).is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait ToKey<K> {
    /// Makes the owned key.
    fn to_key(&self) -> K;
}

impl<K: Clone> ToKey<K> for K {
    fn to_key(&self) -> K {
        self.clone()
    }
}

macro_rules! to_key {
    ($($borrowed:ty => $($key:ty),+;)+) => {$($(
        impl ToKey<$key> for $borrowed {
            fn to_key(&self) -> $key {
                self.to_owned().into()
            }
        }
    )+)+};
}

to_key! {
    str => String, Arc<str>, Box<str>, Cow<'static, str>;
    OsStr => OsString;
    Path => PathBuf, Arc<Path>;
}

impl<T: Clone> ToKey<Vec<T>> for [T] {
    fn to_key(&self) -> Vec<T> {
        self.to_vec()
    }
}

impl<T: Clone> ToKey<Arc<[T]>> for [T] {
    fn to_key(&self) -> Arc<[T]> {
        self.into()
    }
}
