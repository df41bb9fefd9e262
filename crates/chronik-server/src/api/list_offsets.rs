//! ListOffsets: v0–11. The offset of a time, or of a special place.
//!
//! * v0: several offsets per partition. v2: isolation levels. v4: leader epochs. v7: the greatest timestamp (−3).
//! * v8: earliest local (−4); v9: latest tiered (−5); v11 (KIP-1023): earliest that waits to be tiered (−6).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chronik_protocol::ErrorCode;
use chronik_protocol::generated::list_offsets_request::ListOffsetsPartition;
use chronik_protocol::generated::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use chronik_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};
use chronik_storage::{Partition, ReadLimit};

use super::{Reply, RequestContext, error};
use crate::partitions::check_leader_epoch;

/// The first version whose answers say the leader epoch.
const LEADER_EPOCHS: i16 = 4;
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;

pub(crate) fn handle(cx: &RequestContext<'_>, request: ListOffsetsRequest<'_>) -> Reply {
    let limit = if request.isolation_level == 1 { ReadLimit::LastStable } else { ReadLimit::HighWatermark };
    let (version, known, repeated) = (cx.version, cx.broker.partitions(), repeated(&request));
    let (mut searches, mut refused) = (Vec::new(), HashSet::new());
    let topics = request.topics.iter().enumerate().map(|(at, topic)| {
        let is_repeated = |asked: &ListOffsetsPartition| repeated[&(topic.name.as_ref(), asked.partition_index)] > 1;
        // A partition that is asked for twice is refused once.
        let asked = topic.partitions.iter();
        let asked = asked.filter(|p| !is_repeated(p) || refused.insert((topic.name.as_ref(), p.partition_index)));
        let partitions = asked.enumerate().map(|(index, asked)| {
            let place = Place { topic: at, partition: index };
            let name = topic.name.as_ref();
            let answer = match is_repeated(asked) {
                true => Err(ErrorCode::InvalidRequest),
                false => check_version(asked.timestamp, version).and_then(|()| {
                    let log = known.named(name, asked.partition_index)?;
                    check_leader_epoch(&log, asked.current_leader_epoch)?;
                    match look_up(&log, asked, version, limit)? {
                        Found::At(answer) => Ok(answer),
                        Found::BySearch => {
                            searches.push(Search { place, log, asked: asked.clone(), version, limit });
                            Ok(nowhere(asked.partition_index))
                        }
                    }
                }),
            };
            answer.unwrap_or_else(|code| failed(asked.partition_index, code))
        });
        ListOffsetsTopicResponse { name: topic.name.to_string().into(), partitions: partitions.collect() }
    });
    let response = ListOffsetsResponse { topics: topics.collect(), ..Default::default() };
    if searches.is_empty() { Reply::ready(response) } else { Reply::later(search_all(response, searches)) }
}

/// How often each partition is asked for.
fn repeated<'r>(request: &'r ListOffsetsRequest<'_>) -> HashMap<(&'r str, i32), u32> {
    let mut counts = HashMap::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            *counts.entry((topic.name.as_ref(), partition.partition_index)).or_default() += 1;
        }
    }
    counts
}

enum Found {
    At(ListOffsetsPartitionResponse),
    /// Segments have to be read.
    BySearch,
}

/// A timestamp that the version does not have is refused before anything else is looked at.
fn check_version(timestamp: i64, version: i16) -> Result<(), ErrorCode> {
    let lowest = match timestamp {
        EARLIEST_PENDING_UPLOAD => 11,
        LATEST_TIERED => 9,
        EARLIEST_LOCAL => 8,
        MAX_TIMESTAMP => 7,
        i64::MIN..EARLIEST_PENDING_UPLOAD => i16::MAX,
        _ => 0,
    };
    if version < lowest { Err(ErrorCode::UnsupportedVersion) } else { Ok(()) }
}

