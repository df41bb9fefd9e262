//! Request and response headers: which API, which version, whose answer.

use crate::generated::api::ApiKey;
use crate::generated::request_header::RequestHeader;
use crate::generated::response_header::ResponseHeader;
use crate::wire::{Decode, DecodeError, Reader, Str};

/// A request frame with its header read and its body not yet.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestFrame<'a> {
    /// The key as it came; only known keys get this far.
    pub key: ApiKey,
    /// The version as it came: it may be one that the API does not have.
    pub version: i16,
    /// What the answer must carry.
    pub correlation_id: i32,
    /// The client's name for itself.
    pub client_id: Option<Str<'a>>,
    /// The bytes behind the header.
    pub body: &'a [u8],
}

/// Why a frame is no request.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum HeaderError {
    /// No API has this key: the header's own version cannot be known either.
    #[error("unknown API key {0}")]
    UnknownKey(i16),
    /// The header is cut short or ill-formed.
    #[error("ill-formed request header: {0}")]
    Malformed(#[from] DecodeError),
}

/// Reads the header of a request (the frame without its length).
pub fn parse_request(frame: &[u8]) -> Result<RequestFrame<'_>, HeaderError> {
    let mut start = Reader::new(frame);
    let key = start.i16()?;
    let version = start.i16()?;
    let key = ApiKey::from_i16(key).ok_or(HeaderError::UnknownKey(key))?;
    let mut r = Reader::new(frame);
    let header = RequestHeader::decode(&mut r, key.request_header_version(version))?;
    let RequestHeader { correlation_id, client_id, .. } = header;
    Ok(RequestFrame { key, version, correlation_id, client_id, body: r.rest() })
}

/// Reads the header of the response to a request of this key and version: the correlation id and the body.
pub fn parse_response(frame: &[u8], key: ApiKey, version: i16) -> Result<(i32, &[u8]), DecodeError> {
    let mut r = Reader::new(frame);
    let header = ResponseHeader::decode(&mut r, key.response_header_version(version))?;
    Ok((header.correlation_id, r.rest()))
}
