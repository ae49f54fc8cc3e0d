//! Letting go of the buckets that need not be kept.

use crate::clock::Timestamp;
use crate::limiter::core::rate::Instant;
use crate::limiter::keyed::core::generation::{Carry, Generation};
use crate::limiter::keyed::core::shard::Shard;
use crate::limiter::keyed::core::table::Gone;

impl<K> Shard<K> {
    /// Looks at a few buckets, those near a hash first, and lets go what is from `now` on the same
    /// as the buckets of absent keys.
    pub(crate) fn sweep(
        &mut self,
        near: Option<u64>,
        now: Timestamp,
        carry: impl Carry,
        gone: &mut Gone<K>,
    ) {
        let before = gone.len();
        let renew = Generation::renew;
        let mut may_go = may_go(&self.generation, &mut self.absent, now, carry, renew);
        if let Some(hash) = near {
            self.table.sweep_near(hash, |word| may_go(word), gone);
        }
        if gone.len() == before {
            self.table.sweep(|word| may_go(word), gone);
        }
        drop(may_go);
        if gone.len() == before {
            gone.extend(self.sweep_lines(now));
        }
        self.evicted += (gone.len() - before) as u64;
    }

    /// As [`sweep`](Self::sweep), of the keys with a line: one that needs none any more is there
    /// still if the table had no room for its key.
    fn sweep_lines(&mut self, now: Timestamp) -> Option<K> {
        let (at, absent) = (self.generation.rate.at(now), self.absent);
        let line = self.lines.sweep(|line| {
            let full_at = line.line.tokens.fill.full_at;
            line.has_seat && line.is_idle() && full_at.max(at) == absent.max(at)
        })?;
        self.absent = absent.max(line.line.tokens.fill.full_at);
        Some(line.key)
    }

    /// Brings every bucket to the generation in force, or lets it go.
    pub(crate) fn refresh(&mut self, now: Timestamp, carry: impl Carry, gone: &mut Vec<K>) {
        let before = gone.len();
        // A debt of more than a word can hold, which is years, is cut to that: no word may stay
        // behind for 128 generations.
        let renew = |generation: &Generation, word: &mut u64, full_at: Instant| {
            *word = generation.pack(full_at);
        };
        let mut may_go = may_go(&self.generation, &mut self.absent, now, carry, renew);
        self.table.retain(|_, word| !may_go(word), gone);
        drop(may_go);
        self.evicted += (gone.len() - before) as u64;
    }
}

/// Whether a bucket may go, which leaves its instant behind; else it is brought to the generation
/// in force.
fn may_go(
    generation: &Generation,
    absent: &mut Instant,
    now: Timestamp,
    carry: impl Carry,
    renew: impl Fn(&Generation, &mut u64, Instant),
) -> impl FnMut(&mut u64) -> bool {
    let at = generation.rate.at(now);
    move |word| {
        let full_at = generation.read(*word, &carry);
        if full_at.max(at) == (*absent).max(at) {
            *absent = full_at.max(*absent);
            return true;
        }
        renew(generation, word, full_at);
        false
    }
}