fn look_up(
    log: &Partition,
    asked: &ListOffsetsPartition,
    version: i16,
    limit: ReadLimit,
) -> Result<Found, ErrorCode> {
    log.check().map_err(|e| error::storage(&e))?;
    let offsets = log.offsets();
    let latest = if limit == ReadLimit::LastStable { offsets.last_stable } else { offsets.high_watermark };
    let at = |offset, epoch| {
        let leader_epoch = if version < LEADER_EPOCHS { -1 } else { epoch };
        Found::At(ListOffsetsPartitionResponse { offset, leader_epoch, ..nowhere(asked.partition_index) })
    };
    Ok(match asked.timestamp {
        LATEST if version == 0 => old_style(asked, &[latest, offsets.log_start]),
        EARLIEST if version == 0 => old_style(asked, &[offsets.log_start]),
        LATEST => at(latest, log.leader_epoch()),
        EARLIEST | EARLIEST_LOCAL => at(offsets.log_start, log.epoch_of(offsets.log_start).unwrap_or(-1)),
        // Nothing is tiered.
        LATEST_TIERED | EARLIEST_PENDING_UPLOAD => at(-1, -1),
        _ => Found::BySearch,
    })
}

/// v0 lists offsets from the last down, at most as many as were asked for.
fn old_style(asked: &ListOffsetsPartition, offsets: &[i64]) -> Found {
    let mut offsets = offsets.to_vec();
    offsets.dedup();
    offsets.truncate(usize::try_from(asked.max_num_offsets).unwrap_or(0));
    Found::At(ListOffsetsPartitionResponse { old_style_offsets: offsets, ..nowhere(asked.partition_index) })
}

struct Place {
    topic: usize,
    partition: usize,
}

/// A partition whose segments have to be searched: off the async threads.
struct Search {
    place: Place,
    log: Arc<Partition>,
    asked: ListOffsetsPartition,
    version: i16,
    limit: ReadLimit,
}

impl Search {
    fn run(&self) -> ListOffsetsPartitionResponse {
        let index = self.asked.partition_index;
        let found = match self.asked.timestamp {
            MAX_TIMESTAMP => self.log.max_timestamp(self.limit),
            timestamp_ms => self.log.offset_for_timestamp(timestamp_ms, self.limit),
        };
        match found {
            Ok(found) if self.version == 0 => {
                let offsets = self.log.offsets();
                let last = found.map_or(offsets.high_watermark, |found| found.offset);
                match old_style(&self.asked, &[last, offsets.log_start]) {
                    Found::At(answer) => answer,
                    Found::BySearch => nowhere(index),
                }
            }
            Ok(Some(found)) => ListOffsetsPartitionResponse {
                timestamp: found.timestamp_ms,
                offset: found.offset,
                leader_epoch: if self.version < LEADER_EPOCHS { -1 } else { found.leader_epoch },
                ..nowhere(index)
            },
            Ok(None) => nowhere(index),
            Err(e) => failed(index, error::read(&e)),
        }
    }
}

async fn search_all(mut response: ListOffsetsResponse<'static>, searches: Vec<Search>) -> ListOffsetsResponse<'static> {
    let places: Vec<_> = searches.iter().map(|search| (search.place.topic, search.place.partition)).collect();
    let run = move || searches.iter().map(Search::run).collect::<Vec<_>>();
    let answers = tokio::task::spawn_blocking(run).await.unwrap_or_default();
    for ((topic, partition), answer) in places.into_iter().zip(answers) {
        if let Some(place) = response.topics.get_mut(topic).and_then(|topic| topic.partitions.get_mut(partition)) {
            *place = answer;
        }
    }
    response
}

fn nowhere(partition_index: i32) -> ListOffsetsPartitionResponse {
    ListOffsetsPartitionResponse { partition_index, timestamp: -1, offset: -1, leader_epoch: -1, ..Default::default() }
}

fn failed(partition_index: i32, code: ErrorCode) -> ListOffsetsPartitionResponse {
    ListOffsetsPartitionResponse { error_code: code.code(), ..nowhere(partition_index) }
}
