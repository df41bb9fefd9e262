//! `chronik topic`: create, list, describe, alter, delete, add partitions, trim, look up offsets.

use std::collections::BTreeMap;

use chronik_client::Client;
use chronik_client::admin::{Admin, ConfigOperation, ConfigResource, NewTopic, OffsetSpec};
use chronik_protocol::error::ErrorCode;
use clap::{Args, Subcommand};
use serde::Serialize;

use super::confirm::Confirm;
use super::connect::{Connect, block_on, summary, told};
use crate::fault::Fault;
use crate::output::{self, Format, Row};

/// Topics and their partitions.
#[derive(Debug, Args)]
pub struct Topic {
    #[command(subcommand)]
    command: TopicCommand,
}

#[derive(Debug, Subcommand)]
enum TopicCommand {
    /// Create topics
    Create(Create),
    /// List topics
    #[command(visible_alias = "ls")]
    List(List),
    /// Show partitions and settings of topics
    Describe(Describe),
    /// Change settings of a topic
    Alter(Alter),
    /// Delete topics with all of their records
    #[command(visible_alias = "rm")]
    Delete(Delete),
    /// Raise the partition count of a topic
    AddPartitions(AddPartitions),
    /// Delete the oldest records of a topic
    Trim(Trim),
    /// Look up first, last or timed offsets of a topic
    Offsets(Offsets),
}

/// Create topics.
#[derive(Debug, Args)]
#[command(after_help = "Example: chronik topic create orders -p 12 -c retention.ms=86400000")]
struct Create {
    /// Names
    #[arg(required = true, value_name = "TOPIC")]
    topics: Vec<String>,
    /// Partitions; the broker's num.partitions without it
    #[arg(long, short, default_value_t = -1, value_name = "COUNT")]
    partitions: i32,
    /// Replicas; the broker's default.replication.factor without it
    #[arg(long, short, default_value_t = -1, value_name = "COUNT")]
    replication_factor: i16,
    /// A setting
    #[arg(long = "config", short, value_name = "KEY=VALUE")]
    configs: Vec<String>,
    /// Take an existing topic as success
    #[arg(long)]
    if_not_exists: bool,
    /// Validate only
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    connect: Connect,
}

/// List topics.
#[derive(Debug, Args)]
struct List {
    /// Internal topics too
    #[arg(long)]
    internal: bool,
    #[command(flatten)]
    connect: Connect,
}

/// Show partitions and settings of topics.
#[derive(Debug, Args)]
struct Describe {
    /// Names; all topics without one
    #[arg(value_name = "TOPIC")]
    topics: Vec<String>,
    /// Settings instead of partitions
    #[arg(long)]
    configs: bool,
    #[command(flatten)]
    connect: Connect,
}

/// Change settings of a topic.
#[derive(Debug, Args)]
#[command(after_help = "Example: chronik topic alter orders --set retention.ms=3600000 --delete segment.bytes")]
struct Alter {
    /// The topic
    topic: String,
    /// A setting and its new value
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// A setting that goes back to the broker's value
    #[arg(long, value_name = "KEY")]
    delete: Vec<String>,
    /// Add to a setting that is a list
    #[arg(long, value_name = "KEY=VALUE")]
    append: Vec<String>,
    /// Take from a setting that is a list
    #[arg(long, value_name = "KEY=VALUE")]
    subtract: Vec<String>,
    /// Validate only
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    connect: Connect,
}

/// Delete topics with all of their records.
#[derive(Debug, Args)]
struct Delete {
    /// Names
    #[arg(required = true, value_name = "TOPIC")]
    topics: Vec<String>,
    /// Take a missing topic as success
    #[arg(long)]
    if_exists: bool,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    connect: Connect,
}

/// Raise the partition count of a topic.
#[derive(Debug, Args)]
struct AddPartitions {
    /// The topic
    topic: String,
    /// The new total
    #[arg(value_name = "TOTAL")]
    total: i32,
    /// Validate only
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    connect: Connect,
}

/// Delete the oldest records of a topic.
#[derive(Debug, Args)]
#[command(after_help = "Example: chronik topic trim orders --partition 3 --before 120000 --yes")]
struct Trim {
    /// The topic
    topic: String,
    /// Only this partition
    #[arg(long, short)]
    partition: Option<i32>,
    /// The first offset that stays; everything readable goes without it
    #[arg(long, value_name = "OFFSET", default_value_t = -1)]
    before: i64,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    connect: Connect,
}

/// Look up offsets of a topic.
#[derive(Debug, Args)]
struct Offsets {
    /// The topic
    topic: String,
    /// The first record at or after this time, in ms since 1970
    #[arg(long, value_name = "MS")]
    at: Option<i64>,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Serialize)]
