//! `chronik start`: the broker in the foreground, until a signal stops it.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::process;

use chronik_server::config::{BrokerConfig, Durability};
use chronik_server::{LockError, Server, StartError};
use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::config::Settings;
use crate::fault::{DATA_DAMAGED, DATA_DIR_LOCKED, DATA_DIR_UNUSABLE, DATA_NEWER, Fault, INTERNAL, IO, LISTEN};

/// Start a broker and keep it running until Ctrl-C or SIGTERM.
#[derive(Debug, Args)]
#[command(after_help = "Logs go to stderr: text on a terminal, JSON otherwise. RUST_LOG=debug shows more.")]
pub struct Start {
    #[command(flatten)]
    settings: Settings,
}

impl Start {
    /// Runs the broker; returns when it has stopped in good order.
    pub fn run(&self) -> Result<(), Fault> {
        run(self.settings.load()?, None, |_| async { Ok(()) })
    }
}

/// Runs a broker until a signal stops it. Once it listens, `then` is called with its address; `once` says whether the broker
/// stops when that has ended.
pub(super) fn run<F>(config: BrokerConfig, once: Option<bool>, then: impl FnOnce(String) -> F) -> Result<(), Fault>
where
    F: Future<Output = Result<(), Fault>>,
{
    logs(if once.is_some() { "warn" } else { "info" });
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = config.network.threads {
        runtime.worker_threads(threads.max(1));
    }
    let runtime = runtime.enable_all().thread_name("chronik").build();
    let runtime = runtime.map_err(|e| Fault::io("no thread could be started", &e))?;
    runtime.block_on(serve(config, once == Some(true), then))
}

/// Text on a terminal, JSON for whoever collects it.
fn logs(usual: &str) {
    let level = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(usual));
    let lines = tracing_subscriber::fmt().with_env_filter(level).with_writer(std::io::stderr);
    // It fails where a test has set one up already.
    let _ = match std::io::stderr().is_terminal() {
        true => lines.with_target(false).try_init(),
        false => lines.json().flatten_event(true).try_init(),
    };
}

async fn serve<F>(config: BrokerConfig, once: bool, then: impl FnOnce(String) -> F) -> Result<(), Fault>
where
    F: Future<Output = Result<(), Fault>>,
{
    // Before anything else, so that a signal during recovery is not lost.
    let (mut terminate, mut interrupt) = (listen_to(SignalKind::terminate())?, listen_to(SignalKind::interrupt())?);
    for notice in &config.notices {
        tracing::warn!("{notice}");
    }
    let data_dir = std::path::absolute(&config.data_dir).unwrap_or_else(|_| config.data_dir.clone());
    let durability = config.logs.durability;
    let server = tokio::select! {
        started = Server::start(config) => started.map_err(told)?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    announce(&server, &data_dir.display().to_string(), durability);
    let address = server.addresses().first().map(reachable).unwrap_or_default();
    let follow = async {
        match then(address).await {
            Ok(()) if !once => std::future::pending().await,
            outcome => outcome,
        }
    };
    let (name, outcome) = tokio::select! {
        _ = terminate.recv() => ("SIGTERM", Ok(())),
        _ = interrupt.recv() => ("SIGINT", Ok(())),
        outcome = follow => ("done", outcome),
    };
    tracing::info!("{name}: answering what has been accepted, then stopping");
    tokio::select! {
        stopped = server.stop() => stopped.map_err(|e| Fault::new(
            IO,
            "the logs could not be closed in good order",
            e.to_string(),
            "nothing acknowledged is lost; the next start reads the journal",
        ))?,
        // Whoever asks twice does not want to wait: the journal has what was acknowledged.
        _ = interrupt.recv() => process::exit(130),
    }
    tracing::info!("stopped");
    outcome
}

fn listen_to(kind: SignalKind) -> Result<Signal, Fault> {
    signal(kind).map_err(|e| Fault::io("signals cannot be received", &e))
}

fn announce(server: &Server, data_dir: &str, durability: Durability) {
    for address in server.addresses() {
        tracing::info!("listening on {address}");
    }
    tracing::info!("data in {data_dir}, cluster id {}", server.cluster_id());
    match durability {
        Durability::Fsync => tracing::info!("durability fsync: acks=all is on stable storage before the answer"),
        Durability::Os => tracing::warn!("durability os: acks=all is in the page cache, a power cut can lose it"),
    }
    if let Some(address) = server.addresses().first() {
        tracing::info!("try: chronik topic create hello -b {}", reachable(address));
    }
}

/// An address that a client on this machine can connect to.
fn reachable(address: &SocketAddr) -> String {
    let host = if address.ip().is_unspecified() { "localhost".to_owned() } else { address.ip().to_string() };
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    format!("{host}:{}", address.port())
}

fn told(error: StartError) -> Fault {
    let cause = error.to_string();
    match error {
        StartError::Listen { address, source } => Fault::new(
            LISTEN,
            format!("cannot listen at {address}"),
            source.to_string(),
            "--listen HOST:PORT with another port, or stop the process that has it",
        ),
        StartError::Lock(LockError::InUse { .. }) => Fault::new(
            DATA_DIR_LOCKED,
            "the data directory is in use",
            cause,
            "stop the other process, or --data-dir DIR with another directory",
        ),
        StartError::Lock(LockError::NewerFormat { .. }) => newer(cause),
        StartError::Lock(LockError::OfKafka { .. }) => Fault::new(
            DATA_DIR_UNUSABLE,
            "the data directory belongs to Apache Kafka",
            cause,
            "--data-dir DIR with a directory of its own",
        ),
        StartError::Metadata(_) => Fault::new(
            DATA_DAMAGED,
            "the metadata cannot be read",
            cause,
            "keep a copy of the directory, and restore it from a backup",
        ),
        StartError::Storage(_) | StartError::Journal(_) | StartError::Lock(_) => Fault::new(
            DATA_DIR_UNUSABLE,
            "the data directory cannot be used",
            cause,
            "check that the directory belongs to this user and that its file system is writable",
        ),
        StartError::System { what, source } => {
            Fault::new(INTERNAL, what, source.to_string(), "look at the lines of the log before this one")
        }
    }
}

fn newer(cause: String) -> Fault {
    Fault::new(
        DATA_NEWER,
        "the data directory is of another version",
        cause,
        "start it with the version that wrote it, or a later one",
    )
}
