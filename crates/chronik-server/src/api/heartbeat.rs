//! Heartbeat: v0–4
//!
//! * v3: KIP-345, static members

use chronik_coordinator::group::api::{GroupReply, GroupRequest, MemberCheck};
use chronik_protocol::ErrorCode;
use chronik_protocol::generated::any::ResponseBody;
use chronik_protocol::messages::{HeartbeatRequest, HeartbeatResponse};

use super::group::{shared, shared_option};
use super::{Reply, RequestContext};

pub(crate) fn handle(cx: &RequestContext<'_>, request: HeartbeatRequest<'_>) -> Reply {
    let member = MemberCheck {
        group_id: shared(&request.group_id),
        member_id: shared(&request.member_id),
        instance_id: shared_option(&request.group_instance_id),
        generation: request.generation_id,
    };
    cx.broker.groups.ask(&request.group_id, GroupRequest::Heartbeat(member)).reply(|answer| {
        let error = match answer {
            Ok(GroupReply::Heartbeat(error)) => error,
            Ok(_) => ErrorCode::UnknownServerError,
            // Sessions begin anew when the log has been loaded: all is well until then.
            Err(ErrorCode::CoordinatorLoadInProgress) => ErrorCode::None,
            Err(error) => error,
        };
        ResponseBody::Heartbeat(HeartbeatResponse { throttle_time_ms: 0, error_code: error.code() })
    })
}
