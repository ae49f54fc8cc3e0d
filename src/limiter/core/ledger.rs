//! The ledger of a bucket: the debits that may still come back, of reservations and of waiters.
//!
//! Debits lie in virtual time in the order in which they were taken. A refunded debit leaves a hole,
//! and the instants of the later takers were computed with that debit in place. Invariant: refunding a
//! debit makes no later taker ready earlier than promised. So at once only that part comes back on
//! which no promise rests, and the rest when all later debits have come back too.
//!
//! Positions are *gross*: the virtual time at which the bucket is full, as if nothing had ever come
//! back. Every take moves the gross position, and no refund does, so the difference of two positions
//! is what was taken between them.

use crate::sync::UnmodelledU64;

#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    /// What has come back since the clock's origin: gross position less virtual time.
    pub(crate) returned: u128,
    /// By how much leases have shrunk the burst, and so have moved the virtual time back.
    pub(crate) leased: i128,
    /// The number of the next debt.
    next: u64,
    /// In the order of their numbers.
    debts: Vec<Debt>,
    /// The length of `debts` after the last call of [`compact`](Self::compact).
    compacted: usize,
    /// Tells ledgers of one bucket apart: a debt of another epoch has no position here.
    epoch: u64,
    /// The number of open debts.
    open: usize,
}

#[derive(Clone, Debug)]
struct Debt {
    number: u64,
    /// The gross position before and after.
    start: u128,
    end: u128,
    /// [`Ledger::returned`] when it was taken.
    returned_before: u128,
    /// The part that has not come back.
    left: u128,
    state: DebtState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DebtState {
    Open,
    /// Its tokens are used: nothing of it comes back.
    Committed,
    /// Given back, as far as possible; the rest comes back with the debts behind it.
    Cancelled,
}

/// The handle of a debt, which the taker keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DebtId {
    number: u64,
    epoch: u64,
}

/// What a cancellation gives back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refund {
    /// By how much the bucket is full sooner.
    pub(crate) back: u128,
    /// How many debts at the end of the ledger it removes; none if later takers remain.
    settled: usize,
    /// What of those debts had come back before: holes that disappear with them.
    closed: u128,
}

/// The number of new debts, beside as many as are kept, that do not cause a compaction.
const SPARE: usize = 16;

impl Ledger {
    pub(crate) const fn new() -> Self {
        Self {
            returned: 0,
            leased: 0,
            next: 0,
            debts: Vec::new(),
            compacted: 0,
            epoch: 0,
            open: 0,
        }
    }

    /// Creates an empty ledger that finds no debt of any other ledger of the same bucket.
    pub(crate) fn of_another_epoch() -> Self {
        static EPOCHS: UnmodelledU64 = UnmodelledU64::new(1);
        Self {
            // Relaxed: it publishes nothing, and atomic modification makes it unique.
            epoch: EPOCHS.fetch_add_relaxed(1),
            ..Self::new()
        }
    }

    /// Returns whether no debt can be given back any more.
    pub(crate) const fn is_settled(&self) -> bool {
        self.open == 0
    }

    /// Adds a debt of `cost` units, after which the bucket is full at `full_at`.
    pub(crate) fn open(&mut self, cost: u128, full_at: u128) -> DebtId {
        if self.debts.len() > 2 * self.compacted + SPARE {
            self.compact();
        }
        let number = self.next;
        self.next += 1;
        let end = self.gross(full_at);
        let (start, returned_before) = (end.saturating_sub(cost), self.returned);
        self.debts.push(Debt {
            number,
            start,
            end,
            returned_before,
            left: cost,
            state: DebtState::Open,
        });
        self.open += 1;
        DebtId {
            number,
            epoch: self.epoch,
        }
    }

