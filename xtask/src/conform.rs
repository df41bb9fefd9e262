//! `cargo xtask conform`: scripts of the protocol, run against Chronik and Apache Kafka side by side. What both answer
//! must be the same, byte for byte.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::{kafka, root};

const READY_WITHIN: Duration = Duration::from_secs(60);

/// The scripts, in `tests/conform`; each takes two ports.
const SCRIPTS: &[&str] = &["groups.py", "topics.py"];

/// Runs every script. `--ours PORT` and `--kafka PORT` name brokers that run already.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let workplace = root::target().join("conform");
    if workplace.exists() {
        fs::remove_dir_all(&workplace)?;
    }
    fs::create_dir_all(&workplace)?;
    let ours = broker(option(args, "--ours")?, &workplace, "chronik", |port, data| {
        let mut command = Command::new(root::target().join("release/chronik"));
        command.arg("start").arg("--data-dir").arg(data).arg("--listen").arg(format!("127.0.0.1:{port}"));
        Ok(command)
    })?;
    let theirs = broker(option(args, "--kafka")?, &workplace, "kafka", kafka::broker)?;
    let mut failed = 0;
    for script in SCRIPTS {
        eprintln!("--- {script}: first is Chronik, second is Apache Kafka");
        let mut command = Command::new("python3");
        command.arg(root::dir().join("tests/conform").join(script));
        command.args([ours.port.to_string(), theirs.port.to_string()]);
        failed += usize::from(!command.status().context("python3")?.success());
    }
    if failed > 0 {
        bail!("{failed} of {} scripts found differences", SCRIPTS.len());
    }
    Ok(())
}

fn option(args: &[String], name: &str) -> Result<Option<u16>> {
    let Some(at) = args.iter().position(|arg| arg == name) else { return Ok(None) };
    let port = args.get(at + 1).and_then(|port| port.parse().ok());
    port.map(Some).with_context(|| format!("{name} needs a port"))
}

/// A broker, killed when dropped if it is ours.
struct Broker {
    port: u16,
    child: Option<Child>,
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn broker(
    running: Option<u16>,
    workplace: &Path,
    name: &str,
    command: impl FnOnce(u16, &Path) -> Result<Command>,
) -> Result<Broker> {
    if let Some(port) = running {
        return Ok(Broker { port, child: None });
    }
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let data: PathBuf = workplace.join(name);
    let mut command = command(port, &data)?;
    let log = File::create(data.with_extension("log"))?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let child = command.spawn().with_context(|| format!("{command:?} (cargo build --release makes it)"))?;
    let mut broker = Broker { port, child: Some(child) };
    let start = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        let ended = broker.child.as_mut().map(Child::try_wait).transpose()?.flatten();
        if ended.is_some() || start.elapsed() > READY_WITHIN {
            bail!("{name} does not listen: {}", data.with_extension("log").display());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(broker)
}
