//! A counter's ticks in nanoseconds: a piecewise linear function that never falls, corrected from
//! time to time by a reference clock.

use crate::sync::{AtomicU64, Ordering, fence, pause};

/// A counter, and the reference clock that corrects it.
pub(super) trait Source {
    fn ticks(&self) -> u64;
    /// Reads both clocks at one instant.
    fn sample(&self) -> Sample;
    /// Returns a number that identifies the running process, never 0: a child of `fork` has
    /// another.
    fn process(&self) -> u64;
}

/// A reading of the counter and of the reference clock at one instant.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) ticks: u64,
    pub(super) nanos: u64,
    /// The number of ticks between which the reference was read: `ticks` is off by at most half of
    /// it.
    pub(super) gap: u64,
}

/// A function from ticks to nanoseconds that every thread evaluates alike.
///
/// The function is a chain of linear pieces. A piece is valid only up to its end, so its successor
/// can start there with another rate: no reading lies beyond the end. The first thread to read the
/// counter beyond the end becomes the writer, takes a sample, and publishes the successor. If the
/// writer stalls, another thread moves the end of the current piece instead (helping), so no thread
/// waits for another. Hence readings of two threads are in the order in which they read the
/// counter.
///
/// # Memory ordering
/// A seqlock without retries on the fast path: the end of a piece is the sequence number, and the
/// counter read is the reader's second look at it.
///
/// A piece shares its words with the second piece after it. The writer of that second piece reads
/// the counter beyond the end of the piece between, and then has a Release fence before its stores.
/// A reader has an Acquire fence between its loads of the words and its read of the counter. If a
/// load sees one of those stores, the fences synchronize, so the reader's counter is beyond the end
/// of its own piece and the reader discards what it loaded. This relies on a counter that is
/// coherent between cores to within the length of a piece.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Timeline {
    /// The tick at which the current piece ends, rounded to 2^[`GENERATION_BITS`]; the lowest
    /// [`GENERATION_BITS`] bits count the pieces, so the word changes with every piece. 0 before the
    /// start.
    state: AtomicU64,
    // The current piece and the one before it, indexed by the parity of the generation.
    from: [AtomicU64; 2],
    tick: [AtomicU64; 2],
    offset: [AtomicU64; 2],

    /// The process of the thread that writes the next piece, or 0: a try-lock. A child of `fork`
    /// takes it over from the parent's process, whose thread it does not have.
    writer: AtomicU64,
    // The writer's own, guarded by `writer`: the last sample, and the rate at the start.
    base_ticks: AtomicU64,
    base_nanos: AtomicU64,
    first_tick: AtomicU64,
}

/// The bits of [`Timeline::state`] that count the pieces.
const GENERATION_BITS: u64 = 24;
const GENERATION_MASK: u64 = (1 << GENERATION_BITS) - 1;
/// The lengths of the first and of the longest piece, in ticks, as powers of two: a tenth of a
/// second and three seconds at 3 GHz.
const FIRST_LENGTH_LOG2: u64 = 28;
const MAX_LENGTH_LOG2: u64 = 33;
/// After so many looks that find a writer at work, a thread takes the writer for stalled, and extends the
/// piece: some microseconds. 0 in a model, to keep it small.
const STALLED_AFTER: u32 = if cfg!(tollgate_loom) { 0 } else { 64 };

#[derive(Clone, Copy)]
struct Piece {
    from: u64,
    /// The length of a tick, in 2^-64 ns.
    tick: u64,
    /// Added to the scaled ticks, modulo 2^64. Counting from `from` would add a dependent step
    /// between the counter and the result, where a reading has no other work to overlap with it.
    offset: u64,
}

impl Piece {
    #[inline]
    fn at(self, ticks: u64) -> Option<u64> {
        (ticks >= self.from).then(|| scaled(ticks, self.tick).wrapping_add(self.offset))
    }

    /// Returns the piece that reads `nanos` at the tick `from`.
    const fn starting(from: u64, nanos: u64, tick: u64) -> Self {
        let offset = nanos.wrapping_sub(scaled(from, tick));
        Self { from, tick, offset }
    }
}

/// Converts ticks to nanoseconds, at `tick` 2^-64 ns each.
#[inline]
pub(super) const fn scaled(ticks: u64, tick: u64) -> u64 {
    ((ticks as u128 * tick as u128) >> 64) as u64
}

