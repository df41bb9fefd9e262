//! The group coordinator: classic consumer groups and committed offsets, as one machine a shard.
//!
//! The log is `__consumer_offsets` in Kafka's own formats. What it remembers is [`stored`]; the rest of a group
//! (who is waiting, which members are still to come) lives in memory and is forgotten by a restart, after
//! which members find their generation as it was last assigned.

pub mod api;
mod classic;
mod members;
mod offsets;
pub mod records;
mod state;
pub mod stored;
mod subscription;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use chronik_protocol::error::ErrorCode;

pub use self::state::ClassicState;
pub use self::stored::{GroupRecord, OffsetAndMetadata, Stored};

use self::api::{Commit, Described, DescribedMember, GroupReply, GroupRequest, Join, Joined, List, Listed, Synced};
use self::classic::{Step, record_of};
use self::state::Classic;
use crate::machine::{Effects, Machine, RequestId};

/// What consumers call their kind of group.
pub const PROTOCOL_TYPE_CONSUMER: &str = "consumer";

/// The only type of group that is built.
pub const GROUP_TYPE_CLASSIC: &str = "classic";

/// Effects of this machine.
pub(crate) type GroupEffects = Effects<GroupMachine>;

/// Settings, with Kafka's names in their docs.
#[derive(Debug, Clone)]
pub struct GroupConfig {
    /// `group.max.size`.
    pub max_size: usize,
    /// `group.min.session.timeout.ms`.
    pub min_session_timeout_ms: i32,
    /// `group.max.session.timeout.ms`.
    pub max_session_timeout_ms: i32,
    /// `group.initial.rebalance.delay.ms`.
    pub initial_rebalance_delay_ms: i32,
    /// A new member whose JoinGroup is parked is out after so long (five minutes in Kafka, not a setting).
    pub new_member_join_timeout_ms: i64,
    /// Ids given out with MEMBER_ID_REQUIRED that may be outstanding in a group: beyond what Kafka limits.
    pub max_pending_members: usize,
    /// `offset.metadata.max.bytes`, which counts characters.
    pub max_metadata_chars: usize,
    /// `offsets.retention.minutes`.
    pub offsets_retention_ms: i64,
    /// `offsets.retention.check.interval.ms`.
    pub retention_check_interval_ms: i64,
    /// A group's record must fit into a batch of the offsets topic.
    pub max_record_bytes: usize,
}

impl Default for GroupConfig {
    fn default() -> Self {
        GroupConfig {
            max_size: i32::MAX as usize,
            min_session_timeout_ms: 6_000,
            max_session_timeout_ms: 1_800_000,
            initial_rebalance_delay_ms: 0,
            new_member_join_timeout_ms: 5 * 60 * 1000,
            max_pending_members: 100_000,
            max_metadata_chars: 4096,
            offsets_retention_ms: 7 * 24 * 60 * 60 * 1000,
            retention_check_interval_ms: 600_000,
            max_record_bytes: 1_000_000,
        }
    }
}

/// What the machine waits for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// A member has not been heard of.
    Session {
        /// Its group.
        group_id: Arc<str>,
        /// The member.
        member_id: Arc<str>,
    },
    /// Members had time to join.
    Join {
        /// The group.
        group_id: Arc<str>,
    },
    /// Members had time to sync.
    Sync {
        /// The group.
        group_id: Arc<str>,
    },
    /// Offsets may have expired.
    Retention,
}

/// The groups of one partition of `__consumer_offsets`.
#[derive(Debug)]
pub struct GroupMachine {
    config: GroupConfig,
    stored: Stored,
    groups: BTreeMap<Arc<str>, Classic>,
}

impl GroupMachine {
    /// A machine that knows no groups yet.
    pub fn new(config: GroupConfig) -> Self {
        GroupMachine { config, stored: Stored::default(), groups: BTreeMap::new() }
    }

    /// What the log has made of it.
    pub fn stored(&self) -> &Stored {
        &self.stored
    }

