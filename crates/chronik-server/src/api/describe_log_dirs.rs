//! DescribeLogDirs: v0–5. The data directory: how large each partition is, and how much room is left.
//!
//! * v4 (KIP-827): total and usable bytes. v5 (KIP-1066): whether the directory is cordoned; ours never is.

use std::collections::{BTreeMap, BTreeSet};

use chronik_protocol::ErrorCode;
use chronik_protocol::generated::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use chronik_protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse};

use super::{Reply, RequestContext};
use crate::server::Broker;

/// What is asked for: null is everything.
type Asked = Option<BTreeMap<String, BTreeSet<i32>>>;

pub(crate) fn handle(cx: &RequestContext<'_>, request: DescribeLogDirsRequest<'_>) -> Reply {
    let asked: Asked = request.topics.map(|topics| {
        let topics = topics.into_iter().map(|topic| (topic.topic.into_owned(), topic.partitions.into_iter().collect()));
        topics.collect()
    });
    let broker = cx.broker.clone();
    Reply::later(async move {
        let results = tokio::task::spawn_blocking(move || vec![describe(&broker, &asked)]).await.unwrap_or_default();
        DescribeLogDirsResponse { results, ..Default::default() }
    })
}

fn describe(broker: &Broker, asked: &Asked) -> DescribeLogDirsResult<'static> {
    let mut topics: BTreeMap<String, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
    let known = broker.partitions();
    for partition in broker.store.partitions() {
        let (topic, id) = (partition.topic(), partition.id());
        let wanted = asked.as_ref().is_none_or(|asked| asked.get(topic).is_some_and(|p| p.contains(&id.partition)));
        // The metadata log is a partition of the store, but not of a topic.
        if wanted && known.image.topic_by_id(id.topic_id).is_some() {
            topics.entry(topic.to_owned()).or_default().push(DescribeLogDirsPartition {
                partition_index: id.partition,
                partition_size: i64::try_from(partition.size_in_bytes()).unwrap_or(i64::MAX),
                ..Default::default()
            });
        }
    }
    let topics = topics.into_iter().map(|(name, mut partitions)| {
        partitions.sort_unstable_by_key(|partition| partition.partition_index);
        DescribeLogDirsTopic { name: name.into(), partitions }
    });
    let data_dir = &broker.config.data_dir;
    let (error, total_bytes, usable_bytes) = match rustix::fs::statvfs(data_dir) {
        Ok(fs) => (ErrorCode::None, bytes(fs.f_blocks, fs.f_frsize), bytes(fs.f_bavail, fs.f_frsize)),
        Err(_) => (ErrorCode::KafkaStorageError, -1, -1),
    };
    let log_dir = std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.clone());
    DescribeLogDirsResult {
        error_code: error.code(),
        log_dir: log_dir.to_string_lossy().into_owned().into(),
        topics: topics.collect(),
        total_bytes,
        usable_bytes,
        ..Default::default()
    }
}

fn bytes(blocks: u64, block_bytes: u64) -> i64 {
    i64::try_from(blocks.saturating_mul(block_bytes)).unwrap_or(i64::MAX)
}
