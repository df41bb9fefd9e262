//! The primitives of Kafka's encoding: what every generated message is read and written with.
//!
//! Decoding borrows from the frame and allocates nothing but the arrays' elements, against a budget that is
//! proportional to the frame ([`Reader`]). Encoding writes into one buffer and splices record bytes in without copying
//! them ([`Writer`]).

use std::borrow::Cow;

use thiserror::Error;

mod reader;
mod records;
mod writer;

pub use reader::{MAX_ELEMENTS, MAX_TAGS, Reader};
pub use records::{Chunk, RangeSource, Records};
pub use writer::{EncodedFrame, Writer, uvarint_len};

/// A string of a message: borrowed from the frame, or owned.
pub type Str<'a> = Cow<'a, str>;
/// Bytes of a message: borrowed from the frame, or owned.
pub type Blob<'a> = Cow<'a, [u8]>;

/// Why bytes are not the message that they were taken for.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    /// A length reaches beyond the end of the frame (or of the tagged field).
    #[error("the frame ends before the message does")]
    Truncated,
    /// Null where the version allows none.
    #[error("null in a field that cannot be null")]
    Null,
    /// A varint with more bits than its type has.
    #[error("a varint is too long")]
    Varint,
    /// A string longer than 32,767 bytes.
    #[error("a string of {0} bytes is too long")]
    StringTooLong(u32),
    /// A string that is not UTF-8.
    #[error("a string is not UTF-8")]
    Utf8,
    /// More elements than the frame can hold, or more than [`MAX_ELEMENTS`].
    #[error("an array of {0} elements is too long")]
    ArrayTooLong(u32),
    /// More than [`MAX_TAGS`] tagged fields in one struct.
    #[error("{0} tagged fields are too many")]
    TooManyTags(u32),
    /// The message would need more memory than its bytes can justify.
    #[error("the message needs too much memory for its size")]
    OverBudget,
    /// A tagged field is longer than its content.
    #[error("the size of tagged field {0} is wrong")]
    TagSize(u32),
    /// Bytes are left behind the message.
    #[error("{0} bytes are left behind the message")]
    Trailing(u32),
    /// The API has no such version.
    #[error("version {0} is not supported")]
    Version(i16),
}

/// Why a message cannot be written in a version.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum EncodeError {
    /// The field has a value, and the version has no place for it.
    #[error("{message}.{field} cannot be written in version {version}")]
    Unsupported {
        /// The struct.
        message: &'static str,
        /// The field.
        field: &'static str,
        /// The version.
        version: i16,
    },
    /// The field is null, and the version allows none.
    #[error("{message}.{field} cannot be null in version {version}")]
    Null {
        /// The struct.
        message: &'static str,
        /// The field.
        field: &'static str,
        /// The version.
        version: i16,
    },
    /// A string, an array or the whole frame is longer than its length field can say.
    #[error("a value of {0} bytes or elements is too long")]
    TooLong(usize),
    /// The message has no such version.
    #[error("version {0} is not supported")]
    Version(i16),
}

/// What can be read from a frame.
pub trait Decode<'a>: Sized {
    /// Reads the value as it is laid out in `version`, which must be one of the message's.
    fn decode(r: &mut Reader<'a>, version: i16) -> Result<Self, DecodeError>;
}

/// What can be written to a frame.
pub trait Encode {
    /// Writes the value as it is laid out in `version`, which must be one of the message's.
    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError>;
}

/// A whole message: a request, a response, a header or the content of a record.
pub trait Message {
    /// Kafka's name of it.
    const NAME: &'static str;
    /// The lowest version.
    const MIN_VERSION: i16;
    /// The highest stable version.
    const MAX_VERSION: i16;
    /// The first version in the flexible encoding (`i16::MAX`: none).
    const FLEXIBLE_FROM: i16;
}

/// A request.
pub trait Request: Message + Encode {
    /// Its API.
    const KEY: crate::generated::api::ApiKey;
    /// What answers it.
    type Response<'b>: Message + Encode + Decode<'b>;
}

/// The key or value of a record in an internal topic, or a record of the metadata log.
pub trait TypedRecord: Message {
    /// The number that tells the records of a log apart.
    const RECORD_TYPE: i16;
}

/// Reads a message that must fill `bytes` exactly.
pub fn decode_exact<'a, T: Decode<'a> + Message>(bytes: &'a [u8], version: i16) -> Result<T, DecodeError> {
    if version < T::MIN_VERSION || version > T::MAX_VERSION {
        return Err(DecodeError::Version(version));
    }
    let mut r = Reader::new(bytes);
    let message = T::decode(&mut r, version)?;
    r.finish()?;
    Ok(message)
}

/// Writes a message alone, without header or length.
pub fn encode_to_vec<T: Encode + Message>(message: &T, version: i16) -> Result<Vec<u8>, EncodeError> {
    let mut w = Writer::default();
    encode_checked(message, &mut w, version)?;
    Ok(w.into_vec())
}

/// Writes `prefix` and the message: the shape of keys (prefix: record type) and values (prefix: version) in internal
/// topics.
pub fn encode_prefixed<T: Encode + Message>(prefix: i16, message: &T, version: i16) -> Result<Vec<u8>, EncodeError> {
    let mut w = Writer::default();
    w.i16(prefix);
    encode_checked(message, &mut w, version)?;
    Ok(w.into_vec())
}

/// Writes a message in a version that is checked to be one of its own.
pub(crate) fn encode_checked<T: Encode + Message>(
    message: &T,
    w: &mut Writer,
    version: i16,
) -> Result<(), EncodeError> {
    if version < T::MIN_VERSION || version > T::MAX_VERSION {
        return Err(EncodeError::Version(version));
    }
    message.encode(w, version)
}
