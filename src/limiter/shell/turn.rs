//! Turns of the threads that contend for one word.
//!
//! Threads that take in a loop move the word's cache line between their cores with every take. A turn
//! lets one of them take many tokens in its own cache, while the others rest. A thread rests after its
//! take, never before it.
//!
//! A turn is a hint: whatever its word holds, a thread rests once, for at most the length of a turn. So
//! the takes stay lock-free. This file is also compiled into the benches, which sweep the length.

use std::hint::spin_loop;

use crate::sync::{UnmodelledU64, thread};

/// How long a turn lasts, in nanoseconds: chosen by `cargo bench --bench contention`.
pub(crate) const TURN: u64 = 1_000;

/// The bits of the word that tell the thread; the rest is when its turn ends.
const THREAD_BITS: u32 = 20;
const THREAD_MASK: u64 = (1 << THREAD_BITS) - 1;
const TIME_MASK: u64 = u64::MAX >> THREAD_BITS;

/// Which thread goes on taking, and until when. On a cache line of its own: takers without contention
/// neither read nor write it.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Turn(UnmodelledU64);

impl Turn {
    pub(crate) const fn new() -> Self {
        Self(UnmodelledU64::new(0))
    }

    /// Called after a contended take: rests until the turn of another thread ends, or begins one.
    ///
    /// The first thread to fail begins a turn, and costs its caller no rest. Only if another thread
    /// fails within the turn, so that both go on taking, does that one rest. Then it has the next turn:
    /// the threads alternate, and never rest all at once.
    pub(crate) fn contended(&self, length: u64, nanos: impl Fn() -> u64) {
        let (seen, thread, mut now) = (self.0.load_relaxed(), this_thread(), nanos());
        // The difference wraps if the turn has ended.
        let lasts = |now| {
            let left = (seen >> THREAD_BITS).wrapping_sub(now) & TIME_MASK;
            left > 0 && left <= length
        };
        if lasts(now) {
            if seen & THREAD_MASK == thread {
                return;
            }
            while lasts(now) {
                spin_loop();
                now = nanos();
            }
            // Another of the threads that rested has the turn.
            if self.0.load_relaxed() != seen {
                return;
            }
        }
        // Relaxed, and no compare-and-swap: of threads that begin a turn at once the last one has it.
        let ends = now.wrapping_add(length) << THREAD_BITS;
        self.0.store_relaxed(ends | thread);
    }
}

/// Returns the low bits of the thread's number. Two threads that agree in them do not rest for each other.
fn this_thread() -> u64 {
    thread::number() as u64 & THREAD_MASK
}
