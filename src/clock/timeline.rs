//! A counter's ticks in nanoseconds: a piecewise linear function that never falls, corrected as it
//! goes by a reference clock.

use crate::sync::{AtomicU64, Ordering, fence, pause};

/// The counter, and what it is corrected by.
pub(super) trait Source {
    fn ticks(&self) -> u64;
    /// Both clocks at one instant.
    fn sample(&self) -> Sample;
    /// The running process, never 0: a child of `fork` is another.
    fn process(&self) -> u64;
}

/// The counter and the reference clock at one instant.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) ticks: u64,
    pub(super) nanos: u64,
    /// The ticks between which the reference was read: `ticks` is off by half of it at most.
    pub(super) gap: u64,
}

/// Nanoseconds as a function of ticks that every thread evaluates alike.
///
/// The function is a chain of pieces. A piece is settled up to its end only, so its successor can
/// start there with another rate: no reading lies beyond the end. A thread that reads the counter
/// there first takes a sample and publishes the successor; if that thread is stopped on the way,
/// another one moves the end instead, so no thread waits for another. Readings of two threads are
/// therefore in the order in which they read the counter.
///
/// # Memory ordering
/// A piece is written over by the second piece after it. Its writer has read the counter at the end
/// of the piece between, then has a Release fence before its stores. A reader has an Acquire fence
/// between its loads and its reading of the counter: if it has seen one of those stores, it reads
/// ticks after the end of its own piece, and drops what it has loaded. So the end is a seqlock's
/// second look at the sequence number.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Timeline {
    /// The tick at which the current piece ends; the lowest [`GENERATION`] bits count the pieces. 0
    /// before the start.
    state: AtomicU64,
    // Each of the current piece and the one before it, by the parity of the generation.
    from: [AtomicU64; 2],
    tick: [AtomicU64; 2],
    offset: [AtomicU64; 2],

    /// The process of which a thread writes the next piece, else 0. A child of `fork` takes the turn of
    /// a thread that it does not have.
    writer: AtomicU64,
    // The writer's: the last sample, and the rate at the start.
    base_ticks: AtomicU64,
    base_nanos: AtomicU64,
    first_tick: AtomicU64,
}

const GENERATION: u64 = 24;
const GENERATIONS: u64 = (1 << GENERATION) - 1;
/// The lengths of the first piece and of the longest, as powers of two of ticks: a tenth of a second
/// and three seconds at 3 GHz.
const FIRST_LENGTH: u64 = 28;
const MOST_LENGTH: u64 = 33;
/// Looks at a writer at work before its piece is made longer: some microseconds. A model ends sooner.
const LOOKS: u32 = if cfg!(tollgate_loom) { 0 } else { 64 };

#[derive(Clone, Copy)]
struct Piece {
    from: u64,
    /// 2^-64 ns a tick.
    tick: u64,
    /// What to add, modulo 2^64: to count from `from` would be a step more between the counter and the
    /// result, where a reading has no other work to do.
    offset: u64,
}

impl Piece {
    #[inline]
    fn at(self, ticks: u64) -> Option<u64> {
        (ticks >= self.from).then(|| scaled(ticks, self.tick).wrapping_add(self.offset))
    }

    /// Starts at `from` with the time `nanos`.
    const fn starting(from: u64, nanos: u64, tick: u64) -> Self {
        let offset = nanos.wrapping_sub(scaled(from, tick));
        Self { from, tick, offset }
    }
}

