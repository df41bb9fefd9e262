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

use std::net::IpAddr;
use std::time::Duration;

use crate::server::Broker;

/// What a connection may cost.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// `socket.request.max.bytes`: the longest frame.
    pub(crate) request_bytes_max: usize,
    /// `connections.max.idle.ms`: how long a connection may be silent.
    pub(crate) idle: Duration,
    /// `chronik.connection.setup.timeout.ms`: how long the first request may take to arrive.
    pub(crate) setup: Duration,
    /// What the descriptors of the process suffice for; `max.connections` may be lower.
    pub(crate) connections_max: usize,
    /// `max.connections.per.ip.overrides`.
    pub(crate) per_ip_overrides: Vec<(IpAddr, usize)>,
    /// `socket.listen.backlog.size`.
    pub(crate) backlog: i32,
    /// `queued.max.requests`: how many requests of one connection may be waiting for their answers before we stop reading.
    pub(crate) in_flight_max: usize,
    /// `socket.send.buffer.bytes`, if somebody set it: the system's own tuning does better than any number.
    pub(crate) send_buffer_bytes: Option<usize>,
    /// `socket.receive.buffer.bytes`, likewise.
    pub(crate) receive_buffer_bytes: Option<usize>,
}

impl Limits {
    /// `max.connections` in force: beyond it, new connections wait in the backlog until one ends.
    fn all_max(&self, broker: &Broker) -> usize {
        broker.setting("max.connections").min(self.connections_max).max(1)
    }

    /// `max.connections.per.ip` in force: beyond it, new connections of the address are closed.
    fn per_ip_max(&self, broker: &Broker, ip: IpAddr) -> usize {
        let own = self.per_ip_overrides.iter().find(|(address, _)| *address == ip);
        own.map_or_else(|| broker.setting("max.connections.per.ip"), |(_, max)| *max)
    }
}

/// How many bytes of requests may be waiting for their answers (one longer request may always be).
pub(crate) const IN_FLIGHT_BYTES_MAX: usize = 32 * 1024 * 1024;
/// How many bytes of answers may be in memory, unsent, before no further request of the connection is begun.
pub(crate) const UNSENT_BYTES_MAX: usize = 1024 * 1024;
