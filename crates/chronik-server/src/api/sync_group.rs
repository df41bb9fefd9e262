//! SyncGroup: v0–5
//!
//! * v3: KIP-345, static members
//! * v5: KIP-559, the request must name the protocol, and the answer does

use bytes::Bytes;
use chronik_coordinator::group::api::{GroupReply, GroupRequest, MemberCheck, Sync, Synced};
use chronik_protocol::ErrorCode;
use chronik_protocol::generated::any::ResponseBody;
use chronik_protocol::messages::{SyncGroupRequest, SyncGroupResponse};

use super::group::{blob, owned, shared, shared_option};
use super::{Reply, RequestContext};

pub(crate) fn handle(cx: &RequestContext<'_>, request: SyncGroupRequest<'_>) -> Reply {
    let version = cx.version;
    if version >= 5 && (request.protocol_type.is_none() || request.protocol_name.is_none()) {
        let refused = Synced::error(ErrorCode::InconsistentGroupProtocol);
        return Reply::Ready(ResponseBody::SyncGroup(response(refused, version)));
    }
    let sync = Sync {
        member: MemberCheck {
            group_id: shared(&request.group_id),
            member_id: shared(&request.member_id),
            instance_id: shared_option(&request.group_instance_id),
            generation: request.generation_id,
        },
        protocol_type: shared_option(&request.protocol_type),
        protocol: shared_option(&request.protocol_name),
        assignments: request
            .assignments
            .iter()
            .map(|to| (shared(&to.member_id), Bytes::copy_from_slice(&to.assignment)))
            .collect(),
    };
    cx.broker.groups.ask(&request.group_id, GroupRequest::Sync(sync)).reply(move |answer| {
        let synced = match answer {
            Ok(GroupReply::Sync(synced)) => synced,
            Ok(_) => Synced::error(ErrorCode::UnknownServerError),
            Err(error) => Synced::error(error),
        };
        ResponseBody::SyncGroup(response(synced, version))
    })
}

fn response(synced: Synced, version: i16) -> SyncGroupResponse<'static> {
    SyncGroupResponse {
        throttle_time_ms: 0,
        error_code: synced.error.code(),
        protocol_type: synced.protocol_type.as_ref().filter(|_| version >= 5).map(owned),
        protocol_name: synced.protocol.as_ref().filter(|_| version >= 5).map(owned),
        assignment: blob(&synced.assignment),
    }
}
