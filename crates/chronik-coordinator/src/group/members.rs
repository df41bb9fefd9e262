//! What members that are in a group send: SyncGroup, Heartbeat, LeaveGroup.

use std::collections::BTreeMap;
use std::sync::Arc;

use chronik_protocol::error::ErrorCode;

use super::Timer;
use super::api::{GroupReply, Leave, LeavingMember, Left, MemberCheck, Sync, Synced};
use super::classic::{Step, record_of};
use super::state::{Classic, ClassicState};
use crate::machine::RequestId;

impl Step<'_> {
    /// SyncGroup.
    pub(super) fn sync(&mut self, group: &mut Classic, request: Sync, id: RequestId) {
        if let Err(error) = self.try_sync(group, request, id) {
            self.effects.reply(id, GroupReply::Sync(Synced::error(error)));
        }
    }

    fn try_sync(&mut self, group: &mut Classic, request: Sync, id: RequestId) -> Result<(), ErrorCode> {
        let member_id = Arc::clone(&request.member.member_id);
        check_member(group, &request.member)?;
        let other =
            |given: &Option<Arc<str>>, ours: &Option<Arc<str>>| given.is_some() && ours.is_some() && given != ours;
        if other(&request.protocol_type, &group.protocol_type) || other(&request.protocol, &group.protocol) {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        match group.state {
            ClassicState::PreparingRebalance => Err(ErrorCode::RebalanceInProgress),
            ClassicState::Empty | ClassicState::Dead => Err(ErrorCode::UnknownMemberId),
            ClassicState::Stable => {
                self.has_synced(group, &member_id);
                let assignment = group.member(&member_id).map(|member| member.assignment.clone()).unwrap_or_default();
                self.effects.reply(id, GroupReply::Sync(group.synced(assignment)));
                Ok(())
            }
            ClassicState::CompletingRebalance => {
                // A request that was parked before is let go: nobody listens to it any more.
                group.answer_sync(&member_id, ErrorCode::RebalanceInProgress, self.effects);
                if let Some(member) = group.member_mut(&member_id) {
                    member.awaiting_sync = Some(id);
                }
                self.has_synced(group, &member_id);
                if group.is_leader(&member_id) {
                    self.assign(group, request);
                }
                Ok(())
            }
        }
    }

    /// The leader's assignment is recorded, and everybody gets their part; who was forgotten gets nothing.
    fn assign(&mut self, group: &mut Classic, request: Sync) {
        let mut assignments: BTreeMap<_, _> = request.assignments.into_iter().collect();
        for member in group.members_mut() {
            member.assignment = assignments.remove(&member.id).unwrap_or_default();
        }
        if group.to_stored().size_max() > self.config.max_record_bytes {
            for member_id in group.member_ids() {
                self.reset_assignment(group, &member_id, ErrorCode::UnknownServerError);
            }
            return self.prepare_rebalance(group);
        }
        // The record says when the generation began, as Kafka's does: it is made before the state changes.
        self.effects.record(record_of(group));
        group.enter(ClassicState::Stable, self.now_ms);
        for member_id in group.member_ids() {
            self.answer_sync(group, &member_id, ErrorCode::None);
        }
    }

    fn has_synced(&mut self, group: &mut Classic, member_id: &str) {
        group.pending_sync.remove(member_id);
        if group.pending_sync.is_empty() {
            self.effects.cancel_timer(Timer::Sync { group_id: Arc::clone(&group.id) });
        }
    }

    /// Heartbeat.
    pub(super) fn heartbeat(&mut self, group: &Classic, request: &MemberCheck) -> ErrorCode {
        if let Err(error) = check_member(group, request) {
            return error;
        }
        self.keep_alive(group, &request.member_id);
        match group.state {
            ClassicState::PreparingRebalance => ErrorCode::RebalanceInProgress,
            ClassicState::CompletingRebalance | ClassicState::Stable => ErrorCode::None,
            ClassicState::Empty | ClassicState::Dead => ErrorCode::UnknownMemberId,
        }
    }

    /// LeaveGroup: each member by itself, then at most one rebalance for all of them.
    pub(super) fn leave(&mut self, group: &mut Classic, request: Leave) -> Left {
        let mut left = Vec::with_capacity(request.members.len());
        for member in request.members {
            let outcome = self.leave_one(group, &member);
            left.push((member, outcome.err().unwrap_or(ErrorCode::None)));
        }
        if left.iter().any(|(_, error)| *error == ErrorCode::None) {
            match group.state {
                ClassicState::Stable | ClassicState::CompletingRebalance => self.prepare_rebalance(group),
                ClassicState::PreparingRebalance => self.complete_if_all_joined(group),
                ClassicState::Empty | ClassicState::Dead => {}
            }
        }
        left
    }

    fn leave_one(&mut self, group: &mut Classic, leaving: &LeavingMember) -> Result<(), ErrorCode> {
        let member_id = match (&leaving.instance_id, leaving.member_id.is_empty()) {
            (Some(instance_id), true) => group.static_member(instance_id).cloned().ok_or(ErrorCode::UnknownMemberId)?,
            (None, true) => return Err(ErrorCode::UnknownMemberId),
            (_, false) => Arc::clone(&leaving.member_id),
        };
        if !group.pending_join.contains(&member_id) {
            group.validate(&member_id, leaving.instance_id.as_deref())?;
        }
        self.remove(group, &member_id);
        self.cancel_session(group, member_id);
        Ok(())
    }
}

/// That the member is there, is who it says it is, and is in the current generation.
pub(super) fn check_member(group: &Classic, member: &MemberCheck) -> Result<(), ErrorCode> {
    group.validate(&member.member_id, member.instance_id.as_deref())?;
    if member.generation == group.generation { Ok(()) } else { Err(ErrorCode::IllegalGeneration) }
}
