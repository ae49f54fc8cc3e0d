//! The shell of a bucket: a lock, behind it a [`Line`], and, for an
//! [`AtomicTokenBucket`](crate::AtomicTokenBucket), the word that takers go by while there are no
//! waiters. A [`StripedTokenBucket`](crate::StripedTokenBucket) has stripes too.
//!
//! Invariant: while the line is not idle, or the word cannot hold the debt, or a part of the burst is
//! carved out for the stripes, the word is held and the line has the fill. Otherwise the word has it,
//! and an operation changes the word.

mod change;
mod fill;
mod reserve;
mod striped;
mod take;

use crate::clock::{Clock, Timestamp};
use crate::limiter::core::account::Account;
use crate::limiter::core::bounds::Bounds;
use crate::limiter::core::fill::{WordOverflow, never_overflows};
use crate::limiter::core::line::Line;
use crate::limiter::core::tokens::BucketTokens;
use crate::limiter::shell::bucket::fill::BucketFill;
use crate::limiter::shell::line_shell::LineShell;
use crate::limiter::shell::ordered_lock::OrderedLock;
use crate::limiter::shell::stripes::Stripes;
use crate::limiter::shell::word_cell::WordCell;
use crate::quota::{Quota, Units};
use crate::sync::{Mutex, MutexGuard, const_unless_modelled};

pub(crate) struct BucketShell<C> {
    state: Mutex<BucketState>,
    pub(crate) clock: C,
    pub(crate) ordered_lock: OrderedLock,
}

pub(crate) struct BucketState {
    line: Line,
    /// The quota as it was set: leases do not change it.
    quota: Quota,
    /// Whether the line has the fill. Always true without a word.
    is_held: bool,
    /// The part of the burst that is carved out for the stripes; 0 while they are all empty.
    carved: u64,
}

impl AsMut<Line> for BucketState {
    fn as_mut(&mut self) -> &mut Line {
        &mut self.line
    }
}

impl BucketState {
    fn account(&mut self) -> &mut Account {
        &mut self.line.tokens.account
    }
}

impl<C> BucketShell<C> {
    const_unless_modelled! {
        pub(crate) fn new((quota, units): (Quota, Units), clock: C, has_word: bool) -> Self {
            let state = BucketState {
                line: Line::new(units),
                quota,
                is_held: !has_word,
                carved: 0,
            };
            Self {
                state: Mutex::new(state),
                clock,
                ordered_lock: OrderedLock::new(),
            }
        }
    }

    /// Returns the operations of a bucket with this shell, with a word or none, and with stripes or none.
    #[inline]
    pub(crate) const fn with<'a>(
        &'a self,
        word: Option<&'a WordCell>,
        stripes: Option<&'a Stripes>,
    ) -> BucketOps<'a, C> {
        BucketOps {
            word,
            stripes,
            shell: self,
        }
    }

    pub(crate) fn bounds_mut(&mut self) -> &mut Bounds {
        &mut self.state.get_mut().line.bounds
    }

    /// Returns whether no debt can be given back any more.
    #[cfg(all(test, not(tollgate_loom)))]
    pub(crate) fn is_settled(&self) -> bool {
        self.state.lock().line.tokens.account.ledger.is_settled()
    }
}

/// The operations of a bucket.
pub(crate) struct BucketOps<'a, C> {
    word: Option<&'a WordCell>,
    stripes: Option<&'a Stripes>,
    shell: &'a BucketShell<C>,
}

impl<C: Clock> LineShell for BucketOps<'_, C> {
    type Tokens = BucketTokens;
    type State = BucketState;

    fn clock_now(&self) -> Timestamp {
        self.shell.clock.now()
    }

    #[inline]
    fn lock(&self) -> MutexGuard<'_, BucketState> {
        self.shell.state.lock()
    }

    fn hold(&self, state: &mut BucketState) {
        if let Some(word) = self.word
            && !state.is_held
        {
            state.line.tokens.fill = word.hold();
            state.is_held = true;
        }
        self.sweep(state);
    }

    fn release(&self, state: &mut BucketState, now: Timestamp) {
        if let Some(word) = self.word
            && state.is_held
            && state.carved == 0
            && state.line.is_idle()
        {
            // Debt that the word cannot hold stays in the line until it is paid.
            state.is_held = word.release(&state.line.tokens.fill, now).is_err();
        }
    }

    fn latest(state: &BucketState) -> Timestamp {
        state.line.tokens.fill.known_since
    }
}

impl<C: Clock> BucketOps<'_, C> {
    /// Runs `op` on the word, as the writer; `None` if there is no word, the line has the fill, or
    /// the word cannot hold the result.
    fn on_word<T>(
        &self,
        op: impl FnOnce(&mut BucketState, &mut BucketFill<'_>) -> Result<T, WordOverflow>,
    ) -> Option<T> {
        let word = self.word?;
        let mut state = self.shell.state.lock();
        if state.is_held {
            return None;
        }
        op(&mut state, &mut BucketFill::Word(word)).ok()
    }

    /// Runs `op` on the fill, wherever it is; in the line if the word cannot hold the result. The time is
    /// read when no taker can use a later one unseen. If `debits_reserved`, reservations in line are
    /// debited first; without the fill in the line there are none.
    fn on_fill<T>(
        &self,
        now: Option<Timestamp>,
        debits_reserved: bool,
        op: impl Fn(
            &mut BucketState,
            &mut BucketFill<'_>,
            &dyn Fn() -> Timestamp,
        ) -> Result<T, WordOverflow>,
    ) -> T {
        let clock_now = || now.unwrap_or_else(|| self.clock_now());
        let by_word = self.on_word(|state, fill| op(state, fill, &clock_now));
        by_word.unwrap_or_else(|| {
            self.change(now, |state, now, _| {
                if debits_reserved {
                    state.line.debit_all_reserved(now);
                }
                let mut fill = state.line.tokens.fill;
                let changed = op(state, &mut BucketFill::Locked(&mut fill), &|| now);
                state.line.tokens.fill = fill;
                never_overflows(changed)
            })
        })
    }
}
