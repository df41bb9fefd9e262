//! CreatePartitions: v0–3. Adds partitions to topics, each by itself.

use std::borrow::Cow;
use std::sync::Arc;

use chronik_protocol::ErrorCode;
use chronik_protocol::generated::create_partitions_response::CreatePartitionsTopicResult;
use chronik_protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse};

use super::{Reply, RequestContext, within};

pub(crate) fn handle(cx: &RequestContext<'_>, request: CreatePartitionsRequest<'_>) -> Reply {
    let broker = Arc::clone(cx.broker);
    let request = request.into_owned();
    Reply::later(async move {
        let names: Vec<_> = request.topics.iter().map(|topic| topic.name.clone()).collect();
        let timeout_ms = request.timeout_ms;
        let proposed = broker.metadata.propose(move |controller| controller.create_partitions(&request));
        within(timeout_ms, proposed).await.unwrap_or_else(|error| all(names, error))
    })
}

fn all(names: Vec<Cow<'static, str>>, error: ErrorCode) -> CreatePartitionsResponse<'static> {
    let result = |name| CreatePartitionsTopicResult {
        name,
        error_code: error.code(),
        error_message: Some(Cow::Borrowed(error.message())),
    };
    CreatePartitionsResponse { results: names.into_iter().map(result).collect(), ..CreatePartitionsResponse::default() }
}
