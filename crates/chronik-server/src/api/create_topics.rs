//! CreateTopics: v0–7. Each topic by itself; answered when the topics are on stable storage and can be used.
//!
//! * v1: `validate_only`. v4: −1 asks for the broker's default counts. v5 (KIP-525): the settings that the topic has. v7: its id.

use std::borrow::Cow;
use std::sync::Arc;

use chronik_protocol::ErrorCode;
use chronik_protocol::generated::create_topics_response::CreatableTopicResult;
use chronik_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse};

use super::{Reply, RequestContext, within};
use crate::random;

pub(crate) fn handle(cx: &RequestContext<'_>, request: CreateTopicsRequest<'_>) -> Reply {
    let broker = Arc::clone(cx.broker);
    let request = request.into_owned();
    Reply::later(async move {
        let names: Vec<_> = request.topics.iter().map(|topic| topic.name.clone()).collect();
        let timeout_ms = request.timeout_ms;
        let proposed = broker.metadata.propose(move |controller| controller.create_topics(&request, &mut random::uuid));
        within(timeout_ms, proposed).await.unwrap_or_else(|error| all(names, error))
    })
}

fn all(names: Vec<Cow<'static, str>>, error: ErrorCode) -> CreateTopicsResponse<'static> {
    let result = |name| CreatableTopicResult {
        name,
        error_code: error.code(),
        error_message: Some(Cow::Borrowed(error.message())),
        ..CreatableTopicResult::default()
    };
    CreateTopicsResponse { topics: names.into_iter().map(result).collect(), ..CreateTopicsResponse::default() }
}
