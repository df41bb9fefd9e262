//! A broker process of its own, on a free port, with a data directory that outlives its kills.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Longest wait for a broker to accept connections or to end.
const LIMIT: Duration = Duration::from_secs(30);

/// A broker that ends with the test.
pub struct Broker {
    child: Option<Child>,
    folder: TempDir,
    port: u16,
    settings: Vec<String>,
}

impl Broker {
    /// Starts a broker with these settings (`key=value`) and waits until it accepts connections.
    pub fn start(settings: &[&str]) -> Broker {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let mut broker = Broker { child: None, folder: tempfile::tempdir().unwrap(), port, settings };
        broker.restart();
        broker
    }

    /// Starts it again on the same data directory and port. It must not be running.
    pub fn restart(&mut self) {
        assert!(self.child.is_none(), "still running");
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log()).unwrap();
        let mut command = Command::new(super::chronik());
        command.arg("start").arg("--data-dir").arg(self.data_dir()).arg("--listen").arg(self.address());
        for setting in &self.settings {
            command.arg("--set").arg(setting);
        }
        let child = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        self.child = Some(child);
        let deadline = Instant::now() + LIMIT;
        while TcpStream::connect(self.socket()).is_err() {
            if let Some(status) = self.child.as_mut().unwrap().try_wait().unwrap() {
                panic!("the broker ended with {status}:\n{}", self.log_text());
            }
            assert!(Instant::now() < deadline, "not ready:\n{}", self.log_text());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Kills it as `kill -9` does, and waits until it is gone.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("running");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Asks it to stop as a service manager does, and waits for its exit status.
    pub fn stop(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("running");
        let stopped = Command::new("kill").arg("-TERM").arg(child.id().to_string()).status().unwrap();
        assert!(stopped.success());
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "does not stop:\n{}", self.log_text());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// True if the process is there.
    pub fn is_alive(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("running").id()
    }

    /// Resident memory in KiB, as the kernel counts it.
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> String {
        self.socket().to_string()
    }

    /// The address as a socket address.
    pub fn socket(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Its data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// What it logged so far.
    pub fn log_text(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }

    fn log(&self) -> PathBuf {
        Path::new(self.folder.path()).join("log")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
