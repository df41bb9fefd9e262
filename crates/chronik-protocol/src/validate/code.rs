//! The codes that validation answers with.

/// Kafka's error codes, as far as validation gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i16)]
pub enum ErrorCode {
    /// `CORRUPT_MESSAGE`.
    CorruptMessage = 2,
    /// `MESSAGE_TOO_LARGE`.
    MessageTooLarge = 10,
    /// `INVALID_TIMESTAMP`.
    InvalidTimestamp = 32,
    /// `UNSUPPORTED_COMPRESSION_TYPE`.
    UnsupportedCompressionType = 76,
    /// `INVALID_RECORD`.
    InvalidRecord = 87,
}
