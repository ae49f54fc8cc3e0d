//! Who has taken tokens that may still come back: sequential bookkeeping for reservations and
//! waiters.
//!
//! Tokens lie in virtual time in the order in which they were taken. One that is given back leaves
//! a hole, and those who took later have counted on it: their instants are promises. So what comes
//! back at once is only what no promise rests on, and the rest when all that was taken later has
//! come back too.
//!
//! Positions are *gross*: the virtual time at which the bucket is full, as if nothing had ever come
//! back. Whatever is taken moves the gross position, and nothing that comes back does, so that two
//! positions tell what was taken between.

use std::collections::VecDeque;

#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    /// What has come back since the clock's origin: the gross position is this beyond the virtual
    /// time.
    returned: u128,
    /// The number of the first debt.
    first: u64,
    debts: VecDeque<Debt>,
    /// Counts the quotas; debts of another have no position any more.
    epoch: u64,
    /// Debts that are neither used nor cancelled.
    open: usize,
}

#[derive(Clone, Debug)]
struct Debt {
    /// The gross position before and after.
    start: u128,
    end: u128,
    /// What had come back when it was taken.
    returned_before: u128,
    /// What of it has not come back.
    left: u128,
    state: DebtState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DebtState {
    Open,
    Used,
    Cancelled,
}

/// A debt's number; in the hands of whoever took the tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DebtId {
    number: u64,
    epoch: u64,
}

/// What a cancellation gives back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refund {
    /// By so much the bucket is full sooner.
    pub(super) back: u128,
    /// So many debts at the end are gone with it; none, if later takers remain.
    settled: usize,
    /// What of those had come back before: it is no longer a hole in anything.
    closed: u128,
}

impl Ledger {
    /// An empty one, whose debts are told from those of any other epoch.
    pub(super) fn of_epoch(epoch: u64) -> Self {
        Self {
            epoch,
            ..Self::default()
        }
    }

    /// Whether a debt is one of these.
    pub(super) const fn is_of(&self, id: DebtId) -> bool {
        self.epoch == id.epoch
    }

    /// Whether nothing can be given back any more.
    pub(super) const fn is_settled(&self) -> bool {
        self.open == 0
    }

