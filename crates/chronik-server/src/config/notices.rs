//! What a start says about its settings, and names that are not in the table: old ones of Kafka are a notice, the rest is an error.

use chronik_coordinator::metadata::config::broker_settings;

use super::{ConfigError, Listener, Origin};

/// Settings of Kafka versions before 4, and of plug-ins, that files in the field still carry.
const STRANGERS: &[&str] = &[
    "allow.everyone.if.no.acl.found",
    "auto.include.jmx.reporter",
    "broker.id.generation.enable",
    "control.plane.listener.name",
    "delegation.token.master.key",
    "group.coordinator.new.enable",
    "inter.broker.protocol.version",
    "log.cleaner.delete.retention.check.interval.ms",
    "log.message.downconversion.enable",
    "log.message.format.version",
    "log.message.timestamp.difference.max.ms",
    "offsets.commit.required.acks",
    "port",
    "host.name",
    "advertised.host.name",
    "advertised.port",
    "reserved.broker.max.id",
    "super.users",
    "zookeeper.connect",
];

/// Families of settings, by how they begin.
const STRANGE_FAMILIES: &[&str] = &[
    "zookeeper.",
    "listener.name.",
    "config.providers.",
    "password.encoder.",
    "rsm.config.",
    "rlmm.config.",
    "log4j.",
    "confluent.",
];

/// A notice for a setting that other versions know; an error with the nearest name for one that nobody knows.
pub(super) fn stranger(name: &str, origin: &Origin) -> Result<String, ConfigError> {
    if STRANGERS.contains(&name) || STRANGE_FAMILIES.iter().any(|family| name.starts_with(family)) {
        return Ok(format!("{name} does nothing here: other versions of Kafka and its plug-ins read it ({origin})"));
    }
    let fix = match nearest(name) {
        Some(near) => format!("did you mean {near}? All settings: chronik config reference"),
        None => "all settings: chronik config reference".to_owned(),
    };
    Err(ConfigError {
        what: format!("there is no setting {name}"),
        cause: format!("it is written here: {origin}"),
        fix,
    })
}

/// The known name that a mistyped one most likely meant.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    let near = broker_settings().filter(|setting| setting.name.len().abs_diff(name.len()) <= SLIP_MAX);
    let rated = near.map(|setting| (strsim::normalized_damerau_levenshtein(name, setting.name), setting.name));
    rated.filter(|(rating, _)| *rating > 0.6).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, name)| name)
}

/// Letters that a slip adds or forgets at most.
const SLIP_MAX: usize = 4;

/// Notices about settings taken together.
pub(super) fn on_the_whole(listeners: &[Listener], closed: &[String], log_dirs: &str) -> Vec<String> {
    let mut out = Vec::new();
    for name in closed {
        out.push(format!("the listener {name} is not opened: it is a controller's, and there is no controller quorum"));
    }
    let directories: Vec<_> = log_dirs.split(',').map(str::trim).filter(|dir| !dir.is_empty()).collect();
    if let [first, _, ..] = directories.as_slice() {
        out.push(format!("log.dirs names {} directories: only {first} is used", directories.len()));
    }
    for listener in listeners.iter().filter(|listener| !listener.is_loopback()) {
        let host = if listener.host.is_empty() { "every interface" } else { &listener.host };
        out.push(format!(
            "WARNING: {}://{host}:{} takes anybody who can reach it: authentication is not built",
            listener.name, listener.port
        ));
    }
    out
}
