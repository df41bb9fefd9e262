//! `cargo xtask figures [--write] [--quick]`: measures Chronik and Apache Kafka in one run, alternating, and writes docs/performance.md.
//!
//! Both are driven by `chronik bench` over loopback on the same cores, so only the ratios mean something on another
//! machine. CPU is the broker process's own, as the kernel accounts it.

mod contender;
mod page;

use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::root;
use contender::{Contender, Kind};

/// One load of `chronik bench`.
struct Load {
    name: &'static str,
    /// What `per` counts.
    unit: Unit,
    arguments: &'static [&'static str],
    quick: &'static str,
    records: &'static str,
}

/// What the broker's CPU time is divided by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    /// Batches of so many records.
    Batch(u64),
    /// GiB of values.
    Gib,
}

/// Produce loads: the batch holds as many records of the size as fit.
const PRODUCE: &[Load] = &[
    Load {
        name: "produce, 1 KiB batches, acks=all, 16 connections, 8,000 a second",
        unit: Unit::Batch(1),
        arguments: &[
            "-s",
            "950",
            "--batch-bytes",
            "1",
            "--linger",
            "0",
            "--producers",
            "16",
            "--in-flight",
            "1",
            "-p",
            "16",
            "--rate",
            "8000",
        ],
        records: "80000",
        quick: "20000",
    },
    Load {
        name: "produce, 1 KiB batches, acks=all, 16 connections",
        unit: Unit::Batch(1),
        arguments: &[
            "-s",
            "950",
            "--batch-bytes",
            "1",
            "--linger",
            "0",
            "--producers",
            "16",
            "--in-flight",
            "1",
            "-p",
            "16",
        ],
        records: "120000",
        quick: "20000",
    },
    Load {
        name: "produce, 1 KiB batches, acks=all, pipelined",
        unit: Unit::Batch(1),
        arguments: &["-s", "950", "--batch-bytes", "1", "--linger", "0", "--producers", "4", "-p", "16"],
        records: "200000",
        quick: "20000",
    },
    Load {
        name: "produce, 16 KiB batches, acks=all, pipelined",
        unit: Unit::Batch(1),
        arguments: &["-s", "16200", "--batch-bytes", "1", "--linger", "0", "--producers", "4", "-p", "16"],
        records: "60000",
        quick: "10000",
    },
    Load {
        name: "produce, 1 MiB batches of 16 KiB records, acks=all",
        unit: Unit::Gib,
        arguments: &["-s", "16200", "--batch-bytes", "1000000", "--linger", "50", "--producers", "2", "-p", "4"],
        records: "130000",
        quick: "20000",
    },
];

/// One row of the page: the figure of each contender, by its rounds.
pub(super) struct Row {
    pub(super) name: String,
    pub(super) unit: &'static str,
    /// Smaller is better, or larger.
    pub(super) smaller: bool,
    pub(super) chronik: Vec<f64>,
    pub(super) kafka: Vec<f64>,
    /// What the design promises, in the row's unit.
    pub(super) target: Option<f64>,
}

/// Rounds of every measurement; contenders take turns.
const ROUNDS: usize = 3;

