//! The collections of limiters that an [`AllOf`](crate::AllOf) combines.

use std::fmt::Debug;

use crate::limiter::ops::limiter::Limiter;
use crate::limiter::ops::rate_limiter::RateLimiter;

/// Limits that an [`AllOf`](crate::AllOf) can combine: a limiter, or a pair, triple, array or vector of
/// them. They nest.
///
/// ```
/// use tollgate::{AllOf, AtomicTokenBucket, LockedTokenBucket, Quota, RateLimiter};
///
/// let per_second = AtomicTokenBucket::new(Quota::per_second(10)?)?;
/// let per_hour = LockedTokenBucket::new(Quota::per_hour(100)?)?;
/// let both = AllOf::new((&per_second, vec![&per_hour]));
/// assert!(both.try_acquire(4).is_ok());
/// assert_eq!(both.available(), 6);
/// # Ok::<(), tollgate::QuotaError>(())
/// ```
pub trait Limits: Debug + Send + Sync {
    /// Visits each member.
    #[doc(hidden)]
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a dyn Limiter));
}

impl<L: RateLimiter> Limits for L {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a dyn Limiter)) {
        self.each(visit);
    }
}

impl<L: Limits, const N: usize> Limits for [L; N] {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a dyn Limiter)) {
        for one in self {
            one.visit(visit);
        }
    }
}

impl<L: Limits> Limits for Vec<L> {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a dyn Limiter)) {
        for one in self {
            one.visit(visit);
        }
    }
}

impl<A: Limits, B: Limits> Limits for (A, B) {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a dyn Limiter)) {
        self.0.visit(visit);
        self.1.visit(visit);
    }
}

impl<A: Limits, B: Limits, D: Limits> Limits for (A, B, D) {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a dyn Limiter)) {
        self.0.visit(visit);
        self.1.visit(visit);
        self.2.visit(visit);
    }
}
