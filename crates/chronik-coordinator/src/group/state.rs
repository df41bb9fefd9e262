//! A classic group in memory: its state, its members, who is waiting for what.
//!
//! Kafka's `ClassicGroup` and `ClassicGroupMember`. Nothing here decides; `classic` does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use chronik_protocol::Uuid;
use chronik_protocol::error::ErrorCode;

use super::api::{GroupReply, Join, Joined, JoinedMember, Protocol, Synced};
use super::stored::{GroupMetadata, MemberMetadata};
use super::subscription::subscribed_topics;
use super::{GroupEffects, PROTOCOL_TYPE_CONSUMER};
use crate::machine::RequestId;

/// The state of a classic group, what it answers to a member, and where it may go.
///
/// | state | JoinGroup | SyncGroup | Heartbeat | OffsetCommit | goes to |
/// |---|---|---|---|---|---|
/// | Empty | new members start a rebalance; known ids 25 | 25 | 25 | only without generation | PreparingRebalance: a member joins · Dead: deleted, or expired with its last offset |
/// | PreparingRebalance | parked until all have joined or time is up | 27 | 27, counts | old generation 0 | CompletingRebalance: all are there, or the rebalance timeout · Empty: all have left |
/// | CompletingRebalance | same protocols: the generation again; else a new rebalance | parked until the leader's comes | 0, counts | 27 | Stable: the leader has assigned · PreparingRebalance: a member joins, leaves, or does not sync in time |
/// | Stable | leader, or other protocols: a rebalance; else the generation again | the assignment | 0, counts | 0 | PreparingRebalance: a member joins, leaves or fails, or the leader rejoins |
/// | Dead | there is no group: created by an empty member id, else 25 | 25 | 25 | 69 (before v9: 22), without generation 0 | – |
///
/// In every state a wrong instance id is answered 82, an unknown member 25, and a wrong generation 22.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClassicState {
    /// No members; perhaps committed offsets.
    Empty,
    /// Waits for all members to join.
    PreparingRebalance,
    /// All have joined; waits for the leader's assignment.
    CompletingRebalance,
    /// Assigned.
    Stable,
    /// Not there. No group is kept in this state; it is what a missing one is called.
    Dead,
}

impl ClassicState {
    /// As the protocol calls it.
    pub fn name(self) -> &'static str {
        match self {
            ClassicState::Empty => "Empty",
            ClassicState::PreparingRebalance => "PreparingRebalance",
            ClassicState::CompletingRebalance => "CompletingRebalance",
            ClassicState::Stable => "Stable",
            ClassicState::Dead => "Dead",
        }
    }
}

/// A member in memory.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) id: Arc<str>,
    pub(super) instance_id: Option<Arc<str>>,
    pub(super) client_id: Arc<str>,
    pub(super) client_host: Arc<str>,
    pub(super) rebalance_timeout_ms: i32,
    pub(super) session_timeout_ms: i32,
    pub(super) protocols: Vec<Protocol>,
    pub(super) assignment: Bytes,
    /// A JoinGroup that is parked.
    pub(super) awaiting_join: Option<RequestId>,
    /// A SyncGroup that is parked.
    pub(super) awaiting_sync: Option<RequestId>,
    /// It has never got the answer to a JoinGroup: it cannot heartbeat yet, so a parked request does not keep it alive.
    pub(super) is_new: bool,
}

impl Member {
    /// A member that joins.
    pub(super) fn joining(id: Arc<str>, request: &Join) -> Member {
        Member {
            id,
            instance_id: request.instance_id.clone(),
            client_id: Arc::clone(&request.client_id),
            client_host: Arc::clone(&request.client_host),
            rebalance_timeout_ms: request.rebalance_timeout_ms,
            session_timeout_ms: request.session_timeout_ms,
            protocols: request.protocols.clone(),
            assignment: Bytes::new(),
            awaiting_join: None,
            awaiting_sync: None,
            is_new: true,
        }
    }

    /// Its metadata for a protocol.
    pub(super) fn metadata(&self, protocol: Option<&Arc<str>>) -> Bytes {
        let found = self.protocols.iter().find(|candidate| Some(&candidate.name) == protocol);
        found.map(|protocol| protocol.metadata.clone()).unwrap_or_default()
    }

