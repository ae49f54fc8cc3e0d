//! A cache that at most one caller a minute refreshes, guarded by a token bucket, and its model.
//!
//! `cargo run --example model_check` runs it on the operating system's threads. Under the model
//! checker the same function covers every interleaving with at most three preemptions:
//!
//! ```sh
//! export RUSTFLAGS="--cfg tollgate_loom" CARGO_TARGET_DIR=target/loom
//! cargo run --release --example model_check
//! ```

// std's also in the model: loom need not follow reference counts and this example's counters.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

#[cfg(tollgate_loom)]
use loom::{sync::Mutex, thread};
#[cfg(not(tollgate_loom))]
use std::{sync::Mutex, thread};

use tollgate::{AtomicTokenBucket, Clock, ManualClock, Quota, RateLimiter};

/// A value that is fetched at most once a minute, by the caller that gets the token.
struct Cache<C> {
    fetches: AtomicTokenBucket<C>,
    value: Mutex<Option<u64>>,
}

impl<C: Clock> Cache<C> {
    fn new(clock: C) -> Self {
        let quota = Quota::per_minute(1).expect("one a minute is a quota");
        Self {
            fetches: AtomicTokenBucket::with_clock(quota, clock).expect("it fits the word"),
            value: Mutex::new(None),
        }
    }

    /// The value, fetched by this caller or an earlier one; `None` while the first fetch runs.
    fn get(&self, fetch: impl FnOnce() -> u64) -> Option<u64> {
        if self.fetches.try_acquire(1).is_ok() {
            let value = Some(fetch());
            *self.value.lock().unwrap() = value;
            return value;
        }
        // Taking a token orders no other memory: the lock is what publishes the value.
        *self.value.lock().unwrap()
    }
}

/// Two callers at once: one of them fetches, and neither fetches again within the minute.
fn two_callers() {
    let clock = ManualClock::new();
    let cache = Arc::new(Cache::new(clock.clone()));
    let fetches = Arc::new(AtomicU64::new(0));
    let get = move || cache.get(|| fetches.fetch_add(1, Ordering::Relaxed) + 1);

    let other = thread::spawn(get.clone());
    let answers = [get(), other.join().unwrap()];
    assert!(answers.contains(&Some(1)), "{answers:?}");
    assert!(!answers.contains(&Some(2)), "{answers:?}");

    assert_eq!(get(), Some(1));
    clock.advance(Duration::from_secs(60));
    assert_eq!([get(), get()], [Some(2); 2]);
}

#[cfg(not(tollgate_loom))]
fn main() {
    (0..1_000).for_each(|_| two_callers());
    println!("1,000 runs; `--cfg tollgate_loom` explores their interleavings");
}

#[cfg(tollgate_loom)]
fn main() {
    let executions = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&executions);
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        two_callers();
    });
    println!("{} executions", executions.load(Ordering::Relaxed));
}
