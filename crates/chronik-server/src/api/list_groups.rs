//! ListGroups: v0–5
//!
//! * v4: KIP-518, states: asked for and answered
//! * v5: KIP-848, types: asked for and answered

use chronik_coordinator::group::api::{GroupReply, GroupRequest, List, Listed};
use chronik_protocol::ErrorCode;
use chronik_protocol::generated::any::ResponseBody;
use chronik_protocol::generated::list_groups_response::ListedGroup;
use chronik_protocol::messages::{ListGroupsRequest, ListGroupsResponse};

use super::group::{owned, replies, shared};
use super::{Reply, RequestContext};
use crate::shards::Answer;

pub(crate) fn handle(cx: &RequestContext<'_>, request: ListGroupsRequest<'_>) -> Reply {
    let version = cx.version;
    let list = List {
        states: request.states_filter.iter().map(|state| shared(state)).collect(),
        types: request.types_filter.iter().map(|group_type| shared(group_type)).collect(),
    };
    let asked = cx.broker.groups.ask_all(&GroupRequest::List(list));
    replies(asked, move |answers| ResponseBody::ListGroups(response(answers, version)))
}

/// A list that is not whole is no list: one shard that cannot answer is the answer.
fn response(answers: Vec<Answer>, version: i16) -> ListGroupsResponse<'static> {
    let mut response = ListGroupsResponse { throttle_time_ms: 0, error_code: 0, groups: Vec::new() };
    let group = |group: Listed| ListedGroup {
        group_id: owned(&group.group_id),
        protocol_type: owned(&group.protocol_type),
        group_state: if version >= 4 { group.state.into() } else { "".into() },
        group_type: if version >= 5 { group.group_type.into() } else { "".into() },
    };
    for answer in answers {
        let error = match answer {
            Ok(GroupReply::List(groups)) => {
                response.groups.extend(groups.into_iter().map(group));
                continue;
            }
            Ok(_) => ErrorCode::UnknownServerError,
            Err(error) => error,
        };
        return ListGroupsResponse { throttle_time_ms: 0, error_code: error.code(), groups: Vec::new() };
    }
    response
}
