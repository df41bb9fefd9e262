//! Where a value comes from: the layers over each other, and the answer to "what is in force, and why".

use std::collections::BTreeMap;

use super::setting::{Kind, Scope, Setting, Value};
use super::{broker_setting, broker_settings, broker_synonym, broker_synonyms, topic_settings};

/// Settings that somebody made: name to text.
pub type Overrides = BTreeMap<String, String>;

/// The layer that a value comes from. The numbers are those of DescribeConfigs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
pub enum Source {
    /// The topic's own setting.
    Topic = 1,
    /// Set at run time for this broker.
    DynamicBroker = 2,
    /// Set at run time for all brokers.
    DynamicDefaultBroker = 3,
    /// From the configuration file, the environment or the command line.
    StaticBroker = 4,
    /// Nobody set it.
    Default = 5,
}

/// One setting that bears on a value, the strongest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synonym {
    /// Its name.
    pub name: String,
    /// Its text; `None` for a secret.
    pub value: Option<String>,
    /// Its layer.
    pub source: Source,
}

/// What DescribeConfigs says of a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Its name.
    pub name: String,
    /// The value in force; `None` when null or secret.
    pub value: Option<String>,
    /// Whether it can only be changed by a restart.
    pub read_only: bool,
    /// Where the value comes from.
    pub source: Source,
    /// Whether it is a secret.
    pub sensitive: bool,
    /// Its type; `None` for a setting that nobody knows.
    pub kind: Option<Kind>,
    /// What bears on it.
    pub synonyms: Vec<Synonym>,
    /// What it is for.
    pub doc: Option<&'static str>,
}

/// The broker's layers; a topic's own settings lie over them.
#[derive(Debug, Clone, Copy)]
pub struct Layers<'a> {
    /// Set at run time for this broker.
    pub dynamic_broker: &'a Overrides,
    /// Set at run time for all brokers.
    pub dynamic_default: &'a Overrides,
    /// From file, environment and command line.
    pub static_broker: &'a Overrides,
}

impl<'a> Layers<'a> {
    fn ordered(&self) -> [(&'a Overrides, Source); 3] {
        [
            (self.dynamic_broker, Source::DynamicBroker),
            (self.dynamic_default, Source::DynamicDefaultBroker),
            (self.static_broker, Source::StaticBroker),
        ]
    }

    /// The text in force for exactly this broker setting; `None` is null.
    pub fn text(&self, name: &str) -> Option<&'a str> {
        let set = self.ordered().into_iter().find_map(|(layer, _)| layer.get(name));
        set.map(String::as_str).or_else(|| broker_setting(name).and_then(|setting| setting.default))
    }

    /// The value in force for exactly this broker setting; `None` is null or text that cannot be read.
    pub fn value(&self, name: &str) -> Option<Value> {
        broker_setting(name)?.parse(self.text(name)?).ok()
    }

    /// The milliseconds in force for a setting that comes in several units.
    pub fn millis(&self, name: &str) -> Option<i64> {
        broker_synonyms(name).iter().find_map(|(synonym, unit)| match self.value(synonym)? {
            Value::Integer(n) => Some(n.saturating_mul(*unit)),
            _ => None,
        })
    }

    /// The text in force for a topic setting.
    pub fn topic_text(&self, setting: &Setting, overrides: &Overrides) -> Option<String> {
        if let Some(own) = overrides.get(setting.name) {
            return Some(setting.canonical(own));
        }
        let inherited = broker_synonym(setting.name).and_then(|synonym| match broker_synonyms(synonym) {
            [] => self.text(synonym).map(|text| setting.canonical(text)),
            _ => self.millis(synonym).map(|ms| match setting.name {
                "retention.ms" if ms < 0 => "-1".to_owned(),
                _ => ms.to_string(),
            }),
        });
        inherited.or_else(|| setting.default.map(str::to_owned))
    }

    /// The value in force for a topic setting, when its text can be read.
    pub fn topic_value(&self, setting: &Setting, overrides: &Overrides) -> Option<Value> {
        setting.parse(&self.topic_text(setting, overrides)?).ok()
    }

    /// Everything that bears on a broker setting: layer by layer, in each its synonyms from fine to coarse; what comes before the
    /// first mention of the name itself is left out, as Kafka does.
    pub fn synonyms(&self, name: &str, sensitive: bool) -> Vec<Synonym> {
        let own = [(name, 1)];
        let names: &[(&str, i64)] = match broker_synonyms(name) {
            [] => &own,
            several => several,
        };
        let shown = |value: &str| (!sensitive).then(|| value.to_owned());
        let mut all = Vec::new();
        for (layer, source) in self.ordered() {
            for (name, _) in names {
                if let Some(value) = layer.get(*name) {
                    all.push(Synonym { name: (*name).to_owned(), value: shown(value), source });
                }
            }
        }
        for (name, _) in names {
            if let Some(value) = broker_setting(name).and_then(|setting| setting.default) {
                all.push(Synonym { name: (*name).to_owned(), value: shown(value), source: Source::Default });
            }
        }
        all.into_iter().skip_while(|synonym| synonym.name != name).collect()
    }

    /// What DescribeConfigs says of a topic whose own settings these are.
    pub fn describe_topic(&self, overrides: &Overrides) -> Vec<Description> {
        topic_settings().map(|setting| self.describe_topic_setting(setting, overrides)).collect()
    }

