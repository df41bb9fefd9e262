//! One connection to one broker: requests go out as they come, answers are matched by correlation id.
//!
//! A connection owns a single task that both writes and reads, so that closing is one thing: drop the handle and the task
//! ends, fail the socket and every request in flight fails with [`Error::Disconnected`].

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use chronik_protocol::generated::api::ApiKey;
use chronik_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use chronik_protocol::wire::{Chunk, Decode, EncodedFrame, Message, Reader, Request};
use chronik_protocol::{frame, header, wire};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::error::Error;

/// Requests that may wait in a connection before callers wait themselves.
const QUEUE: usize = 256;
/// Larger answers are refused: no broker sends more than it was asked for, and clients here ask for far less.
const MAX_ANSWER_BYTES: usize = 512 << 20;

/// The versions that a broker serves, by API.
#[derive(Debug, Clone, Default)]
pub struct Versions(Vec<(i16, i16, i16)>);

impl Versions {
    /// The highest version that both sides know.
    pub fn highest(&self, key: ApiKey, known_min: i16, known_max: i16) -> Result<i16, Error> {
        let range = self.0.iter().find(|(api, _, _)| *api == key as i16);
        let Some((_, min, max)) = range else { return Err(Error::Unsupported(key)) };
        let version = (*max).min(known_max);
        if version >= known_min && version >= *min { Ok(version) } else { Err(Error::Unsupported(key)) }
    }
}

/// A broker's answer in its own bytes; [`Answer::body`] decodes it in place.
#[derive(Debug, Clone)]
pub struct Answer<R> {
    body: Bytes,
    version: i16,
    request: PhantomData<fn() -> R>,
}

impl<R: Request> Answer<R> {
    /// The answer's fields, borrowed from its bytes.
    pub fn body(&self) -> Result<R::Response<'_>, Error> {
        let mut reader = Reader::new(&self.body);
        let body = R::Response::decode(&mut reader, self.version).map_err(|e| malformed::<R>(self.version, &e))?;
        reader.finish().map_err(|e| malformed::<R>(self.version, &e))?;
        Ok(body)
    }

    /// The bytes that borrowed fields point into.
    pub fn bytes(&self) -> &Bytes {
        &self.body
    }

    /// The version that was spoken.
    pub fn version(&self) -> i16 {
        self.version
    }
}

fn malformed<R: Request>(version: i16, error: &wire::DecodeError) -> Error {
    Error::Malformed(format!("{} v{version}: {error}", R::NAME))
}

struct Call {
    correlation: i32,
    frame: EncodedFrame,
    /// None for a request that has no answer (Produce with acks 0).
    reply: Option<oneshot::Sender<Result<Bytes, Error>>>,
    sent: Option<oneshot::Sender<Result<(), Error>>>,
}

/// A handle to a connection. Dropping the last one closes it.
#[derive(Debug)]
pub struct Connection {
    address: String,
    client_id: String,
    versions: Versions,
    correlation: AtomicI32,
    calls: mpsc::Sender<Call>,
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Call({})", self.correlation)
    }
}

impl Connection {
    /// Connects, and asks the broker for its versions.
    pub async fn open(address: &str, client_id: &str, limit: Duration) -> Result<Connection, Error> {
        let failed = |cause: String| Error::Connect { address: address.to_owned(), cause };
        let connect = async {
            let stream = TcpStream::connect(address).await.map_err(|e| failed(e.to_string()))?;
            stream.set_nodelay(true).map_err(|e| failed(e.to_string()))?;
            let (calls, queue) = mpsc::channel(QUEUE);
            tokio::spawn(Driver::new(address, stream, queue).run());
            let mut connection = Connection {
                address: address.to_owned(),
                client_id: client_id.to_owned(),
                versions: Versions::default(),
                correlation: AtomicI32::new(1),
                calls,
            };
            connection.versions = connection.ask_versions(limit).await.map_err(|e| failed(e.to_string()))?;
            Ok(connection)
        };
        timeout(limit, connect)
            .await
            .unwrap_or_else(|_| Err(failed(format!("no answer within {} ms", limit.as_millis()))))
    }

    /// The broker's address as it was connected to.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What the broker serves.
    pub fn versions(&self) -> &Versions {
        &self.versions
    }

    /// True once the socket is closed; a closed connection never comes back.
    pub fn is_closed(&self) -> bool {
        self.calls.is_closed()
    }

    /// Sends a request in the highest version that both know and waits for its answer.
    pub async fn call<R: Request>(&self, request: &R, limit: Duration) -> Result<Answer<R>, Error> {
        let version = self.versions.highest(R::KEY, R::MIN_VERSION, R::MAX_VERSION)?;
        self.call_version(request, version, limit).await
    }

