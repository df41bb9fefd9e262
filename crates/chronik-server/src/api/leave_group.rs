//! LeaveGroup: v0–5
//!
//! * v3: KIP-345, several members, static ones by their name alone
//! * v5: KIP-800, the reason, which only people read

use chronik_coordinator::group::api::{GroupReply, GroupRequest, Leave, LeavingMember, Left};
use chronik_protocol::ErrorCode;
use chronik_protocol::generated::any::ResponseBody;
use chronik_protocol::generated::leave_group_response::MemberResponse;
use chronik_protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};

use super::group::{owned, shared, shared_option};
use super::{Reply, RequestContext};

pub(crate) fn handle(cx: &RequestContext<'_>, request: LeaveGroupRequest<'_>) -> Reply {
    let version = cx.version;
    if request.group_id.is_empty() {
        return Reply::Ready(ResponseBody::LeaveGroup(response(Err(ErrorCode::InvalidGroupId), version)));
    }
    let members = if version < 3 {
        vec![LeavingMember { member_id: shared(&request.member_id), instance_id: None }]
    } else {
        request
            .members
            .iter()
            .map(|member| LeavingMember {
                member_id: shared(&member.member_id),
                instance_id: shared_option(&member.group_instance_id),
            })
            .collect()
    };
    let leave = Leave { group_id: shared(&request.group_id), members };
    cx.broker.groups.ask(&request.group_id, GroupRequest::Leave(leave)).reply(move |answer| {
        let left = match answer {
            Ok(GroupReply::Leave(left)) => Ok(left),
            Ok(_) => Err(ErrorCode::UnknownServerError),
            Err(error) => Err(error),
        };
        ResponseBody::LeaveGroup(response(left, version))
    })
}

fn response(left: Result<Left, ErrorCode>, version: i16) -> LeaveGroupResponse<'static> {
    let (error, members) = match left {
        Err(error) => (error, Vec::new()),
        // Before v3 there is one member, and its code is the answer's.
        Ok(left) if version < 3 => (left.first().map_or(ErrorCode::None, |(_, error)| *error), Vec::new()),
        Ok(left) => (ErrorCode::None, left),
    };
    let member = |(member, error): (LeavingMember, ErrorCode)| MemberResponse {
        member_id: owned(&member.member_id),
        group_instance_id: member.instance_id.as_ref().map(owned),
        error_code: error.code(),
    };
    LeaveGroupResponse {
        throttle_time_ms: 0,
        error_code: error.code(),
        members: members.into_iter().map(member).collect(),
    }
}
