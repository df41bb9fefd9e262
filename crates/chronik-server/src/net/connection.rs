//! One connection: requests start in the order in which they arrive and are answered in that order, however long each takes.
//!
//! The whole life of a connection is one hand-written future. Each time it is woken it takes what is there, in this order:
//! finished answers into the outbox, the outbox into the socket, bytes from the socket into frames, frames into
//! requests. It reads on while requests wait for their answers, until `queued.max.requests`, [`IN_FLIGHT_BYTES_MAX`] or
//! [`UNSENT_BYTES_MAX`] is reached: a peer that never reads its answers stops being read.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use chronik_protocol::ApiKey;
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use tokio::net::TcpStream;
use tokio::sync::futures::OwnedNotified;
use tokio::time::Sleep;

use super::frames::FrameReader;
use super::notices;
use super::outbox::Outbox;
use super::{IN_FLIGHT_BYTES_MAX, Limits, UNSENT_BYTES_MAX};
use crate::api::{self, Answering, CloseReason, Dispatched};
use crate::server::Broker;

/// How long a connection that is being closed may take to get the answers that it is still owed.
const DRAIN: Duration = Duration::from_secs(2);

/// Who is at the other end, and how it reached us: what a request may know of its connection.
#[derive(Debug)]
pub(crate) struct ConnectionInfo {
    /// The client's address.
    pub(crate) peer: SocketAddr,
    /// Our address as the client used it: the one to tell it when nothing else is advertised.
    pub(crate) local: SocketAddr,
    /// Name of the listener.
    pub(crate) listener: Arc<str>,
}

/// Why a connection ends.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The peer is gone, or the network between us.
    Peer,
    /// Silent for too long, or no request within the time for the first one.
    Idle,
    /// The broker stops.
    Shutdown,
    /// What it sent cannot be answered.
    Refused(CloseReason),
}

/// The state of one connection.
pub(crate) struct Connection {
    broker: Arc<Broker>,
    info: Arc<ConnectionInfo>,
    socket: TcpStream,
    reader: FrameReader,
    waiting: FuturesOrdered<Answering>,
    waiting_bytes: usize,
    outbox: Outbox,
    /// Set when nothing more is read: what is owed is sent, then the connection ends.
    ending: Option<Ended>,
    stop: Pin<Box<OwnedNotified>>,
    clock: Pin<Box<Sleep>>,
    last_active: Instant,
    had_request: bool,
    idle: Duration,
    in_flight_max: usize,
}

impl Connection {
    pub(crate) fn new(broker: Arc<Broker>, info: ConnectionInfo, socket: TcpStream, limits: &Limits) -> Connection {
        let stop = Box::pin(broker.shutdown.signal());
        let ending = broker.shutdown.has_begun().then_some(Ended::Shutdown);
        Connection {
            broker,
            info: Arc::new(info),
            socket,
            reader: FrameReader::new(limits.request_bytes_max),
            waiting: FuturesOrdered::new(),
            waiting_bytes: 0,
            outbox: Outbox::default(),
            ending,
            stop,
            clock: Box::pin(tokio::time::sleep(limits.setup.min(limits.idle))),
            last_active: Instant::now(),
            had_request: false,
            idle: limits.idle,
            in_flight_max: limits.in_flight_max,
        }
    }

    /// Serves the connection to its end.
    pub(crate) async fn serve(mut self) {
        let ended = std::future::poll_fn(|cx| self.poll_serve(cx)).await;
        if let Ended::Refused(reason) = ended {
            self.report(&reason);
        }
    }

