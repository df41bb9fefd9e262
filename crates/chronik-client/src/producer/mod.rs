//! Sends records: gathers them into batches, sends those to the leaders of their partitions, and tells for every single
//! record what became of it.
//!
//! Records of one partition are appended in the order in which [`Producer::send`] was called, over retries too. With
//! idempotence (the default with `acks=all`) each is there exactly once, however often the connection breaks.

mod accumulator;
mod delivery;
pub mod partitioner;
mod queue;
mod request;
mod sender;
mod split;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use chronik_protocol::compression::Codec;
use chronik_protocol::error::ErrorCode;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

pub use delivery::{Delivered, Delivery};

use crate::cluster::Client;
use crate::error::Error;
use accumulator::Accumulator;
use delivery::Ended;
use sender::Sender;

/// When a broker answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Acks {
    /// Never: a record counts as delivered once its bytes are with the operating system.
    None,
    /// When the leader has it.
    Leader,
    /// When it is as durable as the topic asks for.
    #[default]
    All,
}

impl Acks {
    fn code(self) -> i16 {
        match self {
            Acks::None => 0,
            Acks::Leader => 1,
            Acks::All => -1,
        }
    }
}

/// How to send.
#[derive(Debug, Clone)]
pub struct ProducerOptions {
    /// When a broker answers.
    pub acks: Acks,
    /// Codec of the batches.
    pub compression: Codec,
    /// How long a batch waits for more records.
    pub linger: Duration,
    /// A batch that has this many bytes (before compression) waits no longer.
    pub batch_bytes: usize,
    /// Records that have no outcome yet take at most this many bytes; [`Producer::send`] waits beyond.
    pub buffer_bytes: usize,
    /// Requests to one broker that may wait for their answers, at most 5 with idempotence.
    pub max_in_flight: usize,
    /// Whether brokers recognise repeated batches. Only with [`Acks::All`]; without it, this is not looked at.
    pub idempotent: bool,
    /// How long is tried to deliver a record.
    pub delivery_timeout: Duration,
    /// How long [`Producer::send`] waits for a topic to be there (or to be created by the broker).
    pub topic_timeout: Duration,
}

impl Default for ProducerOptions {
    fn default() -> Self {
        Self {
            acks: Acks::All,
            compression: Codec::None,
            linger: Duration::from_millis(5),
            batch_bytes: 64 << 10,
            buffer_bytes: 32 << 20,
            max_in_flight: 5,
            idempotent: true,
            delivery_timeout: Duration::from_secs(120),
            topic_timeout: Duration::from_secs(10),
        }
    }
}

/// Batches of one producer that a broker remembers for each partition.
const IDEMPOTENT_IN_FLIGHT_MAX: usize = 5;
/// More requests than this would wait in the connection, where their order is out of our hands.
const IN_FLIGHT_MAX: usize = 128;
/// Semaphores count in 32 bits.
const BUFFER_MAX: usize = u32::MAX as usize >> 3;

impl ProducerOptions {
    fn is_idempotent(&self) -> bool {
        self.idempotent && self.acks == Acks::All
    }

    fn within_limits(mut self) -> Self {
        let in_flight_max = if self.is_idempotent() { IDEMPOTENT_IN_FLIGHT_MAX } else { IN_FLIGHT_MAX };
        self.max_in_flight = self.max_in_flight.clamp(1, in_flight_max);
        self.buffer_bytes = self.buffer_bytes.clamp(1 << 16, BUFFER_MAX);
        self.batch_bytes = self.batch_bytes.min(self.buffer_bytes / 2);
        self
    }
}

/// A record to send.
#[derive(Debug, Clone, Default)]
pub struct ProducerRecord {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition; by key, or in turns, if none is given.
    pub partition: Option<i32>,
    /// Milliseconds since 1970; now, if none is given.
    pub timestamp: Option<i64>,
    /// The key.
    pub key: Option<Bytes>,
    /// The value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// The headers, in order.
    pub headers: Vec<(String, Option<Bytes>)>,
}

