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
    Appended {
        base_offset: i64,
        log_append_time: Option<i64>,
    },
    Refused {
        error: Error,
        record_errors: Vec<(i32, Error)>,
    },
    /// It was too large and goes on as several: index of the first record of each, rising from 0, and its outcome.
    Split(Vec<(i32, Arc<Outcome>)>),
}

/// The part that a record of a split batch is in now, and its index there.
fn part(parts: &[(i32, Arc<Outcome>)], index: i32) -> Option<(Arc<Outcome>, i32)> {
    let (first, outcome) = parts.iter().rev().find(|(first, _)| *first <= index)?;
    Some((outcome.clone(), index - first))
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

    pub(super) fn partition(&self) -> i32 {
        self.partition
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

/// Waits until batches have ended, however they did.
pub(super) struct Ended {
    waiting: Vec<Arc<Outcome>>,
    /// Place of our waker with the last of them.
    slot: Option<usize>,
}

impl Ended {
    pub(super) fn all(waiting: Vec<Arc<Outcome>>) -> Self {
        Self { waiting, slot: None }
    }
}

impl Future for Ended {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { waiting, slot } = self.get_mut();
        while let Some(last) = waiting.pop() {
            match last.poll(cx, slot) {
                Poll::Ready(Ending::Split(parts)) => waiting.extend(parts.iter().map(|(_, outcome)| outcome.clone())),
                Poll::Ready(_) => {}
                Poll::Pending => {
                    waiting.push(last);
                    return Poll::Pending;
                }
            }
            *slot = None;
        }
        Poll::Ready(())
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
        let (mut outcome, mut index) = (self.outcome.clone(), self.index);
        loop {
            let next = match outcome.ending.get()? {
                Ending::Split(parts) => part(parts, index),
                ending => return Some(result(&outcome, ending, index, self.timestamp)),
            };
            (outcome, index) = next?;
        }
    }
}

fn result(outcome: &Outcome, ending: &Ending, index: i32, timestamp: i64) -> Result<Delivered, Error> {
    match ending {
        Ending::Appended { base_offset, log_append_time } => Ok(Delivered {
            partition: outcome.partition,
            offset: if *base_offset < 0 { -1 } else { base_offset + i64::from(index) },
            timestamp: log_append_time.unwrap_or(timestamp),
        }),
        Ending::Refused { error, record_errors } => {
            let own = record_errors.iter().find(|(blamed, _)| *blamed == index);
            Err(own.map_or(error, |(_, error)| error).clone())
        }
        Ending::Split(_) => Err(Error::Closed),
    }
}

impl Future for Delivery {
    type Output = Result<Delivered, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        loop {
            let outcome = this.outcome.clone();
            let next = match outcome.poll(cx, &mut this.slot) {
                Poll::Ready(Ending::Split(parts)) => part(parts, this.index),
                Poll::Ready(ending) => return Poll::Ready(result(&outcome, ending, this.index, this.timestamp)),
                Poll::Pending => return Poll::Pending,
            };
            // Every index is in a part: the first begins with 0.
            let Some((outcome, index)) = next else { return Poll::Ready(Err(Error::Closed)) };
            (this.outcome, this.index, this.slot) = (outcome, index, None);
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

    #[tokio::test]
    async fn records_of_a_split_batch_follow_their_part() {
        let (whole, first, second, last) = (Outcome::new(2), Outcome::new(2), Outcome::new(2), Outcome::new(2));
        let waiting: Vec<_> = (0..5).map(|i| tokio::spawn(Delivery::new(whole.clone(), i, 0))).collect();
        let unasked = Delivery::new(whole.clone(), 4, 0);
        let mut all = Ended::all(vec![whole.clone()]);
        assert!(futures_util::poll!(&mut all).is_pending());
        whole.end(Ending::Split(vec![(0, first.clone()), (3, second.clone())]));
        second.end(Ending::Split(vec![(0, last.clone()), (1, last.clone())]));
        assert!(futures_util::poll!(&mut all).is_pending());
        first.end(Ending::Appended { base_offset: 10, log_append_time: None });
        last.end(Ending::Appended { base_offset: 50, log_append_time: None });
        all.await;
        let mut offsets = Vec::new();
        for delivery in waiting {
            offsets.push(delivery.await.unwrap().unwrap().offset);
        }
        assert_eq!(offsets, [10, 11, 12, 50, 50]);
        assert_eq!(unasked.try_get().unwrap().unwrap().offset, 50);
    }
}
