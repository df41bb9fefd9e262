//! The options of `cargo xtask clients`, and where its files go.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

use crate::root;

const USAGE: &str = "usage: cargo xtask clients [options]
  --only TEXT            clients whose name contains TEXT; may be repeated
  --bootstrap HOST:PORT  a broker that runs already, in place of one of our own (then nothing is killed)
  --chronik PATH         another chronik than target/release/chronik
  --kafka                Apache Kafka in place of target/release/chronik
  --matrix | --real-input   only the counts, only the package index
  --jobs N               clients at a time (2)
  --seed N               chooses the arbitrary points at which consumers stop
  --install-only         install the clients and end";

/// What was asked for.
pub(super) struct Options {
    pub(super) only: Vec<String>,
    pub(super) bootstrap: Option<String>,
    pub(super) chronik: PathBuf,
    pub(super) kafka: bool,
    pub(super) matrix: bool,
    pub(super) real_input: bool,
    pub(super) jobs: usize,
    pub(super) seed: u64,
    pub(super) install_only: bool,
    pub(super) cache: PathBuf,
}

impl Options {
    pub(super) fn parse(args: &[String]) -> Result<Self> {
        let mut options = Self {
            only: Vec::new(),
            bootstrap: None,
            chronik: root::target().join("release/chronik"),
            kafka: false,
            matrix: true,
            real_input: true,
            jobs: 2,
            seed: now_nanos(),
            install_only: false,
            cache: root::cache(),
        };
        let mut words = args.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().cloned().with_context(|| format!("{word} needs a value\n{USAGE}"));
            match word.as_str() {
                "--only" => options.only.push(value()?),
                "--bootstrap" => options.bootstrap = Some(value()?),
                "--chronik" => options.chronik = PathBuf::from(value()?),
                "--kafka" => options.kafka = true,
                "--matrix" => options.real_input = false,
                "--real-input" => options.matrix = false,
                "--jobs" => options.jobs = value()?.parse::<usize>().context("--jobs")?.max(1),
                "--seed" => options.seed = value()?.parse().context("--seed")?,
                "--install-only" => options.install_only = true,
                _ => bail!("{word} is not known\n{USAGE}"),
            }
        }
        eprintln!("seed {}", options.seed);
        Ok(options)
    }

    /// Whether the client of this name takes part.
    pub(super) fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|text| name.contains(text.as_str()))
    }

    /// An empty folder for this run: logs of all programs, data of the broker. Kept when the run fails.
    pub(super) fn fresh_workplace(&self) -> Result<PathBuf> {
        let folder = self.cache.join("runs").join(format!("{}", std::process::id()));
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// A number from 1 to `below` − 1 that the seed and `name` choose.
    pub(super) fn arbitrary(&self, name: &str, below: u64) -> u64 {
        let mut state = self.seed ^ 0x9e37_79b9_7f4a_7c15;
        for byte in name.bytes() {
            state = (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            state ^= state >> 29;
        }
        1 + state % (below - 1)
    }
}

/// The folder of the client programs.
pub(super) fn programs() -> PathBuf {
    root::dir().join("tests/clients")
}

fn now_nanos() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |time| u64::from(time.subsec_nanos()))
}
