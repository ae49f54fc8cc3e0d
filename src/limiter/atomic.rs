use std::fmt;
use std::task::Waker;
use std::time::Duration;

use crossbeam_utils::CachePadded;

use super::word::{Anchor, Scale, TIME_MAX, Word};
use super::{Denied, delegate_rate_limiter};
use crate::clock::{Clock, SystemClock, Timer, Timestamp};
use crate::quota::{Quota, QuotaError};
use crate::sync::{AtomicU64, Ordering};
use crate::wait::{Progress, Step, Wait};

/// Slots for anchors: the generation in force, the next, and two that stale threads may still be looking at.
const SLOTS: u16 = 4;

/// An exact token bucket in one atomic word: acquire and deny take no lock, allocate nothing, and never wait for
/// another thread.
///
/// Waiters are served in the order in which they came, since each takes its tokens at once, into debt, and then sleeps
/// until they are there.
///
/// # Limits
/// Burst and rate must fit 56 bits of *units* (a token and a nanosecond are both whole numbers of them).
/// [`new`](Self::new) says so when they do not; a [`LockedTokenBucket`](super::LockedTokenBucket) takes every quota.
/// A wait for which those bits do not suffice is refused with [`Denied::TooLong`].
///
/// # Memory ordering
/// Taking a token synchronises with nothing: do not use it to publish data. A thread whose time is older than what
/// others have used is judged by its own time, which is never in its favour.
///
/// The generation in the word is 8 bits. A thread would have to sleep between reading the word and replacing it through
/// an exact multiple of 256 re-anchorings, each of which is at least half a millisecond of virtual time (and most of a
/// day at common rates) apart, and find the same virtual time there, for a single decision to be judged by an old base.
///
/// # Examples
/// ```
/// use tollgate::{AtomicTokenBucket, Denied, Quota};
///
/// let bucket = AtomicTokenBucket::new(Quota::per_hour(3)?)?;
/// assert!(bucket.try_acquire(3).is_ok());
/// assert!(matches!(bucket.try_acquire(1), Err(Denied::NotYet { .. })));
/// assert_eq!(bucket.try_acquire(4), Err(Denied::ExceedsBurst { burst: 3 }));
/// # Ok::<(), tollgate::QuotaError>(())
/// ```
pub struct AtomicTokenBucket<C = SystemClock> {
    word: CachePadded<AtomicU64>,
    rest: CachePadded<Rest<C>>,
}

/// What the hot path only reads, on another cache line than what it writes.
struct Rest<C> {
    scale: Scale,
    anchors: [AtomicU64; SLOTS as usize],
    quota: Quota,
    clock: C,
}

impl AtomicTokenBucket {
    /// A full bucket on the [`SystemClock`].
    ///
    /// # Errors
    /// [`QuotaError::BeyondWord`], with the largest burst that fits, and [`QuotaError::ZeroBurst`].
    pub fn new(quota: Quota) -> Result<Self, QuotaError> {
        Self::with_clock(quota, SystemClock::new())
    }
}

impl<C> AtomicTokenBucket<C> {
    #[cfg(feature = "tower")]
    pub(crate) fn clock(&self) -> &C {
        &self.rest.clock
    }

    /// A full bucket on the given clock.
    ///
    /// # Errors
    /// As [`new`](AtomicTokenBucket::new).
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{AtomicTokenBucket, ManualClock, Quota};
    ///
    /// let clock = ManualClock::new();
    /// let bucket = AtomicTokenBucket::with_clock(Quota::per_second(10)?.burst(1)?, clock.clone())?;
    /// assert!(bucket.try_acquire(1).is_ok());
    /// clock.advance(Duration::from_millis(100));
    /// assert!(bucket.try_acquire(1).is_ok());
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    pub fn with_clock(quota: Quota, clock: C) -> Result<Self, QuotaError> {
        let scale = Scale::new(quota.units()?)?;
        // Slot i is for generation i next; it looks as if it had last been used one round ago.
        let first = [0, 1, 2, 3].map(|slot: u16| {
            let generation = if slot == 0 {
                0
            } else {
                slot.wrapping_sub(SLOTS)
            };
            AtomicU64::new(
                Anchor {
                    generation,
                    base: 0,
                }
                .pack(),
            )
        });
        Ok(Self {
            word: CachePadded::new(AtomicU64::new(
                Word {
                    generation: 0,
                    time: 0,
                }
                .pack(),
            )),
            rest: CachePadded::new(Rest {
                scale,
                anchors: first,
                quota,
                clock,
            }),
        })
    }

    /// The quota in force.
    pub fn quota(&self) -> Quota {
        self.rest.quota
    }

