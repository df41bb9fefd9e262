//! Frames: the length prefix with its limits, and whole requests and responses on the wire.

use crate::generated::any::ResponseBody;
use crate::generated::api::ApiKey;
use crate::generated::request_header::RequestHeader;
use crate::generated::response_header::ResponseHeader;
use crate::wire::{Encode, EncodeError, EncodedFrame, Request, Writer, encode_checked};

/// Why a length prefix is refused.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum FrameError {
    /// Nothing can be a request of this length.
    #[error("a frame of {0} bytes")]
    NotPositive(i32),
    /// More than a peer may send at once.
    #[error("a frame of {len} bytes is longer than {max}")]
    TooLong {
        /// What the prefix says.
        len: i32,
        /// What is allowed.
        max: usize,
    },
}

/// The length that a frame's prefix announces, if it is within `max`.
pub fn length(prefix: [u8; 4], max: usize) -> Result<usize, FrameError> {
    let len = i32::from_be_bytes(prefix);
    match usize::try_from(len) {
        Err(_) | Ok(0) => Err(FrameError::NotPositive(len)),
        Ok(n) if n > max => Err(FrameError::TooLong { len, max }),
        Ok(n) => Ok(n),
    }
}

/// The whole frame of a response: length, header, body.
pub fn encode_response(
    key: ApiKey,
    version: i16,
    correlation_id: i32,
    body: &ResponseBody<'_>,
) -> Result<EncodedFrame, EncodeError> {
    let mut w = begin();
    ResponseHeader { correlation_id }.encode(&mut w, key.response_header_version(version))?;
    body.encode(&mut w, version)?;
    finish(w)
}

/// The whole frame of a request: length, header, body.
pub fn encode_request<R: Request>(
    version: i16,
    correlation_id: i32,
    client_id: Option<&str>,
    request: &R,
) -> Result<EncodedFrame, EncodeError> {
    let mut w = begin();
    let header = RequestHeader {
        request_api_key: R::KEY as i16,
        request_api_version: version,
        correlation_id,
        client_id: client_id.map(Into::into),
    };
    header.encode(&mut w, R::KEY.request_header_version(version))?;
    encode_checked(request, &mut w, version)?;
    finish(w)
}

/// What most frames need besides records.
const USUAL_BYTES: usize = 256;

fn begin() -> Writer {
    let mut w = Writer::with_capacity(USUAL_BYTES);
    w.i32(0);
    w
}

fn finish(mut w: Writer) -> Result<EncodedFrame, EncodeError> {
    let len = w.len() - 4;
    w.patch_i32(0, i32::try_from(len).map_err(|_| EncodeError::TooLong(len))?);
    Ok(w.finish())
}