pub(crate) fn run(args: &[String]) -> Result<()> {
    let quick = args.iter().any(|arg| arg == "--quick");
    root::run("cargo", &["build", "--release", "--quiet", "-p", "chronik"])?;
    let rounds = if quick { 1 } else { ROUNDS };
    let mut rows = Rows::default();
    for round in 0..rounds {
        for kind in [Kind::Chronik, Kind::Kafka] {
            eprintln!("round {} of {rounds}: {}", round + 1, kind.name());
            measure(kind, quick, &mut rows).with_context(|| format!("measuring {}", kind.name()))?;
        }
    }
    let page = page::render(&rows.0, &format!("cargo xtask figures{}", if quick { " --quick" } else { "" }))?;
    if args.iter().any(|arg| arg == "--write") {
        let path = root::dir().join("docs/performance.md");
        // What people noted below the tables stays.
        let before = std::fs::read_to_string(&path).unwrap_or_default();
        let notes = before.find("\n## Notes").map_or("", |at| &before[at..]);
        std::fs::write(path, page + notes)?;
    } else {
        print(&page);
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the page is what this prints")]
fn print(page: &str) {
    println!("{page}");
}

/// Rows in the order in which they first came.
#[derive(Default)]
struct Rows(Vec<Row>);

impl Rows {
    fn add(&mut self, kind: Kind, name: &str, unit: &'static str, smaller: bool, target: Option<f64>, value: f64) {
        if !self.0.iter().any(|row| row.name == name) {
            let (chronik, kafka) = (Vec::new(), Vec::new());
            self.0.push(Row { name: name.to_owned(), unit, smaller, chronik, kafka, target });
        }
        for row in self.0.iter_mut().filter(|row| row.name == name) {
            match kind {
                Kind::Chronik => row.chronik.push(value),
                Kind::Kafka => row.kafka.push(value),
            }
        }
    }
}

fn measure(kind: Kind, quick: bool, rows: &mut Rows) -> Result<()> {
    let mut broker = Contender::new(kind)?;
    let first_answer = broker.start()?;
    rows.add(kind, "start to first answer", "ms", true, Some(10.0), ms(first_answer));
    let delivered = deliver(&broker)?;
    rows.add(
        kind,
        "start to a message delivered through a new group",
        "ms",
        true,
        Some(300.0),
        ms(first_answer + delivered),
    );
    broker.stop()?;
    // A second start, on a directory that is there, for memory: nothing has been asked of this one.
    broker.start()?;
    std::thread::sleep(Duration::from_secs(1));
    let idle = broker.resident_kib()?;
    rows.add(kind, "idle memory", "MiB", true, Some(12.0), idle as f64 / 1024.0);
    rows.add(kind, "memory of an idle connection", "KiB", true, Some(5.0), connections(&broker, idle)?);
    for load in PRODUCE {
        produce(&broker, kind, load, quick, rows)?;
    }
    fetch(&broker, kind, quick, rows)?;
    broker.stop()
}

/// Writes a record and reads it back as a new group, with nothing prepared.
fn deliver(broker: &Contender) -> Result<Duration> {
    let began = Instant::now();
    broker.chronik(&["topic", "create", "first", "-p", "1"])?;
    broker.chronik_with_input(&["produce", "first"], "hello\n")?;
    let out = broker.chronik(&["consume", "first", "-G", "first-group", "-c", "1"])?;
    if out.trim() != "hello" {
        bail!("the message came back as {out:?}");
    }
    Ok(began.elapsed())
}

/// KiB of resident memory that each of 1,000 connections costs, each having asked one thing.
fn connections(broker: &Contender, idle: u64) -> Result<f64> {
    const COUNT: usize = 1000;
    let mut open = Vec::new();
    for _ in 0..COUNT {
        let mut stream = TcpStream::connect(broker.address())?;
        contender::ask_versions(&mut stream)?;
        open.push(stream);
    }
    let busy = broker.resident_kib()?;
    Ok(busy.saturating_sub(idle) as f64 / COUNT as f64)
}

fn produce(broker: &Contender, kind: Kind, load: &Load, quick: bool, rows: &mut Rows) -> Result<()> {
    let records = if quick { load.quick } else { load.records };
    let before = broker.cpu_seconds()?;
    let mut arguments = vec!["bench", "produce", "-O", "json", "-n", records];
    arguments.extend_from_slice(load.arguments);
    let report: Value = serde_json::from_str(&broker.chronik(&arguments)?)?;
    let cpu = broker.cpu_seconds()? - before;
    let number = |value: &Value| value.as_f64().context("a number");
    let acknowledged = number(&report["totals"]["acknowledged"])?;
    match load.unit {
        Unit::Batch(records) => {
            let batches = acknowledged / records as f64;
            let target = if load.name.contains("16 KiB") { 12.0 } else { 8.0 };
            rows.add(
                kind,
                &format!("{}: broker CPU a batch", load.name),
                "µs",
                true,
                Some(target),
                cpu * 1e6 / batches,
            );
        }
        Unit::Gib => {
            let gib = number(&report["mib_per_second"])? * number(&report["produce_seconds"])? / 1024.0;
            rows.add(
                kind,
                &format!("{}: GiB per second of broker CPU", load.name),
                "GiB/s",
                false,
                Some(1.8),
                gib / cpu,
            );
        }
    }
    if !load.arguments.contains(&"--rate") {
        rows.add(kind, &format!("{}: records", load.name), "1/s", false, None, number(&report["records_per_second"])?);
    }
    // Where the load is as much as goes through, the time of an acknowledgement is the length of the sender's own queue.
    if load.arguments.contains(&"--rate") {
        for (field, name, target) in [("p50_ms", "p50", 1.0), ("p99_ms", "p99", 5.0)] {
            let value = number(&report["acknowledgement"][field])?;
            rows.add(kind, &format!("{}: acknowledgement {name}", load.name), "ms", true, Some(target), value);
        }
    }
    Ok(())
}

fn fetch(broker: &Contender, kind: Kind, quick: bool, rows: &mut Rows) -> Result<()> {
    let records = if quick { "20000" } else { "130000" };
    let fill = [
        "bench",
        "produce",
        "-t",
        "figures-fetch",
        "--keep",
        "-n",
        records,
        "-s",
        "16200",
        "--batch-bytes",
        "1000000",
        "--linger",
        "50",
        "-p",
        "4",
    ];
    broker.chronik(&["topic", "create", "figures-fetch", "-p", "4"])?;
    broker.chronik(&fill)?;
    let before = broker.cpu_seconds()?;
    let out =
        broker.chronik(&["bench", "consume", "figures-fetch", "--headers-only", "--consumers", "2", "-O", "json"])?;
    let cpu = broker.cpu_seconds()? - before;
    let report: Value = serde_json::from_str(&out)?;
    let gib = report["bytes"].as_f64().context("bytes")? / f64::from(1 << 30);
    rows.add(
        kind,
        "fetch, 1 MiB a partition: GiB per second of broker CPU",
        "GiB/s",
        false,
        Some(2.2),
        gib / cpu.max(0.01),
    );
    let rate = report["mib_per_second"].as_f64().context("rate")? / 1024.0;
    rows.add(kind, "fetch, 1 MiB a partition: rate", "GiB/s", false, None, rate);
    Ok(())
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
