//! The state under its lock: the thin shell around the machine.

use std::hash::{BuildHasher, Hash as HashKey};
use std::mem;
use std::ops::DerefMut;
use std::sync::{Arc, Weak};
use std::task::Wake;
use std::time::Duration;

use crate::backoff::{Backoff, ExponentialBackoff, Random};
use crate::clock::{Clock, Timestamp};
use crate::observe::Observer;
use crate::queue::core::add_error::AddError;
use crate::queue::core::admit::{Added, Refused, Room};
use crate::queue::core::entry::{Failures, Hash};
use crate::queue::core::groups::group_table::GroupId;
use crate::queue::core::groups::grouping::{GroupKey, Grouping};
use crate::queue::core::index::KeyIndex;
use crate::queue::core::keys::KeyRef;
use crate::queue::core::machine::Finished;
use crate::queue::core::options::AddOptions;
use crate::queue::core::run::{Failing, Outcome, Run};
use crate::queue::core::waiting::state::State;
use crate::sync::{Mutex, MutexGuard};
use crate::unwind::Panics;
use crate::wake::Wakers;
use crate::whereabouts::Signpost;

pub(crate) struct Shared<K, C, S> {
    pub(crate) state: Mutex<State<K>>,
    /// Where the index is.
    pub(crate) index_at: Signpost,
    pub(crate) clock: C,
    pub(crate) hasher: S,
    pub(crate) backoff: Box<dyn Backoff>,
    /// After so many failures in a row a key is given up.
    pub(crate) max_attempts: Option<u16>,
    pub(crate) random: Random,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    pub(crate) grouping: Option<Box<dyn Grouping<K>>>,
    /// Copies a key that is given up and remembered.
    pub(crate) copy: Option<fn(&K) -> K>,
    /// It has groups, keeps the newest of equal keys, or remembers keys.
    pub(crate) adds_specially: bool,
}

/// What a limiter wakes when it may have a token for the queue, or for one of its groups.
pub(crate) struct Bell<K, C, S> {
    pub(crate) queue: Weak<Shared<K, C, S>>,
    pub(crate) group: Option<GroupId>,
}

impl<K, C, S> Wake for Bell<K, C, S>
where
    K: Send + Sync + 'static,
    C: Clock + 'static,
    S: Send + Sync + 'static,
{
    fn wake(self: Arc<Self>) {
        if let Some(shared) = self.queue.upgrade() {
            // It rings also if the clock panics.
            let mut panics = Panics::default();
            let now = panics.catch(|| shared.clock.now());
            shared.with_state(|state| state.ring(self.group, now));
        }
    }
}

/// The state while somebody changes it. It settles however that ends: also by a panic of the
/// caller's `Eq`.
pub(crate) struct Change<K, G: DerefMut<Target = State<K>>>(
    /// Until it has ended.
    Option<G>,
);

impl<K, G: DerefMut<Target = State<K>>> Change<K, G> {
    #[inline]
    pub(crate) fn state(&mut self) -> &mut State<K> {
        match &mut self.0 {
            Some(state) => state,
            None => unreachable!("it has not ended"),
        }
    }

    /// Settles and unlocks.
    #[expect(clippy::inline_always, reason = "mostly it is but the unlock")]
    #[inline(always)]
    pub(crate) fn end(mut self) {
        let state = self.0.take();
        // Nothing is left to be dropped, and dropping it would be a call.
        mem::forget(self);
        match state {
            Some(state) if state.is_quiet() => drop(state),
            state => settle(state),
        }
    }
}

impl<K, G: DerefMut<Target = State<K>>> Drop for Change<K, G> {
    fn drop(&mut self) {
        settle(self.0.take());
    }
}

/// Settles, and wakes once the lock is released. Out of line: mostly nobody waits.
#[inline(never)]
fn settle<K>(state: Option<impl DerefMut<Target = State<K>>>) {
    // Dropped last, whatever happens.
    let mut wakers = Wakers::default();
    if let Some(mut state) = state {
        state.settle(&mut wakers);
    }
}

impl<K, C, S> Shared<K, C, S> {
    /// Runs `change` under the lock, settles, and wakes after it.
    #[inline]
    pub(crate) fn with_state<T>(&self, change: impl FnOnce(&mut State<K>) -> T) -> T {
        let mut changed = self.change();
        let result = change(changed.state());
        changed.end();
        result
    }

