//! What can go wrong between this client and a broker.

use std::time::Duration;

use chronik_protocol::error::ErrorCode;
use chronik_protocol::generated::api::ApiKey;

/// A failed operation of the client.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// No bootstrap address accepted a connection and spoke Kafka.
    #[error("cannot connect to {address}: {cause}")]
    Connect {
        /// The addresses that were tried.
        address: String,
        /// The operating system's or the handshake's reason for the last of them.
        cause: String,
    },
    /// A connection ended with requests in flight; whether they were carried out is unknown.
    #[error("connection to {address} lost: {cause}")]
    Disconnected {
        /// The broker's address.
        address: String,
        /// Why it ended.
        cause: String,
    },
    /// No answer in time; whether the request was carried out is unknown.
    #[error("no answer within {} ms: {what}", .after.as_millis())]
    Timeout {
        /// What was waited for.
        what: String,
        /// How long.
        after: Duration,
    },
    /// The broker answered with an error.
    #[error("{what}: {} {message}", .code.name())]
    Broker {
        /// What was asked for.
        what: String,
        /// Kafka's code.
        code: ErrorCode,
        /// The broker's message, or the code's.
        message: String,
    },
    /// The broker does not serve this API, or none of the versions known here.
    #[error("the broker does not serve {}", .0.name())]
    Unsupported(ApiKey),
    /// Bytes that are not the answer they should be.
    #[error("undecodable answer: {0}")]
    Malformed(String),
    /// The arguments contradict each other or the cluster's state.
    #[error("{0}")]
    Invalid(String),
    /// The producer, consumer or client was closed.
    #[error("closed")]
    Closed,
}

impl Error {
    /// An error code of a broker's answer, with the broker's own message if it sent one.
    pub fn broker(what: impl Into<String>, code: ErrorCode, message: Option<&str>) -> Self {
        let message = message.filter(|message| !message.is_empty()).unwrap_or(code.message()).to_owned();
        Error::Broker { what: what.into(), code, message }
    }

    /// Ok for code 0, else [`Error::Broker`].
    pub fn check(code: i16, what: impl FnOnce() -> String, message: Option<&str>) -> Result<(), Self> {
        match ErrorCode::from_code(code) {
            ErrorCode::None => Ok(()),
            code => Err(Self::broker(what(), code, message)),
        }
    }

    /// Kafka's code, if a broker answered with one.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Error::Broker { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// True if the same request may succeed later: the connection broke, or Kafka calls the code retriable.
    pub fn is_retriable(&self) -> bool {
        match self {
            Error::Connect { .. } | Error::Disconnected { .. } | Error::Timeout { .. } => true,
            Error::Broker { code, .. } => code.is_retriable(),
            Error::Unsupported(_) | Error::Malformed(_) | Error::Invalid(_) | Error::Closed => false,
        }
    }
}
