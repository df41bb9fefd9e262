//! Sockets: who may connect, how bytes become frames, and how answers leave in the order of their requests.
//!
//! A connection is one task and nothing else: its requests, its long polls and its answers are futures that this task
//! polls. What a peer can make us hold is bounded by [`Limits`] before it has said who it is.

pub(crate) mod connection;
mod frames;
mod listener;
mod notices;
mod outbox;
mod shutdown;

pub(crate) use listener::{Bound, Endpoint, Gate};
pub(crate) use notices::Notices;
pub(crate) use shutdown::Shutdown;

use std::time::Duration;

/// What a connection may cost.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// `socket.request.max.bytes`: the longest frame.
    pub(crate) request_bytes_max: usize,
    /// `connections.max.idle.ms`: how long a connection may be silent.
    pub(crate) idle: Duration,
    /// `chronik.connection.setup.timeout.ms`: how long the first request may take to arrive.
    pub(crate) setup: Duration,
    /// `max.connections`: beyond it, new connections wait in the backlog until one ends.
    pub(crate) connections_max: usize,
    /// `max.connections.per.ip`: beyond it, new connections of an address are closed.
    pub(crate) connections_per_ip_max: usize,
    /// `socket.listen.backlog.size`.
    pub(crate) backlog: i32,
}

/// How many requests of one connection may be waiting for their answers before we stop reading from it.
pub(crate) const IN_FLIGHT_MAX: usize = 1000;
/// How many bytes of requests may be waiting for their answers (one longer request may always be).
pub(crate) const IN_FLIGHT_BYTES_MAX: usize = 32 * 1024 * 1024;
/// How many bytes of answers may be in memory, unsent, before no further request of the connection is begun.
pub(crate) const UNSENT_BYTES_MAX: usize = 1024 * 1024;
