//! InitProducerId: v0–5. A producer id for an idempotent producer; transactional ids are refused, transactions are not built.

use chronik_protocol::ErrorCode;
use chronik_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse};

use super::{Reply, RequestContext};

pub(crate) fn handle(cx: &RequestContext<'_>, request: InitProducerIdRequest<'_>) -> Reply {
    if let Err(code) = check(&request) {
        return Reply::ready(failed(code));
    }
    let broker = cx.broker.clone();
    Reply::later(async move {
        match broker.metadata.producer_id().await {
            Ok(producer_id) => InitProducerIdResponse { producer_id, producer_epoch: 0, ..Default::default() },
            Err(code) => failed(code),
        }
    })
}

fn check(request: &InitProducerIdRequest<'_>) -> Result<(), ErrorCode> {
    match &request.transactional_id {
        // An id without an epoch, or the reverse.
        _ if (request.producer_id == -1) != (request.producer_epoch == -1) => Err(ErrorCode::InvalidRequest),
        None => Ok(()),
        Some(id) if id.is_empty() => Err(ErrorCode::InvalidRequest),
        // Said at once and for good, so that the client's error names what is missing.
        Some(_) => Err(ErrorCode::UnsupportedVersion),
    }
}

fn failed(code: ErrorCode) -> InitProducerIdResponse {
    InitProducerIdResponse { error_code: code.code(), producer_id: -1, producer_epoch: -1, ..Default::default() }
}
