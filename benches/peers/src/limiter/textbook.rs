//! The textbook bucket behind a lock: a token count and the instant of the last refill.

use parking_lot::Mutex;

use super::{Limiter, Shared};
use crate::clock::{Clock, Tsc};
use crate::quota::Quota;

/// A token count that each call refills.
pub trait Count: Copy + Send {
    /// A full bucket.
    fn full(burst: u64) -> Self;
    /// Adds what accrued in `nanos`, capped at the burst.
    fn refill(&mut self, quota: Quota, nanos: u64);
    /// Takes `n` tokens now, or none.
    fn take(&mut self, n: u32) -> bool;
}

/// A floating-point count.
#[derive(Clone, Copy)]
pub struct Float(f64);

impl Count for Float {
    fn full(burst: u64) -> Self {
        Self(burst as f64)
    }

    #[inline]
    fn refill(&mut self, quota: Quota, nanos: u64) {
        self.0 = (self.0 + quota.per_nano() * nanos as f64).min(quota.burst as f64);
    }

    #[inline]
    fn take(&mut self, n: u32) -> bool {
        let enough = self.0 >= f64::from(n);
        if enough {
            self.0 -= f64::from(n);
        }
        enough
    }
}

/// Whole tokens: every call discards the fraction that has accrued. Polled often, it never gains
/// any.
#[derive(Clone, Copy)]
pub struct Truncating(u64);

impl Count for Truncating {
    fn full(burst: u64) -> Self {
        Self(burst)
    }

    #[inline]
    fn refill(&mut self, quota: Quota, nanos: u64) {
        let gained = u128::from(nanos) * u128::from(quota.tokens) / quota.period.as_nanos();
        self.0 = self.0.saturating_add(gained as u64).min(quota.burst);
    }

    #[inline]
    fn take(&mut self, n: u32) -> bool {
        let left = self.0.checked_sub(n.into());
        self.0 = left.unwrap_or(self.0);
        left.is_some()
    }
}

/// The bucket, with either kind of count.
pub struct Textbook<T> {
    quota: Quota,
    clock: Tsc,
    state: Mutex<(T, u64)>,
}

impl<T: Count> Limiter for Textbook<T> {
    type Handle<'a>
        = &'a Self
    where
        T: 'a;

    fn new(quota: Quota) -> Self {
        let clock = Tsc::default();
        let state = Mutex::new((T::full(quota.burst), clock.nanos()));
        Self {
            quota,
            clock,
            state,
        }
    }

    fn handle(&self, _callers: usize) -> &Self {
        self
    }

    fn nanos(&self) -> u64 {
        self.clock.nanos()
    }
}

impl<T: Count> Shared for Textbook<T> {
    #[inline(always)]
    fn try_acquire(&self, n: u32) -> bool {
        let mut state = self.state.lock();
        // Read under the lock, as its author would, so that time never runs backwards.
        let now = self.clock.nanos();
        let (tokens, last) = &mut *state;
        tokens.refill(self.quota, now.saturating_sub(*last));
        *last = now;
        tokens.take(n)
    }
}
