//! The records of the metadata log, in Apache Kafka's own formats: frame version, record type and version as unsigned varints, then the body.
//!
//! A broker session begins with Kafka's `RegisterBrokerRecord`: its incarnation id is the session's, its broker epoch counts the sessions. The
//! first session's incarnation id is the cluster id.

use std::borrow::Cow;

use chronik_protocol::Uuid;
use chronik_protocol::generated::metadata::{
    ConfigRecord, PartitionRecord, ProducerIdsRecord, RegisterBrokerRecord, RemoveTopicRecord, TopicRecord,
};
use chronik_protocol::wire::{Decode, DecodeError, Encode, EncodeError, Message, Reader, TypedRecord, Writer};

const FRAME_VERSION: u32 = 1;

/// One change of the metadata.
#[derive(Debug, Clone, PartialEq)]
pub enum MetadataRecord {
    /// A broker session begins.
    Session(RegisterBrokerRecord<'static>),
    /// A topic is created; its partitions follow in the same batch.
    Topic(TopicRecord<'static>),
    /// A partition of a topic.
    Partition(PartitionRecord),
    /// A topic is deleted.
    RemoveTopic(RemoveTopicRecord),
    /// A setting is made, or taken back when there is no value.
    Config(ConfigRecord<'static>),
    /// A block of producer ids is handed out.
    ProducerIds(ProducerIdsRecord),
}

/// A record that cannot be read.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RecordError {
    /// The bytes are not a record of this type and version.
    #[error("malformed metadata record: {0}")]
    Malformed(#[from] DecodeError),
    /// Something that a newer Chronik or another program wrote.
    #[error("metadata record of type {kind} version {version} in frame version {frame} is not known")]
    Unknown {
        /// Version of the frame around the record.
        frame: u32,
        /// Type of the record.
        kind: u32,
        /// Version of the record.
        version: u32,
    },
}

impl MetadataRecord {
    /// The bytes of the record's value; its key is null.
    ///
    /// # Errors
    ///
    /// A text that is too long for the format.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        match self {
            MetadataRecord::Session(record) => framed(record, 3),
            MetadataRecord::Topic(record) => framed(record, 0),
            MetadataRecord::Partition(record) => framed(record, 0),
            MetadataRecord::RemoveTopic(record) => framed(record, 0),
            MetadataRecord::Config(record) => framed(record, 0),
            MetadataRecord::ProducerIds(record) => framed(record, 0),
        }
    }

    /// Reads the value of a record.
    ///
    /// # Errors
    ///
    /// [`RecordError`]; the log is damaged or from the future.
    pub fn decode(bytes: &[u8]) -> Result<MetadataRecord, RecordError> {
        let mut r = Reader::new(bytes);
        let (frame, kind, version) = (r.uvarint()?, r.uvarint()?, r.uvarint()?);
        let unknown = RecordError::Unknown { frame, kind, version };
        let (Ok(kind), Ok(version)) = (i16::try_from(kind), i16::try_from(version)) else { return Err(unknown) };
        if frame != FRAME_VERSION {
            return Err(unknown);
        }
        let record = match kind {
            RegisterBrokerRecord::RECORD_TYPE => {
                MetadataRecord::Session(body::<RegisterBrokerRecord<'_>>(&mut r, version, unknown)?.into_owned())
            }
            TopicRecord::RECORD_TYPE => {
                MetadataRecord::Topic(body::<TopicRecord<'_>>(&mut r, version, unknown)?.into_owned())
            }
            ConfigRecord::RECORD_TYPE => {
                MetadataRecord::Config(body::<ConfigRecord<'_>>(&mut r, version, unknown)?.into_owned())
            }
            PartitionRecord::RECORD_TYPE => MetadataRecord::Partition(body(&mut r, version, unknown)?),
            RemoveTopicRecord::RECORD_TYPE => MetadataRecord::RemoveTopic(body(&mut r, version, unknown)?),
            ProducerIdsRecord::RECORD_TYPE => MetadataRecord::ProducerIds(body(&mut r, version, unknown)?),
            _ => return Err(unknown),
        };
        r.finish()?;
        Ok(record)
    }

    /// A broker session: the `number`-th of this data directory.
    pub fn session(node_id: i32, incarnation: Uuid, number: u32) -> MetadataRecord {
        MetadataRecord::Session(RegisterBrokerRecord {
            broker_id: node_id,
            incarnation_id: incarnation,
            broker_epoch: number.into(),
            fenced: false,
            ..RegisterBrokerRecord::default()
        })
    }

    /// A partition that one broker keeps and leads.
    pub fn partition(topic_id: Uuid, partition_id: i32, node_id: i32, leader_epoch: i32) -> MetadataRecord {
        MetadataRecord::Partition(PartitionRecord {
            partition_id,
            topic_id,
            replicas: vec![node_id],
            isr: vec![node_id],
            leader: node_id,
            leader_epoch,
            ..PartitionRecord::default()
        })
    }

    /// A setting.
    pub fn config(kind: super::ResourceKind, resource: &str, name: &str, value: Option<&str>) -> MetadataRecord {
        MetadataRecord::Config(ConfigRecord {
            resource_type: kind as i8,
            resource_name: Cow::Owned(resource.to_owned()),
            name: Cow::Owned(name.to_owned()),
            value: value.map(|value| Cow::Owned(value.to_owned())),
        })
    }
}

fn framed<T: Encode + TypedRecord>(record: &T, version: i16) -> Result<Vec<u8>, EncodeError> {
    let mut w = Writer::with_capacity(64);
    w.uvarint(FRAME_VERSION);
    w.uvarint(T::RECORD_TYPE.unsigned_abs().into());
    w.uvarint(version.unsigned_abs().into());
    record.encode(&mut w, version)?;
    let len = w.len();
    w.finish().to_vec().map_err(|_| EncodeError::TooLong(len))
}

fn body<'a, T: Decode<'a> + Message>(r: &mut Reader<'a>, version: i16, unknown: RecordError) -> Result<T, RecordError> {
    if !(T::MIN_VERSION..=T::MAX_VERSION).contains(&version) {
        return Err(unknown);
    }
    Ok(T::decode(r, version)?)
}
