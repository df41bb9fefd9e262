//! The broker under test: ours, started for the test in a directory of its own, or a running Apache Kafka.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a broker may take to answer after its start.
const START: Duration = Duration::from_secs(20);

/// Names the address of an Apache Kafka to try the rows on, instead of ours.
const ORACLE: &str = "CHRONIK_BAD_INPUTS_ORACLE";

pub(crate) struct Broker {
    pub(crate) address: SocketAddr,
    /// `None` for Apache Kafka, which is not ours to stop.
    process: Option<Process>,
}

struct Process {
    child: Child,
    folder: TempDir,
    settings: Vec<String>,
}

impl Broker {
    /// Ours, with these settings besides the defaults; or Apache Kafka, if the environment names one.
    pub(crate) fn start(settings: &[&str]) -> Broker {
        if let Ok(address) = std::env::var(ORACLE) {
            return Broker { address: address.parse().unwrap(), process: None };
        }
        let folder = tempfile::tempdir().unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let settings: Vec<String> = settings.iter().map(|s| (*s).to_owned()).collect();
        let child = spawn(address, &folder, &settings);
        let broker = Broker { address, process: Some(Process { child, folder, settings }) };
        broker.wait_until_it_listens();
        broker
    }

    /// Whether this is Apache Kafka: what the table marks "stricter" differs there.
    pub(crate) fn is_kafka(&self) -> bool {
        self.process.is_none()
    }

    /// The data directory of ours.
    pub(crate) fn data(&self) -> Option<PathBuf> {
        self.process.as_ref().map(|p| p.folder.path().join("data"))
    }

    /// What ours has logged so far.
    pub(crate) fn log(&self) -> String {
        let path = self.process.as_ref().map(|p| p.folder.path().join("log"));
        path.map(|p| fs::read_to_string(p).unwrap()).unwrap_or_default()
    }

    /// Whether the process still runs.
    pub(crate) fn lives(&mut self) -> bool {
        match &mut self.process {
            Some(process) => process.child.try_wait().unwrap().is_none(),
            None => TcpStream::connect(self.address).is_ok(),
        }
    }

    /// The process of ours.
    pub(crate) fn process_id(&self) -> Option<u32> {
        self.process.as_ref().map(|p| p.child.id())
    }

    /// The resident memory in KiB; 0 for Apache Kafka, whose heap says nothing.
    pub(crate) fn resident_kib(&self) -> u64 {
        let Some(process) = &self.process else { return 0 };
        let status = fs::read_to_string(format!("/proc/{}/status", process.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
        line.and_then(|l| l.split_whitespace().next()).and_then(|n| n.parse().ok()).unwrap_or(0)
    }

    /// `kill -9`, and a new process on the same data at the same address.
    pub(crate) fn kill_and_restart(&mut self) {
        let Some(process) = &mut self.process else { panic!("not ours to kill") };
        process.child.kill().unwrap();
        process.child.wait().unwrap();
        process.child = spawn(self.address, &process.folder, &process.settings);
        self.wait_until_it_listens();
    }

    fn wait_until_it_listens(&self) {
        let deadline = Instant::now() + START;
        while TcpStream::connect(self.address).is_err() {
            assert!(Instant::now() < deadline, "the broker does not listen: {}", self.log());
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn spawn(address: SocketAddr, folder: &TempDir, settings: &[String]) -> Child {
    let log = File::options().create(true).append(true).open(folder.path().join("log")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_chronik"));
    command.arg("start").arg("--listen").arg(address.to_string());
    command.arg("--data-dir").arg(folder.path().join("data"));
    for setting in settings {
        command.arg("--set").arg(setting);
    }
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    command.spawn().unwrap()
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
