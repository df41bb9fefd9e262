//! What a classic group does when members join, and how a rebalance goes: Kafka's rules, one function each.

use std::sync::Arc;

use chronik_protocol::error::ErrorCode;

use super::api::{GroupReply, Join, Joined};
use super::state::{Classic, ClassicState, InitialDelay, Member, new_member_id};
use super::stored::GroupRecord;
use super::{GroupConfig, GroupEffects, Timer};
use crate::machine::RequestId;

/// What one step of a machine works with, besides the group.
pub(super) struct Step<'a> {
    pub(super) now_ms: i64,
    pub(super) config: &'a GroupConfig,
    pub(super) effects: &'a mut GroupEffects,
}

impl Step<'_> {
    /// JoinGroup, to a group that is there or was just made.
    pub(super) fn join(&mut self, group: &mut Classic, request: &Join, id: RequestId) {
        let member_id = &request.member_id;
        if !self.accepts(group, member_id) {
            group.pending_join.remove(member_id);
            let reply = Joined::error("".into(), ErrorCode::GroupMaxSizeReached);
            return self.effects.reply(id, GroupReply::Join(reply));
        }
        let outcome = if !group.supports(&request.protocol_type, &request.protocols) {
            Err(ErrorCode::InconsistentGroupProtocol)
        } else if member_id.is_empty() {
            self.join_new(group, request, id)
        } else {
            self.join_known(group, request, id)
        };
        if let Err(error) = outcome {
            self.effects.reply(id, GroupReply::Join(Joined::error(Arc::clone(member_id), error)));
        }
    }

    /// Whether `group.max.size` lets a member in. While a group rebalances, those who have rejoined count:
    /// if the setting was lowered, the slowest are out.
    fn accepts(&self, group: &Classic, member_id: &str) -> bool {
        let member = group.member(member_id);
        match group.state {
            ClassicState::Empty | ClassicState::Dead => group.pending_join.len() < self.config.max_pending_members,
            ClassicState::PreparingRebalance => {
                member.is_some_and(|member| member.awaiting_join.is_some())
                    || group.awaiting_join() < self.config.max_size
            }
            ClassicState::CompletingRebalance | ClassicState::Stable => {
                member.is_some() || group.len() < self.config.max_size
            }
        }
    }

    fn join_new(&mut self, group: &mut Classic, request: &Join, id: RequestId) -> Result<(), ErrorCode> {
        let new_id = new_member_id(request);
        let known = request.instance_id.as_deref().and_then(|name| group.static_member(name)).cloned();
        if let Some(old_id) = known {
            self.replace_static(group, request, id, &old_id, &new_id);
        } else if request.instance_id.is_none() && request.requires_member_id {
            if group.pending_join.len() >= self.config.max_pending_members {
                return Err(ErrorCode::GroupMaxSizeReached);
            }
            group.pending_join.insert(Arc::clone(&new_id));
            let timer = Timer::Session { group_id: Arc::clone(&group.id), member_id: Arc::clone(&new_id) };
            self.effects.set_timer(timer, self.now_ms + i64::from(request.session_timeout_ms));
            self.effects.reply(id, GroupReply::Join(Joined::error(new_id, ErrorCode::MemberIdRequired)));
        } else {
            self.add(group, request, id, new_id);
        }
        Ok(())
    }

    fn join_known(&mut self, group: &mut Classic, request: &Join, id: RequestId) -> Result<(), ErrorCode> {
        let member_id = &request.member_id;
        if group.pending_join.contains(member_id) {
            if request.instance_id.is_some() {
                // Such an id was given to a dynamic member.
                return Err(ErrorCode::UnknownMemberId);
            }
            self.add(group, request, id, Arc::clone(member_id));
            return Ok(());
        }
        group.validate(member_id, request.instance_id.as_deref())?;
        let member = group.member(member_id).ok_or(ErrorCode::UnknownMemberId)?;
        let same = member.protocols == request.protocols;
        let is_leader = group.is_leader(member_id);
        match group.state {
            ClassicState::PreparingRebalance => self.rejoin(group, request, id),
            // The answer may have got lost: it is given again.
            ClassicState::CompletingRebalance if same => {
                self.effects.reply(id, GroupReply::Join(group.joined(member_id, is_leader, false)));
            }
            ClassicState::Stable if same && !is_leader => {
                self.effects.reply(id, GroupReply::Join(group.joined(member_id, false, false)));
            }
            // Other metadata; or the leader has seen something (partitions added) that asks for a new assignment.
            ClassicState::CompletingRebalance | ClassicState::Stable => self.rejoin(group, request, id),
            ClassicState::Empty | ClassicState::Dead => return Err(ErrorCode::UnknownMemberId),
        }
        Ok(())
    }

    fn rejoin(&mut self, group: &mut Classic, request: &Join, id: RequestId) {
        group.update(&request.member_id, request, id, self.effects);
        self.rebalance_or_complete(group);
    }

    fn add(&mut self, group: &mut Classic, request: &Join, id: RequestId, member_id: Arc<str>) {
        if group.state == ClassicState::PreparingRebalance && group.previous == ClassicState::Empty {
            group.new_member_added = true;
        }
        if group.len() == 0 {
            group.protocol_type = Some(Arc::clone(&request.protocol_type));
        }
        let mut member = Member::joining(Arc::clone(&member_id), request);
        member.awaiting_join = Some(id);
        group.insert(member);
        // It cannot heartbeat before it has its answer. A client that gave up and tries again leaves such members
        // behind; so they are out after a while.
        let timer = Timer::Session { group_id: Arc::clone(&group.id), member_id };
        self.effects.set_timer(timer, self.now_ms + self.config.new_member_join_timeout_ms);
        self.rebalance_or_complete(group);
    }

    /// A static member comes back after a restart: it gets a new id, and if it changes nothing, no rebalance.
    fn replace_static(&mut self, group: &mut Classic, request: &Join, id: RequestId, old: &str, new: &Arc<str>) {
        let old_leader = group.leader.clone();
        group.replace_static(old, new, self.effects);
        group.update(new, request, id, self.effects);
        let session_timeout_ms = request.session_timeout_ms;
        self.schedule_session(group, new, session_timeout_ms.into());
        match group.state {
            ClassicState::Stable if group.select_protocol() == group.protocol => {
                self.effects.record(record_of(group));
                let is_leader = group.is_leader(new);
                group.answer_join(new, self.effects, |group| match request.can_skip_assignment {
                    true => group.joined(new, is_leader, is_leader),
                    // Before KIP-814 a leader must not learn that it leads, or it would assign again.
                    false => Joined { leader: old_leader, ..group.joined(new, false, false) },
                });
            }
            ClassicState::Stable => self.rebalance_or_complete(group),
            // The leader may be assigning to the old id right now.
            ClassicState::CompletingRebalance => self.prepare_rebalance(group),
            ClassicState::PreparingRebalance | ClassicState::Empty | ClassicState::Dead => {
                self.complete_if_all_joined(group);
            }
        }
    }

    /// Something changed: a stable group rebalances; one that waits for members may be complete now.
    pub(super) fn rebalance_or_complete(&mut self, group: &mut Classic) {
        match group.state {
            ClassicState::PreparingRebalance => self.complete_if_all_joined(group),
            _ => self.prepare_rebalance(group),
        }
    }

    pub(super) fn complete_if_all_joined(&mut self, group: &mut Classic) {
        let initial = group.previous == ClassicState::Empty;
        if group.state == ClassicState::PreparingRebalance && !initial && group.has_all_joined() {
            self.complete_join(group);
        }
    }

    /// Calls all members to rejoin. A group that was empty waits a little, so that more can come.
    pub(super) fn prepare_rebalance(&mut self, group: &mut Classic) {
        if group.state == ClassicState::CompletingRebalance {
            for member_id in group.member_ids() {
                self.reset_assignment(group, &member_id, ErrorCode::RebalanceInProgress);
            }
        }
        group.pending_sync.clear();
        self.effects.cancel_timer(Timer::Sync { group_id: Arc::clone(&group.id) });
        let initial = group.state == ClassicState::Empty;
        group.enter(ClassicState::PreparingRebalance, self.now_ms);
        if initial {
            let delay_ms = self.config.initial_rebalance_delay_ms;
            let remaining_ms = (group.rebalance_timeout_ms() - delay_ms).max(0);
            group.initial_delay = Some(InitialDelay { delay_ms, remaining_ms });
            self.schedule_join(group, delay_ms);
        } else if group.has_all_joined() {
            self.complete_join(group);
        } else {
            self.schedule_join(group, group.rebalance_timeout_ms());
        }
    }

    /// Takes a member's assignment away and answers its parked SyncGroup with an error.
    pub(super) fn reset_assignment(&mut self, group: &mut Classic, member_id: &Arc<str>, error: ErrorCode) {
        if let Some(member) = group.member_mut(member_id) {
            member.assignment = bytes::Bytes::new();
        }
        self.answer_sync(group, member_id, error);
    }

    /// Answers a parked SyncGroup; the member's session begins anew, for it could not heartbeat meanwhile.
    pub(super) fn answer_sync(&mut self, group: &mut Classic, member_id: &Arc<str>, error: ErrorCode) {
        if group.answer_sync(member_id, error, self.effects) {
            self.keep_alive(group, member_id);
        }
    }

    /// The time for joining is up.
    pub(super) fn join_expired(&mut self, group: &mut Classic) {
        if group.state != ClassicState::PreparingRebalance {
            return;
        }
        match group.initial_delay {
            Some(InitialDelay { delay_ms, remaining_ms }) if group.new_member_added && remaining_ms != 0 => {
                group.new_member_added = false;
                let next_ms = self.config.initial_rebalance_delay_ms.min(remaining_ms);
                let remaining_ms = (remaining_ms - delay_ms).max(0);
                group.initial_delay = Some(InitialDelay { delay_ms: next_ms, remaining_ms });
                self.schedule_join(group, next_ms);
            }
            _ => self.complete_join(group),
        }
    }

    /// Ends the join phase: who has not rejoined is out (static members stay), the next generation begins.
    pub(super) fn complete_join(&mut self, group: &mut Classic) {
        self.effects.cancel_timer(Timer::Join { group_id: Arc::clone(&group.id) });
        let late = |member: &&Member| member.awaiting_join.is_none() && member.instance_id.is_none();
        let late: Vec<_> = group.members().filter(late).map(|member| Arc::clone(&member.id)).collect();
        for member_id in late {
            group.remove(&member_id);
            self.cancel_session(group, member_id);
        }
        if group.len() > 0 && !group.elect_joined_leader() {
            // Only static members, and none is here: their sessions will tell.
            return self.schedule_join(group, group.rebalance_timeout_ms());
        }
        group.begin_generation(self.now_ms);
        group.new_member_added = false;
        if group.state == ClassicState::Empty {
            return self.effects.record(record_of(group));
        }
        for member_id in group.member_ids() {
            let with_members = group.is_leader(&member_id);
            group.answer_join(&member_id, self.effects, |group| group.joined(&member_id, with_members, false));
            if let Some(member) = group.member_mut(&member_id) {
                member.is_new = false;
            }
            self.keep_alive(group, &member_id);
            group.pending_sync.insert(member_id);
        }
        let at_ms = self.now_ms + i64::from(group.rebalance_timeout_ms());
        self.effects.set_timer(Timer::Sync { group_id: Arc::clone(&group.id) }, at_ms);
    }

    /// The time for syncing is up: who has not synced is out.
    pub(super) fn sync_expired(&mut self, group: &mut Classic) {
        let assigned = matches!(group.state, ClassicState::CompletingRebalance | ClassicState::Stable);
        if !assigned || group.pending_sync.is_empty() {
            return;
        }
        for member_id in std::mem::take(&mut group.pending_sync) {
            group.remove(&member_id);
            self.cancel_session(group, member_id);
        }
        self.prepare_rebalance(group);
    }

    /// No heartbeat for a session's time.
    pub(super) fn session_expired(&mut self, group: &mut Classic, member_id: &str) {
        if group.pending_join.remove(member_id) {
            if group.state == ClassicState::PreparingRebalance && group.has_all_joined() {
                self.complete_join(group);
            }
        } else if group.member(member_id).is_some_and(|member| !member.is_waiting()) {
            self.remove(group, member_id);
            match group.state {
                ClassicState::PreparingRebalance if group.has_all_joined() => self.complete_join(group),
                ClassicState::CompletingRebalance | ClassicState::Stable => self.prepare_rebalance(group),
                _ => {}
            }
        }
    }

    /// Takes a member out; what it waited for is answered so that it comes again if it is still there.
    pub(super) fn remove(&mut self, group: &mut Classic, member_id: &str) {
        group.answer_join(member_id, self.effects, |_| Joined::error("".into(), ErrorCode::UnknownMemberId));
        group.answer_sync(member_id, ErrorCode::UnknownMemberId, self.effects);
        group.remove(member_id);
    }

    /// The member was heard of: its session begins anew.
    pub(super) fn keep_alive(&mut self, group: &Classic, member_id: &Arc<str>) {
        if let Some(member) = group.member(member_id) {
            self.schedule_session(group, member_id, member.session_timeout_ms.into());
        }
    }

    pub(super) fn schedule_session(&mut self, group: &Classic, member_id: &Arc<str>, timeout_ms: i64) {
        let timer = Timer::Session { group_id: Arc::clone(&group.id), member_id: Arc::clone(member_id) };
        self.effects.set_timer(timer, self.now_ms + timeout_ms);
    }

    pub(super) fn cancel_session(&mut self, group: &Classic, member_id: Arc<str>) {
        self.effects.cancel_timer(Timer::Session { group_id: Arc::clone(&group.id), member_id });
    }

    fn schedule_join(&mut self, group: &Classic, delay_ms: i32) {
        let timer = Timer::Join { group_id: Arc::clone(&group.id) };
        self.effects.set_timer(timer, self.now_ms + i64::from(delay_ms));
    }
}

/// The record that makes the log remember a group as it is now.
pub(super) fn record_of(group: &Classic) -> GroupRecord {
    GroupRecord::Group { group_id: Arc::clone(&group.id), value: Some(group.to_stored()) }
}
