//! What the single limiters have in common: all but where a take is decided.

/// Implements the traits of a limiter with one line. The limiter has a field `shell`, with a clock, an
/// ordered lock and bounds, and a method `ops`, with the operations. `$own` are the methods of
/// [`Limiter`](crate::limiter::ops::limiter::Limiter) in which it differs.
macro_rules! limiter {
    ($limiter:ident $($own:item)*) => {
        const _: () = {
            use std::task::Waker;
            use std::time::Duration;

            use crate::clock::{Clock, Timestamp};
            use crate::limiter::core::acquire_turn::AcquireTurn;
            use crate::limiter::core::denied::Denied;
            use crate::limiter::core::reserved_part::Parts;
            use crate::limiter::core::status::Status;
            use crate::limiter::ops::acquire::Acquire;
            use crate::limiter::ops::limiter::{Limiter, forward};
            use crate::limiter::ops::rate_limiter::RateLimiter;
            use crate::limiter::ops::single::acquire_methods;
            use crate::limiter::shell::line_shell::LineShell;
            use crate::limiter::shell::ordered_lock::OrderedLock;
            use crate::wait::{Progress, Wait};

            impl<C: Clock> RateLimiter for $limiter<C> {}

            impl<C: Clock> $limiter<C> {
                acquire_methods!();
            }

            impl<C: Clock> Limiter for $limiter<C> {
                $($own)*

                fn clock(&self) -> &dyn Clock {
                    &self.shell.clock
                }

                #[inline]
                fn clock_now(&self) -> Timestamp {
                    self.shell.clock.now()
                }

                fn as_dyn(&self) -> &dyn Limiter {
                    self
                }

                fn ordered_lock(&self) -> Option<&OrderedLock> {
                    Some(&self.shell.ordered_lock)
                }

                #[inline]
                fn try_acquire_above_at(
                    &self,
                    n: u64,
                    floor: u64,
                    now: Timestamp,
                ) -> Result<(), Denied> {
                    self.ops().take(n, floor, now)
                }

                forward! { self => self.ops();
                    fn ask(n: u64, floor: u64, now: Timestamp) -> Result<(), Denied>;
                    fn try_acquire_with_status_at(n: u64, now: Timestamp) -> (Result<(), Denied>, Status);
                    fn try_acquire_up_to_at(n: u64, now: Timestamp) -> u64;
                    fn refund_at(n: u64, now: Timestamp);
                    fn charge_at(n: u64, now: Timestamp);
                    fn pause_until_at(until: Timestamp, now: Timestamp) -> Result<(), Denied>;
                    fn available_at(now: Timestamp) -> u64;
                    fn status_at(n: u64, now: Timestamp) -> Status;
                    fn poll_turn(turn: &mut AcquireTurn, now: Timestamp, waker: &Waker) -> Progress<Result<(), Denied>>;
                    fn leave_turn(turn: &mut AcquireTurn);
                }

                fn reserve_at(
                    &self,
                    n: u64,
                    max_wait: Duration,
                    now: Timestamp,
                ) -> Result<Parts, Denied> {
                    let taken = self.ops().reserve(n, max_wait, now)?;
                    Ok(Parts::of(taken))
                }

                fn give_back(&self, parts: &Parts, now: Option<Timestamp>) {
                    for taken in parts.iter() {
                        self.ops().give_back(taken, now);
                    }
                }

                fn commit(&self, parts: &Parts) {
                    for taken in parts.iter() {
                        self.ops().commit(taken);
                    }
                }
            }

            impl<C: Clock> $limiter<C> {
                /// Closes the limiter, for ever: all waits end with [`Denied::Closed`](crate::Denied::Closed),
                /// and later takes, reservations and waits answer it. Reads, refunds and charges go on, and a
                /// lease spends what it holds.
                pub fn close(&self) {
                    self.ops().close();
                }

                /// Returns whether the limiter is closed.
                pub fn is_closed(&self) -> bool {
                    self.ops().is_closed()
                }
            }

            /// Bounds on waiting.
            impl<C> $limiter<C> {
                /// Sets the most callers that may wait at once; no bound unless set. The next is refused with
                /// [`Denied::TooManyWaiters`]. A reservation that stands in line counts as one.
                #[must_use]
                pub fn max_waiters(mut self, most: usize) -> Self {
                    self.shell.bounds_mut().max_waiters = most;
                    self
                }

                /// Sets the longest that a caller may wait; no bound unless set. A caller that would wait
                /// longer, as the line stands, is refused at once with [`Denied::TooLong`].
                ///
                /// ```
                /// use std::time::Duration;
                /// use tollgate::{AtomicTokenBucket, Denied, RateLimiter};
                ///
                /// let bucket = AtomicTokenBucket::new("1/h".parse()?)?.max_wait(Duration::from_secs(5));
                /// bucket.try_acquire(1).unwrap();
                /// let refused = bucket.acquire(1).wait(); // at once
                /// assert!(matches!(refused, Err(Denied::TooLong { .. })));
                /// # Ok::<(), tollgate::QuotaError>(())
                /// ```
                #[must_use]
                pub fn max_wait(mut self, longest: Duration) -> Self {
                    self.shell.bounds_mut().max_wait = longest;
                    self
                }
            }
        };
    };
}

/// The waiting methods of [`RateLimiter`](crate::RateLimiter), for callers that have not imported it, and
/// without a virtual call.
macro_rules! acquire_methods {
    () => {
        /// See [`RateLimiter::acquire`](crate::RateLimiter::acquire), also for errors and cancel safety.
        pub fn acquire(&self, n: u64) -> Wait<Acquire<&Self>> {
            Acquire::of(self, n)
        }

        /// See [`RateLimiter::acquire_timeout`](crate::RateLimiter::acquire_timeout), also for errors and
        /// cancel safety.
        pub fn acquire_timeout(&self, n: u64, timeout: Duration) -> Wait<Acquire<&Self>> {
            Acquire::of_timeout(self, n, timeout)
        }
    };
}

pub(crate) use {acquire_methods, limiter};
