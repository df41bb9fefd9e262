//! Accepting connections, and going on when there are no descriptors left.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::io::Errno;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use super::Limits;
use super::connection::{Connection, ConnectionInfo};
use crate::server::Broker;

/// Descriptors that are given up when none are left, so that segments can still be opened and logs written.
const RESERVED_FILES: usize = 16;
/// How long accepting pauses then.
const PAUSE: Duration = Duration::from_millis(200);
/// A peer that vanished without a word is found out after this long without an answer.
const KEEPALIVE: Duration = Duration::from_secs(120);

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// The listener's name.
    pub(crate) name: Arc<str>,
    /// Host name or address; empty for all addresses.
    pub(crate) host: String,
    /// Port; 0 for any free one.
    pub(crate) port: u16,
}

/// A listener that has its address and does not accept yet.
#[derive(Debug)]
pub(crate) struct Bound {
    listener: TcpListener,
    name: Arc<str>,
    /// The address that it has.
    pub(crate) address: SocketAddr,
}

impl Bound {
    /// Binds an endpoint: the first address that its host resolves to.
    pub(crate) async fn bind(endpoint: &Endpoint, limits: &Limits) -> io::Result<Bound> {
        let address = if endpoint.host.is_empty() {
            SocketAddr::new(IpAddr::from([0, 0, 0, 0]), endpoint.port)
        } else {
            tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port))
                .await?
                .min_by_key(|address| address.is_ipv6())
                .ok_or(io::ErrorKind::AddrNotAvailable)?
        };
        let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(!address.ip().is_unspecified())?;
        }
        socket.bind(&address.into())?;
        socket.listen(limits.backlog)?;
        let listener = TcpListener::from_std(socket.into())?;
        let address = listener.local_addr()?;
        Ok(Bound { listener, name: Arc::clone(&endpoint.name), address })
    }

    /// Accepts until the broker stops, then waits for the connections to be drained.
    pub(crate) async fn accept(self, broker: Arc<Broker>, limits: Arc<Limits>, gate: Arc<Gate>) {
        let mut connections = JoinSet::new();
        let mut reserve = Reserve::default();
        loop {
            if !reserve.fill() {
                tokio::time::sleep(PAUSE).await;
                if broker.shutdown.has_begun() {
                    break;
                }
                continue;
            }
            let accepted = tokio::select! {
                biased;
                () = broker.shutdown.wait() => break,
                accepted = self.accept_one(&gate) => accepted,
                Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            };
            match accepted {
                Ok((socket, peer, permit)) => {
                    let Some(place) = gate.place(peer.ip(), limits.connections_per_ip_max) else { continue };
                    if let Some(connection) = self.open(&broker, &limits, socket, peer) {
                        connections.spawn(async move {
                            connection.serve().await;
                            drop((permit, place));
                        });
                    }
                }
                Err(error) if is_out_of_files(&error) => {
                    tracing::warn!(%error, "no descriptor left for a new connection: accepting pauses");
                    reserve.release();
                    tokio::time::sleep(PAUSE).await;
                }
                // The peer gave up before it was accepted, or the like: nothing of ours.
                Err(error) => tracing::debug!(%error, "accept"),
            }
        }
        drop(self.listener);
        while connections.join_next().await.is_some() {}
    }

    async fn accept_one(&self, gate: &Gate) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
        let permit = Arc::clone(&gate.all).acquire_owned().await.map_err(io::Error::other)?;
        let (socket, peer) = self.listener.accept().await?;
        Ok((socket, peer, permit))
    }

    fn open(&self, broker: &Arc<Broker>, limits: &Limits, socket: TcpStream, peer: SocketAddr) -> Option<Connection> {
        let local = socket.local_addr().ok()?;
        socket.set_nodelay(true).ok()?;
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE);
        SockRef::from(&socket).set_tcp_keepalive(&keepalive).ok()?;
        let info = ConnectionInfo { peer, local, listener: Arc::clone(&self.name) };
        Some(Connection::new(Arc::clone(broker), info, socket, limits))
    }
}

/// Counts connections: of all listeners together, and by address.
#[derive(Debug)]
pub(crate) struct Gate {
    all: Arc<Semaphore>,
    by_ip: Mutex<HashMap<IpAddr, usize>>,
}

impl Gate {
    pub(crate) fn new(limits: &Limits) -> Arc<Gate> {
        let all = Arc::new(Semaphore::new(limits.connections_max.min(Semaphore::MAX_PERMITS)));
        Arc::new(Gate { all, by_ip: Mutex::default() })
    }

    fn place(self: &Arc<Self>, ip: IpAddr, max: usize) -> Option<Place> {
        let mut by_ip = self.by_ip.lock();
        let count = by_ip.entry(ip).or_default();
        if *count >= max {
            return None;
        }
        *count += 1;
        Some(Place { gate: Arc::clone(self), ip })
    }
}

/// A connection's place in the count of its address.
#[derive(Debug)]
struct Place {
    gate: Arc<Gate>,
    ip: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut by_ip = self.gate.by_ip.lock();
        if let Some(count) = by_ip.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                by_ip.remove(&self.ip);
            }
        }
    }
}

/// Descriptors held back.
#[derive(Debug, Default)]
struct Reserve(Vec<File>);

impl Reserve {
    /// True when all of them are held: only then is there one for a connection.
    fn fill(&mut self) -> bool {
        while self.0.len() < RESERVED_FILES {
            match File::open("/dev/null") {
                Ok(file) => self.0.push(file),
                Err(_) => {
                    self.release();
                    return false;
                }
            }
        }
        true
    }

    fn release(&mut self) {
        self.0.clear();
    }
}

fn is_out_of_files(error: &io::Error) -> bool {
    [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM]
        .map(|e| e.raw_os_error())
        .contains(&error.raw_os_error().unwrap_or(0))
}
