//! `chronik group`: list, describe, lag, reset, delete, delete offsets.

use std::collections::BTreeMap;

use chronik_client::Client;
use chronik_client::admin::{Admin, GroupOffset, OffsetSpec};
use chronik_protocol::error::ErrorCode;
use clap::{ArgGroup, Args, Subcommand};
use serde::Serialize;

use super::confirm::Confirm;
use super::connect::{Connect, block_on, told};
use super::topic::finish;
use crate::fault::{Fault, GROUP_NOT_EMPTY};
use crate::output::{self, Format, Row};

/// Consumer groups and their offsets.
#[derive(Debug, Args)]
pub struct Group {
    #[command(subcommand)]
    command: GroupCommand,
}

#[derive(Debug, Subcommand)]
enum GroupCommand {
    /// List groups
    #[command(visible_alias = "ls")]
    List(List),
    /// Show members, assignments and lag of a group
    Describe(Describe),
    /// Show the lag of groups, partition by partition
    Lag(Lag),
    /// Set the committed offsets of a group without members
    Reset(Reset),
    /// Delete groups without members
    #[command(visible_alias = "rm")]
    Delete(Delete),
    /// Delete committed offsets of a topic
    DeleteOffsets(DeleteOffsets),
}

/// List groups.
#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    connect: Connect,
}

/// Show members, assignments and lag of a group.
#[derive(Debug, Args)]
struct Describe {
    /// The group
    group: String,
    #[command(flatten)]
    connect: Connect,
}

/// Show the lag of groups.
#[derive(Debug, Args)]
struct Lag {
    /// Groups; all without one
    groups: Vec<String>,
    #[command(flatten)]
    connect: Connect,
}

/// Set the committed offsets of a group without members.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("target").required(true).args(["earliest", "latest", "to", "at", "shift"]),
    after_help = "Example: chronik group reset billing --topic orders --earliest"
)]
struct Reset {
    /// The group
    group: String,
    /// Topics; all that the group has offsets for without one
    #[arg(long, short)]
    topic: Vec<String>,
    /// Only this partition
    #[arg(long, short)]
    partition: Option<i32>,
    /// To the first record
    #[arg(long)]
    earliest: bool,
    /// Behind the last record
    #[arg(long)]
    latest: bool,
    /// To an offset, brought into the range of what is there
    #[arg(long, value_name = "OFFSET")]
    to: Option<i64>,
    /// To the first record at or after this time, in ms since 1970
    #[arg(long, value_name = "MS")]
    at: Option<i64>,
    /// By so many records, forward or (negative) back
    #[arg(long, value_name = "COUNT", allow_negative_numbers = true)]
    shift: Option<i64>,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    connect: Connect,
}

/// Delete groups without members.
#[derive(Debug, Args)]
struct Delete {
    /// The groups
    #[arg(required = true)]
    groups: Vec<String>,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    connect: Connect,
}

/// Delete committed offsets of a topic.
#[derive(Debug, Args)]
struct DeleteOffsets {
    /// The group
    group: String,
    /// The topic
    #[arg(long, short)]
    topic: String,
    /// Only this partition
    #[arg(long, short)]
    partition: Option<i32>,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Serialize)]
struct GroupRow {
    group: String,
    state: String,
    #[serde(rename = "type")]
    kind: String,
    protocol_type: String,
}

impl Row for GroupRow {
    const HEADINGS: &'static [&'static str] = &["group", "state", "type", "protocol"];

    fn cells(&self) -> Vec<String> {
        vec![self.group.clone(), self.state.clone(), self.kind.clone(), self.protocol_type.clone()]
    }
}

/// One partition of a group.
#[derive(Debug, Clone, Serialize)]
pub struct LagRow {
    /// The group.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The committed offset, none if nothing is committed.
    pub committed: Option<i64>,
    /// The end of the log.
    pub end: Option<i64>,
    /// Records between them.
    pub lag: Option<i64>,
    /// Client id of the member that reads the partition.
    pub client_id: Option<String>,
    /// That member's id.
    pub member: Option<String>,
}

impl Row for LagRow {
    const HEADINGS: &'static [&'static str] = &["group", "topic", "partition", "committed", "end", "lag", "client"];

    fn cells(&self) -> Vec<String> {
        let number = |value: Option<i64>| value.map_or("-".to_owned(), |value| value.to_string());
        vec![
            self.group.clone(),
            self.topic.clone(),
            self.partition.to_string(),
            number(self.committed),
            number(self.end),
            number(self.lag),
            self.client_id.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    }
}

impl Group {
    /// Runs the command.
    pub fn run(self, format: Format) -> Result<(), Fault> {
        block_on(async move {
            match self.command {
                GroupCommand::List(command) => command.run(format).await,
                GroupCommand::Describe(command) => command.run(format).await,
                GroupCommand::Lag(command) => command.run(format).await,
                GroupCommand::Reset(command) => command.run(format).await,
                GroupCommand::Delete(command) => command.run(format).await,
                GroupCommand::DeleteOffsets(command) => command.run(format).await,
            }
        })
    }
}

