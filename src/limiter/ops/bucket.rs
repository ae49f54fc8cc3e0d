//! What the token buckets have in common, beside what every single limiter has.

/// Implements [`limiter`](crate::limiter::ops::single), leases, quotas and saving for a bucket with `shell`
/// and `ops`, and with some methods of its own. A macro, since a blanket implementation of [`Limiter`](crate::limiter::ops::limiter::Limiter)
/// would overlap with those for `&L` and `Box<L>`.
macro_rules! bucket {
    ($bucket:ident $($own:item)*) => {
        limiter!($bucket $($own)*);

        const _: () = {
            use std::convert::Infallible;
            use std::sync::Arc;
            use std::time::SystemTime;

            use crate::clock::{Clock, Timestamp};
            use crate::limiter::core::carry::CarryOver;
            use crate::limiter::core::denied::Denied;
            use crate::limiter::core::rate::burst_without;
            use crate::limiter::core::saved::Saved;
            use crate::limiter::ops::lease::{Leasable, TokenLease};
            use crate::limiter::ops::limiter::forward;
            use crate::limiter::ops::quota_limiter::{QuotaLimiter, quota_methods};
            use crate::quota::{Quota, QuotaError};

            impl<C: Clock> Leasable for $bucket<C> {
                fn burst_left(&self) -> u64 {
                    self.ops().burst_left()
                }

                fn carve(&self, n: u64) -> Result<(), Denied> {
                    self.ops().resize(|burst| burst_without(burst, n))
                }

                fn restore(&self, n: u64) {
                    let grown = |burst: u64| Ok::<_, Infallible>(burst.saturating_add(n));
                    let Ok(()) = self.ops().resize(grown);
                }
            }

            impl<C: Clock> $bucket<C> {
                /// See [`Leasable::lease`](crate::Leasable::lease).
                ///
                /// # Errors
                /// [`Denied::ExceedsBurst`](crate::Denied::ExceedsBurst), with the largest batch, if nothing of
                /// the burst would be left.
                pub fn lease(&self, batch: u64) -> Result<TokenLease<&Self>, Denied> {
                    TokenLease::new(self, batch)
                }

                /// Same as [`lease`](Self::lease); the lease owns a share of the bucket.
                ///
                /// # Errors
                /// As [`lease`](Self::lease).
                ///
                /// ```
                /// use std::sync::Arc;
                /// use tollgate::{AtomicTokenBucket, RateLimiter};
                ///
                /// let bucket = Arc::new(AtomicTokenBucket::new("100/h".parse()?)?);
                /// let mut lease = bucket.lease_owned(10)?;
                /// let worker = std::thread::spawn(move || lease.try_acquire(1)); // and drops the lease
                /// worker.join().unwrap()?;
                /// assert_eq!(bucket.available(), 99);
                /// # Ok::<(), Box<dyn std::error::Error>>(())
                /// ```
                pub fn lease_owned(
                    self: &Arc<Self>,
                    batch: u64,
                ) -> Result<TokenLease<Arc<Self>>, Denied> {
                    TokenLease::new(Arc::clone(self), batch)
                }
            }

            impl<C: Clock> QuotaLimiter for $bucket<C> {
                forward! { self => self.ops();
                    fn quota() -> Quota;
                    fn set_quota_from(quota: Quota, carry: CarryOver, now: Option<Timestamp>) -> Result<(), QuotaError>;
                    fn tighten_at(remaining: u64, now: Timestamp);
                }
            }

            /// The methods of [`QuotaLimiter`](crate::QuotaLimiter), for callers that have not imported it.
            impl<C: Clock> $bucket<C> {
                quota_methods!();
            }

            impl<C: Clock> $bucket<C> {
                /// Saves how full the bucket is, to [restore](Self::restore) it after a restart. `wall` is the
                /// time of the wall clock. Tokens that leases hold count as taken; waiters and reservations in
                /// line are not saved.
                ///
                /// ```
                /// use std::time::{Duration, SystemTime};
                /// use tollgate::{AtomicTokenBucket, ManualClock, RateLimiter};
                ///
                /// let wall = SystemTime::UNIX_EPOCH; // `SystemTime::now()` in a program
                /// let before = AtomicTokenBucket::with_clock("1/h".parse()?, ManualClock::new())?;
                /// before.try_acquire(1)?;
                /// let text = before.save(wall).to_string(); // into a file
                ///
                /// let after = AtomicTokenBucket::with_clock("1/h".parse()?, ManualClock::new())?;
                /// after.restore(&text.parse()?, wall + Duration::from_secs(600));
                /// let wait = after.try_acquire(1).unwrap_err().retry_after();
                /// assert_eq!(wait, Some(Duration::from_secs(3_000)));
                /// # Ok::<(), Box<dyn std::error::Error>>(())
                /// ```
                pub fn save(&self, wall: SystemTime) -> Saved {
                    self.ops().save(wall)
                }

                /// Takes the tokens that the saved bucket lacked, less what has accrued until `wall`, exact to
                /// the part of a token, and goes on with its pause. It only tightens: a wall clock that was set
                /// back gains nothing. The fill of another quota carries over as by
                /// [`CarryOver::Tokens`](crate::CarryOver::Tokens).
                pub fn restore(&self, saved: &Saved, wall: SystemTime) {
                    self.ops().restore(saved, wall);
                }
            }
        };
    };
}

pub(crate) use bucket;
