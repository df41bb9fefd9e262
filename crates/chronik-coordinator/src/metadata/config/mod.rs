//! Settings of topics and brokers: one table with a row a setting ([`tables`]), and how a value is found through the layers
//! ([`layers`]): the topic's own, the broker's dynamic ones, its file, the default.

pub mod layers;
pub mod setting;
mod tables;

use std::collections::BTreeMap;
use std::sync::LazyLock;

pub use layers::{Description, Layers, Overrides, Source, Synonym};
pub use setting::{Here, Importance, InvalidValue, Kind, Scope, Setting, Valid, Value};

type ByName = LazyLock<BTreeMap<&'static str, &'static Setting>>;

/// All topic settings, by name.
pub fn topic_settings() -> impl Iterator<Item = &'static Setting> {
    tables::TOPIC.iter()
}

/// All broker settings, ours first, then Kafka's by subject.
pub fn broker_settings() -> impl Iterator<Item = &'static Setting> {
    tables::BROKER.iter().flat_map(|table| table.iter())
}

/// The subjects of the broker's settings in the order of [`broker_settings`], for documents.
pub fn broker_subjects() -> impl Iterator<Item = (&'static str, &'static [Setting])> {
    const SUBJECTS: [&str; 9] = [
        "Chronik's own",
        "Broker, cluster, replication",
        "Listeners, connections, requests",
        "Logs and topic defaults",
        "Consumer groups",
        "Producers and transactions",
        "Share groups and streams groups",
        "Tiered storage",
        "Security",
    ];
    SUBJECTS.into_iter().zip(tables::BROKER.iter().copied())
}

/// The topic setting of this name.
pub fn topic_setting(name: &str) -> Option<&'static Setting> {
    static BY_NAME: ByName = LazyLock::new(|| topic_settings().map(|setting| (setting.name, setting)).collect());
    BY_NAME.get(name).copied()
}

/// The broker setting of this name.
pub fn broker_setting(name: &str) -> Option<&'static Setting> {
    static BY_NAME: ByName = LazyLock::new(|| broker_settings().map(|setting| (setting.name, setting)).collect());
    BY_NAME.get(name).copied()
}

/// The broker setting that gives a topic setting its default.
pub fn broker_synonym(topic_setting: &str) -> Option<&'static str> {
    Some(match topic_setting {
        "cleanup.policy" => "log.cleanup.policy",
        "compression.gzip.level" => "compression.gzip.level",
        "compression.lz4.level" => "compression.lz4.level",
        "compression.type" => "compression.type",
        "compression.zstd.level" => "compression.zstd.level",
        "delete.retention.ms" => "log.cleaner.delete.retention.ms",
        "file.delete.delay.ms" => "log.segment.delete.delay.ms",
        "flush.messages" => "log.flush.interval.messages",
        "flush.ms" => "log.flush.interval.ms",
        "index.interval.bytes" => "log.index.interval.bytes",
        "local.retention.bytes" => "log.local.retention.bytes",
        "local.retention.ms" => "log.local.retention.ms",
        "max.compaction.lag.ms" => "log.cleaner.max.compaction.lag.ms",
        "max.decompressed.message.bytes" => "max.decompressed.message.bytes",
        "max.message.bytes" => "message.max.bytes",
        "message.timestamp.after.max.ms" => "log.message.timestamp.after.max.ms",
        "message.timestamp.before.max.ms" => "log.message.timestamp.before.max.ms",
        "message.timestamp.type" => "log.message.timestamp.type",
        "min.cleanable.dirty.ratio" => "log.cleaner.min.cleanable.ratio",
        "min.compaction.lag.ms" => "log.cleaner.min.compaction.lag.ms",
        "min.insync.replicas" => "min.insync.replicas",
        "preallocate" => "log.preallocate",
        "remote.copy.lag.bytes" => "log.remote.copy.lag.bytes",
        "remote.copy.lag.ms" => "log.remote.copy.lag.ms",
        "retention.bytes" => "log.retention.bytes",
        "retention.ms" => "log.retention.ms",
        "segment.bytes" => "log.segment.bytes",
        "segment.index.bytes" => "log.index.size.max.bytes",
        "segment.jitter.ms" => "log.roll.jitter.ms",
        "segment.ms" => "log.roll.ms",
        "unclean.leader.election.enable" => "unclean.leader.election.enable",
        _ => return None,
    })
}