    /// Takes `n` tokens at `now`, or none.
    ///
    /// # Errors
    /// [`Denied`]; nothing was written.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{AtomicTokenBucket, Denied, Quota, Timestamp};
    ///
    /// let bucket = AtomicTokenBucket::new(Quota::per_second(3)?.burst(1)?)?;
    /// assert!(bucket.try_acquire_at(1, Timestamp::ZERO).is_ok());
    /// let retry_after = Duration::from_nanos(333_333_334);
    /// assert_eq!(bucket.try_acquire_at(1, Timestamp::ZERO), Err(Denied::NotYet { retry_after }));
    /// assert!(bucket.try_acquire_at(1, Timestamp::from_nanos(333_333_334)).is_ok());
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    #[inline]
    pub fn try_acquire_at(&self, n: u64, now: Timestamp) -> Result<(), Denied> {
        let cost = self.cost(n)?;
        if cost == 0 {
            return Ok(());
        }
        self.update(now, |state| {
            match self.rest.scale.take(state.time, state.at, cost) {
                Ok(next) => Ok((next, ())),
                Err(short) => Err(self.too_early(short, state, now)),
            }
        })
    }

    /// The whole tokens in the bucket at `now`; [`u64::MAX`] if unlimited.
    pub fn available_at(&self, now: Timestamp) -> u64 {
        let Scale { units, depth, .. } = self.rest.scale;
        // Reading moves no base: this `now` may be a guess far ahead, and those who take count from the base.
        let (word, base) = loop {
            let word = Word::unpack(self.word.load(Ordering::Acquire));
            let anchor = self.anchor(word);
            if anchor.is_for(word) {
                break (word, anchor.base);
            }
        };
        let elapsed = now.as_nanos().saturating_sub(base);
        let missing = word
            .time
            .saturating_sub(elapsed.saturating_mul(units.per_nano));
        depth
            .saturating_sub(missing)
            .checked_div(units.per_token)
            .unwrap_or(u64::MAX)
    }

    fn cost(&self, n: u64) -> Result<u64, Denied> {
        let units = &self.rest.scale.units;
        // Up to the burst the product is at most the depth.
        if n > units.burst {
            Err(Denied::ExceedsBurst { burst: units.burst })
        } else {
            Ok(n * units.per_token)
        }
    }

    /// Replaces the virtual time by what `decide` makes of it, unless it denies.
    #[inline]
    fn update<T, E>(
        &self,
        now: Timestamp,
        decide: impl Fn(&State) -> Result<(u64, T), E>,
    ) -> Result<T, E> {
        loop {
            let state = self.read(now);
            let (time, output) = decide(&state)?;
            let next = Word { time, ..state.word }.pack();
            // Relaxed: taking publishes nothing but the word itself; a replacement of the word continues the release
            // sequence of the re-anchoring that began the generation, so the Acquire in `read` still pairs with that.
            if self
                .word
                .compare_exchange_weak(
                    state.word.pack(),
                    next,
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                )
                .is_ok()
            {
                return Ok(output);
            }
        }
    }

    /// The word, the base that belongs to it, and `now` in its units. Moves the base on first, if `now` is too far.
    #[inline]
    fn read(&self, now: Timestamp) -> State {
        // Acquire pairs with the Release in `reanchor`: the anchor of the generation read here is visible below.
        let mut word = Word::unpack(self.word.load(Ordering::Acquire));
        loop {
            let anchor = self.anchor(word);
            let elapsed = now.as_nanos().saturating_sub(anchor.base);
            if anchor.is_for(word) && elapsed <= self.rest.scale.horizon {
                let at = elapsed * self.rest.scale.units.per_nano;
                return State {
                    word,
                    time: word.time,
                    at,
                    base: anchor.base,
                };
            }
            word = self.reanchor(word, anchor, now);
        }
    }

    #[inline]
    fn anchor(&self, word: Word) -> Anchor {
        // Acquire pairs with the AcqRel of the proposal; that the anchor is the one of this word is checked by number.
        Anchor::unpack(
            self.rest.anchors[usize::from(u16::from(word.generation) % SLOTS)]
                .load(Ordering::Acquire),
        )
    }