impl List {
    async fn run(self, format: Format) -> Result<(), Fault> {
        let groups = Admin::new(&self.connect.client().await?).list_groups().await.map_err(told)?;
        let rows: Vec<GroupRow> = groups
            .into_iter()
            .map(|group| GroupRow {
                group: group.group,
                state: group.state,
                kind: group.kind,
                protocol_type: group.protocol_type,
            })
            .collect();
        output::rows(format, &rows)
    }
}

#[derive(Serialize)]
struct Described {
    group: String,
    state: String,
    assignor: String,
    members: usize,
    partitions: Vec<LagRow>,
}

impl Describe {
    async fn run(self, format: Format) -> Result<(), Fault> {
        let admin = Admin::new(&self.connect.client().await?);
        let group = admin.describe_group(&self.group).await.map_err(told)?;
        let partitions = lag(&admin, &self.group).await?;
        let described = Described {
            group: group.group,
            state: group.state,
            assignor: group.assignor,
            members: group.members.len(),
            partitions,
        };
        output::document(format, &described, || {
            format!(
                "group {}: {}, {} members{}\n\n{}",
                described.group,
                described.state,
                described.members,
                if described.assignor.is_empty() {
                    String::new()
                } else {
                    format!(", assignor {}", described.assignor)
                },
                output::table(LagRow::HEADINGS, described.partitions.iter().map(Row::cells)),
            )
        })
    }
}

impl Lag {
    async fn run(self, format: Format) -> Result<(), Fault> {
        let admin = Admin::new(&self.connect.client().await?);
        let mut groups = self.groups;
        if groups.is_empty() {
            groups = admin.list_groups().await.map_err(told)?.into_iter().map(|group| group.group).collect();
        }
        let mut rows = Vec::new();
        for group in groups {
            rows.extend(lag(&admin, &group).await?);
        }
        output::rows(format, &rows)
    }
}

/// The lag of a group in every partition that it has committed or reads.
pub async fn lag(admin: &Admin, group: &str) -> Result<Vec<LagRow>, Fault> {
    let description = match admin.describe_group(group).await {
        Ok(description) => Some(description),
        Err(error) if error.code() == Some(ErrorCode::GroupIdNotFound) => None,
        Err(error) => return Err(told(error)),
    };
    let committed = admin.group_offsets(group).await.map_err(told)?;
    if description.is_none() && committed.is_empty() {
        return Err(told(chronik_client::Error::broker(format!("group {group}"), ErrorCode::GroupIdNotFound, None)));
    }
    let mut readers = BTreeMap::new();
    for member in description.iter().flat_map(|description| &description.members) {
        for (topic, partitions) in &member.assigned {
            for partition in partitions {
                readers.insert((topic.clone(), *partition), member);
            }
        }
    }
    let mut partitions: BTreeMap<String, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in committed.keys().chain(readers.keys()) {
        let list = partitions.entry(topic.clone()).or_default();
        if !list.contains(partition) {
            list.push(*partition);
        }
    }
    let mut rows = Vec::new();
    for (topic, mut indexes) in partitions {
        indexes.sort_unstable();
        let ends = admin.list_offsets(&topic, &indexes, OffsetSpec::Latest, false).await.map_err(told)?;
        for partition in indexes {
            let key = (topic.clone(), partition);
            let committed = committed.get(&key).map(|found: &GroupOffset| found.offset);
            let end = ends.get(&partition).and_then(|end| end.as_ref().ok()).map(|end| end.offset);
            let reader = readers.get(&key);
            rows.push(LagRow {
                group: group.to_owned(),
                topic: topic.clone(),
                partition,
                committed,
                end,
                lag: committed.zip(end).map(|(committed, end)| (end - committed).max(0)),
                client_id: reader.map(|member| member.client_id.clone()),
                member: reader.map(|member| member.id.clone()),
            });
        }
    }
    Ok(rows)
}

impl Reset {
    async fn run(self, format: Format) -> Result<(), Fault> {
        let client = self.connect.client().await?;
        let admin = Admin::new(&client);
        self.refuse_active(&admin).await?;
        let committed = admin.group_offsets(&self.group).await.map_err(told)?;
        let mut targets = BTreeMap::new();
        for (topic, partitions) in self.partitions(&client, &committed).await? {
            targets.extend(self.targets(&admin, &topic, &partitions, &committed).await?);
        }
        if targets.is_empty() {
            return Err(Fault::usage(
                format!("group {} has no offsets to reset", self.group),
                "name the topics with --topic",
            ));
        }
        if !self.confirm.given(&format!("set {} offsets of group {}", targets.len(), self.group))? {
            let rows = targets.into_iter().map(|((topic, partition), offset)| (format!("{topic}/{partition}"), offset));
            return finish_dry(format, rows.collect());
        }
        let outcomes = admin.set_group_offsets(&self.group, &targets).await.map_err(told)?;
        finish(format, outcomes, "set", None)
    }

