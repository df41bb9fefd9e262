//! Consumer groups: members, committed offsets, deletion.

use std::collections::{BTreeMap, BTreeSet};

use chronik_protocol::error::ErrorCode;
use chronik_protocol::generated::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use chronik_protocol::generated::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use chronik_protocol::generated::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use chronik_protocol::messages::{
    DeleteGroupsRequest, DescribeGroupsRequest, ListGroupsRequest, OffsetCommitRequest, OffsetDeleteRequest,
    OffsetFetchRequest, OffsetFetchResponse,
};
use chronik_protocol::wire::Request;

use super::{Admin, Outcome, unanswered};
use crate::cluster::Node;
use crate::connection::Answer;
use crate::consumer::assignment::{Assignment, Partitions};
use crate::error::Error;

/// OffsetFetch and OffsetCommit name topics up to this version, and identify them by id from the next one on. Here the
/// topics are what a person typed or what a group once committed, which may be deleted since: names it is.
const LAST_VERSION_WITH_NAMES: i16 = 9;

/// A group in a list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupListing {
    /// Its id.
    pub group: String,
    /// `consumer` for consumer groups, empty for groups without members.
    pub protocol_type: String,
    /// Its state, empty if the broker is too old to say.
    pub state: String,
    /// Its type (`classic`, `consumer`, …), empty if the broker is too old to say.
    pub kind: String,
}

/// A group with its members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupDescription {
    /// Its id.
    pub group: String,
    /// Its state.
    pub state: String,
    /// `consumer` for consumer groups.
    pub protocol_type: String,
    /// The chosen assignor.
    pub assignor: String,
    /// Its members.
    pub members: Vec<GroupMember>,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    /// The id that the coordinator gave it.
    pub id: String,
    /// `group.instance.id` of a static member.
    pub instance: Option<String>,
    /// Its client id.
    pub client_id: String,
    /// The address that it connected from.
    pub host: String,
    /// The partitions assigned to it.
    pub assigned: Vec<(String, Vec<i32>)>,
}

/// A committed offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupOffset {
    /// The next offset to be read.
    pub offset: i64,
    /// Leader epoch of the last record read, −1 if unknown.
    pub leader_epoch: i32,
    /// What the committer noted.
    pub metadata: String,
}

impl Admin {
    /// All groups of the cluster.
    pub async fn list_groups(&self) -> Result<Vec<GroupListing>, Error> {
        let cluster = self.client.refresh(&[]).await?;
        let mut groups = BTreeSet::new();
        for broker in &cluster.brokers {
            let answer = self.client.call(Node::Id(broker.id), &ListGroupsRequest::default()).await?;
            let body = answer.body()?;
            Error::check(body.error_code, || "list groups".to_owned(), None)?;
            groups.extend(body.groups.iter().map(|group| GroupListing {
                group: group.group_id.to_string(),
                protocol_type: group.protocol_type.to_string(),
                state: group.group_state.to_string(),
                kind: group.group_type.to_string(),
            }));
        }
        Ok(groups.into_iter().collect())
    }

    /// A group with its members. A group that does not exist is [`ErrorCode::GroupIdNotFound`], also where an old version
    /// would call it dead.
    pub async fn describe_group(&self, group: &str) -> Result<GroupDescription, Error> {
        let request = DescribeGroupsRequest { groups: vec![group.into()], ..Default::default() };
        let node = Node::Id(self.client.coordinator(group).await?);
        let answer = self.client.call(node, &request).await?;
        let body = answer.body()?;
        let found = body.groups.first().ok_or_else(|| unanswered(group))?;
        let what = || format!("describe group {group}");
        Error::check(found.error_code, what, found.error_message.as_deref())?;
        if found.group_state == "Dead" {
            return Err(Error::broker(what(), ErrorCode::GroupIdNotFound, None));
        }
        Ok(GroupDescription {
            group: group.to_owned(),
            state: found.group_state.to_string(),
            protocol_type: found.protocol_type.to_string(),
            assignor: found.protocol_data.to_string(),
            members: found
                .members
                .iter()
                .map(|member| GroupMember {
                    id: member.member_id.to_string(),
                    instance: member.group_instance_id.as_ref().map(ToString::to_string),
                    client_id: member.client_id.to_string(),
                    host: member.client_host.to_string(),
                    assigned: Assignment::decode(&member.member_assignment).map(|a| a.partitions).unwrap_or_default(),
                })
                .collect(),
        })
    }

