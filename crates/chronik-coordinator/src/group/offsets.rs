//! Committed offsets: OffsetCommit, OffsetFetch, OffsetDelete, and what takes offsets away (time, deleted topics).

use std::sync::Arc;

use chronik_protocol::Uuid;
use chronik_protocol::error::ErrorCode;

use super::api::{
    Commit, CommitPartition, CommitTopic, Committed, DeleteOffsets, DeletedOffsets, Fetch, FetchedTopic, MemberCheck,
};
use super::classic::Step;
use super::state::{Classic, ClassicState};
use super::stored::{GroupRecord, OffsetAndMetadata, Partitions, Stored, StoredGroup};

impl Step<'_> {
    /// OffsetCommit: each partition that is taken becomes a record.
    pub(super) fn commit(&mut self, group: &Classic, request: Commit) -> Committed {
        check_commit(group, &request.member)?;
        if matches!(group.state, ClassicState::Stable | ClassicState::PreparingRebalance) {
            self.keep_alive(group, &request.member.member_id);
        }
        let expire_timestamp_ms =
            Some(request.retention_ms).filter(|ms| *ms != -1).map(|ms| self.now_ms.saturating_add(ms));
        let topics = request.topics.into_iter();
        Ok(topics.map(|topic| self.commit_topic(&group.id, topic, expire_timestamp_ms)).collect())
    }

    fn commit_topic(
        &mut self,
        group_id: &Arc<str>,
        topic: CommitTopic,
        expire_timestamp_ms: Option<i64>,
    ) -> Vec<ErrorCode> {
        let CommitTopic { name, id, partitions } = topic;
        let mut codes = Vec::with_capacity(partitions.len());
        for CommitPartition { partition, offset, leader_epoch, commit_timestamp_ms, metadata } in partitions {
            let metadata = metadata.filter(|text| !text.is_empty()).unwrap_or_default();
            // Java's length: a character beyond the basic plane counts twice.
            if metadata.len() > self.config.max_metadata_chars
                && metadata.encode_utf16().count() > self.config.max_metadata_chars
            {
                codes.push(ErrorCode::OffsetMetadataTooLarge);
                continue;
            }
            let commit_timestamp_ms = if commit_timestamp_ms == -1 { self.now_ms } else { commit_timestamp_ms };
            // The version of the record that has room for an expiry has none for epoch and id.
            let (leader_epoch, topic_id) =
                if expire_timestamp_ms.is_some() { (-1, Uuid::ZERO) } else { (leader_epoch, id) };
            let value = OffsetAndMetadata {
                offset,
                leader_epoch,
                metadata,
                commit_timestamp_ms,
                expire_timestamp_ms,
                topic_id,
            };
            self.effects.record(GroupRecord::Offset {
                group_id: Arc::clone(group_id),
                topic: Arc::clone(&name),
                partition,
                value: Some(value),
            });
            codes.push(ErrorCode::None);
        }
        codes
    }

    /// OffsetDelete: only of topics that no member reads.
    pub(super) fn delete_offsets(
        &mut self,
        group: &Classic,
        stored: Option<&StoredGroup>,
        request: DeleteOffsets,
    ) -> Result<Vec<DeletedOffsets>, ErrorCode> {
        if group.state != ClassicState::Empty && !group.is_consumer() {
            return Err(ErrorCode::NonEmptyGroup);
        }
        let mut answer = Vec::with_capacity(request.topics.len());
        for (topic, partitions) in request.topics {
            let subscribed = group.is_subscribed(&topic);
            let committed = stored.and_then(|stored| stored.offsets.get(&topic));
            let mut codes = Vec::with_capacity(partitions.len());
            for partition in partitions {
                if !subscribed && committed.is_some_and(|committed| committed.contains_key(&partition)) {
                    self.effects.record(tombstone(&group.id, &topic, partition));
                }
                codes.push((partition, if subscribed { ErrorCode::GroupSubscribedToTopic } else { ErrorCode::None }));
            }
            answer.push((topic, codes));
        }
        Ok(answer)
    }

    /// Takes away all offsets of a group and the group.
    pub(super) fn delete_group(&mut self, group_id: &Arc<str>, stored: Option<&StoredGroup>) {
        for (topic, partitions) in stored.into_iter().flat_map(|stored| &stored.offsets) {
            for partition in partitions.keys() {
                self.effects.record(tombstone(group_id, topic, *partition));
            }
        }
        self.effects.record(GroupRecord::Group { group_id: Arc::clone(group_id), value: None });
    }

    /// Takes away the offsets of a group that have expired; true if the group is over with them.
    ///
    /// | group | an offset's time runs from |
    /// |---|---|
    /// | its commit said when it expires | – |
    /// | simple consumer | its commit |
    /// | Empty | when the group became so |
    /// | Stable consumers, topic not subscribed | its commit |
    /// | else | never |
    pub(super) fn expire_offsets(&mut self, group: &Classic, stored: &StoredGroup) -> bool {
        let mut all_expired = true;
        for (topic, partitions) in &stored.offsets {
            if group.is_subscribed(topic) {
                all_expired = false;
                continue;
            }
            for (partition, committed) in partitions {
                if self.is_expired(group, committed) {
                    self.effects.record(tombstone(&group.id, topic, *partition));
                } else {
                    all_expired = false;
                }
            }
        }
        if all_expired && group.state == ClassicState::Empty {
            self.effects.record(GroupRecord::Group { group_id: Arc::clone(&group.id), value: None });
            return true;
        }
        false
    }

    fn is_expired(&self, group: &Classic, committed: &OffsetAndMetadata) -> bool {
        let from_ms = match (&group.protocol_type, group.state) {
            (None, _) => committed.commit_timestamp_ms,
            (Some(_), ClassicState::Empty) => group.state_timestamp_ms.unwrap_or(committed.commit_timestamp_ms),
            (Some(_), ClassicState::Stable) if group.is_consumer() && group.subscribed.is_some() => {
                committed.commit_timestamp_ms
            }
            _ => return false,
        };
        match committed.expire_timestamp_ms {
            Some(expire_ms) => self.now_ms >= expire_ms,
            None => self.now_ms.saturating_sub(from_ms) >= self.config.offsets_retention_ms,
        }
    }

    /// Topics are gone: nobody's offsets of them remain.
    pub(super) fn topics_deleted(&mut self, stored: &Stored, topics: &[Arc<str>]) {
        for (group_id, group) in &stored.groups {
            for topic in topics {
                for partition in group.offsets.get(topic).into_iter().flat_map(Partitions::keys) {
                    self.effects.record(tombstone(group_id, topic, *partition));
                }
            }
        }
    }
}

