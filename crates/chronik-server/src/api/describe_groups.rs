//! DescribeGroups: v0–6
//!
//! * v3: KIP-430, what the client may do, if it asks
//! * v4: KIP-345, static members
//! * v6: KIP-1043, a group that is not there is an error with a text; before, it is Dead

use std::sync::Arc;

use chronik_coordinator::group::ClassicState;
use chronik_coordinator::group::api::{Described, DescribedMember, GroupReply, GroupRequest};
use chronik_protocol::ErrorCode;
use chronik_protocol::generated::any::ResponseBody;
use chronik_protocol::generated::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use chronik_protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse};

use super::group::{blob, owned, owned_text, replies, shared};
use super::{Reply, RequestContext};
use crate::shards::Answer;

/// Everything that can be done with a group (bits of Kafka's `AclOperation`): read, delete, describe, describe and
/// alter configuration. Without authorization everybody may.
const ALL_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11;

pub(crate) fn handle(cx: &RequestContext<'_>, request: DescribeGroupsRequest<'_>) -> Reply {
    let version = cx.version;
    let operations = if request.include_authorized_operations { ALL_OPERATIONS } else { i32::MIN };
    let groups: Vec<_> = request.groups.iter().map(|group| shared(group)).collect();
    let ask = |group_id: &Arc<str>| cx.broker.groups.ask(group_id, GroupRequest::Describe(Arc::clone(group_id)));
    let asked = groups.iter().map(ask).collect();
    replies(asked, move |answers| {
        let group = |(group_id, answer): (&Arc<str>, Answer)| {
            let group = describe(group_id, answer, version);
            // Nobody may do anything with an error.
            let authorized_operations = if group.error_code == 0 { operations } else { i32::MIN };
            DescribedGroup { authorized_operations, ..group }
        };
        let groups = groups.iter().zip(answers).map(group).collect();
        ResponseBody::DescribeGroups(DescribeGroupsResponse { throttle_time_ms: 0, groups })
    })
}

fn describe(group_id: &str, answer: Answer, version: i16) -> DescribedGroup<'static> {
    let mut group =
        DescribedGroup { group_id: owned_text(group_id), error_message: None, ..DescribedGroup::default() };
    let error = match answer {
        Ok(GroupReply::Describe(Some(described))) => {
            fill(&mut group, described, version);
            return group;
        }
        Ok(GroupReply::Describe(None)) => {
            group.group_state = ClassicState::Dead.name().into();
            if version < 6 {
                return group;
            }
            group.error_message = Some(format!("Group {group_id} not found.").into());
            ErrorCode::GroupIdNotFound
        }
        Ok(_) => ErrorCode::UnknownServerError,
        Err(error) => error,
    };
    group.error_code = error.code();
    group
}

fn fill(group: &mut DescribedGroup<'static>, described: Described, version: i16) {
    let member = |member: DescribedMember| DescribedGroupMember {
        member_id: owned(&member.member_id),
        group_instance_id: member.instance_id.as_ref().filter(|_| version >= 4).map(owned),
        client_id: owned(&member.client_id),
        client_host: owned(&member.client_host),
        member_metadata: blob(&member.metadata),
        member_assignment: blob(&member.assignment),
    };
    group.group_state = described.state.into();
    group.protocol_type = owned(&described.protocol_type);
    group.protocol_data = owned(&described.protocol);
    group.members = described.members.into_iter().map(member).collect();
}
