//! The decisions: a request and the image give an answer and the records that make it true. Nothing is changed here; the records are
//! applied after they are committed. Checks, their order, codes and messages are Apache Kafka's.

mod configs;
mod topics;

use std::borrow::Cow;

use chronik_protocol::ErrorCode;
use chronik_protocol::generated::metadata::ProducerIdsRecord;

use super::config::Overrides;
use super::image::MetadataImage;
use super::records::MetadataRecord;

/// Producer ids handed out at once, as in Kafka.
pub const PRODUCER_ID_BLOCK: i64 = 1000;

/// Partitions that one request may create.
const PARTITIONS_PER_REQUEST_MAX: usize = 10_000;

/// What the controller must know besides the image.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// This broker, the only one.
    pub node_id: i32,
    /// `num.partitions`
    pub num_partitions: i32,
    /// `default.replication.factor`
    pub default_replication_factor: i16,
    /// `delete.topic.enable`
    pub delete_topics: bool,
    /// Settings of the broker from file, environment and command line.
    pub static_broker: Overrides,
}

/// An answer and what makes it true. Without records there is nothing to commit.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision<R> {
    /// To be committed together, in this order.
    pub records: Vec<MetadataRecord>,
    /// To be sent after they are committed.
    pub response: R,
}

/// Why one topic or resource of a request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The code.
    pub code: ErrorCode,
    /// The message; `None` is null on the wire.
    pub message: Option<String>,
}

impl Refusal {
    /// A refusal with a message.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Refusal {
        Refusal { code, message: Some(message.into()) }
    }

    /// A refusal with the code's general message.
    pub fn plain(code: ErrorCode) -> Refusal {
        Refusal::new(code, code.message())
    }

    /// A refusal without a message.
    pub fn silent(code: ErrorCode) -> Refusal {
        Refusal { code, message: None }
    }

    fn wire(&self) -> (i16, Option<Cow<'static, str>>) {
        (self.code.code(), self.message.clone().map(Cow::Owned))
    }
}

/// Code and message of an outcome.
fn wire<T>(outcome: &Result<T, Refusal>) -> (i16, Option<Cow<'static, str>>) {
    match outcome {
        Ok(_) => (ErrorCode::None.code(), None),
        Err(refusal) => refusal.wire(),
    }
}

/// Decides over one image.
#[derive(Debug, Clone, Copy)]
pub struct Controller<'a> {
    /// What is.
    pub image: &'a MetadataImage,
    /// What is allowed.
    pub rules: &'a Rules,
}

impl Controller<'_> {
    /// Takes the next block of producer ids; answers its first one.
    pub fn allocate_producer_ids(&self) -> Decision<i64> {
        let first = self.image.next_producer_id();
        let record = producer_ids(self.image, first.saturating_add(PRODUCER_ID_BLOCK));
        Decision { records: vec![record], response: first }
    }
}

pub(super) fn producer_ids(image: &MetadataImage, next_producer_id: i64) -> MetadataRecord {
    MetadataRecord::ProducerIds(ProducerIdsRecord {
        broker_id: image.node_id(),
        broker_epoch: image.sessions().into(),
        next_producer_id,
    })
}

#[cfg(test)]
mod tests;
