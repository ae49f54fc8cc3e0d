//! What can be a member of an [`AllOf`].

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use super::AllOf;
use crate::clock::Clock;
use crate::limiter::{AtomicTokenBucket, KeyHandle, LockedTokenBucket, RateLimiter};

/// One limiter, or several: a tuple, an array, a slice, a `Vec`, an [`AllOf`], a reference or an
/// [`Arc`] to any of these.
///
/// ```
/// use tollgate::limiter::Limits;
/// use tollgate::{AtomicTokenBucket, Quota};
///
/// let bucket = AtomicTokenBucket::new(Quota::per_second(5)?)?;
/// let mut members = 0;
/// (&bucket, [&bucket, &bucket]).visit(&mut |_| members += 1);
/// assert_eq!(members, 3);
/// # Ok::<(), tollgate::QuotaError>(())
/// ```
pub trait Limits {
    /// Shows each limiter.
    ///
    /// ```
    /// use tollgate::limiter::Limits;
    /// use tollgate::{AllOf, AtomicTokenBucket, LockedTokenBucket, Quota, RateLimiter};
    ///
    /// struct Api {
    ///     second: AtomicTokenBucket,
    ///     month: LockedTokenBucket,
    /// }
    ///
    /// impl Limits for Api {
    ///     fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a dyn RateLimiter)) {
    ///         self.second.visit(visit);
    ///         self.month.visit(visit);
    ///     }
    /// }
    ///
    /// let api = AllOf::new(Api {
    ///     second: AtomicTokenBucket::new(Quota::per_second(10)?)?,
    ///     month: LockedTokenBucket::new("3/30d".parse()?)?,
    /// });
    /// assert_eq!(api.try_acquire_up_to(10), 3);
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a dyn RateLimiter));
}

impl<C: Clock> Limits for AtomicTokenBucket<C> {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a dyn RateLimiter)) {
        visit(self);
    }
}

impl<C: Clock> Limits for LockedTokenBucket<C> {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a dyn RateLimiter)) {
        visit(self);
    }
}

impl<K, Q, S, C> Limits for KeyHandle<'_, K, Q, S, C>
where
    K: Hash + Borrow<Q> + Send + Sync,
    Q: Eq + ToOwned<Owned = K> + Sync + ?Sized,
    S: BuildHasher + Send + Sync,
    C: Clock,
{
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a dyn RateLimiter)) {
        visit(self);
    }
}

impl Limits for dyn RateLimiter + '_ {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a dyn RateLimiter)) {
        visit(self);
    }
}

impl<L: Limits> Limits for AllOf<L> {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a dyn RateLimiter)) {
        self.0.visit(visit);
    }
}

impl<L: Limits + ?Sized> Limits for &L {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a dyn RateLimiter)) {
        (**self).visit(visit);
    }
}

impl<L: Limits + ?Sized> Limits for Arc<L> {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a dyn RateLimiter)) {
        (**self).visit(visit);
    }
}

impl<L: Limits> Limits for [L] {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a dyn RateLimiter)) {
        for one in self {
            one.visit(visit);
        }
    }
}

impl<L: Limits, const N: usize> Limits for [L; N] {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a dyn RateLimiter)) {
        self.as_slice().visit(visit);
    }
}

impl<L: Limits> Limits for Vec<L> {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a dyn RateLimiter)) {
        self.as_slice().visit(visit);
    }
}

impl<A: Limits, B: Limits> Limits for (A, B) {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a dyn RateLimiter)) {
        self.0.visit(visit);
        self.1.visit(visit);
    }
}

impl<A: Limits, B: Limits, D: Limits> Limits for (A, B, D) {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a dyn RateLimiter)) {
        self.0.visit(visit);
        self.1.visit(visit);
        self.2.visit(visit);
    }
}