    /// Begins the next generation, whose base is nearer to `now`; returns the word in force afterwards.
    ///
    /// First a base is proposed in the next slot, where the first proposal wins and the generation's full number keeps a
    /// late one out; then the word is moved to it. Whoever needs the new base can do either part, so nobody waits for
    /// anybody: a thread that stops halfway leaves the rest to the others.
    #[cold]
    fn reanchor(&self, word: Word, anchor: Anchor, now: Timestamp) -> Word {
        let reload = || Word::unpack(self.word.load(Ordering::Acquire));
        if !anchor.is_for(word) {
            return reload();
        }
        let scale = &self.rest.scale;
        let generation = anchor.generation.wrapping_add(1);
        let slot = &self.rest.anchors[usize::from(generation % SLOTS)];
        let seen = Anchor::unpack(slot.load(Ordering::Acquire));
        let proposed = if seen.generation == generation {
            seen
        } else if seen.generation == generation.wrapping_sub(SLOTS) {
            let mine = Anchor {
                generation,
                base: scale.base_at(now.as_nanos()).max(anchor.base),
            };
            // AcqRel, Acquire: publishes this proposal, or sees the one that was faster.
            match slot.compare_exchange(
                seen.pack(),
                mine.pack(),
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => mine,
                Err(faster) => Anchor::unpack(faster),
            }
        } else {
            return reload();
        };
        if proposed.generation != generation {
            return reload();
        }
        let next = Word {
            generation: proposed.short_generation(),
            time: scale.rebase(word.time, anchor.base, proposed.base),
        };
        // Release publishes the anchor with the generation; Acquire on failure sees the one that somebody else began.
        match self.word.compare_exchange(
            word.pack(),
            next.pack(),
            Ordering::AcqRel,
            Ordering::Acquire,
        ) {
            Ok(_) => next,
            Err(actual) => Word::unpack(actual),
        }
    }

    #[cold]
    fn too_early(&self, short: u64, state: &State, now: Timestamp) -> Denied {
        self.ready_after(short, state, now)
            .map_or(Denied::Exhausted, |retry_after| Denied::NotYet {
                retry_after,
            })
    }

    /// How long after `now` `short` units have accrued; `None` if the clock ends first.
    fn ready_after(&self, short: u64, state: &State, now: Timestamp) -> Option<Duration> {
        let wait = match short {
            0 => 0,
            short => {
                short.checked_next_multiple_of(self.rest.scale.units.per_nano)?
                    / self.rest.scale.units.per_nano
            }
        };
        // A time before the base was judged at the base.
        let ready = now.as_nanos().max(state.base).checked_add(wait)?;
        Some(Duration::from_nanos(ready - now.as_nanos()))
    }

    /// Takes `n` tokens into debt, if they are there after at most `max_wait`.
    pub(crate) fn reserve_at(
        &self,
        n: u64,
        now: Timestamp,
        max_wait: Duration,
    ) -> Result<Debt, Denied> {
        let cost = self.cost(n)?;
        if cost == 0 {
            return Ok(Debt {
                ready_at: now,
                cost,
                end: 0,
            });
        }
        let scale = &self.rest.scale;
        self.update(now, |state| {
            let next = state.time.max(state.at) + cost;
            let short = next.saturating_sub(state.at + scale.depth);
            let retry_after = self
                .ready_after(short, state, now)
                .ok_or(Denied::Exhausted)?;
            if retry_after > max_wait || next > TIME_MAX {
                return Err(Denied::TooLong { retry_after });
            }
            let ready_at = now.saturating_add(retry_after);
            Ok((
                next,
                Debt {
                    ready_at,
                    cost,
                    end: self.absolute(state.base, next),
                },
            ))
        })
    }

    /// A virtual time in units since the clock's origin, which no re-anchoring changes.
    fn absolute(&self, base: u64, time: u64) -> u128 {
        u128::from(base) * u128::from(self.rest.scale.units.per_nano) + u128::from(time)
    }
}

/// A word as read, with what is needed to judge it.
struct State {
    word: Word,
    /// When the bucket is full, in units since the base.
    time: u64,
    /// Now, in units since the base.
    at: u64,
    /// In nanoseconds.
    base: u64,
}

/// Tokens taken into debt.
#[derive(Debug)]
pub(crate) struct Debt {
    pub(crate) ready_at: Timestamp,
    cost: u64,
    /// The virtual time after this take, since the clock's origin.
    end: u128,
}

impl<C: Clock> AtomicTokenBucket<C> {
    /// Gives back what no later taker has built on: see `Bucket::give_back` for why it is this much.
    pub(crate) fn give_back(&self, debt: &Debt) {
        let Rest { scale, clock, .. } = &*self.rest;
        let _: Result<(), ()> = self.update(clock.now(), |state| {
            // The clock is read after the word, so that no taker seen in the word has used a later time.
            let now = clock
                .now()
                .as_nanos()
                .saturating_sub(state.base)
                .saturating_mul(scale.units.per_nano);
            let since = self
                .absolute(state.base, state.time)
                .saturating_sub(debt.end);
            let since = u64::try_from(since).unwrap_or(u64::MAX);
            let ahead = state.time.saturating_sub(since).saturating_sub(now);
            let back = debt.cost.min(ahead).min(scale.depth.saturating_sub(since));
            if back == 0 {
                Err(())
            } else {
                Ok((state.time - back, ()))
            }
        });
    }