struct TopicRow {
    topic: String,
    partitions: usize,
    replicas: usize,
    internal: bool,
    id: String,
}

impl Row for TopicRow {
    const HEADINGS: &'static [&'static str] = &["topic", "partitions", "replicas", "internal", "id"];

    fn cells(&self) -> Vec<String> {
        let internal = if self.internal { "yes" } else { "no" };
        vec![
            self.topic.clone(),
            self.partitions.to_string(),
            self.replicas.to_string(),
            internal.to_owned(),
            self.id.clone(),
        ]
    }
}

#[derive(Serialize)]
struct PartitionRow {
    topic: String,
    partition: i32,
    leader: i32,
    leader_epoch: i32,
    replicas: Vec<i32>,
    in_sync: Vec<i32>,
    log_start: Option<i64>,
    log_end: Option<i64>,
}

impl Row for PartitionRow {
    const HEADINGS: &'static [&'static str] =
        &["topic", "partition", "leader", "epoch", "replicas", "in sync", "start", "end"];

    fn cells(&self) -> Vec<String> {
        let list = |ids: &[i32]| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let offset = |offset: Option<i64>| offset.map_or("-".to_owned(), |offset| offset.to_string());
        vec![
            self.topic.clone(),
            self.partition.to_string(),
            self.leader.to_string(),
            self.leader_epoch.to_string(),
            list(&self.replicas),
            list(&self.in_sync),
            offset(self.log_start),
            offset(self.log_end),
        ]
    }
}

#[derive(Serialize)]
struct SettingRow {
    topic: String,
    name: String,
    value: Option<String>,
    source: &'static str,
    read_only: bool,
    sensitive: bool,
}

impl Row for SettingRow {
    const HEADINGS: &'static [&'static str] = &["topic", "setting", "value", "source"];

    fn cells(&self) -> Vec<String> {
        let value = self.value.clone().unwrap_or_else(|| if self.sensitive { "(hidden)" } else { "" }.to_owned());
        vec![self.topic.clone(), self.name.clone(), value, self.source.to_owned()]
    }
}

#[derive(Serialize)]
struct OffsetRow {
    topic: String,
    partition: i32,
    offset: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<i64>,
}

impl Row for OffsetRow {
    const HEADINGS: &'static [&'static str] = &["topic", "partition", "offset", "end"];

    fn cells(&self) -> Vec<String> {
        let end = self.end.or(self.timestamp).map_or("-".to_owned(), |end| end.to_string());
        vec![self.topic.clone(), self.partition.to_string(), self.offset.to_string(), end]
    }
}

/// The outcome of a change, one row an entry.
#[derive(Serialize)]
pub(super) struct DoneRow {
    pub(super) name: String,
    pub(super) result: String,
}

impl Row for DoneRow {
    const HEADINGS: &'static [&'static str] = &["name", "result"];

    fn cells(&self) -> Vec<String> {
        vec![self.name.clone(), self.result.clone()]
    }
}

/// Prints what was done, and ends with the fault of what was not.
pub(super) fn finish(
    format: Format,
    outcomes: Vec<(String, Result<(), chronik_client::Error>)>,
    done: &str,
    forgiven: Option<ErrorCode>,
) -> Result<(), Fault> {
    let mut rows = Vec::new();
    let mut failed = Vec::new();
    for (name, outcome) in outcomes {
        match outcome {
            Ok(()) => rows.push(DoneRow { name, result: done.to_owned() }),
            Err(error) if forgiven.is_some() && error.code() == forgiven => {
                rows.push(DoneRow { name, result: "unchanged".to_owned() });
            }
            Err(error) => failed.push((name, error)),
        }
    }
    if !rows.is_empty() {
        output::rows(format, &rows)?;
    }
    summary(failed, rows.len())
}

fn pair(text: &str) -> Result<(String, String), Fault> {
    text.split_once('=')
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .ok_or_else(|| Fault::usage(format!("{text:?} has no '='"), "KEY=VALUE"))
}

impl Topic {
    /// Runs the command.
    pub fn run(self, format: Format) -> Result<(), Fault> {
        block_on(async move {
            match self.command {
                TopicCommand::Create(command) => command.run(format).await,
                TopicCommand::List(command) => command.run(format).await,
                TopicCommand::Describe(command) => command.run(format).await,
                TopicCommand::Alter(command) => command.run(format).await,
                TopicCommand::Delete(command) => command.run(format).await,
                TopicCommand::AddPartitions(command) => command.run(format).await,
                TopicCommand::Trim(command) => command.run(format).await,
                TopicCommand::Offsets(command) => command.run(format).await,
            }
        })
    }
}

