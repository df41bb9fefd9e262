//! The counts of `tests/clients/scenarios.md` for one client: before a kill -9 of the broker, and after it.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::catalog::{Client, LIBRDKAFKA};
use super::judge::{self, ALL, Offsets, PARTITIONS, PER_PARTITION};
use super::options::Options;
use super::process::{Running, Said};
use super::report::{Report, Table};

/// The longest a program may take for one scenario.
pub(super) const PATIENCE: Duration = Duration::from_secs(75);
/// How long after the last expected record a repeated one would still be noticed.
pub(super) const LINGER: Duration = Duration::from_millis(500);

/// One client with its topic and groups.
pub(super) struct Subject<'a> {
    client: &'a Client,
    options: &'a Options,
    workplace: &'a Path,
    bootstrap: String,
    topic: String,
    /// What the group that was stopped before the kill has committed.
    held: Mutex<Option<Offsets>>,
    /// The members that stay through the kill.
    stayers: Mutex<Option<Members>>,
}

impl<'a> Subject<'a> {
    pub(super) fn new(client: &'a Client, options: &'a Options, workplace: &'a Path, bootstrap: &str) -> Self {
        let topic = format!("{}-{:x}", client.name, options.seed);
        let (held, stayers) = (Mutex::new(None), Mutex::new(None));
        Self { client, options, workplace, bootstrap: bootstrap.to_owned(), topic, held, stayers }
    }

    /// All scenarios of a broker that runs; and, when it `dies` later, those that begin before its death.
    pub(super) fn before_the_kill(&self, report: &Report, dies: bool) {
        let name = self.client.name;
        if !report.add(Table::Clients, name, "produce", self.produce_all(&self.topic, true)) {
            return;
        }
        report.add(Table::Clients, name, "fresh group", self.fresh("first"));
        report.add(Table::Clients, name, "again", self.nothing_more("first", "again"));
        report.add(Table::Clients, name, "stop, rest", self.stop_and_rest("stopped"));
        report.add(Table::Clients, name, "two members", self.two_members("pair"));
        if dies {
            report.add(Table::Clients, name, "stop", self.stop_and_hold());
            report.add(Table::Clients, name, "stay", self.begin_to_stay());
        }
    }

    /// What the groups from before must find after the kill, and the same scenarios again with groups that begin after it.
    pub(super) fn after_the_kill(&self, report: &Report) {
        let name = self.client.name;
        report.add(Table::Clients, name, "| killed: again", self.nothing_more("first", "killed-again"));
        report.add(Table::Clients, name, "rest", self.rest_of_held());
        report.add(Table::Clients, name, "stayed", self.stayed());
        report.add(Table::Clients, name, "fresh group'", self.fresh("later"));
        report.add(Table::Clients, name, "again'", self.nothing_more("later", "later-again"));
        report.add(Table::Clients, name, "stop, rest'", self.stop_and_rest("later-stopped"));
        report.add(Table::Clients, name, "two members'", self.two_members("later-pair"));
    }

    fn produce_all(&self, topic: &str, create: bool) -> Result<String> {
        if create && !self.client.creates_topics() {
            let words = ["produce", "--create", "--per-partition", "0"];
            self.run_as(&LIBRDKAFKA, topic, &words, "create")?;
        }
        let count = PER_PARTITION.to_string();
        let mut words = vec!["produce", "--per-partition", &count];
        if create && self.client.creates_topics() {
            words.push("--create");
        }
        let said = self.run_as(self.client, topic, &words, &format!("produce-{}", topic.len()))?;
        let (count, last) = said.produced.context("it did not say what it produced")?;
        ensure!(count == ALL as u64, "it says that {count} were acknowledged");
        let right = (0..PARTITIONS).map(|partition| (partition, PER_PARTITION - 1)).collect();
        ensure!(last.is_empty() || last == right, "last offsets are {last:?}");
        Ok(count.to_string())
    }

    /// A group that is new reads everything.
    fn fresh(&self, group: &str) -> Result<String> {
        let said = self.consume(group, group, &["--expect", &ALL.to_string()])?;
        Self::judge_all(&said, &Offsets::new())
    }

