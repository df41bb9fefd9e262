//! The settings of a topic, as far as its log depends on them. Names, types, defaults and ranges are Apache Kafka's.

use chronik_protocol::batch::TimestampType;
use chronik_protocol::compression::{Codec, Compression};
use chronik_protocol::validate::{AppendRules, Origin, TopicCompression};
use thiserror::Error;

/// What happens to old records: `cleanup.policy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CleanupPolicy {
    /// Whole segments go when they are too old or too many.
    pub delete: bool,
    /// The last record of each key stays.
    pub compact: bool,
}

/// The settings of one topic. The fields are Kafka's settings, the defaults Kafka's defaults.
#[derive(Debug, Clone, PartialEq)]
pub struct LogConfig {
    /// `cleanup.policy`.
    pub cleanup_policy: CleanupPolicy,
    /// `compression.type` and the level of its codec.
    pub compression: TopicCompression,
    /// `compression.gzip.level`.
    pub compression_gzip_level: i32,
    /// `compression.lz4.level`.
    pub compression_lz4_level: i32,
    /// `compression.zstd.level`.
    pub compression_zstd_level: i32,
    /// `delete.retention.ms`.
    pub delete_retention_ms: i64,
    /// `file.delete.delay.ms`.
    pub file_delete_delay_ms: i64,
    /// `flush.messages`: only where the journal does not make records durable anyway.
    pub flush_messages: i64,
    /// `flush.ms`: as `flush.messages`.
    pub flush_ms: i64,
    /// `index.interval.bytes`.
    pub index_interval_bytes: i32,
    /// `max.message.bytes`.
    pub max_message_bytes: i32,
    /// `message.timestamp.after.max.ms`.
    pub message_timestamp_after_max_ms: i64,
    /// `message.timestamp.before.max.ms`.
    pub message_timestamp_before_max_ms: i64,
    /// `message.timestamp.type`.
    pub message_timestamp_type: TimestampType,
    /// `preallocate`.
    pub preallocate: bool,
    /// `retention.bytes`, −1 without limit.
    pub retention_bytes: i64,
    /// `retention.ms`, −1 without limit.
    pub retention_ms: i64,
    /// `segment.bytes`.
    pub segment_bytes: i32,
    /// `segment.index.bytes`.
    pub segment_index_bytes: i32,
    /// `segment.jitter.ms`.
    pub segment_jitter_ms: i64,
    /// `segment.ms`.
    pub segment_ms: i64,
    /// `chronik.max.decompressed.batch.bytes`, a setting of the broker.
    pub max_decompressed_batch_bytes: usize,
}

impl Default for LogConfig {
    fn default() -> Self {
        LogConfig {
            cleanup_policy: CleanupPolicy { delete: true, compact: false },
            compression: TopicCompression::Producer,
            compression_gzip_level: -1,
            compression_lz4_level: 9,
            compression_zstd_level: 3,
            delete_retention_ms: 86_400_000,
            file_delete_delay_ms: 60_000,
            flush_messages: i64::MAX,
            flush_ms: i64::MAX,
            index_interval_bytes: 4_096,
            max_message_bytes: 1_048_588,
            message_timestamp_after_max_ms: 3_600_000,
            message_timestamp_before_max_ms: i64::MAX,
            message_timestamp_type: TimestampType::CreateTime,
            preallocate: false,
            retention_bytes: -1,
            retention_ms: 604_800_000,
            segment_bytes: 1_073_741_824,
            segment_index_bytes: 10_485_760,
            segment_jitter_ms: 0,
            segment_ms: 604_800_000,
            max_decompressed_batch_bytes: AppendRules::default().max_decompressed_bytes,
        }
    }
}

/// A value that a setting cannot have.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{value:?} is not a value of {key}: {expected}")]
pub struct InvalidValue {
    /// The setting.
    pub key: String,
    /// What was given.
    pub value: String,
    /// What would be right.
    pub expected: &'static str,
}

