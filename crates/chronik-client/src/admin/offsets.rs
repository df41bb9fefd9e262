//! Offsets of partitions: first, last, by time.

use std::collections::BTreeMap;

use chronik_protocol::error::ErrorCode;
use chronik_protocol::generated::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use chronik_protocol::messages::ListOffsetsRequest;

use super::{Admin, unanswered};
use crate::cluster::{Client, Node};
use crate::error::Error;

/// Which offset of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetSpec {
    /// The first that can be read.
    Earliest,
    /// Behind the last that can be read.
    Latest,
    /// Of the record with the latest timestamp.
    MaxTimestamp,
    /// Of the first record at or after this time in ms.
    Timestamp(i64),
}

impl OffsetSpec {
    fn timestamp(self) -> i64 {
        match self {
            OffsetSpec::Latest => -1,
            OffsetSpec::Earliest => -2,
            OffsetSpec::MaxTimestamp => -3,
            OffsetSpec::Timestamp(ms) => ms,
        }
    }
}

/// An offset that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionOffset {
    /// The offset; −1 if no record matches.
    pub offset: i64,
    /// That record's timestamp in ms, −1 if it was not asked for by time.
    pub timestamp: i64,
    /// That record's leader epoch, −1 if unknown.
    pub leader_epoch: i32,
}

impl Client {
    /// Node id of a partition's leader, asking the brokers if it is not known.
    pub async fn leader(&self, topic: &str, partition: i32) -> Result<i32, Error> {
        let known = |cluster: &crate::cluster::Cluster| {
            cluster.partition(topic, partition).map(|p| p.leader).filter(|id| *id >= 0)
        };
        if let Some(leader) = known(&self.cluster()) {
            return Ok(leader);
        }
        let cluster = self.refresh(&[topic]).await?;
        if let Some(code) = cluster.errors.get(topic) {
            return Err(Error::broker(format!("topic {topic}"), *code, None));
        }
        match cluster.partition(topic, partition) {
            Some(found) if found.leader >= 0 => Ok(found.leader),
            Some(_) => Err(Error::broker(format!("{topic}/{partition}"), ErrorCode::LeaderNotAvailable, None)),
            None => Err(Error::broker(format!("{topic}/{partition}"), ErrorCode::UnknownTopicOrPartition, None)),
        }
    }
}

impl Admin {
    /// Looks up one offset of each of these partitions of a topic.
    pub async fn list_offsets(
        &self,
        topic: &str,
        partitions: &[i32],
        spec: OffsetSpec,
        read_committed: bool,
    ) -> Result<BTreeMap<i32, Result<PartitionOffset, Error>>, Error> {
        let mut by_leader: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
        let mut found = BTreeMap::new();
        for &partition in partitions {
            match self.client.leader(topic, partition).await {
                Ok(leader) => by_leader.entry(leader).or_default().push(partition),
                Err(error @ Error::Broker { .. }) => {
                    found.insert(partition, Err(error));
                }
                Err(error) => return Err(error),
            }
        }
        for (leader, partitions) in by_leader {
            let request = ListOffsetsRequest {
                replica_id: -1,
                isolation_level: i8::from(read_committed),
                topics: vec![ListOffsetsTopic {
                    name: topic.into(),
                    partitions: partitions
                        .iter()
                        .map(|&partition_index| ListOffsetsPartition {
                            partition_index,
                            timestamp: spec.timestamp(),
                            ..Default::default()
                        })
                        .collect(),
                }],
                timeout_ms: self.timeout_ms(),
            };
            let answer = self.client.call(Node::Id(leader), &request).await?;
            let body = answer.body()?;
            for partition in body.topics.iter().flat_map(|topic| &topic.partitions) {
                let what = || format!("offsets of {topic}/{}", partition.partition_index);
                let outcome = Error::check(partition.error_code, what, None).map(|()| PartitionOffset {
                    offset: partition.offset,
                    timestamp: partition.timestamp,
                    leader_epoch: partition.leader_epoch,
                });
                found.insert(partition.partition_index, outcome);
            }
        }
        match partitions.iter().find(|partition| !found.contains_key(partition)) {
            Some(partition) => Err(unanswered(&format!("{topic}/{partition}"))),
            None => Ok(found),
        }
    }
}