/// Whether a commit is to be taken. Without generation, member and instance id it is a simple consumer's or an
/// administrator's: those may, while no members are there.
fn check_commit(group: &Classic, member: &MemberCheck) -> Result<(), ErrorCode> {
    let is_empty = group.state == ClassicState::Empty;
    if member.generation < 0 && is_empty {
        return Ok(());
    }
    if member.generation < 0 && member.member_id.is_empty() && member.instance_id.is_none() {
        return Err(ErrorCode::UnknownMemberId);
    }
    super::members::check_member(group, member)?;
    match group.state {
        ClassicState::CompletingRebalance => Err(ErrorCode::RebalanceInProgress),
        _ => Ok(()),
    }
}

/// OffsetFetch, for one group: every partition that was asked for is answered, committed or not.
pub(super) fn fetch(stored: &Stored, request: Fetch) -> Vec<FetchedTopic> {
    let offsets = stored.offsets(&request.group_id);
    let Some(topics) = request.topics else {
        let all = offsets.into_iter().flatten();
        let partitions = |partitions: &Partitions| {
            partitions.iter().map(|(partition, committed)| (*partition, Some(committed.clone()))).collect()
        };
        return all
            .map(|(name, committed)| FetchedTopic { name: Arc::clone(name), partitions: partitions(committed) })
            .collect();
    };
    let topic = |topic: super::api::FetchTopic| {
        let committed = offsets.and_then(|offsets| offsets.get(&topic.name));
        let find = |partition: i32| {
            let found = committed.and_then(|committed| committed.get(&partition))?;
            // A topic that was deleted and made again under its name has nothing committed.
            let other = topic.id != Uuid::ZERO && found.topic_id != Uuid::ZERO && found.topic_id != topic.id;
            (!other).then(|| found.clone())
        };
        let partitions = topic.partitions.iter().map(|partition| (*partition, find(*partition))).collect();
        FetchedTopic { name: Arc::clone(&topic.name), partitions }
    };
    topics.into_iter().map(topic).collect()
}

fn tombstone(group_id: &Arc<str>, topic: &Arc<str>, partition: i32) -> GroupRecord {
    GroupRecord::Offset { group_id: Arc::clone(group_id), topic: Arc::clone(topic), partition, value: None }
}