impl Create {
    async fn run(self, format: Format) -> Result<(), Fault> {
        let configs = self.configs.iter().map(|text| pair(text)).collect::<Result<Vec<_>, _>>()?;
        let admin = Admin::new(&self.connect.client().await?);
        let new = |name: &String| NewTopic {
            name: name.clone(),
            partitions: self.partitions,
            replication_factor: self.replication_factor,
            configs: configs.clone(),
        };
        let topics: Vec<NewTopic> = self.topics.iter().map(new).collect();
        let outcomes = admin.create_topics(&topics, self.dry_run).await.map_err(told)?;
        let forgiven = self.if_not_exists.then_some(ErrorCode::TopicAlreadyExists);
        finish(format, outcomes, if self.dry_run { "would be created" } else { "created" }, forgiven)
    }
}

impl List {
    async fn run(self, format: Format) -> Result<(), Fault> {
        let cluster = self.connect.client().await?.refresh_all().await.map_err(told)?;
        let mut rows: Vec<TopicRow> = cluster
            .topics
            .iter()
            .filter(|(_, topic)| self.internal || !topic.internal)
            .map(|(name, topic)| TopicRow {
                topic: name.clone(),
                partitions: topic.partitions.len(),
                replicas: topic.partitions.first().map_or(0, |partition| partition.replicas.len()),
                internal: topic.internal,
                id: topic.id.to_string(),
            })
            .collect();
        rows.sort_by(|a, b| a.topic.cmp(&b.topic));
        output::rows(format, &rows)
    }
}

impl Describe {
    async fn run(self, format: Format) -> Result<(), Fault> {
        let client = self.connect.client().await?;
        let names = known(&client, &self.topics).await?;
        let admin = Admin::new(&client);
        if self.configs {
            return settings(&admin, names, format).await;
        }
        let mut rows = Vec::new();
        for name in names {
            let cluster = client.cluster();
            let Some(topic) = cluster.topics.get(&name) else { continue };
            let indexes: Vec<i32> = topic.partitions.iter().map(|partition| partition.index).collect();
            let starts = admin.list_offsets(&name, &indexes, OffsetSpec::Earliest, false).await.map_err(told)?;
            let ends = admin.list_offsets(&name, &indexes, OffsetSpec::Latest, false).await.map_err(told)?;
            let offset = |found: &BTreeMap<i32, Result<_, _>>, index| {
                found
                    .get(&index)
                    .and_then(|f: &Result<chronik_client::admin::PartitionOffset, _>| f.as_ref().ok())
                    .map(|f| f.offset)
            };
            rows.extend(topic.partitions.iter().map(|partition| PartitionRow {
                topic: name.clone(),
                partition: partition.index,
                leader: partition.leader,
                leader_epoch: partition.leader_epoch,
                replicas: partition.replicas.clone(),
                in_sync: partition.in_sync.clone(),
                log_start: offset(&starts, partition.index),
                log_end: offset(&ends, partition.index),
            }));
        }
        output::rows(format, &rows)
    }
}

async fn settings(admin: &Admin, names: Vec<String>, format: Format) -> Result<(), Fault> {
    let mut rows = Vec::new();
    for topic in names {
        let entries = admin.describe_configs(&ConfigResource::Topic(topic.clone()), false).await.map_err(told)?;
        rows.extend(entries.into_iter().map(|entry| SettingRow {
            topic: topic.clone(),
            name: entry.name,
            value: entry.value,
            source: entry.source,
            read_only: entry.read_only,
            sensitive: entry.sensitive,
        }));
    }
    output::rows(format, &rows)
}

/// The topics of these names (all without any), with their metadata asked for.
async fn known(client: &Client, names: &[String]) -> Result<Vec<String>, Fault> {
    if names.is_empty() {
        let cluster = client.refresh_all().await.map_err(told)?;
        let mut names: Vec<String> =
            cluster.topics.iter().filter(|(_, t)| !t.internal).map(|(name, _)| name.clone()).collect();
        names.sort();
        return Ok(names);
    }
    let cluster = client.refresh(&names.iter().map(String::as_str).collect::<Vec<_>>()).await.map_err(told)?;
    match names.iter().find(|name| !cluster.topics.contains_key(*name)) {
        None => Ok(names.to_vec()),
        Some(name) => {
            let code = cluster.errors.get(name).copied().unwrap_or(ErrorCode::UnknownTopicOrPartition);
            Err(told(chronik_client::Error::broker(format!("topic {name}"), code, None)))
        }
    }
}