impl Timeline {
    #[cfg(not(tollgate_loom))]
    pub(super) const fn new() -> Self {
        Self {
            state: AtomicU64::new(0),
            from: [AtomicU64::new(0), AtomicU64::new(0)],
            tick: [AtomicU64::new(0), AtomicU64::new(0)],
            offset: [AtomicU64::new(0), AtomicU64::new(0)],
            writer: AtomicU64::new(0),
            base_ticks: AtomicU64::new(0),
            base_nanos: AtomicU64::new(0),
            first_tick: AtomicU64::new(0),
        }
    }

    /// Starts at 0 ns. Must be called once.
    pub(super) fn start(&self, base: Sample, tick: u64) {
        self.set_base(base);
        self.first_tick.store(tick, Ordering::Relaxed);
        self.set_piece(0, Piece::starting(base.ticks, 0, tick));
        let end = base.ticks.saturating_add(1 << FIRST_LENGTH_LOG2);
        // Release pairs with the Acquire in `read`: a reader that sees the state sees the piece.
        self.state.store(end & !GENERATION_MASK, Ordering::Release);
    }

    /// Returns the time; `None` before the start and beyond the end of the piece, where the caller
    /// asks [`settle`](Self::settle).
    #[inline]
    pub(super) fn read(&self, counter: impl FnOnce() -> u64) -> Option<u64> {
        // Acquire pairs with the Release in `start` and `publish`: the words are of this piece or
        // newer.
        let state = self.state.load(Ordering::Acquire);
        let piece = self.piece(state);
        // Pairs with the Release fence in `publish`: if a word is newer, the counter below is
        // beyond `state`. Without this fence the counter could be read first, and words of two
        // pieces be mixed.
        fence(Ordering::Acquire);
        let ticks = counter();
        // The generation in the low bits only moves the end within its rounding.
        if ticks < state { piece.at(ticks) } else { None }
    }

    /// Returns the time after the start; writes the next piece if the current one has ended.
    #[cold]
    pub(super) fn settle(&self, source: &impl Source) -> u64 {
        let mut looks = 0;
        loop {
            // The same Acquire load, loads and Acquire fence as in `read`, for two pieces.
            let state = self.state.load(Ordering::Acquire);
            let (piece, before) = (self.piece(state), self.piece(state ^ 1));
            fence(Ordering::Acquire);
            let ticks = source.ticks();
            // The counter of this core may be behind. Before `from` the previous piece holds, and
            // its words are intact: a writer overwrites them only beyond the end of this piece.
            let Some(nanos) = piece.at(ticks) else {
                return before.at(ticks.max(before.from)).unwrap_or(0);
            };
            // The second case: the end has reached the last tick of the counter and no piece can
            // follow.
            if ticks < state || state >= !GENERATION_MASK {
                return nanos;
            }
            // `true` also if another thread has changed the state: read again.
            if !self.correct(state, ticks, source) {
                looks += 1;
                pause(8);
            }
            // The writer is stalled: help by moving the end, so that this thread need not wait for
            // it.
            if looks > STALLED_AFTER {
                self.extend(state, ticks, GENERATION_BITS + 1);
            }
        }
    }

    #[inline]
    fn piece(&self, state: u64) -> Piece {
        // Relaxed: ordered by the load of `state` before, and by the Acquire fence after.
        let of = |word: &[AtomicU64; 2]| word[(state & 1) as usize].load(Ordering::Relaxed);
        Piece {
            from: of(&self.from),
            tick: of(&self.tick),
            offset: of(&self.offset),
        }
    }

