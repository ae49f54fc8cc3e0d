//! The single-bucket limiters under test, one file each.

mod better_bucket;
mod bounds;
pub mod governor;
mod leaky_bucket;
mod ratelimit;
mod textbook;
mod tollgate;
mod tower;
mod x_time_rate;

use crate::quota::Quota;
use crate::subject::{About, Family};
use crate::workload::drive::{Driven, Of};

/// A limiter under test.
pub trait Limiter: Sync + Sized {
    /// A thread's access to the limiter.
    type Handle<'a>: Handle
    where
        Self: 'a;

    /// Makes a full bucket.
    fn new(quota: Quota) -> Self;

    /// Makes a handle for one of `callers` threads.
    fn handle(&self, callers: usize) -> Self::Handle<'_>;

    /// Returns the time of the limiter's own clock, in nanoseconds.
    fn nanos(&self) -> u64;

    /// Changes the quota and keeps the current tokens; returns whether it supports that.
    fn set_quota(&self, _quota: Quota) -> bool {
        false
    }
}

/// A thread's access to a limiter.
pub trait Handle {
    /// Takes `n` tokens now, or none.
    fn try_acquire(&mut self, n: u32) -> bool;
}

/// A limiter that threads call through a shared reference.
pub trait Shared: Sync {
    /// Takes `n` tokens now, or none.
    fn try_acquire(&self, n: u32) -> bool;
}

impl<S: Shared> Handle for &S {
    #[inline(always)]
    fn try_acquire(&mut self, n: u32) -> bool {
        S::try_acquire(self, n)
    }
}

/// Returns all of them, ours first.
pub fn all() -> Vec<Box<dyn Driven>> {
    use ::tollgate::{AtomicTokenBucket, LockedTokenBucket, StripedTokenBucket};

    use crate::clock::{As, Os, Tsc};
    use Family::{Bound, Ours, Peer, Textbook};

    let ours = |name, clock| About::new(name, Ours, clock);
    let peer = |name, clock| About::new(name, Peer, clock);
    let textbook = |name| About::new(name, Textbook, "TSC");
    let bound = |name, clock| About::new(name, Bound, clock);
    let mut all: Vec<Box<dyn Driven>> = vec![
        Of::<AtomicTokenBucket>::boxed(ours("AtomicTokenBucket", "TSC")),
        Of::<AtomicTokenBucket<As<Os>>>::boxed(ours("AtomicTokenBucket, Instant", "Instant")),
        Of::<tollgate::AtGivenTime>::boxed(
            ours("AtomicTokenBucket, given time", "none").speed_only(),
        ),
        Of::<StripedTokenBucket>::boxed(ours("StripedTokenBucket", "TSC")),
        Of::<tollgate::Unstriped>::boxed(ours("StripedTokenBucket, no stripes", "TSC")),
        Of::<tollgate::Leased>::boxed(ours("TokenLease", "TSC")),
        Of::<LockedTokenBucket>::boxed(ours("LockedTokenBucket", "TSC")),
        Of::<governor::Governor<governor::Given>>::boxed(peer("governor", "TSC")),
        Of::<governor::Governor<governor::Default>>::boxed(peer(
            "governor, default clock",
            "quanta",
        )),
        Of::<better_bucket::BetterBucket>::boxed(peer("better-bucket", "TSC")),
        Of::<leaky_bucket::LeakyBucket>::boxed(peer("leaky-bucket", "Instant")),
        Of::<ratelimit::Ratelimit<Tsc>>::boxed(peer("ratelimit", "TSC")),
        Of::<ratelimit::Ratelimit<Os>>::boxed(peer("ratelimit, default clock", "Instant")),
        Of::<tower::Tower>::boxed(peer("tower RateLimit, in a lock", "Instant").single_tokens()),
        Of::<textbook::Textbook<textbook::Float>>::boxed(textbook("textbook, float")),
        Of::<textbook::Textbook<textbook::Truncating>>::boxed(textbook("textbook, truncating")),
    ];
    if let Some(go) = x_time_rate::XTimeRate::running() {
        all.push(Box::new(go));
    }
    all.extend([
        Of::<bounds::ClockRead>::boxed(bound("clock read", "TSC").speed_only()),
        Of::<bounds::Cas>::boxed(bound("CAS", "none").speed_only()),
        Of::<bounds::OwnLine>::boxed(bound("fetch_sub, a line each", "none").speed_only()),
        Of::<bounds::ClockReadAndCas>::boxed(bound("clock read + CAS", "TSC").speed_only()),
        Of::<bounds::ClockReadAndPausedCas>::boxed(
            bound("clock read + CAS, paused", "TSC").speed_only(),
        ),
        Of::<bounds::ClockReadAndLock>::boxed(bound("clock read + lock pair", "TSC").speed_only()),
    ]);
    all
}

/// A key of a `KeyedLimiter` with its own quota: takes part in `changes` only.
pub fn one_key() -> Box<dyn Driven> {
    let about = About::new(
        "KeyedLimiter, one key with its own quota",
        Family::Ours,
        "TSC",
    );
    Of::<tollgate::OneKey>::boxed(about)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits_its_burst<L: Limiter>() {
        let limiter = L::new(Quota {
            burst: 50,
            ..Quota::STINGY
        });
        let mut handle = limiter.handle(1);
        assert_eq!((0..100).filter(|_| handle.try_acquire(1)).count(), 50);
    }

    #[test]
    fn adapters_admit_the_burst_and_no_more() {
        use ::tollgate::{AtomicTokenBucket, LockedTokenBucket, StripedTokenBucket};

        use crate::clock::{As, Os, Tsc};

        admits_its_burst::<AtomicTokenBucket>();
        admits_its_burst::<AtomicTokenBucket<As<Os>>>();
        admits_its_burst::<tollgate::AtGivenTime>();
        admits_its_burst::<tollgate::Leased>();
        admits_its_burst::<tollgate::OneKey>();
        admits_its_burst::<LockedTokenBucket>();
        admits_its_burst::<StripedTokenBucket>();
        admits_its_burst::<tollgate::Unstriped>();
        admits_its_burst::<governor::Governor<governor::Given>>();
        admits_its_burst::<governor::Governor<governor::Default>>();
        admits_its_burst::<better_bucket::BetterBucket>();
        admits_its_burst::<leaky_bucket::LeakyBucket>();
        admits_its_burst::<ratelimit::Ratelimit<Tsc>>();
        admits_its_burst::<ratelimit::Ratelimit<Os>>();
        admits_its_burst::<tower::Tower>();
        admits_its_burst::<textbook::Textbook<textbook::Float>>();
        admits_its_burst::<textbook::Textbook<textbook::Truncating>>();
    }
}
