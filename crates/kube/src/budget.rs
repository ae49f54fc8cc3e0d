//! [`Budget`]: how many requests a second the clients of one process send to the API server.
//!
//! A budget is an exact token bucket, given as QPS and burst. Each request through a [`BudgetLayer`] takes
//! a token and waits for it; a watch takes one token to open, and its stream none. All clients of a budget
//! and all clones of its handle share the tokens.
//!
//! | lane | requests | tokens |
//! |---|---|---|
//! | [`Lane::Lease`] | reads and writes of one lease | a bucket of its own, which no pause reaches |
//! | [`Lane::Normal`] | all others | the budget's, first come, first served |
//! | [`Lane::Low`] | lists, events, what the caller marks | the budget's, as long as the floor stays |
//!
//! The floor is a number of tokens that the low lane leaves for the normal one, so that a status write
//! finds a token while a thousand events wait. The reverse holds too: while normal requests use up all that
//! accrues, the low lane waits.
//!
//! # When the server asks for less
//! On an answer 429, or 503 with `Retry-After`, the whole budget pauses for the delay in the header, and
//! the request is sent again when the budget admits it, at most [`RETRIES`] times. After a pause the tokens
//! start at one: requests that have waited go out at the rate, not in a burst. The delay is read from the
//! header alone, since the server's own flow control (priority and fairness) answers in plain text.
//!
//! Two kinds of requests get such an answer as it is, and it pauses nothing: those of the lease lane, whose
//! callers retry within the lease's deadlines, and evictions, where 429 means that a disruption budget
//! forbids this one pod.
//!
//! ```
//! use tollgate::Quota;
//! use tollgate_kube::budget::Budget;
//!
//! let budget = Budget::new(Quota::per_second(20)?.burst(30)?)?;
//! assert_eq!((budget.available(), budget.floor()), (30, 6));
//! budget.set_quota(Quota::per_second(50)?.burst(100)?)?;
//! assert_eq!((budget.available(), budget.floor()), (30, 20));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod lane;
mod layer;
mod overload;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tollgate::clock::{Clock, SystemClock, Timestamp};
use tollgate::{
    AtomicTokenBucket, CarryOver, Denied, Quota, QuotaError, QuotaLimiter, RateLimiter, Status,
};

pub use lane::{Lane, LowPriority};
pub use layer::{BudgetLayer, Budgeted, RATE_LIMITER_BUCKETS, RETRIES};
pub use overload::LONGEST_PAUSE;

/// The bucket of the lease lane, unless [`BudgetBuilder::lease_quota`] sets another: a candidate sends at
/// most two requests in a retry period of 2 s.
const LEASES: Quota = Quota::from_static("10/s burst 20");
/// An unlimited bucket cannot be paused, so an unlimited budget is one that no client exhausts.
const UNLIMITED: Quota = Quota::from_static("1000000000/s");
/// The floor of the low lane is the burst divided by this.
const FLOOR_SHARE: u64 = 5;

/// A handle of the tokens that clients of the API server share. Clones share them.
///
/// The [module](self) says which request takes which token. [`client`](crate::client::client) makes a
/// client that keeps to a budget.
#[derive(Clone)]
pub struct Budget {
    shared: Arc<Shared>,
    low: bool,
}

struct Shared {
    requests: Box<dyn QuotaLimiter>,
    leases: Box<dyn QuotaLimiter>,
    floor: Option<u64>,
    /// The end of the longest pause so far. The bucket knows when a token is there, and not why none is.
    paused_until: Mutex<Timestamp>,
}

/// The settings of a [`Budget`].
#[derive(Clone, Debug)]
pub struct BudgetBuilder<C = SystemClock> {
    quota: Quota,
    leases: Quota,
    floor: Option<u64>,
    clock: C,
}

/// Why a quota cannot be a budget's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BudgetError {
    /// The bucket cannot have the quota.
    #[error(transparent)]
    Quota(#[from] QuotaError),
    /// The rate is zero: once the burst is used up, no request would ever be sent.
    #[error("the rate of a budget must be above zero")]
    ZeroRate,
}

impl Budget {
    /// Creates a budget of this QPS and burst, with a floor of a fifth of the burst.
    ///
    /// An unlimited quota counts as 10^9 requests a second, so that a pause holds.
    ///
    /// # Errors
    /// [`BudgetError`].
    pub fn new(quota: Quota) -> Result<Self, BudgetError> {
        Self::builder(quota).build()
    }

    /// Starts a budget of this QPS and burst with other settings than [`new`](Self::new).
    pub fn builder(quota: Quota) -> BudgetBuilder {
        BudgetBuilder {
            quota,
            leases: LEASES,
            floor: None,
            clock: SystemClock::new(),
        }
    }

