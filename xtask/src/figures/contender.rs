//! A broker that is measured: Chronik's release build or Apache Kafka out of its jars, with a fresh data directory.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::{kafka, root};

const READY_WITHIN: Duration = Duration::from_secs(60);

/// ApiVersions v0, correlation id 1, no client id: what every broker answers.
const ASK_VERSIONS: [u8; 14] = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff];

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Chronik,
    Kafka,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Chronik => "Chronik",
            Kind::Kafka => "Apache Kafka",
        }
    }
}

pub(super) struct Contender {
    kind: Kind,
    port: u16,
    data: PathBuf,
    child: Option<Child>,
}

impl Contender {
    pub(super) fn new(kind: Kind) -> Result<Self> {
        // Kafka's controller listens on the next port, so both have to be free.
        let port = loop {
            let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
            if port < u16::MAX && TcpListener::bind(("127.0.0.1", port + 1)).is_ok() {
                break port;
            }
        };
        let data = root::cache().join(format!("figures-{}", std::process::id())).join(kind.name().replace(' ', "-"));
        if data.exists() {
            std::fs::remove_dir_all(&data)?;
        }
        Ok(Self { kind, port, data, child: None })
    }

    pub(super) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Starts it; how long its first answer took.
    pub(super) fn start(&mut self) -> Result<Duration> {
        let mut command = match self.kind {
            Kind::Chronik => {
                let mut command = Command::new(root::dir().join("target/release/chronik"));
                command.arg("start").arg("--data-dir").arg(&self.data).arg("--listen").arg(self.address().to_string());
                command
            }
            Kind::Kafka => kafka::broker(self.port, &self.data)?,
        };
        let began = Instant::now();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        self.child = Some(child);
        loop {
            if let Ok(mut stream) = TcpStream::connect(self.address())
                && ask_versions(&mut stream).is_ok()
            {
                return Ok(began.elapsed());
            }
            if began.elapsed() > READY_WITHIN {
                bail!("{} does not answer", self.kind.name());
            }
            std::thread::sleep(Duration::from_micros(500));
        }
    }

    pub(super) fn stop(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        Command::new("kill").arg(child.id().to_string()).status()?;
        child.wait()?;
        Ok(())
    }

    /// User and system time of the process so far.
    pub(super) fn cpu_seconds(&self) -> Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid()?))?;
        // The name in parentheses may hold anything; what follows it does not.
        let fields: Vec<&str> = stat.rsplit_once(')').context("stat")?.1.split_whitespace().collect();
        let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).context("stat");
        Ok((ticks(11)? + ticks(12)?) / 100.0)
    }

    pub(super) fn resident_kib(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()?))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("VmRSS")?;
        Ok(line.split_whitespace().nth(1).context("VmRSS")?.parse()?)
    }

    fn pid(&self) -> Result<u32> {
        Ok(self.child.as_ref().context("not running")?.id())
    }

    /// Runs a command of the binary against this broker.
    pub(super) fn chronik(&self, arguments: &[&str]) -> Result<String> {
        self.chronik_with_input(arguments, "")
    }

    pub(super) fn chronik_with_input(&self, arguments: &[&str], input: &str) -> Result<String> {
        let mut child = Command::new(root::dir().join("target/release/chronik"))
            .args(arguments)
            .env("CHRONIK_BOOTSTRAP_SERVER", self.address().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        child.stdin.take().context("stdin")?.write_all(input.as_bytes())?;
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!("chronik {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8(output.stdout)?)
    }
}

impl Drop for Contender {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

/// Asks for the versions and reads the whole answer.
pub(super) fn ask_versions(stream: &mut TcpStream) -> Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(&ASK_VERSIONS)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut answer)?;
    Ok(())
}