/// Ticks in nanoseconds, at `tick` 2^-64 ns each.
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

    /// Starts at 0 ns. To be called once.
    pub(super) fn start(&self, base: Sample, tick: u64) {
        self.set_base(base);
        self.first_tick.store(tick, Ordering::Relaxed);
        self.set_piece(0, Piece::starting(base.ticks, 0, tick));
        let end = base.ticks.saturating_add(1 << FIRST_LENGTH);
        // Release pairs with the Acquire in `read`.
        self.state.store(end & !GENERATIONS, Ordering::Release);
    }

    /// The time now; `None` before the start, and where [`settle`](Self::settle) has to be asked.
    #[inline]
    pub(super) fn read(&self, counter: impl FnOnce() -> u64) -> Option<u64> {
        // Acquire pairs with the Release that published the piece.
        let state = self.state.load(Ordering::Acquire);
        let piece = self.piece(state);
        // See the type: the counter is read after the piece.
        fence(Ordering::Acquire);
        let ticks = counter();
        if ticks < state { piece.at(ticks) } else { None }
    }

    /// The time now, after the start.
    #[cold]
    pub(super) fn settle(&self, source: &impl Source) -> u64 {
        let mut looks = 0;
        loop {
            // As in `read`.
            let state = self.state.load(Ordering::Acquire);
            let (piece, before) = (self.piece(state), self.piece(state ^ 1));
            fence(Ordering::Acquire);
            let ticks = source.ticks();
            // The counter of another core may be behind: this piece is not written over before it ends,
            // nor is the one before it.
            let Some(nanos) = piece.at(ticks) else {
                return before.at(ticks.max(before.from)).unwrap_or(0);
            };
            if ticks < state || state >= !GENERATIONS {
                return nanos;
            }
            if !self.correct(state, ticks, source) {
                looks += 1;
                pause(8);
            }
            if looks > LOOKS {
                self.extend(state, ticks, GENERATION + 1);
            }
        }
    }

    #[inline]
    fn piece(&self, state: u64) -> Piece {
        let of = |word: &[AtomicU64; 2]| word[(state & 1) as usize].load(Ordering::Relaxed);
        Piece {
            from: of(&self.from),
            tick: of(&self.tick),
            offset: of(&self.offset),
        }
    }

    /// Goes on with the same rate.
    fn extend(&self, state: u64, ticks: u64, by: u64) {
        let end = ticks.saturating_add(1 << by) & !GENERATIONS;
        let longer = end | (state & GENERATIONS);
        // What is published is the end only. Failure: another thread did it.
        let _ = self
            .state
            .compare_exchange(state, longer, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// Starts a piece at the end of this one, with the rate of late; false if another thread is at it.
    fn correct(&self, state: u64, ticks: u64, source: &impl Source) -> bool {
        let process = source.process();
        let holder = self.writer.load(Ordering::Relaxed);
        // Acquire pairs with the Release below: one writer sees what the last one has written.
        if holder == process
            || self
                .writer
                .compare_exchange(holder, process, Ordering::Acquire, Ordering::Relaxed)
                .is_err()
        {
            return false;
        }
        let length = (FIRST_LENGTH + 1 + (state & GENERATIONS)).min(MOST_LENGTH);
        // Only the writer starts a piece: the one that is written over is out of use.
        if self.state.load(Ordering::Relaxed) == state {
            let sample = source.sample();
            match self.tick_since_base(sample) {
                Ok(tick) => self.publish(state, ticks.saturating_add(1 << length), tick, sample),
                Err(refused) => {
                    if let Refused::Jump = refused {
                        self.set_base(sample);
                    }
                    self.extend(state, ticks, FIRST_LENGTH);
                }
            }
        }
        self.writer.store(0, Ordering::Release);
        true
    }

    fn publish(&self, state: u64, end: u64, tick: u64, sample: Sample) {
        let Some(nanos) = self.piece(state).at(state) else {
            unreachable!("a piece ends after its start")
        };
        let generation = (state + 1) & GENERATIONS;
        // See the type: the counter has been read before the stores.
        fence(Ordering::Release);
        self.set_piece(generation, Piece::starting(state, nanos, tick));
        let published = (end & !GENERATIONS) | generation;
        // Release pairs with the Acquire in `read`. Fails if the end was moved meanwhile.
        let swap =
            self.state
                .compare_exchange(state, published, Ordering::AcqRel, Ordering::Relaxed);
        if swap.is_ok() {
            self.set_base(sample);
        }
    }

    /// The rate from the last sample to this one.
    fn tick_since_base(&self, sample: Sample) -> Result<u64, Refused> {
        let base_ticks = self.base_ticks.load(Ordering::Relaxed);
        let base_nanos = self.base_nanos.load(Ordering::Relaxed);
        let first = self.first_tick.load(Ordering::Relaxed);
        let since = |now: u64, base: u64| now.checked_sub(base).ok_or(Refused::Jump);
        let ticks = since(sample.ticks, base_ticks)?;
        let nanos = since(sample.nanos, base_nanos)?;
        // Two parts in a million.
        if sample.gap > ticks >> 19 {
            return Err(Refused::Loose);
        }
        let tick = (u128::from(nanos) << 64) / u128::from(ticks).max(1);
        // The counter went on while the reference stood, as in a suspended machine, or was set.
        match u64::try_from(tick) {
            Ok(tick) if tick.abs_diff(first) <= first >> 10 => Ok(tick),
            _ => Err(Refused::Jump),
        }
    }

    fn set_piece(&self, generation: u64, piece: Piece) {
        let set = |word: &[AtomicU64; 2], value| {
            word[(generation & 1) as usize].store(value, Ordering::Relaxed);
        };
        set(&self.from, piece.from);
        set(&self.tick, piece.tick);
        set(&self.offset, piece.offset);
    }

    fn set_base(&self, sample: Sample) {
        self.base_ticks.store(sample.ticks, Ordering::Relaxed);
        self.base_nanos.store(sample.nanos, Ordering::Relaxed);
    }
}

/// Why a sample tells no rate.
enum Refused {
    /// The thread was stopped between the two clocks.
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