    /// Returns a handle of the same tokens whose clients send every request, but those for leases, in the
    /// low lane: for a client that exports, cleans up or compares.
    pub fn low(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            low: true,
        }
    }

    /// Changes QPS and burst from now on, for waiting requests too. The tokens stay, as far as the new
    /// burst holds them; so do a pause and the bucket of the lease lane.
    ///
    /// # Errors
    /// [`BudgetError`]; the budget keeps its quota.
    pub fn set_quota(&self, quota: Quota) -> Result<(), BudgetError> {
        let quota = pausable(quota)?;
        Ok(self.shared.requests.set_quota(quota, CarryOver::Tokens)?)
    }

    /// Returns QPS and burst in force.
    pub fn quota(&self) -> Quota {
        self.shared.requests.quota()
    }

    /// Returns the number of tokens that the low lane leaves: as set, but always less than the burst.
    pub fn floor(&self) -> u64 {
        let burst = self.quota().max_burst();
        // With a floor of the whole burst the low lane would never get a token.
        self.shared
            .floor
            .unwrap_or(burst / FLOOR_SHARE)
            .min(burst - 1)
    }

    /// Holds all requests for `pause` from now on, those for leases excepted. A longer pause stays.
    pub fn pause_for(&self, pause: Duration) {
        let until = self.shared.requests.now().saturating_add(pause);
        let paused = self.shared.requests.pause_for(pause);
        // The only error is a rate of zero, which `pausable` has refused.
        debug_assert_eq!(paused, Ok(()));
        let mut longest = self.paused_until();
        *longest = until.max(*longest);
    }

    /// Returns how long a pause still holds all requests; `None` without one.
    pub fn pause_left(&self) -> Option<Duration> {
        let left = self
            .paused_until()
            .saturating_since(self.shared.requests.now());
        (!left.is_zero()).then_some(left)
    }

    fn paused_until(&self) -> MutexGuard<'_, Timestamp> {
        let until = self.shared.paused_until.lock();
        until.unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the number of requests that would be sent at once in the normal lane.
    pub fn available(&self) -> u64 {
        self.shared.requests.available()
    }

    /// Reads the bucket of the normal lane: the burst, what is left, and how long one request would wait.
    pub fn status(&self) -> Status {
        self.shared.requests.status(1)
    }

    /// Waits for a token of `lane` and takes it; returns how long that took on the budget's clock.
    ///
    /// # Errors
    /// [`Denied::Exhausted`] if the rate is so slow that the clock ends before the token is there.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the line, and the requests behind move up. A token that was set aside
    /// goes back.
    pub async fn acquire(&self, lane: Lane) -> Result<Duration, Denied> {
        let bucket = match lane {
            Lane::Lease => &self.shared.leases,
            Lane::Normal | Lane::Low => &self.shared.requests,
        };
        let start = bucket.now();
        loop {
            let floor = if lane == Lane::Low { self.floor() } else { 0 };
            match bucket.acquire_above(1, floor).await {
                // The burst has shrunk below the floor that this request waits above.
                Err(Denied::ExceedsBurst { .. }) => {}
                Err(denied) => return Err(denied),
                Ok(()) => return Ok(bucket.now().saturating_since(start)),
            }
        }
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget")
            .field("requests", &self.shared.requests)
            .field("low", &self.low)
            .finish_non_exhaustive()
    }
}

impl<C: Clock + Clone + 'static> BudgetBuilder<C> {
    /// Sets the number of tokens that the low lane leaves; a fifth of the burst by default. If the burst is
    /// not above it, the low lane needs a full bucket.
    pub const fn floor(mut self, tokens: u64) -> Self {
        self.floor = Some(tokens);
        self
    }

    /// Sets QPS and burst of the lease lane; 10 a second and 20 by default.
    pub const fn lease_quota(mut self, quota: Quota) -> Self {
        self.leases = quota;
        self
    }

    /// Sets the clock; [`SystemClock`] by default.
    pub fn clock<D: Clock + Clone + 'static>(self, clock: D) -> BudgetBuilder<D> {
        BudgetBuilder {
            quota: self.quota,
            leases: self.leases,
            floor: self.floor,
            clock,
        }
    }

    /// Creates the budget, with full buckets.
    ///
    /// # Errors
    /// [`BudgetError`], of the budget's quota or of the lease lane's.
    pub fn build(self) -> Result<Budget, BudgetError> {
        let bucket = |quota, clock| -> Result<Box<dyn QuotaLimiter>, BudgetError> {
            Ok(Box::new(AtomicTokenBucket::with_clock(
                pausable(quota)?,
                clock,
            )?))
        };
        let shared = Shared {
            requests: bucket(self.quota, self.clock.clone())?,
            leases: bucket(self.leases, self.clock)?,
            floor: self.floor,
            paused_until: Mutex::new(Timestamp::ZERO),
        };
        Ok(Budget {
            shared: Arc::new(shared),
            low: false,
        })
    }
}

/// Returns the quota of a bucket that can be paused and that refills.
fn pausable(quota: Quota) -> Result<Quota, BudgetError> {
    match quota {
        quota if quota.is_unlimited() => Ok(UNLIMITED),
        quota if quota.tokens() == 0 => Err(BudgetError::ZeroRate),
        quota => Ok(quota),
    }
}
