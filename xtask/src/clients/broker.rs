//! The broker under test: one that runs elsewhere, or one of our own that can be killed and started again on the same data and port.

use std::fs::OpenOptions;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::options::Options;
use crate::{kafka, root};

const READY_WITHIN: Duration = Duration::from_secs(60);
const STOPPED_WITHIN: Duration = Duration::from_secs(10);

/// A broker, stopped when dropped if it is ours.
pub(super) struct Broker {
    address: String,
    own: Option<Own>,
}

struct Own {
    port: u16,
    program: PathBuf,
    kafka: bool,
    data: PathBuf,
    log: PathBuf,
    child: Option<Child>,
}

impl Broker {
    /// Somebody else's: it is used, never killed.
    pub(super) fn elsewhere(address: &str) -> Self {
        Self { address: address.to_owned(), own: None }
    }

    /// One of our own, on a free port, with its data and log in the workplace.
    pub(super) fn start(options: &Options, workplace: &Path) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let own = Own {
            port,
            program: options.chronik.clone(),
            kafka: options.kafka,
            data: workplace.join("data"),
            log: workplace.join("broker.log"),
            child: None,
        };
        let mut broker = Self { address: format!("127.0.0.1:{port}"), own: Some(own) };
        broker.spawn()?;
        Ok(broker)
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn is_ours(&self) -> bool {
        self.own.is_some()
    }

    /// Where the partitions' folders are, if they can be seen.
    pub(super) fn data(&self) -> Option<&Path> {
        self.own.as_ref().map(|own| own.data.as_path())
    }

    /// SIGKILL, so that nothing is flushed or said; then the same command again.
    pub(super) fn kill_and_restart(&mut self) -> Result<()> {
        self.stop();
        self.spawn()
    }

    /// SIGTERM: a broker of ours has [`STOPPED_WITHIN`] to end by itself. Returns how long it took.
    pub(super) fn terminate(&mut self) -> Result<Duration> {
        let start = Instant::now();
        let Some(mut child) = self.own.as_mut().and_then(|own| own.child.take()) else { return Ok(Duration::ZERO) };
        root::output(Command::new("kill").args(["-TERM", &child.id().to_string()]))?;
        loop {
            if child.try_wait()?.is_some() {
                return Ok(start.elapsed());
            }
            if start.elapsed() > STOPPED_WITHIN {
                let _ = child.kill();
                let _ = child.wait();
                bail!("the broker did not end within {STOPPED_WITHIN:?} of SIGTERM");
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Ends a broker of ours, without a word.
    pub(super) fn stop(&mut self) {
        if let Some(mut child) = self.own.as_mut().and_then(|own| own.child.take()) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn spawn(&mut self) -> Result<()> {
        let Some(own) = &mut self.own else { return Ok(()) };
        let mut command = own.command()?;
        let log = OpenOptions::new().create(true).append(true).open(&own.log)?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let start = Instant::now();
        let mut child = command.spawn().with_context(|| format!("{command:?} (cargo build --release makes it)"))?;
        while TcpStream::connect(&self.address).is_err() {
            if let Some(status) = child.try_wait()? {
                bail!("the broker ended with {status}: {}", own.log.display());
            }
            if start.elapsed() > READY_WITHIN {
                let _ = child.kill();
                bail!("the broker does not listen at {} within {READY_WITHIN:?}: {}", self.address, own.log.display());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        eprintln!("broker at {} answers after {} ms", self.address, start.elapsed().as_millis());
        own.child = Some(child);
        Ok(())
    }
}

impl Own {
    fn command(&self) -> Result<Command> {
        if self.kafka {
            return kafka::broker(self.port, &self.data);
        }
        let mut command = Command::new(&self.program);
        command.arg("start").arg("--data-dir").arg(&self.data);
        command.arg("--listen").arg(format!("127.0.0.1:{}", self.port));
        Ok(command)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.stop();
    }
}
