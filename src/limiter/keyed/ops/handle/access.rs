//! How a handle reads and changes the bucket of its key, as a word or with a line.

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};

use crate::clock::{Clock, Timestamp};
use crate::limiter::core::denied::Denied;
use crate::limiter::core::line::Line;
use crate::limiter::core::rate::View;
use crate::limiter::keyed::core::to_key::ToKey;
use crate::limiter::keyed::ops::handle::KeyHandle;
use crate::limiter::keyed::shell::decide::line_decision;
use crate::limiter::keyed::shell::keyed_limiter::SHARED_KEY;
use crate::unwind::Panics;
use crate::wake::Wakers;

impl<K, Q, S, C> KeyHandle<'_, K, Q, S, C>
where
    K: Hash + Borrow<Q>,
    Q: Eq + ToKey<K> + ?Sized,
    S: BuildHasher,
    C: Clock,
{
    /// Reads the bucket, after its waiters whose turn has come were served.
    pub(super) fn read<T>(
        &self,
        now: Timestamp,
        by_word: impl FnOnce(&View) -> T,
        by_line: impl FnOnce(&Line) -> T,
    ) -> T {
        // Woken once the lock is released.
        let mut wakers = Wakers::default();
        let mut shard = self.limiter.lock(self.shard());
        let Some(at) = shard.lines.find(self.key) else {
            return by_word(&shard.view(self.key, self.limiter.read_old()));
        };
        let line = &mut shard.lines.at_mut(at).line;
        line.serve(now, &mut wakers);
        let output = by_line(line);
        drop(shard);
        output
    }

    /// Changes the bucket, of a closed limiter too.
    pub(super) fn change(
        &self,
        now: Timestamp,
        op: impl Fn(&mut Line) -> Result<(), Denied> + Clone,
    ) -> Result<(), Denied> {
        if !self.limiter.lock(self.shard()).config().covers(now) {
            self.limiter.move_base(now);
        }
        self.limiter
            .decide(self.key, &line_decision(now, false, op))
    }

    /// Runs `op` on the line that a reservation or a turn stands in, if there still is one.
    ///
    /// `op` runs even if the caller's `Eq` or clock panics, and the panic goes on afterwards: a turn that
    /// did not leave would stay in line for ever.
    pub(super) fn with_existing_line(
        &self,
        is_shared: bool,
        op: impl FnOnce(&mut Line, Timestamp, &mut Wakers),
    ) {
        let limiter = self.limiter;
        let mut panics = Panics::default();
        // Declared before the lock, and so dropped after it.
        let (mut wakers, mut removed) = (Wakers::default(), None);
        let run = |line: &mut Line, panics: &mut Panics| {
            // Read under the lock, so no taker before has used a later time.
            let now = panics.catch(|| limiter.clock.now());
            let now = now.unwrap_or(line.tokens.fill.known_since);
            op(line, now, &mut wakers);
            line.serve(now, &mut wakers);
            now
        };
        if is_shared {
            let mut shared = limiter.caught_up(limiter.shared.write());
            if let Some(at) = shared.lines.find(SHARED_KEY) {
                run(&mut shared.lines.at_mut(at).line, &mut panics);
            }
            drop(shared);
        } else {
            let mut shard = limiter.lock(self.shard());
            let found = panics.catch(|| shard.lines.find(self.key));
            // After a panic in `Eq`, by the hash, which runs no code of the caller's.
            let found = found.unwrap_or_else(|| shard.lines.find_by_hash(self.key.hash));
            if let Some(at) = found {
                let now = run(&mut shard.lines.at_mut(at).line, &mut panics);
                removed = limiter.retire_line(&mut shard, at, now);
            }
            drop(shard);
        }
        drop(removed);
    }
}
