//! JoinGroup: v0–9
//!
//! * v1: rebalance timeout; before, the session timeout is used for both
//! * v4: KIP-394, a new member is told its id first
//! * v5: KIP-345, static members
//! * v7: the protocol type in the answer
//! * v8: KIP-800, the reason, which only people read
//! * v9: KIP-814, a leader may be told to skip the assignment

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use chronik_coordinator::group::api::{GroupReply, GroupRequest, Join, Joined, JoinedMember, Protocol};
use chronik_protocol::ErrorCode;
use chronik_protocol::generated::any::ResponseBody;
use chronik_protocol::generated::join_group_response::JoinGroupResponseMember;
use chronik_protocol::messages::{JoinGroupRequest, JoinGroupResponse};

use super::group::{blob, client_host, owned, shared, shared_option};
use super::{Reply, RequestContext};
use crate::random;

pub(crate) fn handle(cx: &RequestContext<'_>, request: JoinGroupRequest<'_>) -> Reply {
    let version = cx.version;
    let member_id = shared(&request.member_id);
    let join = Join {
        group_id: shared(&request.group_id),
        member_id: Arc::clone(&member_id),
        instance_id: shared_option(&request.group_instance_id),
        client_id: cx.client_id.unwrap_or_default().into(),
        client_host: client_host(cx.connection.peer.ip()),
        session_timeout_ms: request.session_timeout_ms,
        rebalance_timeout_ms: if version == 0 { request.session_timeout_ms } else { request.rebalance_timeout_ms },
        protocol_type: shared(&request.protocol_type),
        protocols: request
            .protocols
            .iter()
            .map(|protocol| Protocol {
                name: shared(&protocol.name),
                metadata: Bytes::copy_from_slice(&protocol.metadata),
            })
            .collect(),
        requires_member_id: version >= 4,
        can_skip_assignment: version >= 9,
        fresh_id: random::uuid(),
    };
    cx.broker.groups.ask(&request.group_id, GroupRequest::Join(join)).reply(move |answer| {
        let joined = match answer {
            Ok(GroupReply::Join(joined)) => joined,
            Ok(_) => Joined::error(member_id, ErrorCode::UnknownServerError),
            Err(error) => Joined::error(member_id, error),
        };
        ResponseBody::JoinGroup(response(joined, version))
    })
}

fn response(joined: Joined, version: i16) -> JoinGroupResponse<'static> {
    let member = |member: JoinedMember| JoinGroupResponseMember {
        member_id: owned(&member.member_id),
        group_instance_id: member.instance_id.as_ref().filter(|_| version >= 5).map(owned),
        metadata: blob(&member.metadata),
    };
    // Before v7 there is no null for "no protocol was chosen".
    let protocol_name = joined.protocol.as_ref().map(owned).or((version < 7).then_some(Cow::Borrowed("")));
    JoinGroupResponse {
        throttle_time_ms: 0,
        error_code: joined.error.code(),
        generation_id: joined.generation,
        protocol_type: joined.protocol_type.as_ref().filter(|_| version >= 7).map(owned),
        protocol_name,
        leader: joined.leader.as_ref().map(owned).unwrap_or_default(),
        skip_assignment: joined.skip_assignment,
        member_id: owned(&joined.member_id),
        members: joined.members.into_iter().map(member).collect(),
    }
}