    /// A parked request stands in for heartbeats.
    pub(super) fn is_waiting(&self) -> bool {
        !self.is_new && (self.awaiting_join.is_some() || self.awaiting_sync.is_some())
    }
}

/// The delay before a group's first generation, so that members that start together come into it together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct InitialDelay {
    pub(super) delay_ms: i32,
    pub(super) remaining_ms: i32,
}

/// A classic group.
#[derive(Debug)]
pub(super) struct Classic {
    pub(super) id: Arc<str>,
    pub(super) state: ClassicState,
    /// PreparingRebalance after Empty is the initial rebalance: it ends by time, not when all are there.
    pub(super) previous: ClassicState,
    pub(super) generation: i32,
    pub(super) protocol_type: Option<Arc<str>>,
    pub(super) protocol: Option<Arc<str>>,
    pub(super) leader: Option<Arc<str>>,
    pub(super) state_timestamp_ms: Option<i64>,
    pub(super) initial_delay: Option<InitialDelay>,
    pub(super) new_member_added: bool,
    /// Ids given out with MEMBER_ID_REQUIRED that have not come back yet.
    pub(super) pending_join: BTreeSet<Arc<str>>,
    /// Members that have joined this generation and not synced yet.
    pub(super) pending_sync: BTreeSet<Arc<str>>,
    /// Topics that members of the consumer protocol are subscribed to; `None`: not known.
    pub(super) subscribed: Option<BTreeSet<String>>,
    members: BTreeMap<Arc<str>, Member>,
    statics: BTreeMap<Arc<str>, Arc<str>>,
    /// How many members support each protocol.
    supported: BTreeMap<Arc<str>, usize>,
    awaiting_join: usize,
}

impl Classic {
    /// A group without members, as a first request or a first committed offset makes it.
    pub(super) fn new(id: Arc<str>, now_ms: i64) -> Classic {
        Classic {
            id,
            state: ClassicState::Empty,
            previous: ClassicState::Dead,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            state_timestamp_ms: Some(now_ms),
            initial_delay: None,
            new_member_added: false,
            pending_join: BTreeSet::new(),
            pending_sync: BTreeSet::new(),
            subscribed: None,
            members: BTreeMap::new(),
            statics: BTreeMap::new(),
            supported: BTreeMap::new(),
            awaiting_join: 0,
        }
    }

    /// A group as the log remembers it: Stable if it has members, else Empty.
    pub(super) fn from_stored(id: Arc<str>, stored: &GroupMetadata) -> Classic {
        let mut group = Classic::new(id, 0);
        group.generation = stored.generation;
        group.protocol_type = Some(Arc::clone(&stored.protocol_type)).filter(|name| !name.is_empty());
        group.protocol = stored.protocol.clone();
        group.leader = stored.leader.clone();
        group.state_timestamp_ms = stored.state_timestamp_ms;
        if !stored.members.is_empty() {
            group.state = ClassicState::Stable;
        }
        for member in &stored.members {
            let name = stored.protocol.clone().unwrap_or_default();
            let session_timeout_ms = member.session_timeout_ms;
            group.insert(Member {
                id: Arc::clone(&member.member_id),
                instance_id: member.instance_id.clone(),
                client_id: Arc::clone(&member.client_id),
                client_host: Arc::clone(&member.client_host),
                rebalance_timeout_ms: match member.rebalance_timeout_ms {
                    -1 => session_timeout_ms,
                    timeout_ms => timeout_ms,
                },
                session_timeout_ms,
                protocols: vec![Protocol { name, metadata: member.subscription.clone() }],
                assignment: member.assignment.clone(),
                awaiting_join: None,
                awaiting_sync: None,
                is_new: false,
            });
        }
        group.subscribed = group.compute_subscribed();
        group
    }

