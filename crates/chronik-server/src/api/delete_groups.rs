//! DeleteGroups: v0–3
//!
//! * v3: room for a text with the error, which nothing here needs

use std::collections::BTreeSet;
use std::sync::Arc;

use chronik_coordinator::group::api::{GroupReply, GroupRequest};
use chronik_protocol::ErrorCode;
use chronik_protocol::generated::any::ResponseBody;
use chronik_protocol::generated::delete_groups_response::DeletableGroupResult;
use chronik_protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse};

use super::group::{owned, replies, shared};
use super::{Reply, RequestContext};
use crate::shards::Answer;

pub(crate) fn handle(cx: &RequestContext<'_>, request: DeleteGroupsRequest<'_>) -> Reply {
    // A group that is named twice is deleted, and answered, once.
    let groups: BTreeSet<Arc<str>> = request.groups_names.iter().map(|group| shared(group)).collect();
    let ask = |group: &Arc<str>| cx.broker.groups.ask(group, GroupRequest::Delete(Arc::clone(group)));
    let asked = groups.iter().map(ask).collect();
    replies(asked, move |answers| {
        let result = |(group, answer): (&Arc<str>, Answer)| DeletableGroupResult {
            group_id: owned(group),
            error_code: code(answer).code(),
            error_message: None,
        };
        let results = groups.iter().zip(answers).map(result).collect();
        ResponseBody::DeleteGroups(DeleteGroupsResponse { throttle_time_ms: 0, results })
    })
}

fn code(answer: Answer) -> ErrorCode {
    match answer {
        Ok(GroupReply::Delete(error)) => error,
        Ok(_) => ErrorCode::UnknownServerError,
        Err(error) => error,
    }
}
