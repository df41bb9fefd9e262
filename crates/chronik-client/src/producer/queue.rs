//! The batches of one partition, from being filled until their outcome is known, and the rules that keep their order.
//!
//! Batches leave in the order they were opened in. After a failure nothing more leaves until all that is on its way has come
//! back; then what failed goes again, oldest first. Sequence numbers are given when a batch leaves for the first time and
//! stay with it, so that the broker can tell a repetition from a new batch.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chronik_protocol::batch::{BatchBuilder, increment_sequence};
use chronik_protocol::compression::Compression;
use tokio::time::Instant;

use super::delivery::{Ending, Outcome};
use crate::error::Error;

/// A batch of records for one partition.
#[derive(Debug)]
pub(super) struct Batch {
    /// Rises in the order in which batches were opened.
    pub(super) id: u64,
    /// Ids from `id` on that are free for the parts if it has to be split.
    pub(super) id_span: u64,
    pub(super) content: Content,
    pub(super) count: i32,
    pub(super) outcome: Arc<Outcome>,
    /// Bytes of the producer's buffer that it holds.
    pub(super) reserved: usize,
    pub(super) opened: Instant,
    /// Sequence number of the first record, once it was sent by an idempotent producer.
    pub(super) sequence: Option<i32>,
    /// True if it was sent and nobody knows whether it was appended.
    pub(super) ambiguous: bool,
    /// Why the last attempt failed.
    pub(super) last_error: Option<Error>,
}

/// Records before and after they were encoded.
#[derive(Debug)]
pub(super) enum Content {
    Building(BatchBuilder),
    Built(Bytes),
}

impl Batch {
    pub(super) fn size(&self) -> usize {
        match &self.content {
            Content::Building(builder) => builder.uncompressed_size(),
            Content::Built(bytes) => bytes.len(),
        }
    }
}

/// One partition.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
    /// Node id, −1 while unknown.
    pub(super) leader: i32,
    open: Option<Batch>,
    /// Closed batches that are not on their way, by id.
    pending: VecDeque<Batch>,
    /// Ids of the batches that are on their way, rising.
    in_flight: Vec<u64>,
    /// A failure has happened: nothing leaves until nothing is on its way.
    draining: bool,
    backoff_until: Option<Instant>,
    failures: u32,
    next_sequence: i32,
    /// True once the broker has appended a batch with this producer's epoch. To a producer that it does not know a broker
    /// allows any first number, so until then a second batch must not overtake the first.
    established: bool,
    /// Batches up to this id may have been appended already. A broker remembers the last five batches only, so new ones must
    /// not push these out before they have been recognised: they go one by one.
    unsure_until: Option<u64>,
    /// The batch of this id was refused for good, and had this sequence number: those behind it move up.
    renumber_from: Option<(u64, i32)>,
}

/// From one batch's id to the next one's.
pub(super) const ID_SPAN: u64 = 1 << 20;

/// Longest and shortest pause before a failed batch goes again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

impl Queue {
    pub(super) fn new(topic: Arc<str>, partition: i32, leader: i32) -> Self {
        Self {
            topic,
            partition,
            leader,
            open: None,
            pending: VecDeque::new(),
            in_flight: Vec::new(),
            draining: false,
            backoff_until: None,
            failures: 0,
            next_sequence: 0,
            established: false,
            unsure_until: None,
            renumber_from: None,
        }
    }

    /// The open batch, if a record of `size` bytes still fits into it.
    pub(super) fn open_with_room(&mut self, size: usize, batch_bytes: usize) -> Option<&mut Batch> {
        self.open.as_mut().filter(|open| open.size() + size <= batch_bytes)
    }

    /// Opens a batch; one that was open is closed. The outcome is told from here on.
    pub(super) fn open(&mut self, id: u64, compression: Compression, now: Instant) -> &mut Batch {
        self.close_open();
        let partition = self.partition;
        self.open.insert(Batch {
            id,
            id_span: ID_SPAN,
            content: Content::Building(BatchBuilder::new().compression(compression)),
            count: 0,
            outcome: Outcome::new(partition),
            reserved: 0,
            opened: now,
            sequence: None,
            ambiguous: false,
            last_error: None,
        })
    }

    /// Closes the open batch: it leaves at the next chance.
    pub(super) fn close_open(&mut self) {
        self.pending.extend(self.open.take());
    }