    /// Moves the end of the current piece to 2^`by` ticks after `ticks`, at the same rate.
    fn extend(&self, state: u64, ticks: u64, by: u64) {
        let end = ticks.saturating_add(1 << by) & !GENERATION_MASK;
        let longer = end | (state & GENERATION_MASK);
        // The words of the piece stay, so there is nothing to release but the end. On failure
        // another thread has extended or published, and the caller reads again.
        let _ = self
            .state
            .compare_exchange(state, longer, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// Publishes a successor that starts at the end of this piece with the rate since the last
    /// sample. Returns false if another thread is the writer.
    fn correct(&self, state: u64, ticks: u64, source: &impl Source) -> bool {
        let process = source.process();
        let holder = self.writer.load(Ordering::Relaxed);
        // Acquire pairs with the Release below: a writer sees the base that the last writer stored.
        // A holder of another process is one that `fork` left behind: this thread takes its turn.
        if holder == process
            || self
                .writer
                .compare_exchange(holder, process, Ordering::Acquire, Ordering::Relaxed)
                .is_err()
        {
            return false;
        }
        let length_log2 = (FIRST_LENGTH_LOG2 + 1 + (state & GENERATION_MASK)).min(MAX_LENGTH_LOG2);
        // Only a writer publishes, so `state` can change below only by `extend`, and the words of
        // the piece before this one are out of use: this writer may overwrite them.
        if self.state.load(Ordering::Relaxed) == state {
            // The slow part: other threads extend the piece if it takes too long.
            let sample = source.sample();
            match self.tick_since_base(sample) {
                Ok(tick) => {
                    self.publish(state, ticks.saturating_add(1 << length_log2), tick, sample);
                }
                Err(refused) => {
                    // The old base tells nothing across a jump. Measure from the new sample.
                    if let Refused::Jump = refused {
                        self.set_base(sample);
                    }
                    self.extend(state, ticks, FIRST_LENGTH_LOG2);
                }
            }
        }
        // Release pairs with the Acquire of the next writer, for the base.
        self.writer.store(0, Ordering::Release);
        true
    }

    fn publish(&self, state: u64, end: u64, tick: u64, sample: Sample) {
        let nanos = self.piece(state).at(state).expect("a piece is not empty");
        let generation = (state + 1) & GENERATION_MASK;
        // Pairs with the Acquire fence in `read`: `settle` has read the counter beyond the end of
        // this piece before these stores. Without this fence a reader could see the stores and an
        // older counter.
        fence(Ordering::Release);
        self.set_piece(generation, Piece::starting(state, nanos, tick));
        let published = (end & !GENERATION_MASK) | generation;
        // Release pairs with the Acquire in `read`: publishes the words. The exchange fails if
        // another thread has extended the piece meanwhile: the successor would start before
        // readings beyond it.
        let swap =
            self.state
                .compare_exchange(state, published, Ordering::AcqRel, Ordering::Relaxed);
        // The base belongs to the published rate: an unpublished sample must not replace it.
        if swap.is_ok() {
            self.set_base(sample);
        }
    }

    /// Returns the rate from the last sample to this one.
    fn tick_since_base(&self, sample: Sample) -> Result<u64, Refused> {
        let base_ticks = self.base_ticks.load(Ordering::Relaxed);
        let base_nanos = self.base_nanos.load(Ordering::Relaxed);
        let first = self.first_tick.load(Ordering::Relaxed);
        let since = |now: u64, base: u64| now.checked_sub(base).ok_or(Refused::Jump);
        let ticks = since(sample.ticks, base_ticks)?;
        let nanos = since(sample.nanos, base_nanos)?;
        // A sample whose gap is more than two parts in a million of the interval is too loose.
        if sample.gap > ticks >> 19 {
            return Err(Refused::Loose);
        }
        let tick = (u128::from(nanos) << 64) / u128::from(ticks).max(1);
        // More than a thousandth from the first rate: the counter advanced while the reference
        // stood, as across a suspend, or one of them was set.
        match u64::try_from(tick) {
            Ok(tick) if tick.abs_diff(first) <= first >> 10 => Ok(tick),
            _ => Err(Refused::Jump),
        }
    }

    fn set_piece(&self, generation: u64, piece: Piece) {
        let set = |word: &[AtomicU64; 2], value| {
            word[(generation & 1) as usize].store(value, Ordering::Relaxed);
        };
        // Relaxed: published by the Release on `state`, ordered after the counter by the Release
        // fence.
        set(&self.from, piece.from);
        set(&self.tick, piece.tick);
        set(&self.offset, piece.offset);
    }

    fn set_base(&self, sample: Sample) {
        // Relaxed: only the writer reads them, and the Release on `writer` hands them on.
        self.base_ticks.store(sample.ticks, Ordering::Relaxed);
        self.base_nanos.store(sample.nanos, Ordering::Relaxed);
    }
}

/// Why a sample gives no rate.
enum Refused {
    /// The thread was preempted between the reads of the two clocks.
    Loose,
    /// One of the clocks has jumped.
    Jump,
}

#[cfg(all(test, not(tollgate_loom)))]
#[path = "timeline_tests.rs"]
mod tests;

#[cfg(all(test, tollgate_loom))]
#[path = "timeline_model.rs"]
mod model;