    /// What the log shall remember.
    pub(super) fn to_stored(&self) -> GroupMetadata {
        let member = |member: &Member| MemberMetadata {
            member_id: Arc::clone(&member.id),
            instance_id: member.instance_id.clone(),
            client_id: Arc::clone(&member.client_id),
            client_host: Arc::clone(&member.client_host),
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            session_timeout_ms: member.session_timeout_ms,
            subscription: member.metadata(self.protocol.as_ref()),
            assignment: member.assignment.clone(),
        };
        GroupMetadata {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            state_timestamp_ms: self.state_timestamp_ms,
            members: self.members.values().map(member).collect(),
        }
    }

    pub(super) fn enter(&mut self, state: ClassicState, now_ms: i64) {
        self.previous = self.state;
        self.state = state;
        self.state_timestamp_ms = Some(now_ms);
    }

    pub(super) fn member(&self, id: &str) -> Option<&Member> {
        self.members.get(id)
    }

    pub(super) fn member_mut(&mut self, id: &str) -> Option<&mut Member> {
        self.members.get_mut(id)
    }

    pub(super) fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    pub(super) fn members_mut(&mut self) -> impl Iterator<Item = &mut Member> {
        self.members.values_mut()
    }

    pub(super) fn member_ids(&self) -> Vec<Arc<str>> {
        self.members.keys().cloned().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    pub(super) fn is_leader(&self, member_id: &str) -> bool {
        self.leader.as_deref() == Some(member_id)
    }

    pub(super) fn static_member(&self, instance_id: &str) -> Option<&Arc<str>> {
        self.statics.get(instance_id)
    }

    pub(super) fn awaiting_join(&self) -> usize {
        self.awaiting_join
    }

    pub(super) fn has_all_joined(&self) -> bool {
        self.members.len() == self.awaiting_join && self.pending_join.is_empty()
    }

    /// The longest of its members'.
    pub(super) fn rebalance_timeout_ms(&self) -> i32 {
        self.members.values().map(|member| member.rebalance_timeout_ms).max().unwrap_or(0).max(0)
    }

    /// Adds a member; the first one leads, and says what kind of group this is.
    pub(super) fn insert(&mut self, member: Member) {
        self.pending_join.remove(&member.id);
        self.leader.get_or_insert_with(|| Arc::clone(&member.id));
        if let Some(instance_id) = &member.instance_id {
            self.statics.insert(Arc::clone(instance_id), Arc::clone(&member.id));
        }
        self.count_protocols(&member.protocols, 1);
        self.awaiting_join += usize::from(member.awaiting_join.is_some());
        self.members.insert(Arc::clone(&member.id), member);
    }

    /// Takes a member out. The caller answers what it still waited for.
    pub(super) fn remove(&mut self, member_id: &str) -> Option<Member> {
        self.pending_join.remove(member_id);
        self.pending_sync.remove(member_id);
        let member = self.members.remove(member_id)?;
        self.count_protocols(&member.protocols, -1);
        self.awaiting_join -= usize::from(member.awaiting_join.is_some());
        if let Some(instance_id) = &member.instance_id
            && self.statics.get(instance_id) == Some(&member.id)
        {
            self.statics.remove(instance_id);
        }
        if self.is_leader(member_id) {
            self.leader = self.members.keys().next().cloned();
        }
        Some(member)
    }

    /// Gives a static member a new id; what the old one waited for is fenced.
    pub(super) fn replace_static(&mut self, old_id: &str, new_id: &Arc<str>, effects: &mut GroupEffects) {
        self.answer_join(old_id, effects, |_| Joined::error(old_id.into(), ErrorCode::FencedInstanceId));
        self.answer_sync(old_id, ErrorCode::FencedInstanceId, effects);
        let was_leader = self.is_leader(old_id);
        let was_pending_sync = self.pending_sync.contains(old_id);
        let Some(mut member) = self.remove(old_id) else { return };
        member.id = Arc::clone(new_id);
        self.insert(member);
        if was_leader {
            self.leader = Some(Arc::clone(new_id));
        }
        if was_pending_sync {
            self.pending_sync.insert(Arc::clone(new_id));
        }
    }

    /// A member joins again. A request that it had parked before is let go: nobody listens to it any more.
    pub(super) fn update(&mut self, member_id: &str, request: &Join, id: RequestId, effects: &mut GroupEffects) {
        self.answer_join(member_id, effects, |_| Joined::error(member_id.into(), ErrorCode::RebalanceInProgress));
        let Some(member) = self.members.get_mut(member_id) else { return };
        let old = std::mem::replace(&mut member.protocols, request.protocols.clone());
        member.rebalance_timeout_ms = request.rebalance_timeout_ms;
        member.session_timeout_ms = request.session_timeout_ms;
        member.awaiting_join = Some(id);
        self.awaiting_join += 1;
        self.count_protocols(&old, -1);
        self.count_protocols(&request.protocols, 1);
    }

    /// Answers a parked JoinGroup, if the member has one.
    pub(super) fn answer_join(
        &mut self,
        member_id: &str,
        effects: &mut GroupEffects,
        reply: impl FnOnce(&Classic) -> Joined,
    ) {
        let Some(id) = self.members.get_mut(member_id).and_then(|member| member.awaiting_join.take()) else { return };
        self.awaiting_join -= 1;
        effects.reply(id, GroupReply::Join(reply(self)));
    }

    /// Answers a parked SyncGroup, if the member has one, with its assignment or an error; says whether it had.
    pub(super) fn answer_sync(&mut self, member_id: &str, error: ErrorCode, effects: &mut GroupEffects) -> bool {
        let Some(member) = self.members.get_mut(member_id) else { return false };
        let Some(id) = member.awaiting_sync.take() else { return false };
        let assignment = member.assignment.clone();
        let reply = if error == ErrorCode::None { self.synced(assignment) } else { Synced::error(error) };
        effects.reply(id, GroupReply::Sync(reply));
        true
    }

    /// The answer to a JoinGroup that is in.
    pub(super) fn joined(&self, member_id: &Arc<str>, with_members: bool, skip_assignment: bool) -> Joined {
        let member = |member: &Member| JoinedMember {
            member_id: Arc::clone(&member.id),
            instance_id: member.instance_id.clone(),
            metadata: member.metadata(self.protocol.as_ref()),
        };
        Joined {
            error: ErrorCode::None,
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            skip_assignment,
            member_id: Arc::clone(member_id),
            members: if with_members { self.members.values().map(member).collect() } else { Vec::new() },
        }
    }

    /// The answer to a SyncGroup that got its assignment.
    pub(super) fn synced(&self, assignment: Bytes) -> Synced {
        Synced {
            error: ErrorCode::None,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            assignment,
        }
    }

    /// Whether a member may come in with these: in a group with members, one protocol must be everybody's.
    pub(super) fn supports(&self, protocol_type: &str, protocols: &[Protocol]) -> bool {
        if self.state == ClassicState::Empty {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        let everybodys = |protocol: &Protocol| self.supported.get(&protocol.name).copied().unwrap_or(0) == self.len();
        self.protocol_type.as_deref() == Some(protocol_type) && protocols.iter().any(everybodys)
    }

    /// The protocol with the most votes among those that everybody supports.
    pub(super) fn select_protocol(&self) -> Option<Arc<str>> {
        let mut votes: BTreeMap<&Arc<str>, usize> = BTreeMap::new();
        for member in self.members.values() {
            let vote = member.protocols.iter().find(|liked| self.supported.get(&liked.name) == Some(&self.len()));
            if let Some(protocol) = vote {
                *votes.entry(&protocol.name).or_default() += 1;
            }
        }
        votes.into_iter().max_by_key(|(_, votes)| *votes).map(|(name, _)| Arc::clone(name))
    }

    /// If the leader has not rejoined, somebody who has leads; false: nobody has.
    pub(super) fn elect_joined_leader(&mut self) -> bool {
        let Some(leader) = self.leader.as_ref().and_then(|leader| self.members.get(leader)) else { return false };
        if leader.awaiting_join.is_some() {
            return true;
        }
        let Some(joined) = self.members.values().find(|member| member.awaiting_join.is_some()) else { return false };
        self.leader = Some(Arc::clone(&joined.id));
        true
    }

    /// The next generation begins: CompletingRebalance with members, Empty without.
    pub(super) fn begin_generation(&mut self, now_ms: i64) {
        self.generation = self.generation.wrapping_add(1).max(0);
        self.protocol = self.select_protocol();
        self.subscribed = self.compute_subscribed();
        let empty = self.members.is_empty();
        self.enter(if empty { ClassicState::Empty } else { ClassicState::CompletingRebalance }, now_ms);
        self.pending_sync.clear();
        self.initial_delay = None;
    }

    /// That the member is there, and is who it says it is.
    pub(super) fn validate(&self, member_id: &str, instance_id: Option<&str>) -> Result<(), ErrorCode> {
        if let Some(instance_id) = instance_id {
            match self.statics.get(instance_id) {
                None => return Err(ErrorCode::UnknownMemberId),
                Some(known) if &**known != member_id => return Err(ErrorCode::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains_key(member_id) { Ok(()) } else { Err(ErrorCode::UnknownMemberId) }
    }

    pub(super) fn is_consumer(&self) -> bool {
        self.protocol_type.as_deref() == Some(PROTOCOL_TYPE_CONSUMER)
    }

    /// Whether members read the topic now; if that cannot be known, consumers are taken to.
    pub(super) fn is_subscribed(&self, topic: &str) -> bool {
        self.subscribed.as_ref().map_or(self.is_consumer(), |topics| topics.contains(topic))
    }

    fn compute_subscribed(&self) -> Option<BTreeSet<String>> {
        if !self.is_consumer() {
            return None;
        }
        let protocol = match (&self.protocol, self.members.is_empty()) {
            (_, true) => return Some(BTreeSet::new()),
            (None, false) => return None,
            (Some(protocol), false) => protocol,
        };
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            topics.extend(subscribed_topics(&member.metadata(Some(protocol)))?);
        }
        Some(topics)
    }

    /// What is counted as it changes is what counting gives.
    #[cfg(test)]
    pub(super) fn check_counts(&self) {
        let mut again = Classic::new(Arc::clone(&self.id), 0);
        for member in self.members.values() {
            again.awaiting_join += usize::from(member.awaiting_join.is_some());
            again.count_protocols(&member.protocols, 1);
            if let Some(instance_id) = &member.instance_id {
                assert_eq!(self.statics.get(instance_id), Some(&member.id));
                again.statics.insert(Arc::clone(instance_id), Arc::clone(&member.id));
            }
        }
        assert_eq!(self.awaiting_join, again.awaiting_join);
        assert_eq!(self.supported, again.supported);
        assert_eq!(self.statics, again.statics);
        assert!(self.leader.as_ref().is_none_or(|leader| self.members.contains_key(leader)));
        assert_eq!(self.leader.is_none(), self.members.is_empty());
        assert!(self.pending_sync.iter().all(|member| self.members.contains_key(member)));
    }

    fn count_protocols(&mut self, protocols: &[Protocol], by: isize) {
        // A protocol that a member names twice is one that it supports once.
        for (index, protocol) in protocols.iter().enumerate() {
            if protocols[..index].iter().any(|earlier| earlier.name == protocol.name) {
                continue;
            }
            let count = self.supported.entry(Arc::clone(&protocol.name)).or_default();
            *count = count.saturating_add_signed(by);
            if *count == 0 {
                self.supported.remove(&protocol.name);
            }
        }
    }
}

impl Joined {
    /// The answer to a JoinGroup that is not in.
    pub fn error(member_id: Arc<str>, error: ErrorCode) -> Joined {
        Joined {
            error,
            generation: -1,
            protocol_type: None,
            protocol: None,
            leader: None,
            skip_assignment: false,
            member_id,
            members: Vec::new(),
        }
    }
}

impl Synced {
    /// The answer to a SyncGroup that got nothing.
    pub fn error(error: ErrorCode) -> Synced {
        Synced { error, protocol_type: None, protocol: None, assignment: Bytes::new() }
    }
}

/// A new member's id, as Kafka makes them: the instance id or the client id, and a random UUID.
pub(super) fn new_member_id(request: &Join) -> Arc<str> {
    let prefix = request.instance_id.as_deref().unwrap_or(&request.client_id);
    format!("{prefix}-{}", hyphenated(request.fresh_id)).into()
}

fn hyphenated(id: Uuid) -> String {
    let hex: String = id.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