    /// Removes the debts of which nothing can come back any more. A committed debt and no debt are alike:
    /// a gap between the others. A cancelled debt waits for the debts behind it, in vain if there is a
    /// gap between.
    fn compact(&mut self) {
        let mut next = None;
        self.debts.reverse();
        self.debts.retain(|debt| {
            let reached = next.is_none_or(|start| start == debt.end);
            next = Some(debt.start);
            match debt.state {
                DebtState::Open => true,
                DebtState::Cancelled => reached,
                DebtState::Committed => false,
            }
        });
        self.debts.reverse();
        self.compacted = self.debts.len();
    }

    /// Notes that a debt is about to change its state.
    fn leave_open(&mut self, place: usize) {
        if self.debts[place].state == DebtState::Open {
            self.open -= 1;
        }
    }

    fn place(&self, id: DebtId) -> Option<usize> {
        let place = self.debts.binary_search_by_key(&id.number, |d| d.number);
        place.ok().filter(|_| id.epoch == self.epoch)
    }

    /// Returns the gross position of a bucket that is full at `full_at`.
    fn gross(&self, full_at: u128) -> u128 {
        (full_at + self.returned).saturating_add_signed(self.leased)
    }

    /// Marks a debt as used. Nothing of it comes back, nor of the cancelled debts right before it, which
    /// waited for it.
    pub(crate) fn commit(&mut self, id: DebtId) {
        let Some(place) = self.place(id) else { return };
        self.leave_open(place);
        self.debts[place].state = DebtState::Committed;
        for debt in self.debts[..place].iter_mut().rev() {
            if debt.state != DebtState::Cancelled {
                break;
            }
            debt.state = DebtState::Committed;
        }
    }

    /// Returns what comes back if a debt is cancelled now; [`apply`](Self::apply) makes it so.
    ///
    /// If only cancelled debts lie behind it, all of them come back whole. Otherwise later takers remain.
    /// Without the debt, a later taker that was ready at r would have left the bucket full at r plus what
    /// was taken from then on, or later. A taker was ready when it asked, or when the bucket lacked a
    /// burst. So nothing before `now` comes back, and no more than a burst less all that was taken, and
    /// all that came back, since. `depth` is the burst in units. In no case more than `cap` comes back.
    pub(crate) fn plan_refund(
        &self,
        id: DebtId,
        full_at: u128,
        now: u128,
        depth: u128,
        cap: u128,
    ) -> Option<Refund> {
        let place = self.place(id)?;
        let debt = &self.debts[place];
        let gross = self.gross(full_at);
        let (mut back, mut settled, mut end) = (0, 0, gross);
        for (at, debt) in self.debts.iter().enumerate().rev() {
            let cancelled = debt.state == DebtState::Cancelled || at == place;
            if !cancelled || debt.end != end {
                break;
            }
            (back, settled, end) = (back + debt.left, settled + 1, debt.start);
        }
        if settled > self.debts.len() - 1 - place && back <= cap {
            return Some(Refund {
                back: back.min(full_at),
                settled,
                closed: gross - end - back,
            });
        }
        let since = gross.saturating_sub(debt.end) + (self.returned - debt.returned_before);
        let end = debt.end.saturating_sub(self.returned);
        let ahead = end.saturating_add_signed(-self.leased).saturating_sub(now);
        let back = debt
            .left
            .min(ahead)
            .min(depth.saturating_sub(since))
            .min(cap);
        Some(Refund {
            back,
            settled: 0,
            closed: 0,
        })
    }

    /// Cancels a debt, with the refund that was planned and made.
    pub(crate) fn apply(&mut self, id: DebtId, refund: Refund) {
        let Some(place) = self.place(id) else { return };
        self.leave_open(place);
        if refund.settled == 0 {
            let debt = &mut self.debts[place];
            debt.state = DebtState::Cancelled;
            debt.left -= refund.back;
            self.returned += refund.back;
            return;
        }
        // The gross position falls back to the start of the first debt that is removed.
        self.debts.truncate(self.debts.len() - refund.settled);
        self.returned -= refund.closed;
    }

    /// Forgets all debts, for a new quota: what was taken before has no position in its units.
    pub(crate) fn reset(&mut self) {
        *self = Self::of_another_epoch();
    }
}

#[cfg(all(test, not(tollgate_loom)))]
mod tests;
