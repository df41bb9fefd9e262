//! What the log remembers: groups as of their last generation that was assigned, and committed offsets.
//!
//! [`Stored::apply`] is the only thing that changes it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use chronik_protocol::Uuid;

/// One record of `__consumer_offsets`.
#[derive(Debug, Clone, PartialEq)]
pub enum GroupRecord {
    /// An offset; `None` is a tombstone.
    Offset {
        /// Its group.
        group_id: Arc<str>,
        /// Its topic.
        topic: Arc<str>,
        /// Its partition.
        partition: i32,
        /// What was committed.
        value: Option<OffsetAndMetadata>,
    },
    /// A group; `None` is a tombstone.
    Group {
        /// Its id.
        group_id: Arc<str>,
        /// Its last generation.
        value: Option<GroupMetadata>,
    },
}

/// A committed offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetAndMetadata {
    /// The next offset to read.
    pub offset: i64,
    /// Of the last record that was read; −1: unknown.
    pub leader_epoch: i32,
    /// Whatever the client wanted to remember.
    pub metadata: Arc<str>,
    /// When it was committed.
    pub commit_timestamp_ms: i64,
    /// When it expires, if its commit said so (v2–4).
    pub expire_timestamp_ms: Option<i64>,
    /// The topic's id, if the commit had it (v10+), else ZERO.
    pub topic_id: Uuid,
}

/// A group as of its last generation that was assigned, or that was left by all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMetadata {
    /// Empty: no member was ever there.
    pub protocol_type: Arc<str>,
    /// The generation.
    pub generation: i32,
    /// The protocol that was chosen.
    pub protocol: Option<Arc<str>>,
    /// The member that assigned.
    pub leader: Option<Arc<str>>,
    /// When the group came into its state.
    pub state_timestamp_ms: Option<i64>,
    /// The members; empty: the group is Empty.
    pub members: Vec<MemberMetadata>,
}

/// A member of a generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberMetadata {
    /// Its id.
    pub member_id: Arc<str>,
    /// A static member's name.
    pub instance_id: Option<Arc<str>>,
    /// As it said when it joined.
    pub client_id: Arc<str>,
    /// Where it joined from.
    pub client_host: Arc<str>,
    /// So long it may take to rejoin.
    pub rebalance_timeout_ms: i32,
    /// After so long without a heartbeat it is out.
    pub session_timeout_ms: i32,
    /// Its metadata for the chosen protocol.
    pub subscription: Bytes,
    /// What it got.
    pub assignment: Bytes,
}

impl GroupMetadata {
    /// About how many bytes its record takes, never less than it does.
    pub fn size_max(&self) -> usize {
        let member = |m: &MemberMetadata| {
            let instance = m.instance_id.as_ref().map_or(0, |name| name.len());
            let names = m.member_id.len() + instance + m.client_id.len() + m.client_host.len();
            32 + names + m.subscription.len() + m.assignment.len()
        };
        let names = |name: &Option<Arc<str>>| name.as_ref().map_or(0, |name| name.len());
        64 + self.protocol_type.len()
            + names(&self.protocol)
            + names(&self.leader)
            + self.members.iter().map(member).sum::<usize>()
    }
}

/// Committed offsets of a topic by partition.
pub type Partitions = BTreeMap<i32, OffsetAndMetadata>;

/// A group in the log.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StoredGroup {
    /// `None`: only offsets were ever written, by a simple consumer.
    pub metadata: Option<GroupMetadata>,
    /// Committed offsets by topic; no topic is without partitions.
    pub offsets: BTreeMap<Arc<str>, Partitions>,
}

/// Everything that the log remembers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stored {
    /// Groups by id. A group is here from its first record to its tombstone.
    pub groups: BTreeMap<Arc<str>, StoredGroup>,
}

impl Stored {
    /// Applies one record.
    pub fn apply(&mut self, record: &GroupRecord) {
        match record {
            GroupRecord::Group { group_id, value: Some(value) } => {
                self.groups.entry(Arc::clone(group_id)).or_default().metadata = Some(value.clone());
            }
            GroupRecord::Group { group_id, value: None } => self.remove_group(group_id),
            GroupRecord::Offset { group_id, topic, partition, value: Some(value) } => {
                let group = self.groups.entry(Arc::clone(group_id)).or_default();
                group.offsets.entry(Arc::clone(topic)).or_default().insert(*partition, value.clone());
            }
            GroupRecord::Offset { group_id, topic, partition, value: None } => {
                let Some(group) = self.groups.get_mut(group_id) else { return };
                let Some(partitions) = group.offsets.get_mut(topic) else { return };
                partitions.remove(partition);
                if partitions.is_empty() {
                    group.offsets.remove(topic);
                }
            }
        }
    }

    /// A tombstone ends the group, not its offsets: those have tombstones of their own, written before.
    fn remove_group(&mut self, group_id: &Arc<str>) {
        let Some(group) = self.groups.get_mut(group_id) else { return };
        if group.offsets.is_empty() {
            self.groups.remove(group_id);
        } else {
            group.metadata = None;
        }
    }

    /// Committed offsets of a group.
    pub fn offsets(&self, group_id: &str) -> Option<&BTreeMap<Arc<str>, Partitions>> {
        self.groups.get(group_id).map(|group| &group.offsets)
    }

    /// Records that make this out of nothing. A group that has neither metadata nor offsets any more leaves no trace.
    pub fn to_records(&self) -> Vec<GroupRecord> {
        let mut records = Vec::new();
        for (group_id, group) in &self.groups {
            if let Some(metadata) = &group.metadata {
                records.push(GroupRecord::Group { group_id: Arc::clone(group_id), value: Some(metadata.clone()) });
            }
            for (topic, partitions) in &group.offsets {
                records.extend(partitions.iter().map(|(partition, committed)| GroupRecord::Offset {
                    group_id: Arc::clone(group_id),
                    topic: Arc::clone(topic),
                    partition: *partition,
                    value: Some(committed.clone()),
                }));
            }
        }
        records
    }

    /// The topics that something is committed for and that `wanted` picks.
    pub fn topics(&self, wanted: impl Fn(&str) -> bool) -> Vec<Arc<str>> {
        let topics: BTreeSet<_> = self.groups.values().flat_map(|group| group.offsets.keys()).collect();
        topics.into_iter().filter(|topic| wanted(topic)).cloned().collect()
    }
}
