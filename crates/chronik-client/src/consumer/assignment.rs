//! What the members of a consumer group tell each other through the coordinator: subscriptions and assignments, in the
//! formats of Kafka's `ConsumerProtocol`. The coordinator does not look inside.

use bytes::Bytes;
use chronik_protocol::generated::consumer_protocol_assignment::{self, ConsumerProtocolAssignment};
use chronik_protocol::generated::consumer_protocol_subscription::{self, ConsumerProtocolSubscription};
use chronik_protocol::wire::{Decode, Encode, Message, Reader, encode_prefixed};

use crate::error::Error;

/// Topics with partitions.
pub type Partitions = Vec<(String, Vec<i32>)>;

/// What a member wants, and what it has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subscription {
    /// Topics that it subscribes to.
    pub topics: Vec<String>,
    /// Partitions that it owns from the generation before.
    pub owned: Partitions,
    /// That generation, −1 for none.
    pub generation: i32,
}

/// What a member gets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Assignment {
    /// Its partitions.
    pub partitions: Partitions,
}

/// The version in front is the sender's; newer ones only add fields at the end, which a reader of an older one ignores.
fn body<T: Message>(bytes: &[u8]) -> Option<(&[u8], i16)> {
    let (version, body) = bytes.split_first_chunk::<2>()?;
    let version = i16::from_be_bytes(*version);
    (version >= T::MIN_VERSION).then_some((body, version.min(T::MAX_VERSION)))
}

fn encode<T: Message + Encode>(version: i16, message: &T) -> Result<Bytes, Error> {
    encode_prefixed(version, message, version).map(Bytes::from).map_err(|error| Error::Invalid(error.to_string()))
}

impl Subscription {
    /// The bytes of a JoinGroup protocol. Version 1, which cooperative members of every client understand, unless there is
    /// a generation to tell (version 2).
    pub fn encode(&self) -> Result<Bytes, Error> {
        let message = ConsumerProtocolSubscription {
            topics: self.topics.iter().map(|topic| topic.clone().into()).collect(),
            owned_partitions: self
                .owned
                .iter()
                .map(|(topic, partitions)| consumer_protocol_subscription::TopicPartition {
                    topic: topic.clone().into(),
                    partitions: partitions.clone(),
                })
                .collect(),
            generation_id: self.generation,
            ..Default::default()
        };
        encode(if self.generation >= 0 { 2 } else { 1 }, &message)
    }

    /// Reads a member's metadata; none if it is not a subscription.
    pub fn decode(bytes: &[u8]) -> Option<Subscription> {
        let (body, version) = body::<ConsumerProtocolSubscription<'_>>(bytes)?;
        let message = ConsumerProtocolSubscription::decode(&mut Reader::new(body), version).ok()?;
        Some(Subscription {
            topics: message.topics.iter().map(ToString::to_string).collect(),
            owned: message
                .owned_partitions
                .iter()
                .map(|owned| (owned.topic.to_string(), owned.partitions.clone()))
                .collect(),
            generation: message.generation_id,
        })
    }
}

impl Assignment {
    /// The bytes of a SyncGroup assignment.
    pub fn encode(&self) -> Result<Bytes, Error> {
        let message = ConsumerProtocolAssignment {
            assigned_partitions: self
                .partitions
                .iter()
                .map(|(topic, partitions)| consumer_protocol_assignment::TopicPartition {
                    topic: topic.clone().into(),
                    partitions: partitions.clone(),
                })
                .collect(),
            user_data: None,
        };
        encode(1, &message)
    }

    /// Reads an assignment; none if it is not one. Empty bytes are an empty assignment.
    pub fn decode(bytes: &[u8]) -> Option<Assignment> {
        if bytes.is_empty() {
            return Some(Assignment::default());
        }
        let (body, version) = body::<ConsumerProtocolAssignment<'_>>(bytes)?;
        let message = ConsumerProtocolAssignment::decode(&mut Reader::new(body), version).ok()?;
        let partitions = message.assigned_partitions;
        Some(Assignment {
            partitions: partitions.iter().map(|given| (given.topic.to_string(), given.partitions.clone())).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_reads_back_and_ignores_a_newer_tail() {
        let subscription =
            Subscription { topics: vec!["a".into(), "b".into()], owned: vec![("a".into(), vec![0, 2])], generation: 7 };
        let bytes = subscription.encode().unwrap();
        assert_eq!(Subscription::decode(&bytes), Some(subscription));
        let mut newer = bytes.to_vec();
        newer[1] = 9;
        // Version 3 added the rack, a nullable string; version 9 may have added anything behind it.
        newer.extend_from_slice(&[0xff, 0xff, 1, 2, 3]);
        assert_eq!(Subscription::decode(&newer).unwrap().generation, 7);
        assert_eq!(Subscription::decode(b""), None);
    }

    #[test]
    fn an_assignment_reads_back() {
        let assignment = Assignment { partitions: vec![("t".into(), vec![1, 2])] };
        assert_eq!(Assignment::decode(&assignment.encode().unwrap()), Some(assignment));
        assert_eq!(Assignment::decode(b""), Some(Assignment::default()));
        assert_eq!(Assignment::decode(b"\x00"), None);
    }
}