    fn poll_serve(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        loop {
            self.poll_answers(cx);
            match self.outbox.poll_flush(&self.socket, cx) {
                Poll::Ready(Err(e)) => return Poll::Ready(self.broken(e)),
                Poll::Ready(Ok(())) if self.ending.is_some() && self.waiting.is_empty() => {
                    return Poll::Ready(self.ending.take().unwrap_or(Ended::Peer));
                }
                _ => {}
            }
            if self.ending.is_none() && self.stop.as_mut().poll(cx).is_ready() {
                self.end(Ended::Shutdown);
                continue;
            }
            if self.poll_clock(cx).is_ready() {
                return Poll::Ready(self.ending.take().unwrap_or(Ended::Idle));
            }
            if self.start_requests(cx) {
                continue;
            }
            match self.poll_read(cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Ended::Peer),
                Poll::Ready(Ok(_)) => self.last_active = Instant::now(),
                Poll::Ready(Err(e)) => return Poll::Ready(self.broken(e)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Moves finished answers into the outbox, as long as the peer takes them.
    fn poll_answers(&mut self, cx: &mut Context<'_>) {
        while !self.waiting.is_empty() && self.outbox.in_memory() < UNSENT_BYTES_MAX {
            let Poll::Ready(Some((bytes, outcome))) = self.waiting.poll_next_unpin(cx) else { return };
            self.waiting_bytes -= bytes;
            self.last_active = Instant::now();
            match outcome {
                Ok(frame) => self.outbox.push(frame),
                Err(reason) => {
                    // What was asked behind it gets no answer: the order could not be kept.
                    self.waiting = FuturesOrdered::new();
                    self.end(Ended::Refused(reason));
                }
            }
        }
    }

    /// Starts the requests that have come; true when there may be something to send.
    fn start_requests(&mut self, cx: &mut Context<'_>) -> bool {
        let mut progress = false;
        while self.ending.is_none() && self.may_start() && self.reader.has_frame() {
            // Appends wait here, before the request is even decoded, while the journal has more than it can write.
            if self.reader.next_key() == Some(ApiKey::Produce as i16) && self.broker.poll_append_room(cx).is_pending() {
                return progress;
            }
            progress = true;
            match self.reader.next_frame() {
                Ok(Some(frame)) => self.start(frame),
                Ok(None) => break,
                Err(error) => self.end(Ended::Refused(CloseReason::Frame(error))),
            }
        }
        progress
    }

    fn may_start(&self) -> bool {
        self.waiting.len() < self.in_flight_max
            && self.waiting_bytes < IN_FLIGHT_BYTES_MAX
            && self.outbox.in_memory() < UNSENT_BYTES_MAX
    }

    fn start(&mut self, frame: Bytes) {
        self.had_request = true;
        let len = frame.len();
        match api::dispatch(&self.broker, &self.info, frame) {
            Dispatched::Answer(answer) if self.waiting.is_empty() => self.outbox.push(answer),
            Dispatched::Answer(answer) => self.waiting.push_back(Answering::ready(Ok(answer))),
            Dispatched::Later(later) => {
                self.waiting_bytes += len;
                self.waiting.push_back(later.costing(len));
            }
            Dispatched::Nothing => {}
            Dispatched::Close(reason) if self.waiting.is_empty() => self.end(Ended::Refused(reason)),
            Dispatched::Close(reason) => self.waiting.push_back(Answering::ready(Err(reason))),
        }
    }

    /// Reads while there is room: a little even when no further request may start, so that a peer that hangs up is noticed.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.ending.is_some() || self.reader.has_frame() {
            return Poll::Pending;
        }
        self.reader.poll_read(&mut self.socket, cx)
    }

    /// From now on only what is owed is sent.
    fn end(&mut self, why: Ended) {
        self.ending = Some(why);
        self.clock.as_mut().reset(tokio::time::Instant::now() + DRAIN);
    }

    /// Ready when the connection has been silent for too long. The timer is set anew only when it fires.
    fn poll_clock(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.clock.as_mut().poll(cx).is_ready() {
            let waiting_for_us = !self.waiting.is_empty() && self.outbox.is_empty();
            let silent = self.last_active.elapsed();
            if self.ending.is_some() || !self.had_request || silent >= self.idle && !waiting_for_us {
                return Poll::Ready(());
            }
            let rest = if waiting_for_us { self.idle } else { self.idle - silent };
            self.clock.as_mut().reset(tokio::time::Instant::now() + rest);
        }
        Poll::Pending
    }

    fn broken(&mut self, error: io::Error) -> Ended {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            tracing::error!(peer = %self.info.peer, "a file ended before the range that an answer promised; connection closed");
        }
        self.ending.take().unwrap_or(Ended::Peer)
    }

    /// One line per peer and kind of nonsense.
    fn report(&self, reason: &CloseReason) {
        let peer = self.info.peer.ip();
        let hint = match reason {
            CloseReason::Frame(_) => notices::guess(self.reader.peek()),
            _ => None,
        };
        // A hint is a reason of its own: other nonsense of the same peer must not silence it.
        let kind = hint.unwrap_or(reason.kind());
        let Some(suppressed) = self.broker.notices.admit(peer, kind, Instant::now()) else { return };
        match hint {
            Some(hint) => tracing::warn!(%peer, suppressed, %reason, hint, "connection closed"),
            None => tracing::warn!(%peer, suppressed, %reason, "connection closed"),
        }
    }
}
