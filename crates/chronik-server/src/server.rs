//! The broker: its parts, built in order and stopped in reverse.
//!
//! Start: data directory's lock → listeners bound (nothing is accepted yet) → store recovered → metadata replayed →
//! shards → accepting. Stop: nothing more is accepted or read, what was accepted is answered, then metadata and store
//! are closed. A start after a stop in good order has nothing to replay.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use chronik_coordinator::metadata::config::Value;
use chronik_protocol::Uuid;
use chronik_storage::disk::RealDisk;
use chronik_storage::journal::{FileJournalOptions, FileJournals, JournalError, SessionId};
use chronik_storage::lock::{DataDirLock, LockError};
use chronik_storage::{Durability, StorageError, Store, StoreOptions};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::task::JoinSet;

use crate::config::{self, BrokerConfig};
use crate::fetch_sessions::FetchSessions;
use crate::jobs::{JobSettings, Jobs};
use crate::metadata::{LoadError, Metadata};
use crate::net::{Bound, Endpoint, Gate, Limits, Notices, Shutdown};
use crate::offsets_topic;
use crate::partitions::Partitions;
use crate::shards::GroupShards;

/// How long connections may take, when the broker stops, to get the answers that they are owed.
const DRAIN: Duration = Duration::from_millis(2500);
/// Descriptors that are not for connections: segments, journal, listeners, the rest of the process.
const FILES_BESIDE_CONNECTIONS: u64 = 256;

/// The parts that requests work on.
#[derive(Debug)]
pub(crate) struct Broker {
    /// The configuration that it was started with.
    pub(crate) config: Arc<BrokerConfig>,
    /// The partitions' logs.
    pub(crate) store: Arc<Store>,
    /// Topics and settings.
    pub(crate) metadata: Metadata,
    /// The group coordinator.
    pub(crate) groups: Arc<GroupShards>,
    /// What consumers have said that they read.
    pub(crate) fetch_sessions: FetchSessions,
    /// Set when the broker stops: connections answer what they owe, long polls end at once.
    pub(crate) shutdown: Shutdown,
    /// What was said lately about peers that misbehave.
    pub(crate) notices: Notices,
}

impl Broker {
    /// Whether a client that names a cluster and a node means us.
    pub(crate) fn is_called(&self, cluster_id: &str, node_id: i32) -> bool {
        cluster_id == self.metadata.cluster_id() && node_id == self.config.node_id
    }

    /// A number among the broker's settings, as it is in force now.
    pub(crate) fn setting(&self, name: &str) -> usize {
        let image = self.metadata.image();
        match self.metadata.layers(&image).value(name) {
            Some(Value::Integer(n)) => usize::try_from(n).unwrap_or(0),
            _ => usize::MAX,
        }
    }

    /// The topics and partitions as they are now.
    pub(crate) fn partitions(&self) -> Partitions<'_> {
        Partitions { image: self.metadata.image(), store: &self.store }
    }

    /// Pending while the journal has more queued than it may: appends wait before they are decoded.
    pub(crate) fn poll_append_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self.store.committer() {
            Some(committer) => committer.poll_room(cx),
            None => Poll::Ready(()),
        }
    }
}

/// Why the broker cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened at.
    #[error("cannot listen at {address}: {source}")]
    Listen {
        /// Host and port, as configured.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The data directory belongs to another process, or cannot be locked.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The logs cannot be used.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The metadata is damaged or cannot be read: nothing is begun anew.
    #[error("{0}")]
    Metadata(String),
    /// The system refuses something that is needed.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl StartError {
    /// Whether the data directory is the matter: exit status 78.
    pub fn is_data_directory(&self) -> bool {
        match self {
            StartError::Lock(_) | StartError::Journal(_) | StartError::Storage(_) | StartError::Metadata(_) => true,
            StartError::Listen { .. } | StartError::System { .. } => false,
        }
    }
}

impl From<LoadError> for StartError {
    fn from(error: LoadError) -> Self {
        StartError::Metadata(error.to_string())
    }
}

/// A running broker.
#[derive(Debug)]
pub struct Server {
    broker: Arc<Broker>,
    addresses: Vec<SocketAddr>,
    listeners: JoinSet<()>,
    jobs: JoinSet<()>,
    upkeep: Jobs,
    /// Held as long as the process may write.
    lock: DataDirLock,
}

impl Server {
    /// Starts a broker; it accepts connections when this returns.
    ///
    /// # Errors
    ///
    /// [`StartError`]; nothing of it runs then.
    pub async fn start(config: BrokerConfig) -> Result<Server, StartError> {
        raise_file_limit();
        let limits = Arc::new(limits(&config));
        let config = Arc::new(config);
        let lock = DataDirLock::acquire(&config.data_dir)?;
        let mut bound = Vec::new();
        for listener in &config.listeners {
            bound.push(bind(listener, &limits).await?);
        }
        let (store, metadata) = blocking("starting a thread", open(Arc::clone(&config))).await??;
        let broker = Arc::new(Broker {
            store,
            metadata,
            groups: GroupShards::new(offsets_topic::group_config(&config)),
            fetch_sessions: FetchSessions::new(config.network.fetch_session_slots),
            shutdown: Shutdown::default(),
            notices: Notices::default(),
            config,
        });
        offsets_topic::attach(&broker);
        let jobs = start_jobs(&broker);
        let upkeep = Jobs::start(Arc::clone(&broker.store), JobSettings::from(&broker.config.logs))
            .map_err(|source| StartError::System { what: "starting a thread", source })?;
        let addresses = bound.iter().map(|listener| listener.address).collect();
        let (mut listeners, gate) = (JoinSet::new(), Arc::new(Gate::default()));
        for listener in bound {
            listeners.spawn(listener.accept(Arc::clone(&broker), Arc::clone(&limits), Arc::clone(&gate)));
        }
        Ok(Server { broker, addresses, listeners, jobs, upkeep, lock })
    }

