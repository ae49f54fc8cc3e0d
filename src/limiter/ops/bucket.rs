//! What the two buckets have in common, beside what each single limiter has.

/// Implements the traits of a bucket, which has `desk`, `counter` and `take`.
macro_rules! bucket {
    ($bucket:ident) => {
        limiter!($bucket);

        impl<C: Clock> Leasable for $bucket<C> {
            fn uncarved(&self) -> u64 {
                self.counter().uncarved()
            }

            fn carve(&self, n: u64) -> Result<(), Denied> {
                self.counter().resize(|burst| carved(burst, n))
            }

            fn restore(&self, n: u64) {
                let grown = |burst: u64| Ok::<_, Infallible>(burst.saturating_add(n));
                let Ok(()) = self.counter().resize(grown);
            }
        }

        impl<C: Clock> $bucket<C> {
            /// See [`Leasable::lease`].
            ///
            /// # Errors
            /// As there.
            pub fn lease(&self, batch: u64) -> Result<TokenLease<&Self>, Denied> {
                TokenLease::new(self, batch)
            }

            /// As [`lease`](Self::lease), of a bucket that the lease owns a share of.
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
            fn quota(&self) -> Quota {
                self.counter().quota()
            }

            fn set_quota(&self, quota: Quota, carry: CarryOver) -> Result<(), QuotaError> {
                self.counter().set_quota(quota, carry, None)
            }

            fn set_quota_at(
                &self,
                quota: Quota,
                carry: CarryOver,
                now: Timestamp,
            ) -> Result<(), QuotaError> {
                self.counter().set_quota(quota, carry, Some(now))
            }

            fn sync_remaining_at(&self, remaining: u64, now: Timestamp) {
                self.counter().tighten(remaining, now);
            }
        }

        /// As in [`QuotaLimiter`], without importing it.
        impl<C: Clock> $bucket<C> {
            quota_methods!();
        }

        impl<C: Clock> $bucket<C> {
            /// How full it is, by the wall clock, to be [restored](Self::restore) after a restart.
            /// What leases hold counts as taken; waiters and reservations in line are not saved.
            pub fn save(&self) -> Saved {
                self.counter().save(wall_clock())
            }

            /// As [`save`](Self::save), at a time of the wall clock that the caller gives.
            pub fn save_at(&self, wall: SystemTime) -> Saved {
                self.counter().save(wall)
            }

            /// Takes what a bucket lacked when it was saved, less what has accrued since, to the part
            /// of a token; and goes on with its pause. It only tightens. What was saved under
            /// another quota carries over as [`CarryOver::Tokens`] does. A wall clock that was set
            /// back gains nothing.
            ///
            /// ```
            /// use std::time::{Duration, SystemTime};
            /// use tollgate::{AtomicTokenBucket, ManualClock, RateLimiter};
            ///
            /// let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
            /// let before = AtomicTokenBucket::with_clock("1/h".parse()?, ManualClock::new())?;
            /// before.try_acquire(1)?;
            /// let text = before.save_at(wall).to_string(); // to a file, and the process ends
            ///
            /// let after = AtomicTokenBucket::with_clock("1/h".parse()?, ManualClock::new())?;
            /// after.restore_at(&text.parse()?, wall + Duration::from_secs(600));
            /// let wait = after.try_acquire(1).unwrap_err().retry_after();
            /// assert_eq!(wait, Some(Duration::from_secs(3_000)));
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            pub fn restore(&self, saved: &Saved) {
                self.counter().restore(saved, wall_clock());
            }

            /// As [`restore`](Self::restore), at a time of the wall clock that the caller gives.
            pub fn restore_at(&self, saved: &Saved, wall: SystemTime) {
                self.counter().restore(saved, wall);
            }
        }
    };
}

/// The methods of [`QuotaLimiter`](crate::QuotaLimiter), for callers that have not imported it.
macro_rules! quota_methods {
    () => {
        /// See [`QuotaLimiter::quota`].
        pub fn quota(&self) -> Quota {
            QuotaLimiter::quota(self)
        }

        /// See [`QuotaLimiter::set_quota`].
        ///
        /// # Errors
        /// As there.
        pub fn set_quota(&self, quota: Quota, carry: CarryOver) -> Result<(), QuotaError> {
            QuotaLimiter::set_quota(self, quota, carry)
        }

        /// See [`QuotaLimiter::set_quota_at`].
        ///
        /// # Errors
        /// As there.
        pub fn set_quota_at(
            &self,
            quota: Quota,
            carry: CarryOver,
            now: Timestamp,
        ) -> Result<(), QuotaError> {
            QuotaLimiter::set_quota_at(self, quota, carry, now)
        }

        /// See [`QuotaLimiter::drain`].
        pub fn drain(&self) {
            QuotaLimiter::drain(self);
        }

        /// See [`QuotaLimiter::drain_at`].
        pub fn drain_at(&self, now: Timestamp) {
            QuotaLimiter::drain_at(self, now);
        }

        /// See [`QuotaLimiter::sync_remaining`].
        pub fn sync_remaining(&self, remaining: u64) {
            QuotaLimiter::sync_remaining(self, remaining);
        }

        /// See [`QuotaLimiter::sync_remaining_at`].
        pub fn sync_remaining_at(&self, remaining: u64, now: Timestamp) {
            QuotaLimiter::sync_remaining_at(self, remaining, now);
        }
    };
}

pub(crate) use {bucket, quota_methods};