impl Alter {
    async fn run(self, format: Format) -> Result<(), Fault> {
        let mut changes = Vec::new();
        type Change = fn(String) -> ConfigOperation;
        let kinds: [(&[String], Change); 3] = [
            (&self.set, ConfigOperation::Set),
            (&self.append, ConfigOperation::Append),
            (&self.subtract, ConfigOperation::Subtract),
        ];
        for (texts, operation) in kinds {
            for text in texts {
                let (key, value) = pair(text)?;
                changes.push((key, operation(value)));
            }
        }
        changes.extend(self.delete.iter().map(|key| (key.clone(), ConfigOperation::Delete)));
        if changes.is_empty() {
            return Err(Fault::usage("nothing to change", "--set KEY=VALUE or --delete KEY"));
        }
        let admin = Admin::new(&self.connect.client().await?);
        let resource = ConfigResource::Topic(self.topic.clone());
        let outcome = admin.alter_configs(&resource, &changes, self.dry_run).await;
        finish(format, vec![(self.topic, outcome)], if self.dry_run { "would be altered" } else { "altered" }, None)
    }
}

impl Delete {
    async fn run(self, format: Format) -> Result<(), Fault> {
        let client = self.connect.client().await?;
        let what = format!("delete {} with all records", self.topics.join(", "));
        if !self.confirm.given(&what)? {
            known(&client, &self.topics).await?;
            return Ok(());
        }
        let outcomes = Admin::new(&client).delete_topics(&self.topics).await.map_err(told)?;
        finish(format, outcomes, "deleted", self.if_exists.then_some(ErrorCode::UnknownTopicOrPartition))
    }
}

impl AddPartitions {
    async fn run(self, format: Format) -> Result<(), Fault> {
        let admin = Admin::new(&self.connect.client().await?);
        let outcome = admin.create_partitions(&self.topic, self.total, self.dry_run).await;
        let done = if self.dry_run { "would have" } else { "has" };
        finish(format, vec![(self.topic, outcome)], &format!("{done} {} partitions", self.total), None)
    }
}

impl Trim {
    async fn run(self, format: Format) -> Result<(), Fault> {
        let client = self.connect.client().await?;
        let names = known(&client, std::slice::from_ref(&self.topic)).await?;
        let to = if self.before < 0 { "up to the end".to_owned() } else { format!("before offset {}", self.before) };
        if !self.confirm.given(&format!("delete the records of {} {to}", self.topic))? {
            return Ok(());
        }
        let cluster = client.cluster();
        let all = names
            .iter()
            .filter_map(|name| cluster.topics.get(name))
            .flat_map(|topic| &topic.partitions)
            .map(|p| p.index);
        let partitions: Vec<i32> = match self.partition {
            Some(partition) => vec![partition],
            None => all.collect(),
        };
        let admin = Admin::new(&client);
        let mut rows = Vec::new();
        let mut failed = Vec::new();
        for partition in partitions {
            match admin.delete_records(&self.topic, partition, self.before).await {
                Ok(offset) => {
                    rows.push(OffsetRow { topic: self.topic.clone(), partition, offset, timestamp: None, end: None })
                }
                Err(error) => failed.push((partition.to_string(), error)),
            }
        }
        if !rows.is_empty() {
            output::rows(format, &rows)?;
        }
        summary(failed, rows.len())
    }
}

impl Offsets {
    async fn run(self, format: Format) -> Result<(), Fault> {
        let client = self.connect.client().await?;
        known(&client, std::slice::from_ref(&self.topic)).await?;
        let cluster = client.cluster();
        let partitions: Vec<i32> = cluster
            .topics
            .get(&self.topic)
            .into_iter()
            .flat_map(|topic| &topic.partitions)
            .map(|partition| partition.index)
            .collect();
        let admin = Admin::new(&client);
        let first = self.at.map_or(OffsetSpec::Earliest, OffsetSpec::Timestamp);
        let found = admin.list_offsets(&self.topic, &partitions, first, false).await.map_err(told)?;
        let ends = admin.list_offsets(&self.topic, &partitions, OffsetSpec::Latest, false).await.map_err(told)?;
        let mut rows = Vec::new();
        for (partition, found) in found {
            let found = found.map_err(told)?;
            let end = ends.get(&partition).and_then(|end| end.as_ref().ok()).map(|end| end.offset);
            let timestamp = self.at.map(|_| found.timestamp);
            rows.push(OffsetRow { topic: self.topic.clone(), partition, offset: found.offset, timestamp, end });
        }
        output::rows(format, &rows)
    }
}