    /// As [`with_state`](Self::with_state), where keys may be added and the index may move.
    #[inline]
    pub(crate) fn with_adder<T>(&self, add: impl FnOnce(&mut State<K>) -> T) -> T {
        self.with_state(|state| {
            let added = add(state);
            self.index_at.point_to(state.machine.index.whereabouts());
            added
        })
    }

    /// As [`with_adder`](Self::with_adder), with the group of the key that is added. The limiter of a new
    /// group is made without the lock, before.
    pub(crate) fn with_adder_of<T>(
        &self,
        key: &mut Option<K>,
        mut add: impl FnMut(
            &mut State<K>,
            &mut Option<K>,
            Option<&mut GroupKey<'_>>,
        ) -> Result<T, Refused>,
    ) -> Result<T, Refused> {
        // Keys whose rest is over, dropped once the lock is released.
        let mut expired = Vec::new();
        let mut add = |key: &mut Option<K>, group: Option<&mut GroupKey<'_>>| {
            self.with_adder(|state| {
                let added = add(state, key, group);
                expired.append(&mut state.machine.expired);
                added
            })
        };
        let Some(grouping) = &self.grouping else {
            return add(key, None);
        };
        let mut added = Err(Refused::NeedsLimiter);
        grouping.with(key, &mut |key, mut group| {
            added = add(key, group.as_deref_mut());
            if let (Err(Refused::NeedsLimiter), Some(group)) = (&added, &mut group) {
                group.make_limiter();
                added = add(key, Some(group));
            }
        });
        added
    }

    /// Locks, until what comes back ends: then it settles.
    #[inline]
    pub(crate) fn change(&self) -> Change<K, MutexGuard<'_, State<K>>> {
        Change(Some(self.state.lock()))
    }

    /// The keys that a closed queue gives back. It wakes nobody, so that no waker that panics can
    /// take them along: until then the next call gives them back.
    pub(crate) fn take_left(&self) -> Vec<K> {
        self.state.lock().machine.take_left()
    }

    #[inline]
    pub(crate) fn is_observed(&self) -> bool {
        self.observer.is_some()
    }

    /// Tells the observer, if there is one; never under the lock.
    #[inline]
    pub(crate) fn observe(&self, event: impl FnOnce(&dyn Observer)) {
        if let Some(observer) = self.observer.as_deref() {
            event(observer);
        }
    }

    /// Reports an attempt to add, and drops the key that was left of it if it is spare, outside the
    /// lock.
    #[inline]
    pub(crate) fn observe_add(
        &self,
        added: Result<Added, Refused>,
        left: Option<K>,
    ) -> Result<(), AddError<K>> {
        self.observe(|observer| match added {
            Ok(Added::New | Added::Updated) => observer.added(),
            Ok(Added::Coalesced) => observer.coalesced(),
            Err(_) => observer.rejected(),
        });
        match (added, left) {
            (Err(Refused::Full), Some(key)) => Err(AddError::Full(key)),
            (Err(Refused::Closed), Some(key)) => Err(AddError::Closed(key)),
            _ => Ok(()),
        }
    }
}

impl<K, C, S: BuildHasher> Shared<K, C, S> {
    #[inline]
    pub(crate) fn hash<Q: HashKey + ?Sized>(&self, key: &Q) -> Hash {
        let hash = Hash::new(self.hasher.hash_one(key));
        // Whatever is done next looks for it: memory comes while the clock is read and the lock taken.
        KeyIndex::ask(self.index_at.read(), hash);
        hash
    }
}

impl<K, C: Clock, S> Shared<K, C, S> {
    /// A clone of a key that is about to be given up, if that is to be remembered.
    pub(crate) fn copy_of_given_up(&self, key: &KeyRef<K>, outcome: Outcome) -> Option<K> {
        let gives_up = matches!(outcome, Outcome::GiveUp(_) | Outcome::Fail(_));
        self.copy.filter(|_| gives_up).map(|copy| copy(key))
    }

