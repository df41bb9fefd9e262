//! FindCoordinator: v0–6
//!
//! * v1: the type of the key, and a text with the error
//! * v4: KIP-699, several keys
//! * v6: KIP-932, share groups
//!
//! This broker coordinates all groups. The topic that remembers them is made when first a group is looked for.
//! Transactions and share groups are not built: they are refused so that a client fails at once, instead of asking for
//! ever for a coordinator that will not come.

use std::borrow::Cow;
use std::sync::Arc;

use chronik_protocol::ErrorCode;
use chronik_protocol::generated::find_coordinator_response::Coordinator;
use chronik_protocol::messages::{FindCoordinatorRequest, FindCoordinatorResponse};

use super::group::owned_text;
use super::{Reply, RequestContext};
use crate::offsets_topic;

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const SHARE: i8 = 2;

/// A coordinator (id, host, port), or why there is none.
type Found = Result<(i32, String, i32), (ErrorCode, &'static str)>;

pub(crate) fn handle(cx: &RequestContext<'_>, request: FindCoordinatorRequest<'_>) -> Reply {
    let version = cx.version;
    let keys: Vec<Cow<'static, str>> = match version {
        ..4 => vec![owned_text(&request.key)],
        _ => request.coordinator_keys.iter().map(|key| owned_text(key)).collect(),
    };
    match request.key_type {
        GROUP if cx.broker.groups.is_open() => Reply::ready(response(keys, Ok(cx.advertised()), version)),
        GROUP => {
            let (here, broker) = (cx.advertised(), Arc::clone(cx.broker));
            Reply::later(async move {
                let found = offsets_topic::ensure(&broker).await.map(|()| here).map_err(|error| (error, error.message()));
                response(keys, found, version)
            })
        }
        other => Reply::ready(response(keys, Err(refusal(other, version)), version)),
    }
}

fn refusal(key_type: i8, version: i16) -> (ErrorCode, &'static str) {
    match key_type {
        TRANSACTION => (ErrorCode::UnsupportedVersion, "Transactions are not supported by this broker."),
        SHARE if version >= 6 => (ErrorCode::UnsupportedVersion, "Share groups are not supported by this broker."),
        _ => (ErrorCode::InvalidRequest, ErrorCode::InvalidRequest.message()),
    }
}

fn response(keys: Vec<Cow<'static, str>>, found: Found, version: i16) -> FindCoordinatorResponse<'static> {
    let ((node_id, host, port), error, message) = match found {
        Ok(here) => (here, ErrorCode::None, if version < 4 { "NONE" } else { "" }),
        Err((error, message)) => ((-1, String::new(), -1), error, message),
    };
    if version >= 4 {
        let coordinator = |key| Coordinator {
            key,
            node_id,
            host: owned_text(&host),
            port,
            error_code: error.code(),
            error_message: Some(Cow::Borrowed(message)),
        };
        let coordinators = keys.into_iter().map(coordinator).collect();
        return FindCoordinatorResponse { coordinators, ..FindCoordinatorResponse::default() };
    }
    FindCoordinatorResponse {
        error_code: error.code(),
        error_message: (version >= 1).then_some(Cow::Borrowed(message)),
        node_id,
        host: host.into(),
        port,
        ..FindCoordinatorResponse::default()
    }
}