    fn join(&mut self, now_ms: i64, request: &Join, id: RequestId, effects: &mut GroupEffects) {
        let session = self.config.min_session_timeout_ms..=self.config.max_session_timeout_ms;
        let is_new = !self.groups.contains_key(&request.group_id);
        let refused = if request.group_id.is_empty() {
            Some(ErrorCode::InvalidGroupId)
        } else if !session.contains(&request.session_timeout_ms) {
            Some(ErrorCode::InvalidSessionTimeout)
        } else if is_new && !request.member_id.is_empty() {
            Some(ErrorCode::UnknownMemberId)
        } else {
            None
        };
        if let Some(error) = refused {
            let reply = Joined::error(Arc::clone(&request.member_id), error);
            return effects.reply(id, GroupReply::Join(reply));
        }
        let group = group_or_new(&mut self.groups, &request.group_id, now_ms);
        if is_new {
            // The group is there from its first request on, so the log must know it.
            effects.record(record_of(group));
        }
        Step { now_ms, config: &self.config, effects }.join(group, request, id);
    }

    fn commit(&mut self, now_ms: i64, request: Commit, effects: &mut GroupEffects) -> api::Committed {
        let group_id = Arc::clone(&request.member.group_id);
        if !self.groups.contains_key(&group_id) && request.member.generation >= 0 {
            return Err(match request.knows_group_id_not_found {
                true => ErrorCode::GroupIdNotFound,
                false => ErrorCode::IllegalGeneration,
            });
        }
        let is_new = !self.groups.contains_key(&group_id);
        let group = group_or_new(&mut self.groups, &group_id, now_ms);
        let committed = Step { now_ms, config: &self.config, effects }.commit(group, request);
        if is_new && effects.records.is_empty() {
            // Nothing was taken, so the log knows nothing of the group, and neither shall we.
            self.groups.remove(&group_id);
        }
        committed
    }

    fn delete(&mut self, now_ms: i64, group_id: &Arc<str>, effects: &mut GroupEffects) -> ErrorCode {
        match self.groups.get(group_id).map(|group| group.state) {
            None | Some(ClassicState::Dead) => return ErrorCode::GroupIdNotFound,
            Some(ClassicState::Empty) => {}
            Some(_) => return ErrorCode::NonEmptyGroup,
        }
        self.groups.remove(group_id);
        let stored = self.stored.groups.get(group_id);
        Step { now_ms, config: &self.config, effects }.delete_group(group_id, stored);
        ErrorCode::None
    }

    fn retention(&mut self, now_ms: i64, effects: &mut GroupEffects) {
        effects.set_timer(Timer::Retention, now_ms + self.config.retention_check_interval_ms);
        let mut step = Step { now_ms, config: &self.config, effects };
        let stored = &self.stored;
        self.groups.retain(|group_id, group| {
            stored.groups.get(group_id).is_none_or(|stored| !step.expire_offsets(group, stored))
        });
    }

    fn list(&self, request: &List) -> Vec<Listed> {
        let asked = |filter: &[Arc<str>], name: &str| {
            filter.is_empty() || filter.iter().any(|wanted| wanted.eq_ignore_ascii_case(name))
        };
        let groups = self.groups.values();
        groups
            .filter(|group| asked(&request.states, group.state.name()) && asked(&request.types, GROUP_TYPE_CLASSIC))
            .map(|group| Listed {
                group_id: Arc::clone(&group.id),
                protocol_type: group.protocol_type.clone().unwrap_or_default(),
                state: group.state.name(),
                group_type: GROUP_TYPE_CLASSIC,
            })
            .collect()
    }

    fn describe(&self, group_id: &str) -> Option<Described> {
        let group = self.groups.get(group_id)?;
        let protocol = group.protocol.as_ref().filter(|_| group.state == ClassicState::Stable);
        let member = |member: &state::Member| DescribedMember {
            member_id: Arc::clone(&member.id),
            instance_id: member.instance_id.clone(),
            client_id: Arc::clone(&member.client_id),
            client_host: Arc::clone(&member.client_host),
            metadata: member.metadata(protocol),
            assignment: member.assignment.clone(),
        };
        Some(Described {
            state: group.state.name(),
            protocol_type: group.protocol_type.clone().unwrap_or_default(),
            protocol: protocol.cloned().unwrap_or_default(),
            members: group.members().map(member).collect(),
        })
    }