    /// Ends the processing of a key that was started at `started`. It comes back if it is no longer
    /// live, or its clone if it is given up and remembered.
    pub(crate) fn finish(
        &self,
        key: KeyRef<K>,
        copy: Option<K>,
        outcome: Outcome,
        started: Timestamp,
        now: Timestamp,
    ) -> Option<K> {
        let Finished {
            forgotten,
            replaced,
            is_given_up,
        } = self.with_state(|state| state.machine.finish(key, outcome, now));
        let (forgotten, spare) = if is_given_up {
            (copy, forgotten)
        } else {
            (forgotten, copy)
        };
        self.observe_finish(started, now, |observer| match outcome {
            Outcome::Done => {}
            // If it is still live, somebody has added it meanwhile.
            Outcome::GiveUp(_) if forgotten.is_none() => {}
            Outcome::GiveUp(_) => observer.gave_up(),
            Outcome::Fail(_) => observer.failed(),
            Outcome::Defer(_) => observer.deferred(),
            Outcome::Requeue | Outcome::After(_) | Outcome::Retry(_) => observer.retried(),
        });
        // Before the return: should a drop panic, a local is dropped, but not what is returned already.
        drop((replaced, spare));
        forgotten
    }

    /// As [`finish`](Self::finish) with [`Outcome::Done`], if nobody observes and what happens does
    /// not depend on the time; else the key stays borrowed.
    #[inline]
    pub(crate) fn finish_done(&self, borrowed: &mut Option<KeyRef<K>>) -> Option<K> {
        self.with_state(|state| state.machine.finish_done(borrowed))
    }

    /// Reports the end of a run, and what came of it.
    pub(crate) fn observe_finish(
        &self,
        started: Timestamp,
        now: Timestamp,
        came_of_it: impl FnOnce(&dyn Observer),
    ) {
        self.observe(|observer| {
            observer.finished(now.saturating_since(started));
            came_of_it(observer);
        });
    }

    /// What becomes of a key whose run has failed: another attempt, unless this was the last.
    pub(crate) fn retry(&self, run: &mut Run, own: Option<Duration>, now: Timestamp) -> Outcome {
        let failures = self.failed(run, own, now);
        if self.max_attempts.is_some_and(|max| failures.count >= max) {
            Outcome::GiveUp(failures)
        } else {
            Outcome::Retry(failures)
        }
    }

    /// The failures of a key whose run has failed too. It waits for its `own` delay, or for the queue's
    /// backoff.
    pub(crate) fn failed(&self, run: &mut Run, own: Option<Duration>, now: Timestamp) -> Failures {
        let backoff: &dyn Backoff = match run.failing {
            Failing::Asked => &ExponentialBackoff::DEFAULT,
            Failing::Counts | Failing::Repeats => &*self.backoff,
        };
        if run.failing == Failing::Counts {
            run.failures = run.failures.saturating_add(1);
        }
        run.failing = Failing::Asked;
        let delay =
            own.unwrap_or_else(|| backoff.delay(run.failures.max(1).into(), self.random.next()));
        Failures {
            count: run.failures,
            // Without a delay it is over, and not at the next millisecond.
            until: if delay.is_zero() {
                Timestamp::ZERO
            } else {
                now.saturating_add(delay)
            },
        }
    }
}

impl<K: Eq, C, S> Shared<K, C, S> {
    /// Adds a key, or leaves it.
    #[inline]
    pub(crate) fn try_admit(
        &self,
        hash: Hash,
        key: &mut Option<K>,
        options: AddOptions,
        room: Room,
        now: Timestamp,
    ) -> Result<Added, Refused> {
        if self.adds_specially {
            return self.try_admit_specially(hash, key, options, room, now);
        }
        self.with_adder(|state| state.add(hash, key, options, room, now))
    }

    #[inline(never)]
    fn try_admit_specially(
        &self,
        hash: Hash,
        key: &mut Option<K>,
        options: AddOptions,
        room: Room,
        now: Timestamp,
    ) -> Result<Added, Refused> {
        self.with_adder_of(key, |state, key, group| {
            state.add_special(hash, key, options, room, now, group)
        })
    }
}

impl<K: HashKey + Eq, C: Clock, S: BuildHasher> Shared<K, C, S> {
    #[inline]
    pub(crate) fn add(&self, key: K, options: AddOptions, room: Room) -> Result<(), AddError<K>> {
        let hash = self.hash(&key);
        let now = self.clock.now();
        let mut key = Some(key);
        let added = self.try_admit(hash, &mut key, options, room, now);
        self.observe_add(added, key)
    }
}