/// What a producer and its sender share.
#[derive(Debug)]
struct Shared {
    options: ProducerOptions,
    client: Client,
    accumulator: Mutex<Accumulator>,
    /// Bytes that may still be buffered.
    room: Semaphore,
    /// Tells the sender to look again.
    wake: Notify,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Accumulator> {
        // Nothing in the accumulator can panic half-way; if it did, refusing all further work would be worse.
        self.accumulator.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Accepts no further record; the first reason stays.
    fn close(&self, why: Error) {
        self.lock().closed.get_or_insert(why);
        self.wake.notify_one();
    }
}

/// What all clones of a producer share: when the last one goes, nothing more is accepted, and the sender ends with the last
/// batch that it was given.
#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.close(Error::Closed);
    }
}

/// Sends records. Clones are the same producer.
#[derive(Debug, Clone)]
pub struct Producer {
    handle: Arc<Handle>,
}

impl Producer {
    /// A producer; its task ends with [`Producer::close`], or some time after the last clone was dropped.
    pub fn new(client: &Client, options: ProducerOptions) -> Producer {
        let options = options.within_limits();
        let shared = Arc::new(Shared {
            accumulator: Mutex::new(Accumulator::new(options.clone())),
            room: Semaphore::new(options.buffer_bytes),
            client: client.clone(),
            options,
            wake: Notify::new(),
        });
        let task = tokio::spawn(Sender::new(shared.clone()).run());
        Producer { handle: Arc::new(Handle { shared, task: Mutex::new(Some(task)) }) }
    }

    /// Puts a record on its way. Waits for room in the buffer and for a topic that is not known yet, for nothing else; the
    /// record's fate is what the [`Delivery`] tells.
    ///
    /// # Errors
    /// The topic or partition does not exist, the record is larger than the buffer, or the producer is closed.
    pub async fn send(&self, record: ProducerRecord) -> Result<Delivery, Error> {
        let shared = &self.handle.shared;
        if !shared.lock().knows(&record.topic) {
            self.learn(&record.topic).await?;
        }
        let size = accumulator::size_of(&record);
        if size > shared.options.buffer_bytes {
            let limit = shared.options.buffer_bytes;
            return Err(Error::Invalid(format!("a record of {size} bytes does not fit into a buffer of {limit}")));
        }
        let room = shared.room.acquire_many(size as u32).await.map_err(|_| Error::Closed)?;
        let timestamp = record.timestamp.unwrap_or_else(now_ms);
        let appended = shared.lock().append(&record, size, timestamp, Instant::now())?;
        room.forget();
        if appended.wake {
            shared.wake.notify_one();
        }
        Ok(appended.delivery)
    }

    /// Waits until every record that was sent so far has an outcome. Batches that were still gathering leave at once.
    pub async fn flush(&self) -> Result<(), Error> {
        let outcomes = self.handle.shared.lock().flush();
        self.handle.shared.wake.notify_one();
        Ended::all(outcomes).await;
        Ok(())
    }

    /// Accepts nothing more, and waits until every record has an outcome. What has none in time fails with
    /// [`Error::Closed`], and this with [`Error::Timeout`].
    pub async fn close(self, limit: Duration) -> Result<(), Error> {
        self.handle.shared.close(Error::Closed);
        let task = self.handle.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut task) = task else { return Ok(()) };
        if timeout(limit, self.flush()).await.is_ok_and(|flushed| flushed.is_ok()) {
            return task.await.map_err(|_| Error::Closed);
        }
        task.abort();
        let _ = (&mut task).await;
        let shared = &self.handle.shared;
        let late = shared.lock().flush();
        for outcome in late {
            outcome.end(delivery::Ending::Refused { error: Error::Closed, record_errors: Vec::new() });
        }
        Err(Error::Timeout { what: "the last records to be delivered".to_owned(), after: limit })
    }

    /// Asks for a topic until it is there with all its partitions.
    async fn learn(&self, topic: &Arc<str>) -> Result<(), Error> {
        let shared = &self.handle.shared;
        let until = Instant::now() + shared.options.topic_timeout;
        let mut pause = Duration::from_millis(20);
        loop {
            let error = match shared.client.refresh_or_create(&[topic]).await {
                Ok(cluster) if cluster.topics.contains_key(&**topic) => {
                    shared.lock().learn(&cluster, Some(topic));
                    return Ok(());
                }
                Ok(cluster) => {
                    let code = cluster.errors.get(&**topic).copied().unwrap_or(ErrorCode::UnknownTopicOrPartition);
                    Error::broker(format!("topic {topic}"), code, None)
                }
                Err(error) => error,
            };
            if !error.is_retriable() || Instant::now() + pause > until {
                return Err(error);
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(500));
        }
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