    /// Sends a request that looks different from version to version: `make` gets the highest version that both know, at
    /// most `highest`.
    pub async fn call_with<R: Request>(
        &self,
        highest: i16,
        make: impl FnOnce(i16) -> R,
        limit: Duration,
    ) -> Result<Answer<R>, Error> {
        let version = self.versions.highest(R::KEY, R::MIN_VERSION, R::MAX_VERSION.min(highest))?;
        self.call_version(&make(version), version, limit).await
    }

    /// Sends a request in this version and waits for its answer.
    pub async fn call_version<R: Request>(
        &self,
        request: &R,
        version: i16,
        limit: Duration,
    ) -> Result<Answer<R>, Error> {
        let pending = self.start(request, version, limit).await?;
        pending.wait(limit).await
    }

    /// Sends a request; its answer is waited for separately, so that several can be on their way.
    pub async fn start<R: Request>(&self, request: &R, version: i16, limit: Duration) -> Result<Pending<R>, Error> {
        let (correlation, frame) = self.encode(request, version)?;
        let (reply, answer) = oneshot::channel();
        self.enqueue(Call { correlation, frame, reply: Some(reply), sent: None }, limit).await?;
        Ok(Pending { answer, version, address: self.address.clone(), request: PhantomData })
    }

    /// Sends a request that the broker does not answer, and waits until its bytes are with the operating system.
    pub async fn send_only<R: Request>(&self, request: &R, version: i16, limit: Duration) -> Result<(), Error> {
        let (correlation, frame) = self.encode(request, version)?;
        let (sent, done) = oneshot::channel();
        self.enqueue(Call { correlation, frame, reply: None, sent: Some(sent) }, limit).await?;
        match timeout(limit, done).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(self.lost()),
            Err(_) => Err(Error::Timeout { what: format!("{} to {}", R::NAME, self.address), after: limit }),
        }
    }

    async fn enqueue(&self, call: Call, limit: Duration) -> Result<(), Error> {
        match timeout(limit, self.calls.send(call)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(self.lost()),
            Err(_) => Err(Error::Timeout { what: format!("the queue to {}", self.address), after: limit }),
        }
    }

    fn encode<R: Request>(&self, request: &R, version: i16) -> Result<(i32, EncodedFrame), Error> {
        let correlation = self.correlation.fetch_add(1, Ordering::Relaxed);
        let frame = frame::encode_request(version, correlation, Some(&self.client_id), request)
            .map_err(|error| Error::Invalid(format!("{} v{version}: {error}", R::NAME)))?;
        Ok((correlation, frame))
    }

    async fn ask_versions(&self, limit: Duration) -> Result<Versions, Error> {
        let request = ApiVersionsRequest {
            client_software_name: "chronik".into(),
            client_software_version: env!("CARGO_PKG_VERSION").into(),
            ..Default::default()
        };
        // A broker that does not know this version answers in version 0; then its own highest is asked for.
        let mut version = ApiVersionsRequest::MAX_VERSION.min(4);
        loop {
            let answer: Answer<ApiVersionsRequest<'_>> = self.call_version(&request, version, limit).await?;
            let oldest =
                Answer::<ApiVersionsRequest<'_>> { body: answer.body.clone(), version: 0, request: PhantomData };
            let body: ApiVersionsResponse = match answer.body() {
                Ok(body) => body,
                Err(_) if version > 0 => oldest.body()?,
                Err(error) => return Err(error),
            };
            if body.error_code == 35 && version > 0 {
                version = 0;
                continue;
            }
            Error::check(body.error_code, || format!("ApiVersions of {}", self.address), None)?;
            return Ok(Versions(
                body.api_keys.iter().map(|api| (api.api_key, api.min_version, api.max_version)).collect(),
            ));
        }
    }

    fn lost(&self) -> Error {
        Error::Disconnected { address: self.address.clone(), cause: "the connection is closed".to_owned() }
    }
}

/// A request on its way.
#[derive(Debug)]
pub struct Pending<R> {
    answer: oneshot::Receiver<Result<Bytes, Error>>,
    version: i16,
    address: String,
    request: PhantomData<fn() -> R>,
}

impl<R: Request> Pending<R> {
    /// Waits for the answer.
    pub async fn wait(self, limit: Duration) -> Result<Answer<R>, Error> {
        match timeout(limit, self.answer).await {
            Ok(Ok(result)) => {
                let frame = result?;
                let (_, body) = header::parse_response(&frame, R::KEY, self.version)
                    .map_err(|e| malformed::<R>(self.version, &e))?;
                Ok(Answer { body: frame.slice_ref(body), version: self.version, request: PhantomData })
            }
            Ok(Err(_)) => Err(Error::Disconnected { address: self.address, cause: "the connection closed".to_owned() }),
            Err(_) => Err(Error::Timeout { what: format!("{} to {}", R::NAME, self.address), after: limit }),
        }
    }
}

