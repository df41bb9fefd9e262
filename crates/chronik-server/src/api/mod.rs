//! The APIs: one table, one file each.
//!
//! # Adding an API
//!
//! 1. Write `api/<snake_name>.rs` with
//!    `pub(crate) fn handle(cx: &RequestContext<'_>, request: XRequest<'_>) -> Reply`. The request borrows from the
//!    frame; `into_owned` what has to outlive the call. `cx.version` is one of the API's.
//! 2. Add `X => x,` to [`apis!`] below. Dispatch and ApiVersions follow from that line.
//!
//! Code that runs before `handle` returns runs in the order in which requests came over the connection; that is where
//! produce assigns offsets. What is still to be awaited goes into [`Reply::Later`]: the connection polls it itself (no
//! task), and sends the answers in the order of the requests.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use chronik_protocol::frame::{FrameError, encode_response};
use chronik_protocol::generated::any::ResponseBody;
use chronik_protocol::header::{self, HeaderError};
use chronik_protocol::wire::{DecodeError, EncodedFrame, decode_exact};
use chronik_protocol::{ApiKey, ErrorCode};

use crate::net::connection::ConnectionInfo;
use crate::server::Broker;

mod error;
mod group;

/// The one table: an API is served if and only if it stands here.
macro_rules! apis {
    ($($key:ident => $module:ident,)*) => {
        $(mod $module;)*

        /// What is served, in the order of the table.
        static SERVED: &[ApiKey] = &[$(ApiKey::$key),*];

        /// Decodes the body and starts the request. None: the API is not served.
        fn start(cx: &RequestContext<'_>, key: ApiKey, body: &[u8]) -> Option<Result<Reply, DecodeError>> {
            match key {
                $(ApiKey::$key => {
                    let body = without_padding(key, cx.version, body);
                    Some(decode_exact(body, cx.version).map(|request| $module::handle(cx, request)))
                })*
                _ => None,
            }
        }
    };
}

/// librdkafka keeps four bytes for the length of a list and gives three back when it has written it; where it asks for all topics
/// (a null list, Metadata from v9 on) it forgets to, up to 2.12 at least. The fourth byte is then the null that the message begins with.
fn without_padding(key: ApiKey, version: i16, body: &[u8]) -> &[u8] {
    const PADDING: usize = 3;
    let exact = if version <= 10 { 5 } else { 4 };
    let padded = key == ApiKey::Metadata && version >= 9 && body.len() == exact + PADDING;
    if padded && body.starts_with(&[0; PADDING + 1]) && body.ends_with(&[0]) { &body[PADDING..] } else { body }
}

apis! {
    AlterConfigs => alter_configs,
    ApiVersions => api_versions,
    CreatePartitions => create_partitions,
    CreateTopics => create_topics,
    DeleteGroups => delete_groups,
    DeleteRecords => delete_records,
    DeleteTopics => delete_topics,
    DescribeCluster => describe_cluster,
    DescribeConfigs => describe_configs,
    DescribeGroups => describe_groups,
    DescribeLogDirs => describe_log_dirs,
    DescribeTopicPartitions => describe_topic_partitions,
    Fetch => fetch,
    FindCoordinator => find_coordinator,
    Heartbeat => heartbeat,
    IncrementalAlterConfigs => incremental_alter_configs,
    InitProducerId => init_producer_id,
    JoinGroup => join_group,
    LeaveGroup => leave_group,
    ListConfigResources => list_config_resources,
    ListGroups => list_groups,
    ListOffsets => list_offsets,
    Metadata => metadata,
    OffsetCommit => offset_commit,
    OffsetDelete => offset_delete,
    OffsetFetch => offset_fetch,
    OffsetForLeaderEpoch => offset_for_leader_epoch,
    Produce => produce,
    SyncGroup => sync_group,
}

/// What a request knows besides its body.
pub(crate) struct RequestContext<'a> {
    /// The parts of the broker.
    pub(crate) broker: &'a Arc<Broker>,
    /// The version of the API that the client speaks.
    pub(crate) version: i16,
    /// The client's name for itself.
    pub(crate) client_id: Option<&'a str>,
    /// Where it came from, and the address of ours that it used.
    pub(crate) connection: &'a Arc<ConnectionInfo>,
    /// The frame that the request borrows from: `frame.slice_ref(…)` keeps records without copying them.
    pub(crate) frame: &'a Bytes,
}

