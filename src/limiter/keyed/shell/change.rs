//! Quotas that change, and bases that move: each begins a generation, and each shard catches up
//! when it is next locked.

use crate::clock::{Clock, Timestamp};
use crate::limiter::core::rate::Instant;
use crate::limiter::keyed::core::generation::{Carry, Generation, Generations, TURN};
use crate::limiter::keyed::core::leaving::Leaving;
use crate::limiter::keyed::core::shard::Shard;
use crate::limiter::keyed::shell::keyed_limiter::KeyedLimiter;
use crate::sync::{AtomicU64, Mutex, Ordering, RwLockWriteGuard, fence};
use crate::wake::Wakers;

/// Takes the number of a generation back that has not begun, should the caller's clock panic.
struct Undo<'a>(&'a AtomicU64, u64);

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        self.0.store(self.1, Ordering::Release);
    }
}

impl<K, S, C> KeyedLimiter<K, S, C> {
    #[inline]
    pub(crate) fn caught_up<'a, T>(
        &self,
        mut shard: RwLockWriteGuard<'a, Shard<T>>,
    ) -> RwLockWriteGuard<'a, Shard<T>> {
        // Acquire pairs with the Release in `begin`: who knows of a change of the quota sees it.
        if shard.generation().number != self.current.load(Ordering::Acquire) {
            self.catch_up(&mut shard);
        }
        shard
    }

    #[cold]
    fn catch_up<T>(&self, shard: &mut Shard<T>) {
        shard.catch_up(&self.generations.lock());
    }

    /// Reads words of older generations.
    #[inline]
    pub(crate) fn carry(&self) -> impl Carry + use<'_, K, S, C> {
        #[cold]
        fn unpack(generations: &Mutex<Generations>, word: u64, to: u64) -> Instant {
            generations.lock().unpack(word, to)
        }
        |word, to| unpack(&self.generations, word, to)
    }

    /// Begins a generation: `make` makes it of the one in force and a time, if it is needed.
    pub(crate) fn begin<E>(
        &self,
        now: Option<Timestamp>,
        make: impl Fn(&Generation, Timestamp) -> Result<Option<Generation>, E>,
        leaving: &mut Leaving<'_, K>,
    ) -> Result<Timestamp, E>
    where
        C: Clock,
    {
        let mut turn = self.writer.lock();
        // Only a writer begins a generation, and there is only one.
        let (current, before) = (*self.generations.lock().current(), self.clock.now());
        let Some(next) = make(&current, now.unwrap_or(before))? else {
            return Ok(before);
        };
        if Generations::is_due(next.number) {
            let some = (self.shards.len() as u64).div_ceil(TURN);
            for _ in 0..some {
                *turn = (*turn + 1) % self.shards.len();
                let mut shard = self.lock(*turn);
                shard.refresh(before, self.carry(), &mut leaving.seated);
            }
        }
        let mut generations = self.generations.lock();
        // Whoever finds the number comes for the generation, and waits until it is there. Release
        // pairs with the Acquire in `caught_up`.
        self.current.store(next.number, Ordering::Release);
        let undo = Undo(&self.current, current.number);
        // The time is read once no take of the generation before can be at a later one: those that
        // have not seen the number have read their clocks before it was there.
        fence(Ordering::SeqCst);
        let now = now.unwrap_or_else(|| self.clock.now());
        generations.begin(make(&current, now)?.unwrap_or(next));
        std::mem::forget(undo);
        drop(generations);
        drop(turn);
        Ok(now)
    }

    /// Moves the base of all words nearer to `now`, unless another thread has done so.
    #[cold]
    pub(crate) fn move_base(&self, now: Timestamp)
    where
        C: Clock,
    {
        let moved = |current: &Generation, now| {
            let beyond = !current.covers(now) && !current.is_closed;
            beyond.then(|| current.moved(now)).transpose()
        };
        let moved = self.begin(Some(now), moved, &mut self.leaving());
        debug_assert!(moved.is_ok(), "the quota in force fits");
    }

    /// Has the waiters of all keys look at a change: one step for each key that has any.
    pub(crate) fn serve_all(&self, now: Timestamp) {
        // Woken once all have been served: one that panics is not to keep others from it.
        let mut wakers = Wakers::default();
        for shard in 0..self.shards.len() {
            let mut shard = self.lock(shard);
            for line in shard.lines.iter_mut() {
                line.line.serve(now, &mut wakers);
            }
            drop(shard);
        }
        let mut shared = self.caught_up(self.shared.write());
        for line in shared.lines.iter_mut() {
            line.line.serve(now, &mut wakers);
        }
        drop(shared);
    }
}
