//! ApiVersions: v0–5. What is served, in which versions; derived from the table in [`super`].
//!
//! * v3 (KIP-511): the client names its software; an unknown version is answered in v0 with 35.
//! * v5 (KIP-1242): the client may say whom it means to talk to, and learns that it has the wrong one.

use chronik_protocol::generated::api_versions_response::ApiVersion;
use chronik_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use chronik_protocol::{ApiKey, ErrorCode};

use super::{Reply, RequestContext, SERVED, lowest_version};

pub(crate) fn handle(cx: &RequestContext<'_>, request: ApiVersionsRequest<'_>) -> Reply {
    let error = match check(cx, &request) {
        ErrorCode::None => return Reply::ready(supported()),
        error => error,
    };
    Reply::ready(ApiVersionsResponse { error_code: error.code(), ..Default::default() })
}

fn check(cx: &RequestContext<'_>, request: &ApiVersionsRequest<'_>) -> ErrorCode {
    let named = is_name(&request.client_software_name) && is_name(&request.client_software_version);
    if cx.version >= 3 && !named {
        return ErrorCode::InvalidRequest;
    }
    match (&request.cluster_id, request.node_id) {
        (None, -1) => ErrorCode::None,
        (Some(cluster), node) if node != -1 => match cx.broker.is_called(cluster, node) {
            true => ErrorCode::None,
            false => ErrorCode::RebootstrapRequired,
        },
        _ => ErrorCode::InvalidRequest,
    }
}

/// Letters, digits, dots and dashes, with a letter or digit at both ends.
fn is_name(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
    let outer = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    outer(name.chars().next()) && outer(name.chars().next_back()) && name.chars().all(inner)
}

fn supported() -> ApiVersionsResponse<'static> {
    let mut api_keys: Vec<ApiVersion> = SERVED.iter().map(|&key| range(key)).collect();
    api_keys.sort_unstable_by_key(|api| api.api_key);
    ApiVersionsResponse { api_keys, ..Default::default() }
}

/// The answer to a version that we do not know: v0, and only what helps the client to ask again.
pub(super) fn unsupported() -> ApiVersionsResponse<'static> {
    ApiVersionsResponse {
        error_code: ErrorCode::UnsupportedVersion.code(),
        api_keys: vec![range(ApiKey::ApiVersions)],
        ..Default::default()
    }
}

fn range(key: ApiKey) -> ApiVersion {
    let min_version = match key {
        // librdkafka turns compression off when the lowest version is above 0, so Kafka 4 lists versions that it refuses.
        ApiKey::Produce => 0,
        _ => lowest_version(key),
    };
    ApiVersion { api_key: key as i16, min_version, max_version: key.info().max }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn software_names() {
        for good in ["a", "librdkafka", "2.0.2", "a-b.c", "0"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "-a", "a.", "a b", "a_b", "é"] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
