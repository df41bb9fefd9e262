//! CreateTopics, DeleteTopics, CreatePartitions.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use chronik_protocol::generated::create_partitions_request::CreatePartitionsTopic;
use chronik_protocol::generated::create_partitions_response::CreatePartitionsTopicResult;
use chronik_protocol::generated::create_topics_request::CreatableTopic;
use chronik_protocol::generated::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use chronik_protocol::generated::delete_topics_response::DeletableTopicResult;
use chronik_protocol::generated::metadata::{RemoveTopicRecord, TopicRecord};
use chronik_protocol::messages::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest,
    DeleteTopicsResponse,
};
use chronik_protocol::{ErrorCode, Uuid};

use super::{Controller, Decision, PARTITIONS_PER_REQUEST_MAX, Refusal, wire};
use crate::metadata::config::Overrides;
use crate::metadata::image::{ResourceKind, Topic};
use crate::metadata::names;
use crate::metadata::records::MetadataRecord;

const TOO_MANY: &str = "Excessively large number of partitions per request.";
const TOO_MANY_MORE: &str = "Excessively large number of additional partitions per request.";
const DUPLICATE_NAME: &str = "Duplicate topic name.";

/// A topic that will be.
struct Created {
    id: Uuid,
    partitions: i32,
    overrides: Overrides,
}

