//! Which transactions of a partition are open: what holds the last stable offset back.

use std::collections::BTreeSet;

use crate::producers::TransactionStep;

/// The transactions whose end consumers cannot see yet.
#[derive(Debug, Default)]
pub(crate) struct Transactions {
    /// First offset of each open one.
    open: BTreeSet<i64>,
    /// Over, but the high watermark has not passed the marker: first offset and the marker's.
    ending: Vec<(i64, i64)>,
}

impl Transactions {
    pub(crate) fn apply(&mut self, step: TransactionStep) {
        match step {
            TransactionStep::Begin(start) => {
                self.open.insert(start);
            }
            TransactionStep::End { start, marker } => {
                self.open.remove(&start);
                self.ending.push((start, marker));
            }
        }
    }

    /// Forgets those whose marker the high watermark has passed.
    pub(crate) fn advance(&mut self, high_watermark: i64) {
        self.ending.retain(|(_, marker)| *marker >= high_watermark);
    }

    /// The first offset that belongs to one of them.
    pub(crate) fn first(&self) -> Option<i64> {
        let ending = self.ending.iter().map(|(start, _)| *start).min();
        self.open.first().copied().into_iter().chain(ending).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_holds_until_its_marker_is_visible() {
        let mut transactions = Transactions::default();
        transactions.apply(TransactionStep::Begin(5));
        transactions.apply(TransactionStep::Begin(9));
        assert_eq!(transactions.first(), Some(5));
        transactions.apply(TransactionStep::End { start: 5, marker: 12 });
        transactions.advance(12);
        assert_eq!(transactions.first(), Some(5));
        transactions.advance(13);
        assert_eq!(transactions.first(), Some(9));
    }
}