impl LogConfig {
    /// Builds the settings of a topic from all the settings that apply to it, by name; those that no log depends on are passed over.
    pub fn from_settings<'a>(settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, InvalidValue> {
        let mut config = LogConfig::default();
        for (key, value) in settings {
            config.set(key, value)?;
        }
        Ok(config)
    }

    /// Sets one; says whether a log depends on it.
    pub fn set(&mut self, key: &str, value: &str) -> Result<bool, InvalidValue> {
        match key {
            "cleanup.policy" => self.cleanup_policy = cleanup_policy(key, value)?,
            "compression.type" => self.compression = compression(key, value)?,
            "compression.gzip.level" => self.compression_gzip_level = number(key, value, -1, 9)?,
            "compression.lz4.level" => self.compression_lz4_level = number(key, value, 1, 17)?,
            "compression.zstd.level" => self.compression_zstd_level = number(key, value, -131_072, 22)?,
            "delete.retention.ms" => self.delete_retention_ms = number(key, value, 0, i64::MAX)?,
            "file.delete.delay.ms" => self.file_delete_delay_ms = number(key, value, 0, i64::MAX)?,
            "flush.messages" => self.flush_messages = number(key, value, 1, i64::MAX)?,
            "flush.ms" => self.flush_ms = number(key, value, 0, i64::MAX)?,
            "index.interval.bytes" => self.index_interval_bytes = number(key, value, 0, i32::MAX)?,
            "max.message.bytes" => self.max_message_bytes = number(key, value, 0, i32::MAX)?,
            "message.timestamp.after.max.ms" => self.message_timestamp_after_max_ms = number(key, value, 0, i64::MAX)?,
            "message.timestamp.before.max.ms" => {
                self.message_timestamp_before_max_ms = number(key, value, 0, i64::MAX)?
            }
            "message.timestamp.type" => self.message_timestamp_type = timestamp_type(key, value)?,
            "preallocate" => self.preallocate = boolean(key, value)?,
            "retention.bytes" => self.retention_bytes = number(key, value, i64::MIN, i64::MAX)?,
            "retention.ms" => self.retention_ms = number(key, value, -1, i64::MAX)?,
            // Kafka's own lower bound is 1 MiB since 4.0; a smaller segment works as well, and tests need it.
            "segment.bytes" => self.segment_bytes = number(key, value, 14, i32::MAX)?,
            "segment.index.bytes" => self.segment_index_bytes = number(key, value, 4, i32::MAX)?,
            "segment.jitter.ms" => self.segment_jitter_ms = number(key, value, 0, i64::MAX)?,
            "segment.ms" => self.segment_ms = number(key, value, 1, i64::MAX)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// What the validation of a batch has to know.
    pub fn append_rules(&self, produce_version: i16, origin: Origin) -> AppendRules {
        AppendRules {
            max_message_bytes: usize::try_from(self.max_message_bytes).unwrap_or(0),
            timestamp_type: self.message_timestamp_type,
            timestamp_before_max_ms: self.message_timestamp_before_max_ms,
            timestamp_after_max_ms: self.message_timestamp_after_max_ms,
            compression: self.leveled_compression(),
            compacted: self.cleanup_policy.compact,
            max_decompressed_bytes: self.max_decompressed_batch_bytes,
            produce_version,
            origin,
        }
    }

    fn leveled_compression(&self) -> TopicCompression {
        let TopicCompression::Topic(Compression { codec, .. }) = self.compression else { return self.compression };
        let level = match codec {
            Codec::Gzip => Some(self.compression_gzip_level).filter(|level| *level >= 0),
            Codec::Lz4 => Some(self.compression_lz4_level),
            Codec::Zstd => Some(self.compression_zstd_level),
            Codec::None | Codec::Snappy => None,
        };
        TopicCompression::Topic(Compression { codec, level })
    }
}

fn invalid(key: &str, value: &str, expected: &'static str) -> InvalidValue {
    InvalidValue { key: key.to_owned(), value: value.to_owned(), expected }
}

fn number<T: std::str::FromStr + PartialOrd>(key: &str, value: &str, least: T, greatest: T) -> Result<T, InvalidValue> {
    let parsed = value.trim().parse::<T>().map_err(|_| invalid(key, value, "a whole number"))?;
    if parsed < least || parsed > greatest {
        Err(invalid(key, value, "a whole number within the range of the setting"))
    } else {
        Ok(parsed)
    }
}

fn boolean(key: &str, value: &str) -> Result<bool, InvalidValue> {
    match value.trim() {
        word if word.eq_ignore_ascii_case("true") => Ok(true),
        word if word.eq_ignore_ascii_case("false") => Ok(false),
        _ => Err(invalid(key, value, "true or false")),
    }
}

fn cleanup_policy(key: &str, value: &str) -> Result<CleanupPolicy, InvalidValue> {
    let mut policy = CleanupPolicy::default();
    for word in value.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        match word {
            "delete" => policy.delete = true,
            "compact" => policy.compact = true,
            _ => return Err(invalid(key, value, "delete, compact, or both")),
        }
    }
    Ok(policy)
}

fn compression(key: &str, value: &str) -> Result<TopicCompression, InvalidValue> {
    let of = |codec| Ok(TopicCompression::Topic(Compression::of(codec)));
    match value.trim() {
        "producer" => Ok(TopicCompression::Producer),
        "uncompressed" => of(Codec::None),
        "gzip" => of(Codec::Gzip),
        "snappy" => of(Codec::Snappy),
        "lz4" => of(Codec::Lz4),
        "zstd" => of(Codec::Zstd),
        _ => Err(invalid(key, value, "producer, uncompressed, gzip, snappy, lz4 or zstd")),
    }
}

fn timestamp_type(key: &str, value: &str) -> Result<TimestampType, InvalidValue> {
    match value.trim() {
        "CreateTime" => Ok(TimestampType::CreateTime),
        "LogAppendTime" => Ok(TimestampType::LogAppendTime),
        _ => Err(invalid(key, value, "CreateTime or LogAppendTime")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_kafkas() {
        let settings = [
            ("segment.bytes", "1048576"),
            ("cleanup.policy", "compact, delete"),
            ("compression.type", "zstd"),
            ("compression.zstd.level", "7"),
            ("message.timestamp.type", "LogAppendTime"),
            ("min.insync.replicas", "1"),
        ];
        let config = LogConfig::from_settings(settings).unwrap();
        assert_eq!(config.segment_bytes, 1_048_576);
        assert_eq!(config.cleanup_policy, CleanupPolicy { delete: true, compact: true });
        let rules = config.append_rules(9, Origin::Client);
        assert_eq!(rules.compression, TopicCompression::Topic(Compression { codec: Codec::Zstd, level: Some(7) }));
        assert!(rules.compacted);
        assert_eq!(rules.timestamp_type, TimestampType::LogAppendTime);
    }

    #[test]
    fn bad_values_name_the_setting() {
        for (key, value) in [
            ("segment.bytes", "x"),
            ("segment.bytes", "0"),
            ("cleanup.policy", "gone"),
            ("preallocate", "1"),
            ("compression.type", "lzma"),
            ("retention.ms", "-2"),
            ("message.timestamp.type", "createtime"),
        ] {
            let error = LogConfig::default().set(key, value).unwrap_err();
            assert_eq!((error.key.as_str(), error.value.as_str()), (key, value));
        }
        assert_eq!(LogConfig::default().set("min.insync.replicas", "2"), Ok(false));
    }
}