impl Controller<'_> {
    /// Creates topics, each by itself. `new_id` gives random ids.
    pub fn create_topics(
        &self,
        request: &CreateTopicsRequest<'_>,
        new_id: &mut dyn FnMut() -> Uuid,
    ) -> Decision<CreateTopicsResponse<'static>> {
        let mut seen = BTreeMap::new();
        for topic in &request.topics {
            *seen.entry(topic.name.as_ref()).or_insert(0) += 1;
        }
        let asked = request.topics.iter().map(|topic| self.asked_partitions(topic)).sum::<usize>();
        let mut out = Decision { records: Vec::new(), response: CreateTopicsResponse::default() };
        for topic in &request.topics {
            let outcome = match seen.insert(topic.name.as_ref(), 0) {
                Some(0) => continue,
                _ if request.timeout_ms <= 0 => Err(Refusal::silent(ErrorCode::RequestTimedOut)),
                Some(2..) => Err(Refusal::new(ErrorCode::InvalidRequest, DUPLICATE_NAME)),
                _ if asked > PARTITIONS_PER_REQUEST_MAX => Err(Refusal::new(ErrorCode::PolicyViolation, TOO_MANY)),
                _ => self.create_topic(topic, new_id),
            };
            out.response.topics.push(self.create_topic_result(&topic.name, &outcome));
            if let Ok(created) = outcome
                && !request.validate_only
            {
                self.creation_records(&topic.name, &created, &mut out.records);
            }
        }
        out
    }

    fn asked_partitions(&self, topic: &CreatableTopic<'_>) -> usize {
        let count = if topic.num_partitions == -1 { self.rules.num_partitions } else { topic.num_partitions };
        if topic.assignments.is_empty() { usize::try_from(count).unwrap_or(0) } else { topic.assignments.len() }
    }

    fn create_topic(&self, topic: &CreatableTopic<'_>, new_id: &mut dyn FnMut() -> Uuid) -> Result<Created, Refusal> {
        let name = topic.name.as_ref();
        names::check(name).map_err(|why| Refusal::new(ErrorCode::InvalidTopicException, why))?;
        if let Some(other) = self.image.collides(name) {
            let why = format!("Topic '{name}' collides with existing topic: {other}");
            return Err(Refusal::new(ErrorCode::InvalidTopicException, why));
        }
        if name == names::METADATA_TOPIC {
            let why = format!("Creation of internal topic {name} is prohibited.");
            return Err(Refusal::new(ErrorCode::InvalidRequest, why));
        }
        if self.image.topic(name).is_some() {
            let why = format!("Topic '{name}' already exists.");
            return Err(Refusal::new(ErrorCode::TopicAlreadyExists, why));
        }
        let mut overrides = Overrides::new();
        for config in &topic.configs {
            let Some(value) = &config.value else {
                let why = format!("Null value not supported for topic configs: {}", config.name);
                return Err(Refusal::new(ErrorCode::InvalidConfig, why));
            };
            overrides.insert(config.name.as_ref().to_owned(), value.as_ref().to_owned());
        }
        self.check_topic_configs(&overrides)?;
        let partitions = if topic.assignments.is_empty() {
            self.check_replication(topic.replication_factor)?;
            match topic.num_partitions {
                -1 => self.rules.num_partitions,
                count if count < 1 => {
                    let why = "Number of partitions was set to an invalid non-positive value.";
                    return Err(Refusal::new(ErrorCode::InvalidPartitions, why));
                }
                count => count,
            }
        } else {
            self.check_assignments(topic)?
        };
        Ok(Created { id: new_id(), partitions, overrides })
    }

    /// One broker keeps one copy; −1 asks for the default, which the number of brokers caps.
    fn check_replication(&self, factor: i16) -> Result<(), Refusal> {
        let why = match factor {
            -1 | 1 => return Ok(()),
            ..=0 => "Replication factor must be larger than 0, or -1 to use the default value.".to_owned(),
            _ => format!(
                "Unable to replicate the partition {factor} time(s): The target replication factor of {factor} cannot be \
                 reached because only 1 broker(s) are registered."
            ),
        };
        Err(Refusal::new(ErrorCode::InvalidReplicationFactor, why))
    }

    fn check_assignments(&self, topic: &CreatableTopic<'_>) -> Result<i32, Refusal> {
        let unless = |what: &str| {
            let why = format!("A manual partition assignment was specified, but {what} was not set to -1.");
            Refusal::new(ErrorCode::InvalidRequest, why)
        };
        if topic.replication_factor != -1 {
            return Err(unless("replication factor"));
        }
        if topic.num_partitions != -1 {
            return Err(unless("numPartitions"));
        }
        let bad = |why: String| Refusal::new(ErrorCode::InvalidReplicaAssignment, why);
        let mut indexes = BTreeSet::new();
        for assignment in &topic.assignments {
            let index = assignment.partition_index;
            if !indexes.insert(index) {
                return Err(bad(format!("Found multiple manual partition assignments for partition {index}")));
            }
            self.check_replicas(&assignment.broker_ids)?;
        }
        if indexes.iter().copied().ne(0..topic.assignments.len() as i32) {
            return Err(bad("partitions should be a consecutive 0-based integer sequence".to_owned()));
        }
        Ok(topic.assignments.len() as i32)
    }

    fn check_replicas(&self, brokers: &[i32]) -> Result<(), Refusal> {
        let bad = |why: String| Refusal::new(ErrorCode::InvalidReplicaAssignment, why);
        if brokers.is_empty() {
            return Err(bad("The manual partition assignment includes an empty replica list.".to_owned()));
        }
        let mut seen = BTreeSet::new();
        let mut sorted = brokers.to_vec();
        sorted.sort_unstable();
        for broker in sorted {
            if broker != self.rules.node_id {
                return Err(bad(format!(
                    "The manual partition assignment includes broker {broker}, but no such broker is registered."
                )));
            }
            if !seen.insert(broker) {
                return Err(bad(format!(
                    "The manual partition assignment includes the broker {broker} more than once."
                )));
            }
        }
        Ok(())
    }

    fn creation_records(&self, name: &str, created: &Created, records: &mut Vec<MetadataRecord>) {
        let owned = Cow::Owned(name.to_owned());
        records.push(MetadataRecord::Topic(TopicRecord { name: owned, topic_id: created.id }));
        let node = self.rules.node_id;
        records.extend((0..created.partitions).map(|p| MetadataRecord::partition(created.id, p, node, 0)));
        let configs = created.overrides.iter();
        records.extend(configs.map(|(key, value)| MetadataRecord::config(ResourceKind::Topic, name, key, Some(value))));
    }

    fn create_topic_result(&self, name: &str, outcome: &Result<Created, Refusal>) -> CreatableTopicResult<'static> {
        let (error_code, error_message) = wire(outcome);
        let base = CreatableTopicResult {
            name: Cow::Owned(name.to_owned()),
            error_code,
            error_message,
            num_partitions: -1,
            replication_factor: -1,
            configs: Some(Vec::new()),
            ..CreatableTopicResult::default()
        };
        let Ok(created) = outcome else { return base };
        let described = self.image.layers(&self.rules.static_broker).describe_topic(&created.overrides);
        let configs = described.into_iter().map(|config| CreatableTopicConfigs {
            name: Cow::Owned(config.name),
            value: config.value.map(Cow::Owned),
            read_only: config.read_only,
            config_source: config.source as i8,
            is_sensitive: config.sensitive,
        });
        CreatableTopicResult {
            topic_id: created.id,
            num_partitions: created.partitions,
            replication_factor: 1,
            configs: Some(configs.collect()),
            ..base
        }
    }

    /// Deletes topics by name or id, each by itself.
    pub fn delete_topics(
        &self,
        request: &DeleteTopicsRequest<'_>,
        version: i16,
    ) -> Decision<DeleteTopicsResponse<'static>> {
        let named = request.topic_names.iter().map(|name| (Some(name.as_ref()), Uuid::ZERO));
        let asked = request.topics.iter().map(|topic| (topic.name.as_deref(), topic.topic_id));
        let asked: Vec<(Option<&str>, Uuid)> = named.chain(asked).collect();
        let mut counts = BTreeMap::new();
        for key in &asked {
            *counts.entry(*key).or_insert(0) += 1;
        }
        let mut out = Decision { records: Vec::new(), response: DeleteTopicsResponse::default() };
        let mut going = BTreeSet::new();
        for (name, id) in asked {
            let one_of_both = name.is_some() == id.is_zero();
            let outcome = match counts.insert((name, id), 0) {
                Some(0) if one_of_both => continue,
                _ if request.timeout_ms <= 0 => Err(Refusal::silent(ErrorCode::RequestTimedOut)),
                _ if !self.rules.delete_topics => Err(deletion_disabled(version)),
                Some(2..) if one_of_both => {
                    let what = if name.is_some() { DUPLICATE_NAME } else { "Duplicate topic id." };
                    Err(Refusal::new(ErrorCode::InvalidRequest, what))
                }
                _ => self.deletable(name, id, &mut going),
            };
            let (error_code, error_message) = wire(&outcome);
            let mut result = DeletableTopicResult { error_code, error_message, topic_id: id, ..Default::default() };
            result.name = name.map(|name| Cow::Owned(name.to_owned()));
            if let Ok(topic) = outcome {
                result.name = Some(Cow::Owned(topic.name.as_ref().to_owned()));
                result.topic_id = topic.id;
                out.records.push(MetadataRecord::RemoveTopic(RemoveTopicRecord { topic_id: topic.id }));
            }
            out.response.responses.push(result);
        }
        out
    }

    fn deletable(&self, name: Option<&str>, id: Uuid, going: &mut BTreeSet<Uuid>) -> Result<&Topic, Refusal> {
        let invalid = |why: &str| Err(Refusal::new(ErrorCode::InvalidRequest, why));
        let topic = match name {
            Some(_) if !id.is_zero() => return invalid("You may not specify both topic name and topic id."),
            None if id.is_zero() => return invalid("Neither topic name nor id were specified."),
            Some(name) => self.image.topic(name).ok_or_else(|| Refusal::plain(ErrorCode::UnknownTopicOrPartition))?,
            None => self.image.topic_by_id(id).ok_or_else(|| Refusal::plain(ErrorCode::UnknownTopicId))?,
        };
        if topic.internal {
            let why = format!("Topic '{}' is internal and cannot be deleted.", topic.name);
            return Err(Refusal::new(ErrorCode::PolicyViolation, why));
        }
        if !going.insert(topic.id) {
            return invalid("The provided topic name maps to an ID that was already supplied.");
        }
        Ok(topic)
    }

    /// Adds partitions to topics, each by itself.
    pub fn create_partitions(
        &self,
        request: &CreatePartitionsRequest<'_>,
    ) -> Decision<CreatePartitionsResponse<'static>> {
        let mut counts = BTreeMap::new();
        for topic in &request.topics {
            *counts.entry(topic.name.as_ref()).or_insert(0) += 1;
        }
        let more = |topic: &CreatePartitionsTopic<'_>| {
            let now = self.image.topic(&topic.name).map_or(0, |topic| topic.partitions);
            usize::try_from(i64::from(topic.count) - i64::from(now)).unwrap_or(0)
        };
        let asked: usize = request.topics.iter().map(more).sum();
        let mut out = Decision { records: Vec::new(), response: CreatePartitionsResponse::default() };
        for topic in &request.topics {
            let outcome = match counts.insert(topic.name.as_ref(), 0) {
                Some(0) => continue,
                _ if request.timeout_ms <= 0 => Err(Refusal::silent(ErrorCode::RequestTimedOut)),
                Some(2..) => Err(Refusal::new(ErrorCode::InvalidRequest, DUPLICATE_NAME)),
                _ if asked > PARTITIONS_PER_REQUEST_MAX => Err(Refusal::new(ErrorCode::PolicyViolation, TOO_MANY_MORE)),
                _ => self.growable(topic),
            };
            let (error_code, error_message) = wire(&outcome);
            let name = Cow::Owned(topic.name.as_ref().to_owned());
            out.response.results.push(CreatePartitionsTopicResult { name, error_code, error_message });
            if let Ok(grown) = outcome
                && !request.validate_only
            {
                let (id, epoch) = (grown.id, self.image.leader_epoch(grown));
                let added = grown.partitions..topic.count;
                out.records.extend(added.map(|p| MetadataRecord::partition(id, p, self.rules.node_id, epoch)));
            }
        }
        out
    }

    fn growable(&self, asked: &CreatePartitionsTopic<'_>) -> Result<&Topic, Refusal> {
        let topic = self.image.topic(&asked.name);
        let topic = topic.ok_or_else(|| Refusal::silent(ErrorCode::UnknownTopicOrPartition))?;
        let now = topic.partitions;
        if asked.count == now {
            let why = format!("Topic already has {now} partition(s).");
            return Err(Refusal::new(ErrorCode::InvalidPartitions, why));
        }
        if asked.count < now {
            let (name, count) = (&topic.name, asked.count);
            let why = format!("The topic {name} currently has {now} partition(s); {count} would not be an increase.");
            return Err(Refusal::new(ErrorCode::InvalidPartitions, why));
        }
        if topic.internal {
            let why =
                format!("Topic '{}' is internal: a group's place in it depends on its partition count.", topic.name);
            return Err(Refusal::new(ErrorCode::PolicyViolation, why));
        }
        if let Some(assignments) = &asked.assignments {
            let added = asked.count - now;
            if assignments.len() != added as usize {
                let given = assignments.len();
                let why = format!(
                    "Attempted to add {added} additional partition(s), but only {given} assignment(s) were specified."
                );
                return Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, why));
            }
            for assignment in assignments {
                self.check_replicas(&assignment.broker_ids)?;
            }
        }
        Ok(topic)
    }
}

/// Versions before 3 do not know the code for it.
fn deletion_disabled(version: i16) -> Refusal {
    let code = if version < 3 { ErrorCode::InvalidRequest } else { ErrorCode::TopicDeletionDisabled };
    Refusal::new(code, "Topic deletion is disabled.")
}
