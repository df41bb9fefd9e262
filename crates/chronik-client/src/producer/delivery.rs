//! What became of a record. All records of a batch share one outcome, so a delivery costs a pointer and an index.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::error::Error;

/// Where a record lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivered {
    /// Its partition.
    pub partition: i32,
    /// Its offset; −1 when the broker does not say (`acks=0`, or a repeated batch that it knows no offset of any more).
    pub offset: i64,
    /// Its timestamp: the producer's, or the broker's in topics with `LogAppendTime`.
    pub timestamp: i64,
}

/// How a whole batch ended.
#[derive(Debug, Clone)]
pub(super) enum Ending {
    Appended { base_offset: i64, log_append_time: Option<i64> },
    Refused { error: Error, record_errors: Vec<(i32, Error)> },
}

/// The end of a batch, once it is known, and who waits for it.
#[derive(Debug)]
pub(super) struct Outcome {
    partition: i32,
    ending: OnceLock<Ending>,
    wakers: Mutex<Vec<Waker>>,
}

impl Outcome {
    pub(super) fn new(partition: i32) -> Arc<Self> {
        Arc::new(Self { partition, ending: OnceLock::new(), wakers: Mutex::default() })
    }

    /// Tells everybody who waits. Only the first ending counts.
    pub(super) fn end(&self, ending: Ending) {
        if self.ending.set(ending).is_ok() {
            let wakers = std::mem::take(&mut *self.wakers.lock().unwrap_or_else(PoisonError::into_inner));
            wakers.into_iter().for_each(Waker::wake);
        }
    }

    /// Registers the waker in `slot` (or a new one), unless the ending is there.
    fn poll(&self, cx: &Context<'_>, slot: &mut Option<usize>) -> Poll<&Ending> {
        if let Some(ending) = self.ending.get() {
            return Poll::Ready(ending);
        }
        let mut wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
        // `end` sets the ending before it takes the wakers: seen under the lock, either it is set or our waker will be taken.
        if let Some(ending) = self.ending.get() {
            return Poll::Ready(ending);
        }
        match slot.and_then(|index| wakers.get_mut(index)) {
            Some(waker) => waker.clone_from(cx.waker()),
            None => {
                *slot = Some(wakers.len());
                wakers.push(cx.waker().clone());
            }
        }
        Poll::Pending
    }
}

/// Waits until a batch has ended, however it did.
pub(super) struct Ended {
    outcome: Arc<Outcome>,
    slot: Option<usize>,
}

impl Ended {
    pub(super) fn of(outcome: Arc<Outcome>) -> Self {
        Self { outcome, slot: None }
    }
}

impl Future for Ended {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { outcome, slot } = self.get_mut();
        outcome.poll(cx, slot).map(drop)
    }
}

/// Resolves once it is known what became of a record. Dropping it changes nothing for the record.
#[derive(Debug)]
#[must_use = "a record that was sent may still be refused"]
pub struct Delivery {
    outcome: Arc<Outcome>,
    index: i32,
    timestamp: i64,
    slot: Option<usize>,
}

impl Delivery {
    pub(super) fn new(outcome: Arc<Outcome>, index: i32, timestamp: i64) -> Self {
        Self { outcome, index, timestamp, slot: None }
    }

    /// The result, if it is known.
    pub fn try_get(&self) -> Option<Result<Delivered, Error>> {
        self.outcome.ending.get().map(|ending| self.result(ending))
    }

    fn result(&self, ending: &Ending) -> Result<Delivered, Error> {
        match ending {
            Ending::Appended { base_offset, log_append_time } => Ok(Delivered {
                partition: self.outcome.partition,
                offset: if *base_offset < 0 { -1 } else { base_offset + i64::from(self.index) },
                timestamp: log_append_time.unwrap_or(self.timestamp),
            }),
            Ending::Refused { error, record_errors } => {
                let own = record_errors.iter().find(|(index, _)| *index == self.index);
                Err(own.map_or(error, |(_, error)| error).clone())
            }
        }
    }
}

impl Future for Delivery {
    type Output = Result<Delivered, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let outcome = this.outcome.clone();
        match outcome.poll(cx, &mut this.slot) {
            Poll::Ready(ending) => Poll::Ready(this.result(ending)),
            Poll::Pending => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_record_of_a_batch_learns_its_own_offset() {
        let outcome = Outcome::new(3);
        let waiting: Vec<_> =
            (0..3).map(|i| tokio::spawn(Delivery::new(outcome.clone(), i, 100 + i64::from(i)))).collect();
        tokio::task::yield_now().await;
        outcome.end(Ending::Appended { base_offset: 40, log_append_time: None });
        outcome.end(Ending::Appended { base_offset: 99, log_append_time: None });
        for (i, delivery) in (0..).zip(waiting) {
            assert_eq!(
                delivery.await.unwrap().unwrap(),
                Delivered { partition: 3, offset: 40 + i, timestamp: 100 + i }
            );
        }
    }

    #[tokio::test]
    async fn a_refused_record_has_its_own_reason_and_the_others_the_batchs() {
        let outcome = Outcome::new(0);
        let error = |text: &str| Error::Invalid(text.to_owned());
        outcome.end(Ending::Refused { error: error("batch"), record_errors: vec![(1, error("record"))] });
        for (index, text) in [(0, "batch"), (1, "record")] {
            assert_eq!(Delivery::new(outcome.clone(), index, 0).await.unwrap_err().to_string(), text);
        }
    }
}