    fn dispatch(&mut self, now_ms: i64, id: RequestId, request: GroupRequest, effects: &mut GroupEffects) {
        let config = &self.config;
        let groups = &mut self.groups;
        let reply = match request {
            GroupRequest::Sync(request) => match groups.get_mut(&request.member.group_id) {
                _ if request.member.group_id.is_empty() => GroupReply::Sync(Synced::error(ErrorCode::InvalidGroupId)),
                None => GroupReply::Sync(Synced::error(ErrorCode::UnknownMemberId)),
                Some(group) => return Step { now_ms, config, effects }.sync(group, request, id),
            },
            GroupRequest::Heartbeat(request) => GroupReply::Heartbeat(match groups.get(&request.group_id) {
                _ if request.group_id.is_empty() => ErrorCode::InvalidGroupId,
                None => ErrorCode::UnknownMemberId,
                Some(group) => Step { now_ms, config, effects }.heartbeat(group, &request),
            }),
            GroupRequest::Leave(request) => GroupReply::Leave(match groups.get_mut(&request.group_id) {
                Some(group) => Step { now_ms, config, effects }.leave(group, request),
                None => request.members.into_iter().map(|member| (member, ErrorCode::UnknownMemberId)).collect(),
            }),
            GroupRequest::DeleteOffsets(request) => GroupReply::DeleteOffsets(match groups.get(&request.group_id) {
                None => Err(ErrorCode::GroupIdNotFound),
                Some(group) => {
                    let stored = self.stored.groups.get(&request.group_id);
                    Step { now_ms, config, effects }.delete_offsets(group, stored, request)
                }
            }),
            GroupRequest::Join(request) => return self.join(now_ms, &request, id, effects),
            GroupRequest::Commit(request) => GroupReply::Commit(self.commit(now_ms, request, effects)),
            GroupRequest::Fetch(request) => GroupReply::Fetch(offsets::fetch(&self.stored, request)),
            GroupRequest::Describe(group_id) => GroupReply::Describe(self.describe(&group_id)),
            GroupRequest::Delete(group_id) => GroupReply::Delete(self.delete(now_ms, &group_id, effects)),
            GroupRequest::List(request) => GroupReply::List(self.list(&request)),
            GroupRequest::TopicsDeleted(topics) => {
                Step { now_ms, config, effects }.topics_deleted(&self.stored, &topics);
                GroupReply::TopicsDeleted
            }
        };
        effects.reply(id, reply);
    }
}

fn group_or_new<'a>(groups: &'a mut BTreeMap<Arc<str>, Classic>, id: &Arc<str>, now_ms: i64) -> &'a mut Classic {
    groups.entry(Arc::clone(id)).or_insert_with(|| Classic::new(Arc::clone(id), now_ms))
}

impl Machine for GroupMachine {
    type Request = GroupRequest;
    type Reply = GroupReply;
    type Record = GroupRecord;
    type Timer = Timer;

    fn request(&mut self, now_ms: i64, id: RequestId, request: GroupRequest) -> GroupEffects {
        let mut effects = Effects::default();
        self.dispatch(now_ms, id, request, &mut effects);
        effects
    }

    fn expire(&mut self, now_ms: i64, timer: Timer) -> GroupEffects {
        let mut effects = Effects::default();
        let mut step = Step { now_ms, config: &self.config, effects: &mut effects };
        match timer {
            Timer::Session { group_id, member_id } => {
                if let Some(group) = self.groups.get_mut(&group_id) {
                    step.session_expired(group, &member_id);
                }
            }
            Timer::Join { group_id } => {
                if let Some(group) = self.groups.get_mut(&group_id) {
                    step.join_expired(group);
                }
            }
            Timer::Sync { group_id } => {
                if let Some(group) = self.groups.get_mut(&group_id) {
                    step.sync_expired(group);
                }
            }
            Timer::Retention => self.retention(now_ms, &mut effects),
        }
        effects
    }

    fn apply(&mut self, record: &GroupRecord) {
        self.stored.apply(record);
    }

    fn snapshot(&self) -> Vec<GroupRecord> {
        self.stored.to_records()
    }

    /// Members of groups that were stable have a session's time to be heard of.
    fn loaded(&mut self, now_ms: i64) -> GroupEffects {
        let mut effects = Effects::default();
        effects.set_timer(Timer::Retention, now_ms + self.config.retention_check_interval_ms);
        let mut step = Step { now_ms, config: &self.config, effects: &mut effects };
        for (group_id, stored) in &self.stored.groups {
            let mut group = match &stored.metadata {
                Some(metadata) => Classic::from_stored(Arc::clone(group_id), metadata),
                None => Classic::new(Arc::clone(group_id), now_ms),
            };
            for member_id in group.member_ids() {
                step.keep_alive(&group, &member_id);
            }
            if group.len() > step.config.max_size {
                step.prepare_rebalance(&mut group);
            }
            self.groups.insert(Arc::clone(group_id), group);
        }
        effects
    }
}
