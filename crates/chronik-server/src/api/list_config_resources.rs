//! ListConfigResources: v0–1. What has settings. v0 (KIP-1000) means client metrics alone, v1 (KIP-1142) any kind; none named mean all.

use std::borrow::Cow;

use chronik_protocol::ErrorCode;
use chronik_protocol::generated::list_config_resources_response::ConfigResource;
use chronik_protocol::messages::{ListConfigResourcesRequest, ListConfigResourcesResponse};

use super::{Reply, RequestContext};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
/// Broker loggers, client metrics and groups: kinds that are known and of which there are none.
const EMPTY: [i8; 3] = [8, 16, 32];

pub(crate) fn handle(cx: &RequestContext<'_>, request: ListConfigResourcesRequest) -> Reply {
    let kinds = request.resource_types;
    if kinds.iter().any(|kind| ![TOPIC, BROKER].contains(kind) && !EMPTY.contains(kind)) {
        let error_code = ErrorCode::UnsupportedVersion.code();
        return Reply::ready(ListConfigResourcesResponse { error_code, ..ListConfigResourcesResponse::default() });
    }
    let wanted = |kind: i8| cx.version > 0 && (kinds.is_empty() || kinds.contains(&kind));
    let mut config_resources = Vec::new();
    if wanted(BROKER) {
        let resource_name = Cow::Owned(cx.broker.config.node_id.to_string());
        config_resources.push(ConfigResource { resource_name, resource_type: BROKER });
    }
    if wanted(TOPIC) {
        let image = cx.broker.metadata.image();
        config_resources.extend(image.topics().map(|topic| ConfigResource {
            resource_name: Cow::Owned(topic.name.as_ref().to_owned()),
            resource_type: TOPIC,
        }));
    }
    Reply::ready(ListConfigResourcesResponse { config_resources, ..ListConfigResourcesResponse::default() })
}
