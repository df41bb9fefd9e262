//! The broker's configuration: from a file, the environment and the command line, checked against the one table of settings
//! (`chronik_coordinator::metadata::config`), with the place that each value came from.
//!
//! Precedence: command line, environment, file, default. A name that nobody knows is an error; a setting of Kafka that does nothing here
//! is a notice of one line.

mod listeners;
mod notices;
mod reference;
mod sources;
mod typed;

use std::collections::BTreeMap;
use std::path::PathBuf;

use chronik_coordinator::metadata::config::{Here, Layers, Overrides, broker_setting, broker_settings};

pub use listeners::Listener;
pub use reference::{SettingFacts, reference, settings};
pub use sources::Origin;
use sources::Written;
pub use typed::{Durability, GroupsConfig, LogsConfig, NetworkConfig, TopicsConfig};

/// Where to look for settings.
#[derive(Debug, Clone, Default)]
pub struct ConfigInput {
    /// A `server.properties` or a `*.toml` file.
    pub file: Option<PathBuf>,
    /// The environment; only `KAFKA_…` and `CHRONIK_…` are looked at.
    pub environment: Vec<(String, String)>,
    /// Names and values from the command line.
    pub command_line: Vec<(String, String)>,
}

/// Why a configuration cannot be used, for a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {cause}; {fix}")]
pub struct ConfigError {
    /// What happened.
    pub what: String,
    /// Why.
    pub cause: String,
    /// The command or setting that fixes it.
    pub fix: String,
}

/// A value in force and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectiveSetting {
    /// The name of the setting.
    pub name: String,
    /// Its value; `None` is null. A secret is shown as `[hidden]`.
    pub value: Option<String>,
    /// Where it was made.
    pub origin: Origin,
    /// Whether it does nothing here, and why.
    pub inert: Option<&'static str>,
}

/// The configuration of a broker: checked, typed, immutable. What can be changed at run time lies over it in the metadata.
#[derive(Debug, Clone)]
pub struct BrokerConfig {
    /// `node.id`
    pub node_id: i32,
    /// `broker.rack`
    pub rack: Option<String>,
    /// The first of `log.dirs`, or `log.dir`.
    pub data_dir: PathBuf,
    /// Where clients are listened to.
    pub listeners: Vec<Listener>,
    /// What clients are told; a listener that is missing here tells each client the address that it reached.
    pub advertised: Vec<Listener>,
    /// Sockets and requests.
    pub network: NetworkConfig,
    /// Topics.
    pub topics: TopicsConfig,
    /// Groups.
    pub groups: GroupsConfig,
    /// Logs.
    pub logs: LogsConfig,
    /// What somebody set, by name: the static layer under the dynamic ones.
    pub settings: Overrides,
    /// Lines that the start should print.
    pub notices: Vec<String>,
    origins: BTreeMap<String, Origin>,
}

impl BrokerConfig {
    /// Reads, checks and types the configuration.
    ///
    /// # Errors
    ///
    /// The first thing that cannot be used.
    pub fn load(input: &ConfigInput) -> Result<BrokerConfig, ConfigError> {
        let known = |name: &str| broker_setting(name).is_some();
        let mut written = match &input.file {
            Some(path) => sources::file(path)?,
            None => Vec::new(),
        };
        written.extend(sources::environment(input.environment.iter().cloned(), known));
        written.extend(input.command_line.iter().map(|(name, value)| Written {
            name: name.trim().to_owned(),
            value: value.clone(),
            origin: Origin::CommandLine,
        }));
        let mut settings = Overrides::new();
        let mut origins = BTreeMap::new();
        let mut notices = Vec::new();
        for Written { name, value, origin } in written {
            if let Some(notice) = check(&name, &value, &origin)? {
                notices.push(notice);
            }
            origins.insert(name.clone(), origin);
            settings.insert(name, value);
        }
        notices.dedup();
        same_id(&mut settings, &mut origins)?;
        let none = Overrides::new();
        let layers = Layers { dynamic_broker: &none, dynamic_default: &none, static_broker: &settings };
        let text = |name: &str| layers.text(name).unwrap_or_default().to_owned();
        let (listeners, closed) = listeners::open(
            &text("listeners"),
            &text("controller.listener.names"),
            &text("listener.security.protocol.map"),
        )?;
        let advertised = listeners::advertised(&text("advertised.listeners"), &listeners)?;
        notices.extend(notices::on_the_whole(&listeners, &closed, &text("log.dirs")));
        let directories = [text("log.dirs"), text("log.dir")];
        let data_dir = directories.iter().flat_map(|list| list.split(',')).map(str::trim).find(|dir| !dir.is_empty());
        let data_dir = PathBuf::from(data_dir.unwrap_or("./chronik-data"));
        let typed = typed::Typed(layers);
        let node_id = text("node.id").trim().parse().unwrap_or(1);
        let (network, topics, groups, logs) = (typed.network(), typed.topics(), typed.groups(), typed.logs());
        let rack = layers.text("broker.rack").map(str::to_owned);
        let out = BrokerConfig {
            node_id,
            rack,
            data_dir,
            listeners,
            advertised,
            network,
            topics,
            groups,
            logs,
            settings,
            notices,
            origins,
        };
        Ok(out)
    }

