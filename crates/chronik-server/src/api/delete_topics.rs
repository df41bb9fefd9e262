//! DeleteTopics: v0–6. Each topic by itself; answered when nobody can see the topics any more.
//!
//! * v5: error messages. v6 (KIP-516): by id.

use std::borrow::Cow;
use std::sync::Arc;

use chronik_protocol::ErrorCode;
use chronik_protocol::generated::delete_topics_response::DeletableTopicResult;
use chronik_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse};

use super::{Reply, RequestContext, within};

pub(crate) fn handle(cx: &RequestContext<'_>, request: DeleteTopicsRequest<'_>) -> Reply {
    let broker = Arc::clone(cx.broker);
    let request = request.into_owned();
    let version = cx.version;
    Reply::later(async move {
        let results = results(&request);
        let timeout_ms = request.timeout_ms;
        let proposed = broker.metadata.propose(move |controller| controller.delete_topics(&request, version));
        within(timeout_ms, proposed).await.unwrap_or_else(|error| all(results, error))
    })
}

fn results(request: &DeleteTopicsRequest<'static>) -> Vec<DeletableTopicResult<'static>> {
    let named = request.topic_names.iter().map(|name| DeletableTopicResult {
        name: Some(name.clone()),
        ..DeletableTopicResult::default()
    });
    let asked = request.topics.iter().map(|topic| DeletableTopicResult {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        ..DeletableTopicResult::default()
    });
    named.chain(asked).collect()
}

fn all(mut responses: Vec<DeletableTopicResult<'static>>, error: ErrorCode) -> DeleteTopicsResponse<'static> {
    for response in &mut responses {
        response.error_code = error.code();
        response.error_message = Some(Cow::Borrowed(error.message()));
    }
    DeleteTopicsResponse { responses, ..DeleteTopicsResponse::default() }
}
