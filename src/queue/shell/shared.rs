//! The queue behind its handles: the state under its lock, and what lies beside it.

use std::hash::{BuildHasher, Hash as HashKey};
use std::sync::Arc;

use crate::backoff::{Backoff, Random};
use crate::clock::{Clock, Timestamp};
use crate::observe::Observer;
use crate::prefetch::PrefetchHint;
use crate::queue::core::add_error::AddError;
use crate::queue::core::entry::KeyHash;
use crate::queue::core::groups::grouping::{GroupKey, Grouping};
use crate::queue::core::index::KeyIndex;
use crate::queue::core::machine::add::{AddRefusal, Added, Room};
use crate::queue::core::options::AddOptions;
use crate::queue::core::waiting::queue_state::QueueState;
use crate::queue::shell::state_guard::StateGuard;
use crate::sync::Mutex;

pub(crate) struct Shared<K, C, S> {
    pub(crate) state: Mutex<QueueState<K>>,
    /// Where the key index is, for a prefetch before the lock is taken.
    pub(crate) index_hint: PrefetchHint,
    pub(crate) clock: C,
    pub(crate) hasher: S,
    pub(crate) backoff: Box<dyn Backoff>,
    /// After this many failures in a row a key is given up.
    pub(crate) max_attempts: Option<u16>,
    pub(crate) random: Random,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    pub(crate) grouping: Option<Box<dyn Grouping<K>>>,
    /// `K::clone`, if keys that were given up are remembered.
    pub(crate) clone_key: Option<fn(&K) -> K>,
    /// The queue has groups, keeps the newest of equal keys, or lets keys rest.
    pub(crate) needs_general_add: bool,
}

impl<K, C, S> Shared<K, C, S> {
    /// Locks the state for a change. Waiters are woken after the guard has unlocked.
    #[inline]
    pub(crate) fn lock_mut(&self) -> StateGuard<'_, K> {
        StateGuard(Some(self.state.lock()))
    }

    /// Runs `change` under the lock.
    #[inline]
    pub(crate) fn with_state<T>(&self, change: impl FnOnce(&mut QueueState<K>) -> T) -> T {
        let mut guard = self.lock_mut();
        let result = change(guard.state());
        guard.unlock();
        result
    }

    /// Same as [`with_state`](Self::with_state), for a change that may move the key index.
    #[inline]
    pub(crate) fn with_adder<T>(&self, add: impl FnOnce(&mut QueueState<K>) -> T) -> T {
        self.with_state(|state| {
            let added = add(state);
            self.index_hint.update(state.machine.index.location);
            added
        })
    }

    /// Same as [`with_adder`](Self::with_adder), with the group of the added key.
    ///
    /// The caller's function that makes the limiter of a new group runs without the lock. So `add`
    /// may run twice: it returns [`AddRefusal::NeedsLimiter`], and runs again with the limiter.
    pub(crate) fn with_adder_of<T>(
        &self,
        key: &mut Option<K>,
        mut add: impl FnMut(
            &mut QueueState<K>,
            &mut Option<K>,
            Option<&mut GroupKey<'_>>,
        ) -> Result<T, AddRefusal>,
    ) -> Result<T, AddRefusal> {
        // Keys whose rest is over: dropped after the lock is released.
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
        let mut added = Err(AddRefusal::NeedsLimiter);
        grouping.with(key, &mut |key, mut group| {
            added = add(key, group.as_deref_mut());
            if let (Err(AddRefusal::NeedsLimiter), Some(group)) = (&added, &mut group) {
                group.make_limiter();
                added = add(key, Some(group));
            }
        });
        added
    }

    /// Tells the observer, if there is one. Never called under the lock.
    #[inline]
    pub(crate) fn observe(&self, event: impl FnOnce(&dyn Observer)) {
        if let Some(observer) = self.observer.as_deref() {
            event(observer);
        }
    }

    /// Tells the observer that a limiter was found closed, if one was.
    #[inline]
    pub(crate) fn observe_closed_limiter(&self, was_found: bool) {
        if was_found {
            self.observe(|observer| observer.limiter_closed());
        }
    }

    /// Tells the observer of an attempt to add, and drops what the attempt left in place of the
    /// key. Called without the lock, since both run the caller's code.
    #[inline]
    pub(crate) fn observe_add(
        &self,
        added: Result<Added, AddRefusal>,
        left: Option<K>,
    ) -> Result<(), AddError<K>> {
        self.observe(|observer| match added {
            Ok(Added::New | Added::Updated) => observer.added(),
            Ok(Added::Coalesced) => observer.coalesced(),
            Err(_) => observer.rejected(),
        });
        match (added, left) {
            (Err(AddRefusal::Full), Some(key)) => Err(AddError::Full(key)),
            (Err(AddRefusal::Closed), Some(key)) => Err(AddError::Closed(key)),
            _ => Ok(()),
        }
    }
}

impl<K, C, S: BuildHasher> Shared<K, C, S> {
    #[inline]
    pub(crate) fn hash<Q: HashKey + ?Sized>(&self, key: &Q) -> KeyHash {
        let hash = KeyHash::new(self.hasher.hash_one(key));
        // The next step looks the key up: prefetch the index while the clock is read and the lock
        // is taken.
        KeyIndex::prefetch(self.index_hint.load(), hash);
        hash
    }
}

impl<K: Eq, C, S> Shared<K, C, S> {
    /// Adds a key and takes it, or leaves it in `key`.
    #[inline]
    pub(crate) fn try_admit(
        &self,
        hash: KeyHash,
        key: &mut Option<K>,
        options: AddOptions,
        room: Room,
        now: Timestamp,
    ) -> Result<Added, AddRefusal> {
        if self.needs_general_add {
            return self.try_admit_general(hash, key, options, room, now);
        }
        self.with_adder(|state| state.add::<false>(hash, key, options, room, now, None))
    }

    // Out of line, so that the fast path stays small where it is inlined.
    #[inline(never)]
    fn try_admit_general(
        &self,
        hash: KeyHash,
        key: &mut Option<K>,
        options: AddOptions,
        room: Room,
        now: Timestamp,
    ) -> Result<Added, AddRefusal> {
        // A closure that borrows its arguments makes each caller copy the options to memory.
        self.with_adder_of(key, move |state, key, group| {
            state.add::<true>(hash, key, options, room, now, group)
        })
    }
}

impl<K: HashKey + Eq, C: Clock, S: BuildHasher> Shared<K, C, S> {
    #[inline]
    pub(crate) fn add(&self, key: K, options: AddOptions, room: Room) -> Result<(), AddError<K>> {
        let (hash, now) = (self.hash(&key), self.clock.now());
        let mut key = Some(key);
        let added = self.try_admit(hash, &mut key, options, room, now);
        self.observe_add(added, key)
    }
}