/// A request that waits for its answer.
struct Waiting {
    correlation: i32,
    reply: oneshot::Sender<Result<Bytes, Error>>,
}

/// The task behind a connection.
struct Driver {
    address: String,
    stream: TcpStream,
    queue: mpsc::Receiver<Call>,
    waiting: VecDeque<Waiting>,
}

impl Driver {
    fn new(address: &str, stream: TcpStream, queue: mpsc::Receiver<Call>) -> Self {
        Self { address: address.to_owned(), stream, queue, waiting: VecDeque::new() }
    }

    async fn run(mut self) {
        let cause = match self.serve().await {
            Ok(()) => "closed by the client".to_owned(),
            Err(cause) => cause,
        };
        self.queue.close();
        let lost = || Error::Disconnected { address: self.address.clone(), cause: cause.clone() };
        while let Ok(call) = self.queue.try_recv() {
            if let Some(reply) = call.reply {
                let _ = reply.send(Err(lost()));
            }
            if let Some(sent) = call.sent {
                let _ = sent.send(Err(lost()));
            }
        }
        for waiting in self.waiting.drain(..) {
            let _ = waiting.reply.send(Err(lost()));
        }
        tracing::debug!(address = self.address, cause, "connection ended");
    }

    /// Runs until the handle is dropped (Ok) or the socket fails (Err with the cause).
    async fn serve(&mut self) -> Result<(), String> {
        let mut input = BytesMut::with_capacity(64 << 10);
        let mut output: VecDeque<Bytes> = VecDeque::new();
        let mut written: Vec<oneshot::Sender<Result<(), Error>>> = Vec::new();
        let (mut read_half, mut write_half) = self.stream.split();
        let mut nothing = Bytes::new();
        loop {
            let writing = !output.is_empty();
            let room = output.len() < QUEUE;
            let front = output.front_mut().unwrap_or(&mut nothing);
            tokio::select! {
                call = self.queue.recv(), if room => {
                    let Some(call) = call else { return Ok(()) };
                    if let Some(reply) = call.reply {
                        self.waiting.push_back(Waiting { correlation: call.correlation, reply });
                    }
                    written.extend(call.sent);
                    output.extend(call.frame.chunks.into_iter().filter_map(in_memory));
                }
                result = write_half.write_buf(front), if writing => {
                    result.map_err(|e| e.to_string())?;
                    while output.front().is_some_and(|chunk| !chunk.has_remaining()) {
                        output.pop_front();
                    }
                    if output.is_empty() {
                        written.drain(..).for_each(|sent| { let _ = sent.send(Ok(())); });
                    }
                }
                result = read_half.read_buf(&mut input) => {
                    if result.map_err(|e| e.to_string())? == 0 {
                        return Err("closed by the broker".to_owned());
                    }
                    while let Some(frame) = next_frame(&mut input)? {
                        hand_over(&mut self.waiting, frame)?;
                    }
                }
            }
        }
    }
}

/// Requests of this client hold no file ranges.
fn in_memory(chunk: Chunk) -> Option<Bytes> {
    match chunk {
        Chunk::Bytes(bytes) => Some(bytes),
        Chunk::File { .. } => None,
    }
}

fn next_frame(input: &mut BytesMut) -> Result<Option<Bytes>, String> {
    let Some(length) = input.first_chunk::<4>() else { return Ok(None) };
    let length = usize::try_from(i32::from_be_bytes(*length)).map_err(|_| "an answer of negative length".to_owned())?;
    if !(4..=MAX_ANSWER_BYTES).contains(&length) {
        return Err(format!("an answer of {length} bytes"));
    }
    if input.len() < 4 + length {
        // Grows with what arrives, at most doubling.
        let room = (4 + length - input.len()).min(input.len().max(64 << 10));
        input.reserve(room);
        return Ok(None);
    }
    input.advance(4);
    Ok(Some(input.split_to(length).freeze()))
}

fn hand_over(waiting: &mut VecDeque<Waiting>, frame: Bytes) -> Result<(), String> {
    let correlation = frame.first_chunk::<4>().map(|bytes| i32::from_be_bytes(*bytes));
    match waiting.pop_front() {
        Some(first) if Some(first.correlation) == correlation => {
            // The caller may have given up waiting.
            let _ = first.reply.send(Ok(frame));
            Ok(())
        }
        Some(first) => {
            let cause = format!("an answer to {correlation:?} where {} was due", first.correlation);
            waiting.push_front(first);
            Err(cause)
        }
        None => Err("an answer that nothing asked for".to_owned()),
    }
}