    /// All committed offsets of a group.
    pub async fn group_offsets(&self, group: &str) -> Result<BTreeMap<(String, i32), GroupOffset>, Error> {
        let make = |version| offset_fetch(version, group, None);
        let answer = self.call_coordinator(group, make).await?;
        let mut offsets = BTreeMap::new();
        each_committed(&answer.body()?, group, |found| {
            let offset = GroupOffset {
                offset: found.offset,
                leader_epoch: found.leader_epoch,
                metadata: found.metadata.to_owned(),
            };
            offsets.insert((found.topic.to_owned(), found.partition), offset);
        })?;
        Ok(offsets)
    }

    /// Commits offsets for a group that has no members. One outcome per partition, `topic/partition`.
    pub async fn set_group_offsets(
        &self,
        group: &str,
        offsets: &BTreeMap<(String, i32), i64>,
    ) -> Result<Vec<Outcome>, Error> {
        let mut topics: BTreeMap<&str, Vec<OffsetCommitRequestPartition<'_>>> = BTreeMap::new();
        for ((topic, partition), offset) in offsets {
            topics.entry(topic).or_default().push(OffsetCommitRequestPartition {
                partition_index: *partition,
                committed_offset: *offset,
                committed_metadata: Some("".into()),
                ..Default::default()
            });
        }
        let request = OffsetCommitRequest {
            group_id: group.into(),
            topics: topics
                .into_iter()
                .map(|(name, partitions)| OffsetCommitRequestTopic {
                    name: name.into(),
                    partitions,
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        };
        let answer = self.call_coordinator(group, |_| request).await?;
        let body = answer.body()?;
        let mut outcomes = Vec::new();
        for topic in &body.topics {
            for partition in &topic.partitions {
                let name = format!("{}/{}", topic.name, partition.partition_index);
                let outcome = Error::check(partition.error_code, || format!("commit {name} for group {group}"), None);
                outcomes.push((name, outcome));
            }
        }
        Ok(outcomes)
    }

    /// Deletes groups without members, with their offsets.
    pub async fn delete_groups(&self, groups: &[String]) -> Result<Vec<Outcome>, Error> {
        let mut outcomes = Vec::new();
        for group in groups {
            let request = DeleteGroupsRequest { groups_names: vec![group.clone().into()] };
            let node = Node::Id(self.client.coordinator(group).await?);
            let answer = self.client.call(node, &request).await?;
            let body = answer.body()?;
            let result = body.results.first().ok_or_else(|| unanswered(group))?;
            let what = || format!("delete group {group}");
            outcomes.push((group.clone(), Error::check(result.error_code, what, result.error_message.as_deref())));
        }
        Ok(outcomes)
    }

    /// Deletes committed offsets of topics that no member of the group subscribes to.
    pub async fn delete_group_offsets(&self, group: &str, partitions: &[(String, i32)]) -> Result<Vec<Outcome>, Error> {
        let mut topics: BTreeMap<&str, Vec<OffsetDeleteRequestPartition>> = BTreeMap::new();
        for (topic, partition) in partitions {
            topics.entry(topic).or_default().push(OffsetDeleteRequestPartition { partition_index: *partition });
        }
        let request = OffsetDeleteRequest {
            group_id: group.into(),
            topics: topics
                .into_iter()
                .map(|(name, partitions)| OffsetDeleteRequestTopic { name: name.into(), partitions })
                .collect(),
        };
        let answer = self.call_coordinator(group, |_| request).await?;
        let body = answer.body()?;
        Error::check(body.error_code, || format!("delete offsets of group {group}"), None)?;
        let mut outcomes = Vec::new();
        for topic in &body.topics {
            for partition in &topic.partitions {
                let name = format!("{}/{}", topic.name, partition.partition_index);
                let outcome =
                    Error::check(partition.error_code, || format!("delete offset of {name} for group {group}"), None);
                outcomes.push((name, outcome));
            }
        }
        Ok(outcomes)
    }

    async fn call_coordinator<R: Request>(&self, group: &str, make: impl FnOnce(i16) -> R) -> Result<Answer<R>, Error> {
        let node = Node::Id(self.client.coordinator(group).await?);
        let connection = self.client.connection(node).await?;
        connection.call_with(LAST_VERSION_WITH_NAMES, make, self.client.options().request_timeout).await
    }
}

/// A request for committed offsets of these partitions (all without any), as this version asks for them: version 8 made
/// room for several groups, and version 7 for waiting out open transactions.
pub(crate) fn offset_fetch(version: i16, group: &str, topics: Option<&Partitions>) -> OffsetFetchRequest<'static> {
    let require_stable = version >= 7;
    if version < 8 {
        let topic = |(name, indexes): &(String, Vec<i32>)| OffsetFetchRequestTopic {
            name: name.clone().into(),
            partition_indexes: indexes.clone(),
        };
        let topics = topics.map(|topics| topics.iter().map(topic).collect());
        return OffsetFetchRequest { group_id: group.to_owned().into(), topics, require_stable, ..Default::default() };
    }
    let topic = |(name, indexes): &(String, Vec<i32>)| OffsetFetchRequestTopics {
        name: name.clone().into(),
        partition_indexes: indexes.clone(),
        ..Default::default()
    };
    let topics = topics.map(|topics| topics.iter().map(topic).collect());
    let group = OffsetFetchRequestGroup { group_id: group.to_owned().into(), topics, ..Default::default() };
    OffsetFetchRequest { groups: vec![group], require_stable, ..Default::default() }
}

/// A committed offset as both forms of the answer have it.
pub(crate) struct Committed<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) leader_epoch: i32,
    pub(crate) metadata: &'a str,
}

