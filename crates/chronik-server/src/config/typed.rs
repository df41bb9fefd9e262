//! The settings that the broker's parts read, with their types and units.

use chronik_coordinator::metadata::config::{Layers, Value};

/// What an answer without error to `acks=all` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The batch is on stable storage.
    Fsync,
    /// The batch is in the page cache.
    Os,
}

/// Sockets and requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkConfig {
    /// `socket.request.max.bytes`
    pub request_max_bytes: usize,
    /// `socket.send.buffer.bytes`; −1 leaves it to the system
    pub send_buffer_bytes: i64,
    /// `socket.receive.buffer.bytes`; −1 leaves it to the system
    pub receive_buffer_bytes: i64,
    /// `socket.listen.backlog.size`
    pub listen_backlog_size: i32,
    /// `connections.max.idle.ms`; negative means never
    pub connections_max_idle_ms: i64,
    /// `chronik.connection.setup.timeout.ms`
    pub connection_setup_timeout_ms: u64,
    /// `max.connections`
    pub max_connections: usize,
    /// `max.connections.per.ip`
    pub max_connections_per_ip: usize,
    /// `max.connections.per.ip.overrides`
    pub max_connections_per_ip_overrides: Vec<(String, usize)>,
    /// `queued.max.requests`
    pub queued_max_requests: usize,
    /// `num.network.threads`, when somebody set it
    pub threads: Option<usize>,
    /// `fetch.max.bytes`
    pub fetch_max_bytes: usize,
    /// `max.incremental.fetch.session.cache.slots`
    pub fetch_session_slots: usize,
}

/// Topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicsConfig {
    /// `num.partitions`
    pub num_partitions: i32,
    /// `default.replication.factor`
    pub default_replication_factor: i16,
    /// `auto.create.topics.enable`
    pub auto_create: bool,
    /// `delete.topic.enable`
    pub delete: bool,
    /// `max.request.partition.size.limit`
    pub max_request_partitions: usize,
}

/// Classic groups and their offsets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupsConfig {
    /// `group.initial.rebalance.delay.ms`
    pub initial_rebalance_delay_ms: i64,
    /// `group.min.session.timeout.ms`
    pub min_session_timeout_ms: i32,
    /// `group.max.session.timeout.ms`
    pub max_session_timeout_ms: i32,
    /// `group.max.size`
    pub max_size: usize,
    /// `offset.metadata.max.bytes`
    pub offset_metadata_max_bytes: usize,
    /// `offsets.retention.minutes`
    pub offsets_retention_ms: i64,
    /// `offsets.retention.check.interval.ms`
    pub offsets_retention_check_interval_ms: i64,
    /// `offsets.topic.num.partitions`
    pub offsets_topic_partitions: i32,
    /// `offsets.topic.segment.bytes`
    pub offsets_topic_segment_bytes: i32,
}

/// Logs as a whole; what a topic may set for itself is found through [`Layers`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogsConfig {
    /// `chronik.durability`
    pub durability: Durability,
    /// `log.retention.check.interval.ms`
    pub retention_check_interval_ms: u64,
    /// `log.flush.offset.checkpoint.interval.ms`
    pub flush_offset_checkpoint_interval_ms: u64,
    /// `producer.id.expiration.ms`
    pub producer_id_expiration_ms: i64,
    /// `chronik.max.decompressed.batch.bytes`
    pub max_decompressed_batch_bytes: usize,
    /// `chronik.disk.reserve.bytes`
    pub disk_reserve_bytes: u64,
    /// `metadata.log.max.record.bytes.between.snapshots`
    pub metadata_snapshot_bytes: u64,
}

/// Reads checked settings; a name without a number or boolean in the table is a bug that the tests of this module find.
pub(super) struct Typed<'a>(pub(super) Layers<'a>);

