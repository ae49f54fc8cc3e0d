//! A key that knows whether it has been dropped, and whose code can be made to panic.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// The keys that have not been dropped, by run and number. Not in the key: what a bug makes of a key
/// may be any bytes.
static LIVE: Mutex<BTreeSet<(u64, u64)>> = Mutex::new(BTreeSet::new());
/// The number of the next run or key.
pub(super) static NEXT: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// What panics on this thread, after so many calls that do not.
    pub(super) static TRAP: Cell<Option<(Call, u8)>> = const { Cell::new(None) };
}

/// What a key does, and may panic at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Eq,
    Hash,
    Clone,
    Drop,
}

/// The payload of a panic on purpose.
pub(super) struct OnPurpose;

fn call(what: Call) {
    match TRAP.get() {
        // A second panic would end the process.
        Some((trapped, 0)) if trapped == what && !thread::panicking() => {
            TRAP.set(None);
            resume_unwind(Box::new(OnPurpose));
        }
        Some((trapped, left)) if trapped == what => {
            TRAP.set(Some((trapped, left.saturating_sub(1))));
        }
        _ => {}
    }
}

pub(super) fn live<T>(look: impl FnOnce(&mut BTreeSet<(u64, u64)>) -> T) -> T {
    look(&mut LIVE.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Equal keys have one name. Each has a number of its own, also on the heap, where a sanitizer sees a
/// use after the drop.
#[derive(Debug)]
pub(super) struct Key {
    run: u64,
    number: Box<u64>,
    pub(super) copy: u64,
    pub(super) name: u8,
    collides: bool,
}

impl Key {
    pub(super) fn new(run: u64, name: u8, collides: bool) -> Self {
        let copy = NEXT.fetch_add(1, Ordering::Relaxed);
        live(|live| live.insert((run, copy)));
        Self {
            run,
            number: Box::new(copy),
            copy,
            name,
            collides,
        }
    }

    /// # Panics
    /// If it has been dropped.
    pub(super) fn check(&self) {
        let is_live = live(|live| live.contains(&(self.run, self.copy)));
        assert!(is_live, "a key is used after its drop");
        self.read();
    }

    /// Reads all of it, without a lock that a sanitizer would take for an order of two threads.
    pub(super) fn read(&self) {
        assert_eq!(*self.number, self.copy, "another key's");
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.check();
        other.check();
        call(Call::Eq);
        self.name == other.name
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.check();
        call(Call::Hash);
        if self.collides { 0 } else { self.name }.hash(state);
    }
}

impl Clone for Key {
    fn clone(&self) -> Self {
        self.check();
        call(Call::Clone);
        Self::new(self.run, self.name, self.collides)
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        let was_live = live(|live| live.remove(&(self.run, self.copy)));
        assert!(was_live, "a key is dropped twice");
        self.read();
        call(Call::Drop);
    }
}