/// Calls `each` for every partition of an answer that has a committed offset; the first error ends it.
pub(crate) fn each_committed(
    body: &OffsetFetchResponse<'_>,
    group: &str,
    mut each: impl FnMut(Committed<'_>),
) -> Result<(), Error> {
    let what = || format!("offsets of group {group}");
    let mut add = |code: i16, found: Committed<'_>| {
        Error::check(code, || format!("offset of group {group} for {}/{}", found.topic, found.partition), None)?;
        if found.offset >= 0 {
            each(found);
        }
        Ok::<(), Error>(())
    };
    Error::check(body.error_code, what, None)?;
    for topic in &body.topics {
        for p in &topic.partitions {
            let (offset, leader_epoch) = (p.committed_offset, p.committed_leader_epoch);
            let metadata = p.metadata.as_deref().unwrap_or_default();
            add(
                p.error_code,
                Committed { topic: &topic.name, partition: p.partition_index, offset, leader_epoch, metadata },
            )?;
        }
    }
    for found in &body.groups {
        Error::check(found.error_code, what, None)?;
        for topic in &found.topics {
            for p in &topic.partitions {
                let (offset, leader_epoch) = (p.committed_offset, p.committed_leader_epoch);
                let metadata = p.metadata.as_deref().unwrap_or_default();
                add(
                    p.error_code,
                    Committed { topic: &topic.name, partition: p.partition_index, offset, leader_epoch, metadata },
                )?;
            }
        }
    }
    Ok(())
}
