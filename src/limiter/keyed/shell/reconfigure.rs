//! Changes of the quota, and moves of the base. Each begins a generation; each shard catches up when it
//! is next locked for writing.

use std::convert::Infallible;

use crate::clock::{Clock, Timestamp};
use crate::limiter::core::rate::Instant;
use crate::limiter::keyed::core::config::{Config, ReadOld};
use crate::limiter::keyed::core::config_history::{ConfigHistory, REFRESH_FROM, REFRESH_ROUND};
use crate::limiter::keyed::core::removed_keys::RemovedKeys;
use crate::limiter::keyed::core::shard::Shard;
use crate::limiter::keyed::shell::keyed_limiter::KeyedLimiter;
use crate::sync::{AtomicU64, Mutex, Ordering, RwLockWriteGuard, fence};
use crate::wake::Wakers;

/// Restores the number of the generation in force if the caller's clock panics before the next one has
/// begun.
struct Undo<'a>(&'a AtomicU64, u64);

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        self.0.store(self.1, Ordering::Release);
    }
}

impl<K, S, C> KeyedLimiter<K, S, C> {
    /// Brings a locked shard to the configuration in force.
    #[inline]
    pub(crate) fn caught_up<'a, T>(
        &self,
        mut shard: RwLockWriteGuard<'a, Shard<T>>,
    ) -> RwLockWriteGuard<'a, Shard<T>> {
        // Acquire pairs with the Release in `begin`: a caller that knows of another quota goes by it.
        if shard.config().generation != self.generation.load(Ordering::Acquire) {
            self.catch_up(&mut shard);
        }
        shard
    }

    #[cold]
    fn catch_up<T>(&self, shard: &mut Shard<T>) {
        // Waits here while `begin` holds the history: it publishes the number first.
        shard.catch_up(&self.history.lock());
    }

    /// Reads words of older generations.
    #[inline]
    pub(crate) fn read_old(&self) -> impl ReadOld + use<'_, K, S, C> {
        #[cold]
        fn read(history: &Mutex<ConfigHistory>, word: u64, to: u64) -> Instant {
            history.lock().read(word, to)
        }
        |word, to| read(&self.history, word, to)
    }

    /// Begins a generation with the configuration that `next` makes of the one in force and a time, if
    /// it makes one. Returns the time from which it is in force: `now`, or else a time that no take under
    /// the generation before is later than.
    pub(crate) fn begin<E>(
        &self,
        now: Option<Timestamp>,
        next: impl Fn(&Config, Timestamp) -> Result<Option<Config>, E>,
        removed: &mut RemovedKeys<'_, K>,
    ) -> Result<Timestamp, E>
    where
        C: Clock,
    {
        let mut next_refresh = self.writer.lock();
        // Read once: generations begin under the writer's lock only.
        let (current, before) = (*self.history.lock().current(), self.clock.now());
        let Some(config) = next(&current, now.unwrap_or(before))? else {
            return Ok(before);
        };
        if config.generation >= REFRESH_FROM {
            let batch = (self.shards.len() as u64).div_ceil(REFRESH_ROUND);
            for _ in 0..batch {
                *next_refresh = (*next_refresh + 1) % self.shards.len();
                let mut shard = self.lock(*next_refresh);
                shard.refresh(before, self.read_old(), &mut removed.counted);
            }
        }
        let mut history = self.history.lock();
        // The number before the configuration: a caller that reads it waits in `catch_up` for the lock
        // held here. Release pairs with the Acquire in `caught_up` and `take_by_word`.
        self.generation.store(config.generation, Ordering::Release);
        let undo = Undo(&self.generation, current.generation);
        // Takers that have not seen the number read their clocks before this fence. So the time read
        // after it is no earlier than theirs, and what they took is charged at the old rate.
        fence(Ordering::SeqCst);
        let now = now.unwrap_or_else(|| self.clock.now());
        history.push(next(&current, now)?.unwrap_or(config));
        std::mem::forget(undo);
        drop(history);
        drop(next_refresh);
        Ok(now)
    }

    /// Moves the base of all words nearer to `now`, unless another thread has done so.
    #[cold]
    pub(crate) fn move_base(&self, now: Timestamp)
    where
        C: Clock,
    {
        let next = |current: &Config, now| {
            // Of a closed limiter too: a charge beyond what a word can hold comes here again until the
            // base covers its time.
            let is_beyond = !current.covers(now);
            Ok::<_, Infallible>(is_beyond.then(|| current.with_base_near(now)))
        };
        let Ok(_) = self.begin(Some(now), next, &mut self.removed_keys());
    }

    /// Serves the waiters of all keys after a change: one step for each key with a line.
    pub(crate) fn serve_all(&self, now: Timestamp) {
        // Woken once all lines have been served: a waker that panics must not keep others waiting.
        let mut wakers = Wakers::default();
        for shard in 0..self.shards.len() {
            for entry in &mut self.lock(shard).lines.entries {
                entry.line.serve(now, &mut wakers);
            }
        }
        let mut shared = self.caught_up(self.shared.write());
        for entry in &mut shared.lines.entries {
            entry.line.serve(now, &mut wakers);
        }
        drop(shared);
    }
}