    /// The addresses that it listens at, in the order of the configuration.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The id of the cluster.
    pub fn cluster_id(&self) -> &str {
        self.broker.metadata.cluster_id()
    }

    /// Stops: answers what has been accepted, then makes everything durable and closes it.
    ///
    /// # Errors
    ///
    /// The store could not be closed in good order; nothing acknowledged is lost, the next start takes longer.
    pub async fn stop(mut self) -> Result<(), StorageError> {
        self.broker.shutdown.begin();
        self.broker.groups.stop();
        let drained = tokio::time::timeout(DRAIN, async { while self.listeners.join_next().await.is_some() {} }).await;
        if drained.is_err() {
            tracing::warn!("some connections did not take their answers in time");
            self.listeners.shutdown().await;
        }
        while self.jobs.join_next().await.is_some() {}
        let broker = Arc::clone(&self.broker);
        let mut upkeep = self.upkeep;
        let closed = tokio::task::spawn_blocking(move || {
            upkeep.stop();
            broker.metadata.stop();
            broker.store.close()
        });
        let closed = closed.await.unwrap_or(Err(StorageError::Closed));
        drop(self.lock);
        closed
    }
}

async fn bind(listener: &config::Listener, limits: &Limits) -> Result<Bound, StartError> {
    let endpoint = Endpoint { name: listener.name.as_str().into(), host: listener.host.clone(), port: listener.port };
    Bound::bind(&endpoint, limits)
        .await
        .map_err(|source| StartError::Listen { address: format!("{}:{}", listener.host, listener.port), source })
}

/// Opens the store and replays the metadata. Blocks.
fn open(config: Arc<BrokerConfig>) -> impl FnOnce() -> Result<(Arc<Store>, Metadata), StartError> + Send + 'static {
    move || {
        let disk = Arc::new(RealDisk);
        let journals =
            FileJournals::open(disk.clone(), &config.data_dir.join("journal"), FileJournalOptions::default())?;
        let options = StoreOptions {
            durability: match config.logs.durability {
                config::Durability::Fsync => Durability::Fsync,
                config::Durability::Os => Durability::Os,
            },
            producer_expiration_ms: config.logs.producer_id_expiration_ms,
            open_files_max: open_segments_max(),
            ..StoreOptions::new(&config.data_dir, disk, journals)
        };
        let (store, recovered) = Store::open(options)?;
        if recovered.batches > 0 {
            let (sessions, batches) = (recovered.sessions, recovered.batches);
            tracing::info!(sessions, batches, "the last session did not end in good order: its journal was taken over");
        }
        let store = Arc::new(store);
        let incarnation = SessionId::generate(None);
        let incarnation = incarnation.map_err(|source| StartError::System { what: "no random numbers", source })?;
        let metadata = Metadata::open(Arc::clone(&store), config, Uuid::from_u128(incarnation.0))?;
        store.recovered()?;
        Ok((store, metadata))
    }
}

fn start_jobs(broker: &Arc<Broker>) -> JoinSet<()> {
    let mut jobs = JoinSet::new();
    let shards = Arc::clone(&broker.groups);
    let known = Arc::clone(broker);
    jobs.spawn(shards.run(move |topic| known.metadata.image().topic(topic).is_some()));
    jobs
}

fn limits(config: &BrokerConfig) -> Limits {
    let network = &config.network;
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let for_connections = files.saturating_sub(FILES_BESIDE_CONNECTIONS).max(files / 2);
    let never = Duration::from_secs(10 * 365 * 86_400);
    let when_set = |name: &str, bytes: i64| usize::try_from(bytes).ok().filter(|_| config.settings.contains_key(name));
    Limits {
        request_bytes_max: network.request_max_bytes,
        idle: u64::try_from(network.connections_max_idle_ms).map_or(never, Duration::from_millis).min(never),
        setup: Duration::from_millis(network.connection_setup_timeout_ms).min(never),
        connections_max: usize::try_from(for_connections).unwrap_or(usize::MAX),
        per_ip_overrides: addresses_of(&network.max_connections_per_ip_overrides),
        backlog: network.listen_backlog_size,
        in_flight_max: network.queued_max_requests.max(1),
        send_buffer_bytes: when_set("socket.send.buffer.bytes", network.send_buffer_bytes),
        receive_buffer_bytes: when_set("socket.receive.buffer.bytes", network.receive_buffer_bytes),
    }
}

/// Limits by host, as limits by address. Blocks for names, which is why they are looked up once.
fn addresses_of(overrides: &[(String, usize)]) -> Vec<(IpAddr, usize)> {
    let mut out = Vec::new();
    for (host, max) in overrides {
        match (host.as_str(), 0).to_socket_addrs() {
            Ok(found) => out.extend(found.map(|address| (address.ip().to_canonical(), *max))),
            Err(error) => tracing::warn!(%host, %error, "max.connections.per.ip.overrides: no address of this name"),
        }
    }
    out
}

/// A quarter of the descriptors may be segments; with few of them, closing and opening again costs time and nothing else.
fn open_segments_max() -> usize {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(files / 4).unwrap_or(usize::MAX).clamp(64, 4096)
}

/// Ten thousand connections need more than the usual 1,024 descriptors; most systems allow more to who asks.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, raised)
    {
        tracing::debug!(%error, "the limit on open files could not be raised");
    }
}

async fn blocking<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StartError> {
    tokio::task::spawn_blocking(work).await.map_err(|e| StartError::System { what, source: io::Error::other(e) })
}