    /// Takes `n` tokens now, or none.
    ///
    /// # Errors
    /// [`Denied`]; nothing was written.
    #[inline]
    pub fn try_acquire(&self, n: u64) -> Result<(), Denied> {
        self.try_acquire_at(n, self.rest.clock.now())
    }

    /// The whole tokens in the bucket now; [`u64::MAX`] if unlimited.
    ///
    /// ```
    /// use tollgate::{AtomicTokenBucket, Quota};
    ///
    /// let bucket = AtomicTokenBucket::new(Quota::per_day(5)?)?;
    /// assert!(bucket.try_acquire(2).is_ok());
    /// assert_eq!(bucket.available(), 3);
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    pub fn available(&self) -> u64 {
        self.available_at(self.rest.clock.now())
    }
}

impl<C: Timer> AtomicTokenBucket<C> {
    /// Takes `n` tokens and waits until they are there: `.await` it, or `.wait()` for it on a thread.
    ///
    /// First come, first served. Each waiter has one timer; none wakes another.
    ///
    /// # Errors
    /// At once, with nothing taken: [`Denied::ExceedsBurst`], [`Denied::Exhausted`], and [`Denied::TooLong`] where the
    /// debt does not fit the word.
    ///
    /// # Cancel safety
    /// Dropping the future gives back what no later taker has built on.
    ///
    /// ```
    /// use tollgate::{AtomicTokenBucket, Quota};
    ///
    /// let bucket = AtomicTokenBucket::new(Quota::per_second(1_000)?.burst(1)?)?;
    /// for _ in 0..3 {
    ///     bucket.acquire(1).wait()?; // `bucket.acquire(1).await?` in a task
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn acquire(&self, n: u64) -> Wait<'_, AtomicAcquire<'_, C>, C> {
        self.acquire_within(n, Duration::MAX)
    }

    /// As [`acquire`](Self::acquire), if the tokens are there within `timeout` from the first poll; if they will not
    /// be, it fails at once.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire), and [`Denied::TooLong`]; nothing was taken.
    ///
    /// # Cancel safety
    /// As [`acquire`](Self::acquire).
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{AtomicTokenBucket, Denied, Quota};
    ///
    /// let bucket = AtomicTokenBucket::new(Quota::per_hour(1)?)?;
    /// assert!(bucket.acquire_timeout(1, Duration::ZERO).wait().is_ok());
    /// let denied = bucket.acquire_timeout(1, Duration::from_secs(1)).wait(); // does not wait a second
    /// assert!(matches!(denied, Err(Denied::TooLong { .. })));
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    pub fn acquire_timeout(&self, n: u64, timeout: Duration) -> Wait<'_, AtomicAcquire<'_, C>, C> {
        self.acquire_within(n, timeout)
    }

    fn acquire_within(&self, n: u64, max_wait: Duration) -> Wait<'_, AtomicAcquire<'_, C>, C> {
        Wait::new(
            &self.rest.clock,
            AtomicAcquire {
                bucket: self,
                n,
                max_wait,
                debt: None,
            },
        )
    }
}

delegate_rate_limiter!(AtomicTokenBucket);

/// The operation of [`AtomicTokenBucket::acquire`].
#[derive(Debug)]
pub struct AtomicAcquire<'a, C: Clock> {
    bucket: &'a AtomicTokenBucket<C>,
    n: u64,
    max_wait: Duration,
    /// Taken, and not yet handed over.
    debt: Option<Debt>,
}

impl<C: Clock> Step for AtomicAcquire<'_, C> {
    type Output = Result<(), Denied>;

    fn step(&mut self, now: Timestamp, _: &Waker) -> Progress<Self::Output> {
        let debt = match self.debt.take() {
            Some(debt) => debt,
            None => match self.bucket.reserve_at(self.n, now, self.max_wait) {
                Ok(debt) => debt,
                Err(denied) => return Progress::Done(Err(denied)),
            },
        };
        if debt.ready_at <= now {
            return Progress::Done(Ok(()));
        }
        let ready_at = debt.ready_at;
        self.debt = Some(debt);
        Progress::Waiting(Some(ready_at))
    }
}

impl<C: Clock> Drop for AtomicAcquire<'_, C> {
    fn drop(&mut self) {
        if let Some(debt) = self.debt.take() {
            self.bucket.give_back(&debt);
        }
    }
}

impl<C> fmt::Debug for AtomicTokenBucket<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AtomicTokenBucket")
            .field("quota", &self.rest.quota)
            .finish_non_exhaustive()
    }
}
