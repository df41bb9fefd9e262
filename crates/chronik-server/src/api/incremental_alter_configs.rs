//! IncrementalAlterConfigs: v0–1. Changes single settings of topics or brokers (KIP-339): set, delete, append, subtract.

use std::borrow::Cow;
use std::sync::Arc;

use chronik_protocol::ErrorCode;
use chronik_protocol::generated::incremental_alter_configs_response::AlterConfigsResourceResponse;
use chronik_protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};

use super::{Reply, RequestContext};

pub(crate) fn handle(cx: &RequestContext<'_>, request: IncrementalAlterConfigsRequest<'_>) -> Reply {
    let broker = Arc::clone(cx.broker);
    let request = request.into_owned();
    Reply::later(async move {
        let resources = request.resources.iter().map(|r| (r.resource_type, r.resource_name.clone())).collect();
        let proposed = broker.metadata.propose(move |controller| controller.incremental_alter_configs(&request));
        proposed.await.unwrap_or_else(|error| all(resources, error))
    })
}

fn all(resources: Vec<(i8, Cow<'static, str>)>, error: ErrorCode) -> IncrementalAlterConfigsResponse<'static> {
    let response = |(resource_type, resource_name)| AlterConfigsResourceResponse {
        error_code: error.code(),
        error_message: Some(Cow::Borrowed(error.message())),
        resource_type,
        resource_name,
    };
    IncrementalAlterConfigsResponse { responses: resources.into_iter().map(response).collect(), ..IncrementalAlterConfigsResponse::default() }
}