    pub(super) fn close_if_full(&mut self, batch_bytes: usize) -> bool {
        let full = self.open.as_ref().is_some_and(|open| open.size() >= batch_bytes);
        if full {
            self.close_open();
        }
        full
    }

    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.open.is_none() && self.pending.is_empty() && self.in_flight.is_empty()
    }

    pub(super) fn has_in_flight(&self) -> bool {
        !self.in_flight.is_empty()
    }

    /// When something is to be looked at again, if nothing else happens: the linger time or the pause is over.
    pub(super) fn due(&self, linger: Duration) -> Option<Instant> {
        let ready = if self.pending.is_empty() { self.open.as_ref()?.opened + linger } else { self.pending[0].opened };
        if self.draining {
            return None;
        }
        Some(self.backoff_until.map_or(ready, |until| until.max(ready)))
    }

    /// When the oldest batch that is not on its way runs out of time.
    pub(super) fn expires(&self, delivery_timeout: Duration) -> Option<Instant> {
        self.pending.front().or(self.open.as_ref()).map(|batch| batch.opened + delivery_timeout)
    }

    /// The size of the batch that would leave now, if one would; `numbered` if the producer is idempotent.
    pub(super) fn ready(&self, now: Instant, linger: Duration, in_flight_max: usize, numbered: bool) -> Option<usize> {
        let one_by_one = numbered && (!self.established || self.unsure_until.is_some());
        let in_flight_max = if one_by_one { 1 } else { in_flight_max };
        if self.in_flight.len() >= in_flight_max || self.due(linger).is_none_or(|due| due > now) {
            return None;
        }
        self.pending.front().or(self.open.as_ref()).map(Batch::size)
    }

    /// Takes the batch that leaves now, numbered if the producer is idempotent.
    pub(super) fn take(&mut self, numbered: bool) -> Option<Batch> {
        if self.pending.is_empty() {
            self.close_open();
        }
        let mut batch = self.pending.pop_front()?;
        if numbered && batch.sequence.is_none() {
            batch.sequence = Some(self.next_sequence);
            self.next_sequence = increment_sequence(self.next_sequence, batch.count);
        }
        self.in_flight.push(batch.id);
        self.backoff_until = None;
        Some(batch)
    }

    /// True if a batch that was opened before this one has no outcome yet, or was refused while this one was on its way.
    pub(super) fn has_earlier(&self, id: u64) -> bool {
        self.renumber_from.is_some_and(|(refused, _)| refused < id)
            || self.in_flight.first().is_some_and(|first| *first < id)
            || self.pending.front().is_some_and(|batch| batch.id < id)
    }

    /// A batch was appended.
    pub(super) fn succeeded(&mut self, id: u64) {
        self.failures = 0;
        self.established = true;
        self.settled(id);
        self.returned(id);
    }

    /// A batch has to go again.
    pub(super) fn failed(&mut self, batch: Batch, now: Instant) {
        let id = batch.id;
        if batch.ambiguous {
            self.unsure_until = self.unsure_until.max(Some(id));
        }
        let at = self.pending.partition_point(|other| other.id < id);
        self.pending.insert(at, batch);
        if !self.draining {
            // What fails together counts as one failure.
            self.failures += 1;
            let pause = BACKOFF.0 * 2u32.saturating_pow(self.failures.min(10) - 1);
            self.backoff_until = Some(now + pause.min(BACKOFF.1));
        }
        self.draining = true;
        self.returned(id);
    }

    /// A batch was refused for good and was not appended: its numbers are free.
    pub(super) fn refused(&mut self, batch: &Batch) {
        self.free_sequence(batch);
        self.draining = true;
        self.settled(batch.id);
        self.returned(batch.id);
    }

    /// The fate of a batch is known.
    fn settled(&mut self, id: u64) {
        self.unsure_until = self.unsure_until.filter(|until| *until > id);
    }

    /// A batch was too large: these parts of it take its place. Their numbers go on from its own.
    pub(super) fn split(&mut self, batch: &Batch, parts: [Batch; 2]) {
        let at = self.pending.partition_point(|other| other.id < batch.id);
        for (place, part) in (at..).zip(parts) {
            self.pending.insert(place, part);
        }
        self.refused(batch);
    }

    fn free_sequence(&mut self, batch: &Batch) {
        let Some(sequence) = batch.sequence else { return };
        if self.renumber_from.is_none_or(|(first, _)| batch.id < first) {
            self.renumber_from = Some((batch.id, sequence));
        }
    }

    fn returned(&mut self, id: u64) {
        self.in_flight.retain(|other| *other != id);
        if !self.in_flight.is_empty() {
            return;
        }
        self.draining = false;
        if let Some((refused, mut sequence)) = self.renumber_from.take() {
            let behind = self.pending.iter_mut().filter(|batch| batch.id >= refused && batch.sequence.is_some());
            for batch in behind {
                batch.sequence = Some(sequence);
                sequence = increment_sequence(sequence, batch.count);
            }
            self.next_sequence = sequence;
        }
    }

    /// Takes the batches that ran out of time. True in the second place if numbers are lost with one of them: it may or may
    /// not have been appended.
    pub(super) fn expire(&mut self, now: Instant, delivery_timeout: Duration) -> (Vec<Batch>, bool) {
        let mut expired = Vec::new();
        let mut lost = false;
        while self.expires(delivery_timeout).is_some_and(|at| at <= now) {
            let Some(batch) = self.pending.pop_front().or_else(|| self.open.take()) else { break };
            if batch.ambiguous && batch.sequence.is_some() {
                lost = true;
            } else {
                self.free_sequence(&batch);
            }
            self.settled(batch.id);
            expired.push(batch);
        }
        if !expired.is_empty() && self.in_flight.is_empty() {
            self.returned(u64::MAX);
        }
        (expired, lost)
    }

    /// All batches that are not on their way.
    pub(super) fn take_all(&mut self) -> Vec<Batch> {
        self.close_open();
        self.pending.drain(..).collect()
    }

    /// Numbers start again from 0: the producer has a new epoch. Nothing may be on its way.
    pub(super) fn restart_sequence(&mut self) {
        self.next_sequence = 0;
        self.established = false;
        self.unsure_until = None;
        self.renumber_from = None;
        for batch in &mut self.pending {
            batch.sequence = None;
            batch.ambiguous = false;
        }
    }
}

/// The end of a batch that could not be delivered in time.
pub(super) fn timed_out(queue: &Queue, batch: &Batch, after: Duration) -> Ending {
    let why = batch.last_error.as_ref().map_or_else(String::new, |error| format!(" (last: {error})"));
    let what = format!("delivery to {}-{}{why}", queue.topic, queue.partition);
    Ending::Refused { error: Error::Timeout { what, after }, record_errors: Vec::new() }
}

#[cfg(test)]
mod tests;