impl Typed<'_> {
    fn long(&self, name: &str) -> i64 {
        match self.0.value(name) {
            Some(Value::Integer(n)) => n,
            other => {
                debug_assert!(false, "{name} is {other:?}");
                0
            }
        }
    }

    fn int(&self, name: &str) -> i32 {
        self.long(name).clamp(i32::MIN.into(), i32::MAX.into()) as i32
    }

    fn size(&self, name: &str) -> usize {
        usize::try_from(self.long(name)).unwrap_or(0)
    }

    fn unsigned(&self, name: &str) -> u64 {
        u64::try_from(self.long(name)).unwrap_or(0)
    }

    fn boolean(&self, name: &str) -> bool {
        matches!(self.0.value(name), Some(Value::Boolean(true)))
    }

    pub(super) fn network(&self) -> NetworkConfig {
        let overrides = self.0.text("max.connections.per.ip.overrides").unwrap_or_default();
        let pairs = overrides.split(',').filter_map(|pair| pair.trim().rsplit_once(':'));
        NetworkConfig {
            request_max_bytes: self.size("socket.request.max.bytes"),
            send_buffer_bytes: self.long("socket.send.buffer.bytes"),
            receive_buffer_bytes: self.long("socket.receive.buffer.bytes"),
            listen_backlog_size: self.int("socket.listen.backlog.size"),
            connections_max_idle_ms: self.long("connections.max.idle.ms"),
            connection_setup_timeout_ms: self.unsigned("chronik.connection.setup.timeout.ms"),
            max_connections: self.size("max.connections"),
            max_connections_per_ip: self.size("max.connections.per.ip"),
            max_connections_per_ip_overrides: pairs
                .filter_map(|(host, count)| Some((host.trim().to_owned(), count.trim().parse().ok()?)))
                .collect(),
            queued_max_requests: self.size("queued.max.requests"),
            threads: self.0.static_broker.contains_key("num.network.threads").then(|| self.size("num.network.threads")),
            fetch_max_bytes: self.size("fetch.max.bytes"),
            fetch_session_slots: self.size("max.incremental.fetch.session.cache.slots"),
        }
    }

    pub(super) fn topics(&self) -> TopicsConfig {
        TopicsConfig {
            num_partitions: self.int("num.partitions"),
            default_replication_factor: self.int("default.replication.factor").clamp(1, i16::MAX.into()) as i16,
            auto_create: self.boolean("auto.create.topics.enable"),
            delete: self.boolean("delete.topic.enable"),
            max_request_partitions: self.size("max.request.partition.size.limit"),
        }
    }

    pub(super) fn groups(&self) -> GroupsConfig {
        GroupsConfig {
            initial_rebalance_delay_ms: self.long("group.initial.rebalance.delay.ms"),
            min_session_timeout_ms: self.int("group.min.session.timeout.ms"),
            max_session_timeout_ms: self.int("group.max.session.timeout.ms"),
            max_size: self.size("group.max.size"),
            offset_metadata_max_bytes: self.size("offset.metadata.max.bytes"),
            offsets_retention_ms: self.long("offsets.retention.minutes").saturating_mul(60_000),
            offsets_retention_check_interval_ms: self.long("offsets.retention.check.interval.ms"),
            offsets_topic_partitions: self.int("offsets.topic.num.partitions"),
            offsets_topic_segment_bytes: self.int("offsets.topic.segment.bytes"),
        }
    }

    pub(super) fn logs(&self) -> LogsConfig {
        LogsConfig {
            durability: match self.0.text("chronik.durability") {
                Some("os") => Durability::Os,
                _ => Durability::Fsync,
            },
            retention_check_interval_ms: self.unsigned("log.retention.check.interval.ms"),
            flush_offset_checkpoint_interval_ms: self.unsigned("log.flush.offset.checkpoint.interval.ms"),
            producer_id_expiration_ms: self.long("producer.id.expiration.ms"),
            max_decompressed_batch_bytes: self.size("chronik.max.decompressed.batch.bytes"),
            disk_reserve_bytes: self.unsigned("chronik.disk.reserve.bytes"),
            metadata_snapshot_bytes: self.unsigned("metadata.log.max.record.bytes.between.snapshots"),
        }
    }
}