/// A broker setting and the coarser ones that stand in for it, the finest first, with their length in milliseconds.
pub fn broker_synonyms(name: &str) -> &'static [(&'static str, i64)] {
    const HOUR: i64 = 3_600_000;
    match name {
        "log.roll.ms" | "log.roll.hours" => &[("log.roll.ms", 1), ("log.roll.hours", HOUR)],
        "log.roll.jitter.ms" | "log.roll.jitter.hours" => &[("log.roll.jitter.ms", 1), ("log.roll.jitter.hours", HOUR)],
        "log.flush.interval.ms" => &[("log.flush.interval.ms", 1), ("log.flush.scheduler.interval.ms", 1)],
        "log.retention.ms" | "log.retention.minutes" | "log.retention.hours" => {
            &[("log.retention.ms", 1), ("log.retention.minutes", 60_000), ("log.retention.hours", HOUR)]
        }
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_valid_and_names_are_unique() {
        let mut names = std::collections::BTreeSet::new();
        for setting in broker_settings() {
            assert!(names.insert(setting.name), "{} twice", setting.name);
        }
        for setting in broker_settings().chain(topic_settings()) {
            let Some(default) = setting.default else { continue };
            let value = setting.parse(default).unwrap();
            assert_eq!(value.to_string(), default, "{} is not in canonical form", setting.name);
            assert_eq!(setting.refusal(&value), None, "{}", setting.name);
        }
    }

    #[test]
    fn topic_defaults_are_their_brokers() {
        for setting in topic_settings() {
            let Some(synonym) = broker_synonym(setting.name) else { continue };
            let broker = broker_setting(synonym).unwrap();
            assert_eq!(broker.kind, setting.kind, "{}", setting.name);
            if broker_synonyms(synonym).is_empty() {
                assert_eq!(broker.default, setting.default, "{}", setting.name);
            }
        }
    }

    #[test]
    fn messages_are_kafkas() {
        let told = |name: &str, value: &str| topic_setting(name).unwrap().parse(value).unwrap_err().to_string();
        for (name, value, message) in [
            ("retention.ms", "abc", "Invalid value abc for configuration retention.ms: Not a number of type LONG"),
            ("retention.ms", "-2", "Invalid value -2 for configuration retention.ms: Value must be at least -1"),
            (
                "cleanup.policy",
                "foo",
                "Invalid value foo for configuration cleanup.policy: String must be one of: compact, delete",
            ),
            (
                "min.cleanable.dirty.ratio",
                "1.5",
                "Invalid value 1.5 for configuration min.cleanable.dirty.ratio: Value must be no more than 1",
            ),
            (
                "compression.gzip.level",
                "0",
                "Invalid value 0 for configuration compression.gzip.level: Value must be between 1 and 9 or equal to -1",
            ),
            ("segment.bytes", "1", "Invalid value 1 for configuration segment.bytes: Value must be at least 1048576"),
            (
                "segment.bytes",
                "99999999999",
                "Invalid value 99999999999 for configuration segment.bytes: Not a number of type INT",
            ),
            (
                "preallocate",
                "maybe",
                "Invalid value maybe for configuration preallocate: Expected value to be either true or false",
            ),
            ("cleanup.policy", "compact , delete,", "Configuration 'cleanup.policy' values must not be empty."),
            (
                "leader.replication.throttled.replicas",
                "x",
                "Invalid value [x] for configuration leader.replication.throttled.replicas: leader.replication.throttled.replicas must be the literal '*' or a list of replicas in the following format: [partitionId]:[brokerId],[partitionId]:[brokerId],...",
            ),
        ] {
            assert_eq!(told(name, value), message);
        }
    }

    #[test]
    fn texts_become_canonical() {
        let canonical = |name: &str, value: &str| topic_setting(name).unwrap().canonical(value);
        assert_eq!(canonical("segment.ms", " 0900 "), "900");
        assert_eq!(canonical("preallocate", "TRUE"), "true");
        assert_eq!(canonical("cleanup.policy", "compact , delete"), "compact,delete");
        assert_eq!(canonical("min.cleanable.dirty.ratio", "1"), "1.0");
        assert_eq!(canonical("min.cleanable.dirty.ratio", "0.00001"), "1.0E-5");
    }
}