impl RequestContext<'_> {
    /// Our id, host and port as this client should use them: what `advertised.listeners` says of its listener, or else the
    /// address at which it reached us.
    pub(crate) fn advertised(&self) -> (i32, String, i32) {
        let config = &self.broker.config;
        let said = config.advertised.iter().find(|listener| *listener.name == *self.connection.listener);
        let (host, port) = match said {
            Some(listener) => (listener.host.clone(), listener.port),
            None => (self.connection.local.ip().to_canonical().to_string(), self.connection.local.port()),
        };
        (config.node_id, host, port.into())
    }
}

/// What a request leads to.
pub(crate) enum Reply {
    /// The answer.
    Ready(ResponseBody<'static>),
    /// An answer that has to be waited for. Dropped without being finished when the client goes away.
    Later(Pin<Box<dyn Future<Output = ResponseBody<'static>> + Send>>),
    /// None: the client asked for no acknowledgement.
    NoResponse,
    /// The connection ends, after the answers to what was asked before.
    Close(CloseReason),
}

impl Reply {
    /// An answer that is there.
    pub(crate) fn ready(body: impl Into<ResponseBody<'static>>) -> Reply {
        Reply::Ready(body.into())
    }

    /// An answer that has to be waited for.
    pub(crate) fn later<B: Into<ResponseBody<'static>>>(future: impl Future<Output = B> + Send + 'static) -> Reply {
        Reply::Later(Box::pin(async move { future.await.into() }))
    }
}

/// Waits as long as the client said that it does; what it asked for may still happen. Without a positive time the answer says so itself.
async fn within<T>(timeout_ms: i32, work: impl Future<Output = Result<T, ErrorCode>>) -> Result<T, ErrorCode> {
    match u64::try_from(timeout_ms) {
        Ok(ms) if ms > 0 => {
            tokio::time::timeout(Duration::from_millis(ms), work).await.unwrap_or(Err(ErrorCode::RequestTimedOut))
        }
        _ => work.await,
    }
}

/// Why a connection is closed by us.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum CloseReason {
    /// A length that no request has.
    #[error("{0}")]
    Frame(FrameError),
    /// The bytes are no request header, or one of an API that does not exist.
    #[error("{0}")]
    Header(#[from] HeaderError),
    /// An API that is not served.
    #[error("{0} is not served")]
    NotServed(&'static str),
    /// A version that ApiVersions does not list.
    #[error("{0} has no version {1}")]
    Version(&'static str, i16),
    /// The body is not what its header says.
    #[error("{0} v{1}: {2}")]
    Body(&'static str, i16, DecodeError),
    /// A Produce with acks=0 failed: closing is the only way to tell.
    #[error("a Produce with acks=0 failed: {0}")]
    Unacknowledged(chronik_protocol::ErrorCode),
    /// A bug of ours: the answer does not fit its version.
    #[error("the answer to {0} v{1} could not be written")]
    Answer(&'static str, i16),
}

impl CloseReason {
    /// The kind, for limiting log lines.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            CloseReason::Frame(_) => "frame",
            CloseReason::Header(_) => "header",
            CloseReason::NotServed(_) => "api",
            CloseReason::Version(..) => "version",
            CloseReason::Body(..) => "body",
            CloseReason::Unacknowledged(_) => "acks=0",
            CloseReason::Answer(..) => "answer",
        }
    }
}

/// What the connection has to do for a frame.
pub(crate) enum Dispatched {
    /// Send this.
    Answer(EncodedFrame),
    /// Poll this, then send.
    Later(Answering),
    /// Nothing.
    Nothing,
    /// Close.
    Close(CloseReason),
}

/// Starts the request in a frame (without its length).
pub(crate) fn dispatch(broker: &Arc<Broker>, connection: &Arc<ConnectionInfo>, frame: Bytes) -> Dispatched {
    let request = match header::parse_request(&frame) {
        Ok(request) => request,
        Err(error) => return Dispatched::Close(error.into()),
    };
    let tag = Tag { key: request.key, version: request.version, correlation_id: request.correlation_id };
    if !serves(tag.key, tag.version) {
        return refuse(tag);
    }
    let cx = RequestContext {
        broker,
        version: tag.version,
        client_id: request.client_id.as_deref(),
        connection,
        frame: &frame,
    };
    match start(&cx, tag.key, request.body) {
        None => Dispatched::Close(CloseReason::NotServed(tag.key.name())),
        Some(Err(error)) => Dispatched::Close(CloseReason::Body(tag.key.name(), tag.version, error)),
        Some(Ok(Reply::Ready(body))) => match tag.encode(&body) {
            Ok(frame) => Dispatched::Answer(frame),
            Err(reason) => Dispatched::Close(reason),
        },
        Some(Ok(Reply::Later(future))) => {
            Dispatched::Later(Answering { cost: 0, state: AnsweringState::Waiting(tag, future) })
        }
        Some(Ok(Reply::NoResponse)) => Dispatched::Nothing,
        Some(Ok(Reply::Close(reason))) => Dispatched::Close(reason),
    }
}

/// The lowest version that is served: the lowest that can be decoded, but for the two APIs whose old versions carry
/// record formats that Kafka 4 dropped.
fn lowest_version(key: ApiKey) -> i16 {
    match key {
        ApiKey::Produce => 3,
        ApiKey::Fetch => 4,
        _ => key.info().min,
    }
}

fn serves(key: ApiKey, version: i16) -> bool {
    SERVED.contains(&key) && lowest_version(key) <= version && version <= key.info().max
}

/// As Kafka: only ApiVersions is told which versions there are (KIP-511), everything else ends the connection.
fn refuse(tag: Tag) -> Dispatched {
    match tag.key {
        ApiKey::ApiVersions => match (Tag { version: 0, ..tag }).encode(&api_versions::unsupported().into()) {
            Ok(frame) => Dispatched::Answer(frame),
            Err(reason) => Dispatched::Close(reason),
        },
        key if SERVED.contains(&key) => Dispatched::Close(CloseReason::Version(key.name(), tag.version)),
        key => Dispatched::Close(CloseReason::NotServed(key.name())),
    }
}

/// What an answer must carry.
#[derive(Clone, Copy, Debug)]
struct Tag {
    key: ApiKey,
    version: i16,
    correlation_id: i32,
}

impl Tag {
    fn encode(self, body: &ResponseBody<'_>) -> Outcome {
        encode_response(self.key, self.version, self.correlation_id, body).map_err(|error| {
            tracing::error!(api = self.key.name(), version = self.version, %error, "an answer could not be written");
            CloseReason::Answer(self.key.name(), self.version)
        })
    }
}

/// A frame to send, or the end of the connection.
pub(crate) type Outcome = Result<EncodedFrame, CloseReason>;

/// An answer that is on its way. Yields what the request cost in bytes, and the outcome.
pub(crate) struct Answering {
    cost: usize,
    state: AnsweringState,
}

enum AnsweringState {
    Done(Option<Outcome>),
    Waiting(Tag, Pin<Box<dyn Future<Output = ResponseBody<'static>> + Send>>),
}

impl Answering {
    /// An answer that only waits for those before it.
    pub(crate) fn ready(outcome: Outcome) -> Answering {
        Answering { cost: 0, state: AnsweringState::Done(Some(outcome)) }
    }

    /// Says what the request holds in memory.
    pub(crate) fn costing(self, bytes: usize) -> Answering {
        Answering { cost: bytes, ..self }
    }
}

impl Future for Answering {
    type Output = (usize, Outcome);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let cost = self.cost;
        match &mut self.state {
            AnsweringState::Done(outcome) => match outcome.take() {
                Some(outcome) => Poll::Ready((cost, outcome)),
                None => Poll::Pending,
            },
            AnsweringState::Waiting(tag, future) => {
                let tag = *tag;
                let body = ready!(future.as_mut().poll(cx));
                Poll::Ready((cost, tag.encode(&body)))
            }
        }
    }
}

impl fmt::Debug for Answering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answering").field("cost", &self.cost).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use chronik_protocol::messages::MetadataRequest;

    use super::*;

    fn metadata(version: i16, body: &[u8]) -> Result<MetadataRequest<'_>, DecodeError> {
        decode_exact(without_padding(ApiKey::Metadata, version, body), version)
    }

    #[test]
    fn all_topics_as_librdkafka_asks_for_them() {
        for version in [9, 10] {
            let request = metadata(version, &[0, 0, 0, 0, 1, 0, 1, 0]).unwrap();
            assert_eq!(request.topics, None);
            assert!(request.allow_auto_topic_creation && request.include_topic_authorized_operations);
        }
        for version in 11..=13 {
            let request = metadata(version, &[0, 0, 0, 0, 1, 0, 0]).unwrap();
            assert_eq!(request.topics, None);
            assert!(request.allow_auto_topic_creation && !request.include_topic_authorized_operations);
        }
    }

    #[test]
    fn what_is_not_padding_stays() {
        assert_eq!(metadata(13, &[0, 1, 0, 0]).unwrap().topics, None);
        assert_eq!(metadata(13, &[1, 1, 0, 0]).unwrap().topics, Some(Vec::new()));
        metadata(13, &[1, 0, 0, 0, 1, 0, 0]).unwrap_err();
        metadata(13, &[0, 0, 0, 0, 0]).unwrap_err();
        assert_eq!(without_padding(ApiKey::ListGroups, 13, &[0; 7]).len(), 7);
    }
}
