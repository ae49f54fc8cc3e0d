//! What the two buckets have in common: all but where a take is decided.

/// Implements the traits of a bucket, which has `counter` and `take`.
macro_rules! bucket {
    ($bucket:ident) => {
        impl<C: Clock> RateLimiter for $bucket<C> {
            #[inline]
            fn now(&self) -> Timestamp {
                self.desk.clock.now()
            }

            #[inline]
            fn try_acquire_above_at(
                &self,
                n: u64,
                floor: u64,
                now: Timestamp,
            ) -> Result<(), Denied> {
                self.take(n, floor, now)
            }

            fn try_acquire_with_status_at(
                &self,
                n: u64,
                now: Timestamp,
            ) -> (Result<(), Denied>, Status) {
                self.counter().take_with_status(n, now)
            }

            fn try_acquire_up_to_at(&self, n: u64, now: Timestamp) -> u64 {
                self.counter().take_up_to(n, now)
            }

            fn refund_at(&self, n: u64, now: Timestamp) {
                self.counter().refund(n, now);
            }

            fn charge_at(&self, n: u64, now: Timestamp) {
                self.counter().charge(n, now);
            }

            fn pause_until_at(&self, until: Timestamp, now: Timestamp) -> Result<(), Denied> {
                self.counter().pause_until(until, now)
            }

            fn available_at(&self, now: Timestamp) -> u64 {
                self.counter().available(now)
            }

            fn status_at(&self, n: u64, now: Timestamp) -> Status {
                self.counter().status(n, now)
            }
        }

        impl<C: Clock> Internal for $bucket<C> {
            fn as_dyn(&self) -> &dyn RateLimiter {
                self
            }

            fn clock(&self) -> &dyn Clock {
                &self.desk.clock
            }

            fn gate(&self) -> Option<&Gate> {
                Some(&self.desk.gate)
            }

            fn ask(&self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied> {
                self.counter().ask(n, floor, now)
            }

            #[inline]
            fn take_at_once(&self, n: u64, floor: u64, now: Timestamp) -> bool {
                self.take(n, floor, now).is_ok()
            }

            fn owe(&self, n: u64, max_wait: Duration, now: Timestamp) -> Result<Parts, Denied> {
                let taken = self.counter().reserve(n, max_wait, now)?;
                Ok(Parts::from_elem(taken, 1))
            }

            fn give_back(&self, parts: &Parts, now: Option<Timestamp>) {
                for taken in parts {
                    self.counter().give_back(taken, now);
                }
            }

            fn keep(&self, parts: &Parts) {
                for taken in parts {
                    self.counter().keep(taken);
                }
            }

            fn poll_turn(
                &self,
                turn: &mut Turn,
                now: Timestamp,
                waker: &Waker,
            ) -> Progress<Result<(), Denied>> {
                self.counter().poll_turn(turn, now, waker)
            }

            fn leave_turn(&self, turn: &mut Turn) {
                self.counter().leave(turn);
            }
        }

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
            acquire_methods!();

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
            /// Ends all waits with [`Denied::Closed`](super::Denied::Closed), which every take, reservation
            /// and wait answers from now on. Reads, refunds, charges, and what a lease holds already go on.
            /// It cannot be undone.
            ///
            /// ```
            /// use tollgate::{AtomicTokenBucket, Denied, Quota, RateLimiter};
            ///
            /// let bucket = AtomicTokenBucket::new(Quota::per_day(3)?)?;
            /// bucket.close();
            /// assert_eq!(bucket.try_acquire(1), Err(Denied::Closed));
            /// assert_eq!(bucket.acquire(1).wait(), Err(Denied::Closed));
            /// # Ok::<(), tollgate::QuotaError>(())
            /// ```
            pub fn close(&self) {
                self.counter().close();
            }

            /// Whether it was closed.
            pub fn is_closed(&self) -> bool {
                self.counter().is_closed()
            }
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

        /// Bounds on those who wait.
        impl<C> $bucket<C> {
            /// The most callers that may wait at once; any number unless set. The next is refused
            /// with [`Denied::TooManyWaiters`]. A reservation behind waiters counts as one.
            #[must_use]
            pub fn max_waiters(mut self, most: usize) -> Self {
                self.desk.bounds_mut().most = most;
                self
            }

            /// The longest that a caller may wait; any time unless set. One that would wait for
            /// longer, as the line stands, is refused at once with [`Denied::TooLong`].
            #[must_use]
            pub fn max_wait(mut self, longest: Duration) -> Self {
                self.desk.bounds_mut().longest = longest;
                self
            }
        }
    };
}

/// The methods of [`RateLimiter`](super::RateLimiter) that wait, for callers that have not imported
/// it, and without a call through a table.
macro_rules! acquire_methods {
    () => {
        /// See [`RateLimiter::acquire`].
        ///
        /// # Errors
        /// As there.
        ///
        /// # Cancel safety
        /// As there.
        pub fn acquire(&self, n: u64) -> Wait<Acquire<&Self>> {
            Acquire::of(self, n)
        }

        /// See [`RateLimiter::acquire_timeout`].
        ///
        /// # Errors
        /// As there.
        ///
        /// # Cancel safety
        /// As there.
        pub fn acquire_timeout(&self, n: u64, timeout: Duration) -> Wait<Acquire<&Self>> {
            Acquire::of_timeout(self, n, timeout)
        }
    };
}

/// The methods of [`QuotaLimiter`](super::QuotaLimiter), for callers that have not imported it.
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

pub(super) use {acquire_methods, bucket, quota_methods};
