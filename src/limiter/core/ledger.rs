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

use crate::sync::UnmodelledU64;

#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    /// What has come back since the clock's origin: the gross position is this beyond the virtual
    /// time.
    returned: u128,
    /// By so much the bucket is full sooner for what leases have carved out of its burst.
    carved: i128,
    /// The number of the next debt.
    next: u64,
    /// In the order of their numbers.
    debts: Vec<Debt>,
    /// How many there were when those that were used had last been forgotten.
    compacted: usize,
    /// Counts the quotas; debts of another have no position any more.
    epoch: u64,
    /// Debts that are neither used nor cancelled.
    open: usize,
}

#[derive(Clone, Debug)]
struct Debt {
    number: u64,
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
pub(crate) struct Refund {
    /// By so much the bucket is full sooner.
    pub(crate) back: u128,
    /// So many debts at the end are gone with it; none, if later takers remain.
    settled: usize,
    /// What of those had come back before: it is no longer a hole in anything.
    closed: u128,
}

/// What a cancellation may not exceed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Most {
    /// A burst.
    pub(crate) depth: u128,
    /// What may come back at all.
    pub(crate) back: u128,
}

impl Most {
    /// Of a bucket that is full at `full_at`, and that a pause has full at `first` at the earliest;
    /// 0 if there is no pause.
    pub(crate) const fn of(depth: u128, full_at: u128, first: u128) -> Self {
        let back = match first {
            0 => u128::MAX,
            first => full_at.saturating_sub(first),
        };
        Self { depth, back }
    }
}

/// Used debts that are worth no effort.
const SPARE: usize = 16;

impl Ledger {
    /// An empty one.
    pub(crate) const fn new() -> Self {
        Self {
            returned: 0,
            carved: 0,
            next: 0,
            debts: Vec::new(),
            compacted: 0,
            epoch: 0,
            open: 0,
        }
    }

    /// An empty one, whose debts are told from those of all others that came or come after it at the
    /// same bucket.
    pub(crate) fn of_another_epoch() -> Self {
        static EPOCHS: UnmodelledU64 = UnmodelledU64::new(1);
        Self {
            // Only that no two are the same matters.
            epoch: EPOCHS.fetch_add_relaxed(1),
            ..Self::new()
        }
    }

    /// Whether nothing can be given back any more.
    pub(crate) const fn is_settled(&self) -> bool {
        self.open == 0
    }