    /// Notes that `cost` units were taken, after which the bucket is full at `full_at`.
    pub(super) fn open(&mut self, cost: u128, full_at: u128) -> DebtId {
        while self
            .debts
            .front()
            .is_some_and(|debt| debt.state == DebtState::Used)
        {
            self.debts.pop_front();
            self.first += 1;
        }
        let number = self.first + self.debts.len() as u64;
        let end = full_at + self.returned;
        let (start, returned_before) = (end - cost, self.returned);
        self.debts.push_back(Debt {
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

    fn leave_open(&mut self, place: usize) {
        if self.debts[place].state == DebtState::Open {
            self.open -= 1;
        }
    }

    fn place(&self, id: DebtId) -> Option<usize> {
        let place = usize::try_from(id.number.checked_sub(self.first)?).ok()?;
        (id.epoch == self.epoch && place < self.debts.len()).then_some(place)
    }

    /// The tokens are used: they will not come back, nor will what was taken before them and is
    /// cancelled.
    pub(super) fn close(&mut self, id: DebtId) {
        let Some(place) = self.place(id) else { return };
        self.leave_open(place);
        self.debts[place].state = DebtState::Used;
        for debt in self.debts.range_mut(..place).rev() {
            if debt.state != DebtState::Cancelled {
                break;
            }
            debt.state = DebtState::Used;
        }
    }

    /// What comes back if a debt is cancelled now. Changes nothing; [`commit`](Self::commit) does.
    ///
    /// While later takers remain: had the tokens not been taken, a later taker that was ready at r
    /// would have left the bucket full at r plus what was taken from then on, or later. A taker was
    /// ready when it asked, or when the bucket was full but for a burst. So nothing before `now`
    /// comes back, and no more than what a burst (`depth`) leaves beside all that was taken, and
    /// all that came back, since.
    pub(super) fn plan(&self, id: DebtId, full_at: u128, now: u128, depth: u128) -> Option<Refund> {
        let place = self.place(id)?;
        let debt = &self.debts[place];
        let gross = full_at + self.returned;
        let (mut back, mut settled, mut end) = (0, 0, gross);
        for (at, debt) in self.debts.iter().enumerate().rev() {
            let cancelled = debt.state == DebtState::Cancelled || at == place;
            if !cancelled || debt.end != end {
                break;
            }
            (back, settled, end) = (back + debt.left, settled + 1, debt.start);
        }
        if settled > self.debts.len() - 1 - place {
            return Some(Refund {
                back: back.min(full_at),
                settled,
                closed: gross - end - back,
            });
        }
        let since = gross.saturating_sub(debt.end) + (self.returned - debt.returned_before);
        let ahead = debt.end.saturating_sub(self.returned).saturating_sub(now);
        let back = debt.left.min(ahead).min(depth.saturating_sub(since));
        Some(Refund {
            back,
            settled: 0,
            closed: 0,
        })
    }

    /// Notes that a planned refund was made.
    pub(super) fn commit(&mut self, id: DebtId, refund: Refund) {
        let Some(place) = self.place(id) else { return };
        self.leave_open(place);
        if refund.settled == 0 {
            let debt = &mut self.debts[place];
            debt.state = DebtState::Cancelled;
            debt.left -= refund.back;
            self.returned += refund.back;
            return;
        }
        // The gross position falls back to where the first of them began.
        self.debts.truncate(self.debts.len() - refund.settled);
        self.returned -= refund.closed;
    }

    /// Notes that `amount` came back otherwise.
    pub(super) fn returned(&mut self, amount: u128) {
        self.returned += amount;
    }

    /// A new quota: what was taken before it has no position in it.
    pub(super) fn reset(&mut self) {
        *self = Self {
            epoch: self.epoch + 1,
            ..Self::default()
        };
    }
}

#[cfg(all(test, not(tollgate_loom)))]
mod tests {
    use super::*;

    /// A burst; at the time 0 nothing accrues.
    const DEPTH: u128 = 20;

    /// A ledger beside the instant at which its bucket is full.
    #[derive(Default)]
    struct Book {
        ledger: Ledger,
        full_at: u128,
    }

    impl Book {
        /// Takes into debt.
        fn owe(&mut self, cost: u128) -> DebtId {
            self.full_at += cost;
            self.ledger.open(cost, self.full_at)
        }

        /// What a cancellation brings back.
        fn cancel(&mut self, id: DebtId) -> Option<u128> {
            let refund = self.ledger.plan(id, self.full_at, 0, DEPTH)?;
            self.ledger.commit(id, refund);
            self.full_at -= refund.back;
            Some(refund.back)
        }
    }

    #[test]
    fn the_last_debt_comes_back_whole_and_those_behind_it_with_it() {
        let mut book = Book::default();
        let (one, two) = (book.owe(3), book.owe(4));
        assert_eq!(book.cancel(two), Some(4));
        assert_eq!(book.cancel(one), Some(3));
        assert_eq!((book.full_at, book.ledger.is_settled()), (0, true));
    }

    #[test]
    fn a_later_take_keeps_what_it_was_promised_and_no_more() {
        let mut book = Book::default();
        let debt = book.owe(4);
        book.full_at += 2;
        // The burst still holds both.
        assert_eq!(book.cancel(debt), Some(4));

        let mut book = Book::default();
        let debt = book.owe(4);
        book.full_at += 18;
        // The later take was promised that it is ready when 2 more have accrued.
        assert_eq!(book.cancel(debt), Some(2));
    }

    #[test]
    fn what_came_back_otherwise_does_not_come_back_twice() {
        let mut book = Book::default();
        let debt = book.owe(10);
        book.full_at += 10;
        // Someone returns 5.
        book.full_at -= 5;
        book.ledger.returned(5);
        assert_eq!(book.cancel(debt), Some(5));
    }

    #[test]
    fn each_keeps_its_number_when_used_ones_before_it_are_forgotten() {
        let mut book = Book::default();
        let (one, two) = (book.owe(1), book.owe(2));
        book.ledger.close(one);
        let (three, four) = (book.owe(4), book.owe(8));
        book.ledger.close(three);
        assert_eq!(book.cancel(four), Some(8));
        assert_eq!(book.cancel(two), Some(2));
        assert!(book.ledger.is_settled());
    }

    #[test]
    fn a_debt_of_an_earlier_quota_is_none_of_these() {
        let mut book = Book::default();
        let before = book.owe(1);
        book.ledger.reset();
        book.full_at = 0;
        let after = book.owe(2);
        assert!(!book.ledger.is_of(before) && book.ledger.is_of(after));
        assert_eq!(book.cancel(before), None);
        book.ledger.close(before);
        assert_eq!(book.cancel(after), Some(2));
        assert!(Ledger::of_epoch(7).epoch == 7);
    }
}
