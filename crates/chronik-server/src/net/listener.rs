//! Accepting connections, and going on when there are no descriptors left.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::io::Errno;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
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
                accepted = self.accept_one(&broker, &limits, &gate) => accepted,
                Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            };
            match accepted {
                Ok((socket, peer)) => {
                    let ip = peer.ip().to_canonical();
                    let Some(place) = gate.place(ip, limits.per_ip_max(&broker, ip)) else { continue };
                    if let Some(connection) = self.open(&broker, &limits, socket, peer) {
                        connections.spawn(async move {
                            connection.serve().await;
                            drop(place);
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

    /// The next connection, once there may be one more.
    async fn accept_one(&self, broker: &Broker, limits: &Limits, gate: &Gate) -> io::Result<(TcpStream, SocketAddr)> {
        while gate.open.load(Ordering::Acquire) >= limits.all_max(broker) {
            // The limit may be raised while nobody leaves, so it is looked at again now and then.
            let _ = tokio::time::timeout(PAUSE, gate.freed.notified()).await;
        }
        self.listener.accept().await
    }

    fn open(&self, broker: &Arc<Broker>, limits: &Limits, socket: TcpStream, peer: SocketAddr) -> Option<Connection> {
        let local = socket.local_addr().ok()?;
        socket.set_nodelay(true).ok()?;
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE);
        let options = SockRef::from(&socket);
        options.set_tcp_keepalive(&keepalive).ok()?;
        limits.send_buffer_bytes.map_or(Ok(()), |bytes| options.set_send_buffer_size(bytes)).ok()?;
        limits.receive_buffer_bytes.map_or(Ok(()), |bytes| options.set_recv_buffer_size(bytes)).ok()?;
        let info = ConnectionInfo { peer, local, listener: Arc::clone(&self.name) };
        Some(Connection::new(Arc::clone(broker), info, socket, limits))
    }
}

/// Counts connections: of all listeners together, and by address.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    open: AtomicUsize,
    freed: Notify,
    by_ip: Mutex<HashMap<IpAddr, usize>>,
}

impl Gate {
    fn place(self: &Arc<Self>, ip: IpAddr, max: usize) -> Option<Place> {
        let mut by_ip = self.by_ip.lock();
        let count = by_ip.get(&ip).copied().unwrap_or(0);
        if count >= max {
            return None;
        }
        by_ip.insert(ip, count + 1);
        self.open.fetch_add(1, Ordering::AcqRel);
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
        self.gate.open.fetch_sub(1, Ordering::AcqRel);
        self.gate.freed.notify_one();
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