    /// Notes that `cost` units were taken, after which the bucket is full at `full_at`.
    pub(crate) fn open(&mut self, cost: u128, full_at: u128) -> DebtId {
        if self.debts.len() > 2 * self.compacted + SPARE {
            self.forget_the_dead();
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

    /// Forgets debts of which nothing can come back any more. One that was used is a gap between the
    /// others, and so is none at all. One that was cancelled waits for those behind it, and in vain
    /// if something is between that is no debt.
    fn forget_the_dead(&mut self) {
        let mut next = None;
        self.debts.reverse();
        self.debts.retain(|debt| {
            let reached = next.is_none_or(|start| start == debt.end);
            next = Some(debt.start);
            match debt.state {
                DebtState::Open => true,
                DebtState::Cancelled => reached,
                DebtState::Used => false,
            }
        });
        self.debts.reverse();
        self.compacted = self.debts.len();
    }

    fn leave_open(&mut self, place: usize) {
        if self.debts[place].state == DebtState::Open {
            self.open -= 1;
        }
    }

    fn place(&self, id: DebtId) -> Option<usize> {
        let place = self.debts.binary_search_by_key(&id.number, |d| d.number);
        place.ok().filter(|_| id.epoch == self.epoch)
    }

    /// The gross position of a bucket that is full at `full_at`.
    fn gross(&self, full_at: u128) -> u128 {
        (full_at + self.returned).saturating_add_signed(self.carved)
    }

    /// The tokens are used: they will not come back, nor will what was taken before them and is
    /// cancelled.
    pub(crate) fn close(&mut self, id: DebtId) {
        let Some(place) = self.place(id) else { return };
        self.leave_open(place);
        self.debts[place].state = DebtState::Used;
        for debt in self.debts[..place].iter_mut().rev() {
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
    /// all that came back, since. And in no case more than the caller allows.
    pub(crate) fn plan(
        &self,
        id: DebtId,
        full_at: u128,
        now: u128,
        Most { depth, back: most }: Most,
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
        if settled > self.debts.len() - 1 - place && back <= most {
            return Some(Refund {
                back: back.min(full_at),
                settled,
                closed: gross - end - back,
            });
        }
        let since = gross.saturating_sub(debt.end) + (self.returned - debt.returned_before);
        let end = debt.end.saturating_sub(self.returned);
        let ahead = end.saturating_add_signed(-self.carved).saturating_sub(now);
        let back = debt
            .left
            .min(ahead)
            .min(depth.saturating_sub(since))
            .min(most);
        Some(Refund {
            back,
            settled: 0,
            closed: 0,
        })
    }

    /// Notes that a planned refund was made.
    pub(crate) fn commit(&mut self, id: DebtId, refund: Refund) {
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

    /// Notes that the burst has shrunk by so much, and that the bucket is full sooner by it; a
    /// negative number, that it has grown.
    pub(crate) fn carve(&mut self, by: i128) {
        self.carved += by;
    }

    /// Notes that `amount` came back otherwise.
    pub(crate) fn returned(&mut self, amount: u128) {
        self.returned += amount;
    }

    /// A new quota: what was taken before it has no position in it.
    pub(crate) fn reset(&mut self) {
        *self = Self::of_another_epoch();
    }
}

#[cfg(all(test, not(tollgate_loom)))]
mod tests {
    use super::*;

    /// A burst; at the time 0 nothing accrues.
    const DEPTH: u128 = 20;

    /// A ledger beside the instant at which its bucket is full.
    struct Book {
        ledger: Ledger,
        full_at: u128,
    }

    impl Default for Book {
        fn default() -> Self {
            Self {
                ledger: Ledger::new(),
                full_at: 0,
            }
        }
    }

    impl Book {
        /// Takes into debt.
        fn owe(&mut self, cost: u128) -> DebtId {
            self.full_at += cost;
            self.ledger.open(cost, self.full_at)
        }

        /// Ten units of debt, from 50 on, and five of the burst carved out since.
        fn with_a_debt_and_a_lease() -> (Self, DebtId) {
            let mut book = Self {
                full_at: 50,
                ..Self::default()
            };
            let debt = book.owe(10);
            book.full_at -= 5;
            book.ledger.carve(5);
            (book, debt)
        }

        /// What a cancellation brings back.
        fn cancel(&mut self, id: DebtId) -> Option<u128> {
            let refund = self
                .ledger
                .plan(id, self.full_at, 0, Most::of(DEPTH, 0, 0))?;
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
    fn an_old_debt_does_not_keep_all_that_were_used_since() {
        let mut book = Book::default();
        let old = book.owe(1);
        for _ in 0..10_000 {
            let used = book.owe(1);
            book.ledger.close(used);
        }
        assert!(book.ledger.debts.len() <= 3 * SPARE);
        let (one, two) = (book.owe(3), book.owe(4));
        assert_eq!((book.cancel(two), book.cancel(one)), (Some(4), Some(3)));
        assert!(book.cancel(old).is_some() && book.ledger.is_settled());
    }

    #[test]
    fn what_was_cancelled_behind_plain_takes_is_forgotten() {
        let mut book = Book::default();
        let old = book.owe(1);
        for _ in 0..10_000 {
            let cancelled = book.owe(2);
            book.full_at += 1;
            book.cancel(cancelled);
        }
        assert!(book.ledger.debts.len() <= 3 * SPARE);
        assert!(book.cancel(old).is_some() && book.ledger.is_settled());
        // Those that lie side by side still come back together.
        let before = book.full_at;
        let (one, two, three) = (book.owe(8), book.owe(9), book.owe(10));
        assert_eq!((book.cancel(one), book.cancel(two)), (Some(1), Some(9)));
        book.ledger.forget_the_dead();
        assert_eq!(book.cancel(three), Some(17));
        assert_eq!(book.full_at, before);
    }

    #[test]
    fn what_is_carved_out_and_restored_moves_no_debt() {
        let (mut book, debt) = Book::with_a_debt_and_a_lease();
        let later = book.owe(1);
        assert_eq!(book.cancel(later), Some(1));
        assert_eq!(book.cancel(debt), Some(10));
        assert_eq!(book.full_at, 45);
        let debt = book.owe(10);
        book.full_at += 5;
        book.ledger.carve(-5);
        assert_eq!(book.cancel(debt), Some(10));
        assert_eq!(book.full_at, 50);
    }

    #[test]
    fn what_was_taken_since_counts_beside_what_is_carved_out() {
        let (mut book, debt) = Book::with_a_debt_and_a_lease();
        book.full_at += 15;
        // At 50, five units of the debt have accrued without what was carved out.
        let later = book.ledger.plan(debt, 56, 50, Most::of(DEPTH, 0, 0));
        assert_eq!(later.unwrap().back, 5);
        assert_eq!(book.cancel(debt), Some(DEPTH - 15));
    }

    #[test]
    fn what_is_gone_from_the_end_leaves_those_before_it_last() {
        let mut book = Book::default();
        let (one, two, three) = (book.owe(3), book.owe(4), book.owe(5));
        assert_eq!(book.cancel(two), Some(4));
        assert_eq!(book.cancel(three), Some(5));
        assert_eq!(book.cancel(one), Some(3));
        assert_eq!(book.full_at, 0);
    }

    #[test]
    fn a_debt_of_an_earlier_quota_is_none_of_these() {
        let mut book = Book::default();
        let before = book.owe(1);
        book.ledger.reset();
        book.full_at = 0;
        let after = book.owe(2);
        assert_eq!(book.cancel(before), None);
        book.ledger.close(before);
        assert_eq!(book.cancel(after), Some(2));
    }
}