    /// A group that has read everything reads nothing.
    fn nothing_more(&self, group: &str, log: &str) -> Result<String> {
        let said = self.consume(group, log, &["--expect", "0"])?;
        Self::judge_all(&said, &judge::everything())
    }

    /// Stops after an arbitrary number of records and a synchronous commit. Returns what is committed.
    fn stop(&self, group: &str) -> Result<(Offsets, usize)> {
        let count = self.options.arbitrary(&format!("{}/{group}", self.client.name), ALL as u64);
        let said = self.consume(group, group, &["--stop-after", &count.to_string()])?;
        ensure!(said.records.len() as u64 == count, "{} records read, not {count}", said.records.len());
        let committed = judge::next_offsets(said.records.iter());
        judge::summary(&said, "stop-after", &committed)?;
        Ok((committed, said.records.len()))
    }

    /// Reads on where `committed` says.
    fn rest(&self, group: &str, committed: &Offsets) -> Result<usize> {
        let count = ALL - committed.values().sum::<i64>();
        let said = self.consume(group, &format!("{group}-rest"), &["--expect", &count.to_string()])?;
        Self::judge_all(&said, committed)?;
        Ok(said.records.len())
    }

    /// A run that was to read everything from `from` on. Returns how much that was.
    fn judge_all(said: &Said, from: &Offsets) -> Result<String> {
        match (judge::exactly(said.records.iter(), from), judge::summary(said, "idle", &judge::everything())) {
            (Ok(()), Ok(())) => Ok(said.records.len().to_string()),
            (Err(records), Err(summary)) => bail!("{records}; {summary}"),
            (Err(wrong), Ok(())) | (Ok(()), Err(wrong)) => Err(wrong),
        }
    }

    fn stop_and_rest(&self, group: &str) -> Result<String> {
        let (committed, count) = self.stop(group)?;
        let rest = self.rest(group, &committed).with_context(|| format!("after {count} of {ALL}"))?;
        Ok(format!("{count}+{rest}"))
    }

    fn stop_and_hold(&self) -> Result<String> {
        let (committed, count) = self.stop("held")?;
        if let Ok(mut held) = self.held.lock() {
            *held = Some(committed);
        }
        Ok(count.to_string())
    }

    fn rest_of_held(&self) -> Result<String> {
        let committed = self.held.lock().ok().and_then(|held| held.clone()).context("nothing was held")?;
        Ok(self.rest("held", &committed)?.to_string())
    }

    /// Two members wait on an empty topic until both hold partitions; then everything is produced.
    fn two_members(&self, group: &str) -> Result<String> {
        let members = self.members_that_wait(group)?;
        self.produce_and_read(group, members)
    }

    /// The same, but the broker dies and comes back while they wait.
    fn begin_to_stay(&self) -> Result<String> {
        let members = self.members_that_wait("stay")?;
        if let Ok(mut stayers) = self.stayers.lock() {
            *stayers = Some(members);
        }
        Ok("2".to_owned())
    }

    fn stayed(&self) -> Result<String> {
        let members = self.stayers.lock().ok().and_then(|mut stayers| stayers.take()).context("nobody stayed")?;
        self.produce_and_read("stay", members)
    }

    fn members_that_wait(&self, group: &str) -> Result<Members> {
        let topic = format!("{}-{group}", self.topic);
        self.run_as(
            creator(self.client),
            &topic,
            &["produce", "--create", "--per-partition", "0"],
            &format!("{group}-create"),
        )?;
        let members = Members::start(2, |index| self.member(&topic, group, index))?;
        members.share(PARTITIONS)
    }

    fn produce_and_read(&self, group: &str, members: Members) -> Result<String> {
        self.produce_all(&format!("{}-{group}", self.topic), false)?;
        let said = members.read(ALL as usize)?;
        judge::exactly(said.iter().flat_map(|said| &said.records), &Offsets::new())?;
        for said in &said {
            judge::summary(said, "stopped", &judge::everything())?;
        }
        Ok(said.iter().map(|said| said.records.len().to_string()).collect::<Vec<_>>().join("+"))
    }