    /// Every setting with the value in force at start and where it came from.
    pub fn effective(&self) -> Vec<EffectiveSetting> {
        let all = broker_settings().map(|setting| {
            let set = self.settings.get(setting.name);
            let value = set.map(|text| setting.canonical(text)).or_else(|| setting.default.map(str::to_owned));
            EffectiveSetting {
                name: setting.name.to_owned(),
                value: value.map(|value| if setting.is_sensitive() { "[hidden]".to_owned() } else { value }),
                origin: self.origins.get(setting.name).cloned().unwrap_or(Origin::Default),
                inert: match setting.here {
                    Here::Inert(why) => Some(why),
                    Here::Works | Here::Only(..) => None,
                },
            }
        });
        all.collect()
    }
}

/// Checks one setting; gives the notice that it is due.
fn check(name: &str, value: &str, origin: &Origin) -> Result<Option<String>, ConfigError> {
    let Some(setting) = broker_setting(name) else {
        return notices::stranger(name, origin).map(Some);
    };
    let parsed = setting.parse(value).map_err(|e| ConfigError {
        what: format!("{name} cannot be used ({origin})"),
        cause: e.to_string(),
        fix: match setting.valid_text() {
            range if range.is_empty() => format!("give it a value of type {}", setting.kind.name()),
            range => format!("valid: {range}"),
        },
    })?;
    if let (Some(why), Here::Only(allowed, _)) = (setting.refusal(&parsed), setting.here) {
        return Err(ConfigError {
            what: format!("{name}={value} cannot be used ({origin})"),
            cause: why.to_owned(),
            fix: format!("take it out, or set {name}={allowed}"),
        });
    }
    let default = setting.default.map(|text| setting.canonical(text));
    Ok(match setting.here {
        Here::Inert(why) if default != Some(parsed.to_string()) => {
            Some(format!("{name} does nothing here: {why} ({origin})"))
        }
        _ => None,
    })
}

/// `node.id` and its older name `broker.id` say the same, whichever was written.
fn same_id(settings: &mut Overrides, origins: &mut BTreeMap<String, Origin>) -> Result<(), ConfigError> {
    let (node, broker) = (settings.get("node.id").cloned(), settings.get("broker.id").cloned());
    let id = match (node, broker) {
        (Some(node), Some(broker)) if node.trim() != broker.trim() => {
            return Err(ConfigError {
                what: format!("node.id={node} and broker.id={broker} differ"),
                cause: "they are two names of one setting".to_owned(),
                fix: "keep node.id".to_owned(),
            });
        }
        (Some(id), _) | (None, Some(id)) => id,
        (None, None) => return Ok(()),
    };
    if id.trim().parse::<i32>().is_ok_and(|id| id < 0) {
        return Err(ConfigError {
            what: format!("node.id={id} cannot be used"),
            cause: "an id is 0 or more".to_owned(),
            fix: "set node.id=1".to_owned(),
        });
    }
    let origin = origins.get("node.id").or_else(|| origins.get("broker.id")).cloned().unwrap_or(Origin::Default);
    for name in ["node.id", "broker.id"] {
        settings.entry(name.to_owned()).or_insert_with(|| id.clone());
        origins.entry(name.to_owned()).or_insert_with(|| origin.clone());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
