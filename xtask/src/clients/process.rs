//! A running client program: what it prints, line by line, with a deadline on every wait.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

/// One record that a consumer handed to the application.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Record {
    pub(super) partition: i64,
    pub(super) offset: i64,
    pub(super) key: String,
    pub(super) value: String,
}

/// All that a program has said so far.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) records: Vec<Record>,
    /// The latest assignment.
    pub(super) assigned: Vec<i64>,
    /// Commits that were asked for and made.
    pub(super) commits: usize,
    /// How many records were acknowledged, and the last offset of each partition where the client tells.
    pub(super) produced: Option<(u64, BTreeMap<i64, i64>)>,
    pub(super) done: Option<Summary>,
}

/// How a consumer ends.
#[derive(Debug)]
pub(super) struct Summary {
    pub(super) reason: String,
    /// Records that it says it has read.
    pub(super) count: u64,
    /// Offsets that the broker says are committed, where the client can ask.
    pub(super) committed: Option<BTreeMap<i64, i64>>,
}

/// A program that runs. It is killed when dropped.
pub(super) struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    log: PathBuf,
    pub(super) said: Said,
}

impl Running {
    /// Starts `command`; what it writes to standard error goes to `log`.
    pub(super) fn start(command: &mut Command, log: &Path) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(File::create(log)?);
        let mut child = command.spawn().with_context(|| format!("{command:?}"))?;
        let (sender, lines) = mpsc::sync_channel(10_000);
        let stdout = child.stdout.take().context("no standard output")?;
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self { stdin: child.stdin.take(), child, lines, log: log.to_owned(), said: Said::default() })
    }

    /// Takes what is said within `patience`. False when the program has closed its output.
    pub(super) fn listen(&mut self, patience: Duration) -> Result<bool> {
        let mut line = match self.lines.recv_timeout(patience) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => return Ok(true),
            Err(RecvTimeoutError::Disconnected) => return Ok(false),
        };
        loop {
            self.said.take(&line).with_context(|| format!("it said: {line}"))?;
            match self.lines.try_recv() {
                Ok(next) => line = next,
                Err(_) => return Ok(true),
            }
        }
    }

    /// Asks for a synchronous commit.
    pub(super) fn ask_for_commit(&mut self) -> Result<()> {
        let stdin = self.stdin.as_mut().context("its input is closed")?;
        stdin.write_all(b"commit\n")?;
        Ok(stdin.flush()?)
    }

    /// Closes its input, which ends a consumer that nothing else ends.
    pub(super) fn ask_to_stop(&mut self) {
        self.stdin = None;
    }

    /// Listens until the program has ended, well and in time.
    pub(super) fn finish(mut self, deadline: Instant) -> Result<Said> {
        loop {
            if !self.listen(Duration::from_millis(100))? {
                break;
            }
            if Instant::now() > deadline {
                bail!("it did not end in time{}", self.last_words());
            }
        }
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if Instant::now() > deadline {
                bail!("it did not exit in time{}", self.last_words());
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        if !status.success() {
            bail!("it ended with {status}{}", self.last_words());
        }
        Ok(std::mem::take(&mut self.said))
    }

    /// What it wrote to standard error last, for a report.
    pub(super) fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let last = &lines[lines.len().saturating_sub(6)..];
        if last.is_empty() { String::new() } else { format!("; its last words:\n      {}", last.join("\n      ")) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Said {
    fn take(&mut self, line: &str) -> Result<()> {
        let mut fields: Value = serde_json::from_str(line)?;
        let event = fields["event"].as_str().unwrap_or_default().to_owned();
        match event.as_str() {
            "record" => self.records.push(Record {
                partition: integer(&fields["partition"])?,
                offset: integer(&fields["offset"])?,
                key: string(fields["key"].take()).unwrap_or_default(),
                value: string(fields["value"].take()).context("no value")?,
            }),
            "assigned" => {
                let partitions = fields["partitions"].as_array().context("no partitions")?;
                self.assigned = partitions.iter().map(integer).collect::<Result<_>>()?;
            }
            "committed" => self.commits += 1,
            "produced" => self.produced = Some((count(&fields)?, offsets(&fields["last_offsets"])?)),
            "done" => {
                let reason = string(fields["reason"].take()).context("no reason")?;
                let committed = &fields["committed"];
                let committed = if committed.is_null() { None } else { Some(offsets(committed)?) };
                self.done = Some(Summary { reason, count: count(&fields)?, committed });
            }
            _ => bail!("an event that is not known"),
        }
        Ok(())
    }
}

fn count(fields: &Value) -> Result<u64> {
    fields["count"].as_u64().context("no count")
}

fn integer(value: &Value) -> Result<i64> {
    value.as_i64().ok_or_else(|| anyhow!("{value} is no integer"))
}

fn string(value: Value) -> Option<String> {
    if let Value::String(text) = value { Some(text) } else { None }
}

fn offsets(value: &Value) -> Result<BTreeMap<i64, i64>> {
    let fields = value.as_object().context("no offsets by partition")?;
    fields.iter().map(|(partition, offset)| Ok((partition.parse()?, integer(offset)?))).collect()
}