    fn describe_topic_setting(&self, setting: &'static Setting, overrides: &Overrides) -> Description {
        let value = self.topic_text(setting, overrides);
        let mut synonyms = broker_synonym(setting.name).map(|s| self.synonyms(s, false)).unwrap_or_default();
        if overrides.contains_key(setting.name) {
            let own = Synonym { name: setting.name.to_owned(), value: value.clone(), source: Source::Topic };
            synonyms.insert(0, own);
        }
        Description {
            name: setting.name.to_owned(),
            value,
            read_only: false,
            source: synonyms.first().map_or(Source::Default, |s| s.source),
            sensitive: setting.is_sensitive(),
            kind: Some(setting.kind),
            synonyms,
            doc: Some(setting.doc),
        }
    }

    /// What DescribeConfigs says of this broker: every setting, and whatever else somebody set.
    pub fn describe_broker(&self) -> Vec<Description> {
        let unknown = |name: &&String| broker_setting(name).is_none();
        let strangers: std::collections::BTreeSet<_> =
            self.ordered().into_iter().flat_map(|(layer, _)| layer.keys()).filter(unknown).collect();
        let known = broker_settings().map(|setting| self.describe_broker_setting(setting.name, Some(setting), false));
        known.chain(strangers.into_iter().map(|name| self.describe_broker_setting(name, None, false))).collect()
    }

    /// What DescribeConfigs says of what was set at run time for all brokers.
    pub fn describe_broker_default(&self) -> Vec<Description> {
        let names = self.dynamic_default.keys();
        names.map(|name| self.describe_broker_setting(name, broker_setting(name), true)).collect()
    }

    fn describe_broker_setting(
        &self,
        name: &str,
        setting: Option<&'static Setting>,
        default_only: bool,
    ) -> Description {
        let sensitive = setting.is_none_or(Setting::is_sensitive);
        let mut synonyms = self.synonyms(name, sensitive);
        synonyms.retain(|synonym| !default_only || synonym.source == Source::DynamicDefaultBroker);
        let text = if default_only { self.dynamic_default.get(name).map(String::as_str) } else { self.text(name) };
        let value = text.map(|text| setting.map_or_else(|| text.to_owned(), |setting| setting.canonical(text)));
        Description {
            name: name.to_owned(),
            value: value.filter(|_| !sensitive),
            read_only: setting.is_none_or(|setting| setting.scope == Scope::ReadOnly),
            source: synonyms.first().map_or(Source::Default, |s| s.source),
            sensitive,
            kind: setting.map(|setting| setting.kind),
            synonyms,
            doc: setting.map(|setting| setting.doc),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(pairs: &[(&str, &str)]) -> Overrides {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn of<'a>(all: &'a [Description], name: &str) -> &'a Description {
        all.iter().find(|d| d.name == name).unwrap()
    }

    fn chain(description: &Description) -> Vec<(&str, &str, i8)> {
        description
            .synonyms
            .iter()
            .map(|s| (s.name.as_str(), s.value.as_deref().unwrap_or(""), s.source as i8))
            .collect()
    }

    #[test]
    fn retention_is_the_finest_unit_that_is_set() {
        let none = Overrides::new();
        let file = set(&[("log.retention.minutes", "5"), ("log.retention.hours", "1")]);
        let layers = Layers { dynamic_broker: &none, dynamic_default: &none, static_broker: &file };
        assert_eq!(of(&layers.describe_topic(&none), "retention.ms").value.as_deref(), Some("300000"));
        let dynamic = set(&[("log.retention.ms", "7")]);
        let layers = Layers { dynamic_default: &dynamic, ..layers };
        assert_eq!(of(&layers.describe_topic(&none), "retention.ms").value.as_deref(), Some("7"));
        let none_set = Layers { dynamic_broker: &none, dynamic_default: &none, static_broker: &none };
        assert_eq!(of(&none_set.describe_topic(&none), "retention.ms").value.as_deref(), Some("604800000"));
        assert_eq!(of(&none_set.describe_topic(&none), "segment.ms").value.as_deref(), Some("604800000"));
        assert_eq!(of(&none_set.describe_topic(&none), "flush.ms").value.as_deref(), Some("9223372036854775807"));
    }

    #[test]
    fn synonyms_are_kafkas() {
        let none = Overrides::new();
        let dynamic = set(&[("log.retention.ms", "604800001")]);
        let layers = Layers { dynamic_broker: &dynamic, dynamic_default: &none, static_broker: &none };
        let broker = layers.describe_broker();
        assert_eq!(
            chain(of(&broker, "log.retention.ms")),
            [("log.retention.ms", "604800001", 2), ("log.retention.hours", "168", 5)]
        );
        assert_eq!(chain(of(&broker, "log.retention.hours")), [("log.retention.hours", "168", 5)]);
        assert_eq!(chain(of(&broker, "log.retention.minutes")), []);
        let own = set(&[("retention.ms", "1"), ("preallocate", "TRUE")]);
        let topic = layers.describe_topic(&own);
        assert_eq!(
            chain(of(&topic, "retention.ms")),
            [("retention.ms", "1", 1), ("log.retention.ms", "604800001", 2), ("log.retention.hours", "168", 5)]
        );
        assert_eq!(chain(of(&topic, "preallocate")), [("preallocate", "true", 1), ("log.preallocate", "false", 5)]);
        assert_eq!(of(&topic, "segment.ms").synonyms, []);
    }

    #[test]
    fn secrets_stay_secret() {
        let none = Overrides::new();
        let file = set(&[("ssl.key.password", "hunter2"), ("some.plugin.key", "hunter3")]);
        let layers = Layers { dynamic_broker: &none, dynamic_default: &none, static_broker: &file };
        for name in ["ssl.key.password", "some.plugin.key"] {
            let broker = layers.describe_broker();
            let described = of(&broker, name);
            assert!(described.sensitive);
            assert_eq!(described.value, None);
            assert!(described.synonyms.iter().all(|s| s.value.is_none()));
        }
    }
}