    async fn refuse_active(&self, admin: &Admin) -> Result<(), Fault> {
        match admin.describe_group(&self.group).await {
            Ok(group) if !group.members.is_empty() => Err(Fault::new(
                GROUP_NOT_EMPTY,
                format!("group {} has {} members", self.group, group.members.len()),
                "they would overwrite what is set here",
                "stop the group's consumers first",
            )),
            Ok(_) => Ok(()),
            // A group without a trace can be given its first offsets.
            Err(error) if error.code() == Some(ErrorCode::GroupIdNotFound) => Ok(()),
            Err(error) => Err(told(error)),
        }
    }

    async fn partitions(
        &self,
        client: &Client,
        committed: &BTreeMap<(String, i32), GroupOffset>,
    ) -> Result<BTreeMap<String, Vec<i32>>, Fault> {
        let mut partitions: BTreeMap<String, Vec<i32>> = BTreeMap::new();
        if self.topic.is_empty() {
            for (topic, partition) in committed.keys() {
                partitions.entry(topic.clone()).or_default().push(*partition);
            }
        } else {
            let names: Vec<&str> = self.topic.iter().map(String::as_str).collect();
            let cluster = client.refresh(&names).await.map_err(told)?;
            for name in names {
                let Some(topic) = cluster.topics.get(name) else {
                    let code = cluster.errors.get(name).copied().unwrap_or(ErrorCode::UnknownTopicOrPartition);
                    return Err(told(chronik_client::Error::broker(format!("topic {name}"), code, None)));
                };
                partitions.insert(name.to_owned(), topic.partitions.iter().map(|partition| partition.index).collect());
            }
        }
        if let Some(only) = self.partition {
            partitions.values_mut().for_each(|list| list.retain(|partition| *partition == only));
        }
        Ok(partitions)
    }

    async fn targets(
        &self,
        admin: &Admin,
        topic: &str,
        partitions: &[i32],
        committed: &BTreeMap<(String, i32), GroupOffset>,
    ) -> Result<BTreeMap<(String, i32), i64>, Fault> {
        let starts = admin.list_offsets(topic, partitions, OffsetSpec::Earliest, false).await.map_err(told)?;
        let ends = admin.list_offsets(topic, partitions, OffsetSpec::Latest, false).await.map_err(told)?;
        let timed = match self.at {
            Some(ms) => admin.list_offsets(topic, partitions, OffsetSpec::Timestamp(ms), false).await.map_err(told)?,
            None => BTreeMap::new(),
        };
        let mut targets = BTreeMap::new();
        for (partition, start) in starts {
            let start = start.map_err(told)?.offset;
            let end = match ends.get(&partition) {
                Some(Ok(end)) => end.offset,
                Some(Err(error)) => return Err(told(error.clone())),
                None => start,
            };
            let key = (topic.to_owned(), partition);
            let target = if self.earliest {
                start
            } else if let Some(offset) = self.to {
                offset.clamp(start, end)
            } else if let Some(shift) = self.shift {
                let from = committed.get(&key).map_or(start, |committed| committed.offset);
                from.saturating_add(shift).clamp(start, end)
            } else if let Some(Ok(found)) = timed.get(&partition) {
                if found.offset < 0 { end } else { found.offset }
            } else {
                end
            };
            targets.insert(key, target);
        }
        Ok(targets)
    }
}

fn finish_dry(format: Format, targets: Vec<(String, i64)>) -> Result<(), Fault> {
    let rows: Vec<_> = targets
        .into_iter()
        .map(|(name, offset)| super::topic::DoneRow { name, result: format!("would be set to {offset}") })
        .collect();
    output::rows(format, &rows)
}

impl Delete {
    async fn run(self, format: Format) -> Result<(), Fault> {
        let admin = Admin::new(&self.connect.client().await?);
        if !self.confirm.given(&format!("delete group {} with all offsets", self.groups.join(", ")))? {
            return Ok(());
        }
        finish(format, admin.delete_groups(&self.groups).await.map_err(told)?, "deleted", None)
    }
}

impl DeleteOffsets {
    async fn run(self, format: Format) -> Result<(), Fault> {
        let admin = Admin::new(&self.connect.client().await?);
        let offsets = admin.group_offsets(&self.group).await.map_err(told)?;
        let chosen: Vec<(String, i32)> = offsets
            .into_keys()
            .filter(|(topic, partition)| *topic == self.topic && self.partition.is_none_or(|only| only == *partition))
            .collect();
        if chosen.is_empty() {
            return Err(Fault::usage(
                format!("group {} has no offsets of {}", self.group, self.topic),
                format!("chronik group lag {} shows what it has", self.group),
            ));
        }
        if !self.confirm.given(&format!("delete {} offsets of group {}", chosen.len(), self.group))? {
            return Ok(());
        }
        finish(format, admin.delete_group_offsets(&self.group, &chosen).await.map_err(told)?, "deleted", None)
    }
}