    fn member(&self, topic: &str, group: &str, index: usize) -> Result<Running> {
        // No deadline of its own that matters: it may have to stay until all other clients have had their turn.
        let mut command = self.command(self.client, topic, &["consume", "--group", topic, "--deadline-ms", "900000"]);
        Running::start(&mut command, &self.log(&format!("{group}-{index}")))
    }

    fn consume(&self, group: &str, log: &str, words: &[&str]) -> Result<Said> {
        let group = format!("{}-{group}", self.topic);
        let words: Vec<&str> = ["consume", "--group", &group].iter().chain(words).copied().collect();
        self.run_as(self.client, &self.topic, &words, log)
    }

    fn run_as(&self, client: &Client, topic: &str, words: &[&str], log: &str) -> Result<Said> {
        Running::start(&mut self.command(client, topic, words), &self.log(log))?.finish(Instant::now() + PATIENCE)
    }

    fn command(&self, client: &Client, topic: &str, words: &[&str]) -> Command {
        let mut command = client.program(&self.options.cache);
        command.args(words).args(["--bootstrap", &self.bootstrap, "--topic", topic]);
        command
    }

    fn log(&self, name: &str) -> PathBuf {
        self.workplace.join(format!("{}-{name}.log", self.client.name))
    }
}

/// The client that creates topics for `client`.
fn creator(client: &Client) -> &Client {
    if client.creates_topics() { client } else { &LIBRDKAFKA }
}

/// Members of one group, each a process.
pub(super) struct Members(Vec<Running>);

impl Members {
    pub(super) fn start(count: usize, member: impl Fn(usize) -> Result<Running>) -> Result<Self> {
        (0..count).map(member).collect::<Result<Vec<_>>>().map(Self)
    }

    /// Waits until every member holds partitions, and together they hold each partition once.
    pub(super) fn share(mut self, partitions: i64) -> Result<Self> {
        let shared = Cell::new(Vec::new());
        let told = self.until(|members| {
            let mut all: Vec<i64> = members.iter().flat_map(|member| member.said.assigned.iter().copied()).collect();
            all.sort_unstable();
            let well = all.iter().copied().eq(0..partitions) && members.iter().all(|m| !m.said.assigned.is_empty());
            shared.set(members.iter().map(|member| member.said.assigned.clone()).collect());
            well
        });
        told.with_context(|| format!("assignments {:?}", shared.take()))?;
        Ok(self)
    }

    /// Waits until they have read `count` records together, and a while longer for repeated ones; has each commit, then ends one after the other.
    pub(super) fn read(mut self, count: usize) -> Result<Vec<Said>> {
        let read = Cell::new(0);
        let all = self.until(|members| {
            read.set(members.iter().map(|member| member.said.records.len()).sum());
            read.get() >= count
        });
        all.with_context(|| format!("{} of {count} read", read.get()))?;
        let linger = Instant::now() + LINGER;
        while Instant::now() < linger {
            self.listen()?;
        }
        for member in &mut self.0 {
            member.ask_for_commit()?;
        }
        self.until(|members| members.iter().all(|member| member.said.commits == 1)).context("commit")?;
        let mut said = Vec::new();
        for mut member in self.0 {
            member.ask_to_stop();
            said.push(member.finish(Instant::now() + PATIENCE)?);
        }
        Ok(said)
    }

    fn until(&mut self, condition: impl Fn(&[Running]) -> bool) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !condition(&self.0) {
            self.listen()?;
            if Instant::now() > deadline {
                let words: String = self.0.iter().map(Running::last_words).collect();
                bail!("not within {PATIENCE:?}{words}");
            }
        }
        Ok(())
    }

    fn listen(&mut self) -> Result<()> {
        for member in &mut self.0 {
            if !member.listen(Duration::from_millis(10))? {
                bail!("a member ended early{}", member.last_words());
            }
        }
        Ok(())
    }
}
