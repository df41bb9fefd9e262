//! Apache Kafka out of its published jars: the broker that answers what is right, and the tools that read our files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::fetch;
use crate::root;

const CLUSTER_ID: &str = "Y2hyb25pay1vcmFjbGUtMA";

/// `cargo xtask kafka PORT [FOLDER]`: runs a broker in the foreground, with its data in FOLDER.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let Some(port) = args.first().and_then(|text| text.parse::<u16>().ok()) else {
        bail!("usage: cargo xtask kafka PORT [FOLDER]");
    };
    let folder = args.get(1).map_or_else(|| root::cache().join("kafka-data"), PathBuf::from);
    let status = broker(port, &folder)?.status().context("java")?;
    if !status.success() {
        bail!("the broker ended with {status}");
    }
    Ok(())
}

/// A command that runs a broker on 127.0.0.1 with its data in `data`, which is formatted if need be.
pub(crate) fn broker(port: u16, data: &Path) -> Result<Command> {
    let jars = jars("broker")?;
    fs::create_dir_all(data)?;
    let settings = data.with_extension("properties");
    fs::write(&settings, server_properties(port, data))?;
    let java = || {
        let mut command = Command::new("java");
        command.args(["-Xmx768m", "-cp"]).arg(jars.join("*"));
        command
    };
    if !data.join("meta.properties").exists() {
        let mut format = java();
        format.args(["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"]).arg(&settings);
        root::output(&mut format)?;
    }
    let mut command = java();
    command.arg("kafka.Kafka").arg(settings);
    Ok(command)
}

/// One node that plays broker and controller; the controller listens on the next port.
fn server_properties(port: u16, data: &Path) -> String {
    let (controller, data) = (port + 1, data.display());
    format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={data}
group.initial.rebalance.delay.ms=0
offsets.topic.replication.factor=1
offsets.topic.num.partitions=5
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
"
    )
}

/// A command that runs Kafka's dump tool; `--files` and what else is wanted are added.
pub(crate) fn dump_log_segments() -> Result<Command> {
    let mut command = Command::new("java");
    command.args(["-Xmx512m", "-cp"]).arg(jars("tools")?.join("*")).arg("org.apache.kafka.tools.DumpLogSegments");
    Ok(command)
}

/// The jars that `tests/kafka/NAME.xml` lists, brought by Maven once.
fn jars(name: &str) -> Result<PathBuf> {
    let pom = root::dir().join("tests/kafka").join(format!("{name}.xml"));
    let home = root::cache().join(format!("kafka-{name}"));
    let made_from = fs::read_to_string(&pom)?;
    let stamp = home.join("stamp");
    if !fs::read_to_string(&stamp).is_ok_and(|text| text == made_from) {
        fetch::maven(&pom, &home.join("jars"))?;
        fs::write(stamp, made_from)?;
    }
    Ok(home.join("jars"))
}
