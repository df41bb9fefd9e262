//! Topics and partitions.

use chronik_protocol::generated::create_partitions_request::CreatePartitionsTopic;
use chronik_protocol::generated::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use chronik_protocol::generated::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use chronik_protocol::generated::delete_topics_request::DeleteTopicState;
use chronik_protocol::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteRecordsRequest, DeleteTopicsRequest,
};

use super::{Admin, Outcome, unanswered};
use crate::cluster::Node;
use crate::error::Error;

/// A topic to be created.
#[derive(Debug, Clone, Default)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// Partitions; −1 for the broker's default.
    pub partitions: i32,
    /// Replicas; −1 for the broker's default.
    pub replication_factor: i16,
    /// Settings that differ from the broker's.
    pub configs: Vec<(String, String)>,
}

impl NewTopic {
    /// A topic with the broker's replication factor and settings.
    pub fn new(name: &str, partitions: i32) -> Self {
        Self { name: name.to_owned(), partitions, replication_factor: -1, configs: Vec::new() }
    }
}

impl Admin {
    /// Creates topics; with `validate_only` nothing is created.
    pub async fn create_topics(&self, topics: &[NewTopic], validate_only: bool) -> Result<Vec<Outcome>, Error> {
        let creatable = |topic: &NewTopic| CreatableTopic {
            name: topic.name.clone().into(),
            num_partitions: topic.partitions,
            replication_factor: topic.replication_factor,
            configs: topic
                .configs
                .iter()
                .map(|(name, value)| CreatableTopicConfig {
                    name: name.clone().into(),
                    value: Some(value.clone().into()),
                })
                .collect(),
            ..Default::default()
        };
        let request = CreateTopicsRequest {
            topics: topics.iter().map(creatable).collect(),
            timeout_ms: self.timeout_ms(),
            validate_only,
        };
        let answer = self.client.call(Node::Controller, &request).await?;
        let body = answer.body()?;
        Ok(topics
            .iter()
            .map(|topic| {
                let found = body.topics.iter().find(|result| result.name == topic.name);
                let what = || format!("create topic {}", topic.name);
                let outcome = match found {
                    Some(result) => Error::check(result.error_code, what, result.error_message.as_deref()),
                    None => Err(unanswered(&topic.name)),
                };
                (topic.name.clone(), outcome)
            })
            .collect())
    }

    /// Deletes topics by name.
    pub async fn delete_topics(&self, names: &[String]) -> Result<Vec<Outcome>, Error> {
        let state = |name: &String| DeleteTopicState { name: Some(name.clone().into()), ..Default::default() };
        let timeout_ms = self.timeout_ms();
        let make = |version| match version {
            ..=5 => DeleteTopicsRequest {
                topic_names: names.iter().map(|name| name.clone().into()).collect(),
                timeout_ms,
                ..Default::default()
            },
            _ => DeleteTopicsRequest { topics: names.iter().map(state).collect(), timeout_ms, ..Default::default() },
        };
        let answer = self.client.call_with(Node::Controller, make).await?;
        let body = answer.body()?;
        Ok(names
            .iter()
            .map(|name| {
                let found = body.responses.iter().find(|result| result.name.as_deref() == Some(name));
                let what = || format!("delete topic {name}");
                let outcome = match found {
                    Some(result) => Error::check(result.error_code, what, result.error_message.as_deref()),
                    None => Err(unanswered(name)),
                };
                (name.clone(), outcome)
            })
            .collect())
    }

    /// Raises a topic's partition count to `count`.
    pub async fn create_partitions(&self, topic: &str, count: i32, validate_only: bool) -> Result<(), Error> {
        let request = CreatePartitionsRequest {
            topics: vec![CreatePartitionsTopic { name: topic.into(), count, assignments: None }],
            timeout_ms: self.timeout_ms(),
            validate_only,
        };
        let answer = self.client.call(Node::Controller, &request).await?;
        let body = answer.body()?;
        let result = body.results.first().ok_or_else(|| unanswered(topic))?;
        Error::check(result.error_code, || format!("add partitions to {topic}"), result.error_message.as_deref())
    }

    /// Deletes the records of a partition below `before`; −1 means all that consumers can see. Returns the new log start.
    pub async fn delete_records(&self, topic: &str, partition: i32, before: i64) -> Result<i64, Error> {
        let request = DeleteRecordsRequest {
            topics: vec![DeleteRecordsTopic {
                name: topic.into(),
                partitions: vec![DeleteRecordsPartition { partition_index: partition, offset: before }],
            }],
            timeout_ms: self.timeout_ms(),
        };
        let leader = self.client.leader(topic, partition).await?;
        let answer = self.client.call(Node::Id(leader), &request).await?;
        let body = answer.body()?;
        let name = || format!("delete records of {topic}/{partition}");
        let result = body.topics.first().and_then(|topic| topic.partitions.first()).ok_or_else(|| unanswered(topic))?;
        Error::check(result.error_code, name, None)?;
        Ok(result.low_watermark)
    }
}
