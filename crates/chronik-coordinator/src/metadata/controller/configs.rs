//! AlterConfigs and IncrementalAlterConfigs, of topics and brokers.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use chronik_protocol::ErrorCode;
use chronik_protocol::generated::{alter_configs_response, incremental_alter_configs_response};
use chronik_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};

use super::{Controller, Decision, Refusal, wire};
use crate::metadata::config::{Kind, Overrides, Scope, Value, broker_setting, topic_setting};
use crate::metadata::image::ResourceKind;
use crate::metadata::names;
use crate::metadata::records::MetadataRecord;

/// What to do with one setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Set,
    Delete,
    Append,
    Subtract,
}

impl Operation {
    fn from_i8(number: i8) -> Option<Operation> {
        match number {
            0 => Some(Operation::Set),
            1 => Some(Operation::Delete),
            2 => Some(Operation::Append),
            3 => Some(Operation::Subtract),
            _ => None,
        }
    }
}

/// One setting of a request.
struct Change<'a> {
    name: &'a str,
    operation: i8,
    value: Option<&'a str>,
}

/// The settings of a resource as they would be.
struct Altered {
    kind: ResourceKind,
    resource: String,
    overrides: Overrides,
}

impl Controller<'_> {
    /// Replaces all settings of resources.
    pub fn alter_configs(&self, request: &AlterConfigsRequest<'_>) -> Decision<AlterConfigsResponse<'static>> {
        let mut out = Decision { records: Vec::new(), response: AlterConfigsResponse::default() };
        let counts = count(request.resources.iter().map(|r| (r.resource_type, r.resource_name.as_ref())));
        for resource in &request.resources {
            let changes = resource.configs.iter().map(|config| Change {
                name: &config.name,
                operation: 0,
                value: config.value.as_deref(),
            });
            let key = (resource.resource_type, resource.resource_name.as_ref());
            let outcome = self.alter(key, &changes.collect::<Vec<_>>(), counts[&key], true);
            let (error_code, error_message) = wire(&outcome);
            out.response.responses.push(alter_configs_response::AlterConfigsResourceResponse {
                error_code,
                error_message,
                resource_type: resource.resource_type,
                resource_name: Cow::Owned(key.1.to_owned()),
            });
            self.keep(outcome, request.validate_only, &mut out.records);
        }
        out
    }

    /// Changes single settings of resources.
    pub fn incremental_alter_configs(
        &self,
        request: &IncrementalAlterConfigsRequest<'_>,
    ) -> Decision<IncrementalAlterConfigsResponse<'static>> {
        let mut out = Decision { records: Vec::new(), response: IncrementalAlterConfigsResponse::default() };
        let counts = count(request.resources.iter().map(|r| (r.resource_type, r.resource_name.as_ref())));
        for resource in &request.resources {
            let changes = resource.configs.iter().map(|config| Change {
                name: &config.name,
                operation: config.config_operation,
                value: config.value.as_deref(),
            });
            let key = (resource.resource_type, resource.resource_name.as_ref());
            let outcome = self.alter(key, &changes.collect::<Vec<_>>(), counts[&key], false);
            let (error_code, error_message) = wire(&outcome);
            out.response.responses.push(incremental_alter_configs_response::AlterConfigsResourceResponse {
                error_code,
                error_message,
                resource_type: resource.resource_type,
                resource_name: Cow::Owned(key.1.to_owned()),
            });
            self.keep(outcome, request.validate_only, &mut out.records);
        }
        out
    }

    fn keep(&self, outcome: Result<Altered, Refusal>, validate_only: bool, records: &mut Vec<MetadataRecord>) {
        let Ok(Altered { kind, resource, overrides }) = outcome else { return };
        if validate_only {
            return;
        }
        let now = self.image.overrides(kind, &resource);
        for name in now.keys().filter(|name| !overrides.contains_key(*name)) {
            records.push(MetadataRecord::config(kind, &resource, name, None));
        }
        for (name, value) in overrides.iter().filter(|(name, value)| now.get(*name) != Some(value)) {
            records.push(MetadataRecord::config(kind, &resource, name, Some(value)));
        }
    }

    fn alter(&self, key: (i8, &str), changes: &[Change<'_>], times: usize, replace: bool) -> Result<Altered, Refusal> {
        if times > 1 {
            return Err(Refusal::new(ErrorCode::InvalidRequest, "Each resource must appear at most once."));
        }
        let (kind, resource) = self.resource(key)?;
        let mut names = BTreeSet::new();
        if !changes.iter().all(|change| names.insert(change.name)) {
            return Err(Refusal::new(ErrorCode::InvalidRequest, "Error due to duplicate config keys"));
        }
        let nulls: Vec<_> = changes.iter().filter(|c| c.operation != 1 && c.value.is_none()).map(|c| c.name).collect();
        if !nulls.is_empty() {
            let why = format!("Null value not supported for : {}", nulls.join(","));
            return Err(Refusal::new(ErrorCode::InvalidRequest, why));
        }
        let now = self.image.overrides(kind, &resource);
        let mut overrides = if replace { Overrides::new() } else { now.clone() };
        for change in changes {
            self.change(kind, change, &mut overrides)?;
        }
        match kind {
            ResourceKind::Topic => self.check_topic_configs(&overrides)?,
            ResourceKind::Broker => check_broker_configs(now, &overrides, resource.is_empty())?,
        }
        Ok(Altered { kind, resource, overrides })
    }

    fn resource(&self, (number, name): (i8, &str)) -> Result<(ResourceKind, String), Refusal> {
        let invalid = |why: String| Err(Refusal::new(ErrorCode::InvalidRequest, why));
        let Some(kind) = ResourceKind::from_i8(number) else {
            return invalid(format!("Unknown resource type {number}"));
        };
        match kind {
            ResourceKind::Topic if name.is_empty() => invalid("Default topic resources are not allowed.".to_owned()),
            ResourceKind::Topic => {
                names::check(name).map_err(|why| Refusal::new(ErrorCode::InvalidTopicException, why))?;
                if self.image.topic(name).is_none() {
                    let why = format!("The topic '{name}' does not exist.");
                    return Err(Refusal::new(ErrorCode::UnknownTopicOrPartition, why));
                }
                Ok((kind, name.to_owned()))
            }
            ResourceKind::Broker if name.is_empty() => Ok((kind, String::new())),
            ResourceKind::Broker => match name.parse::<i32>() {
                Ok(id) if id == self.rules.node_id => Ok((kind, id.to_string())),
                Ok(id) => invalid(format!("Unexpected broker id, expected {}, but received {id}", self.rules.node_id)),
                Err(_) => invalid(format!("Node id must be an integer, but it is: {name}")),
            },
        }
    }

    fn change(&self, kind: ResourceKind, change: &Change<'_>, overrides: &mut Overrides) -> Result<(), Refusal> {
        let name = change.name.to_owned();
        let value = change.value.unwrap_or_default();
        let operation = Operation::from_i8(change.operation).ok_or_else(|| {
            Refusal::new(ErrorCode::InvalidRequest, format!("Unknown config operation {}", change.operation))
        })?;
        let verb = match operation {
            Operation::Set => {
                overrides.insert(name, value.to_owned());
                return Ok(());
            }
            Operation::Delete => {
                overrides.remove(&name);
                return Ok(());
            }
            Operation::Append => "APPEND",
            Operation::Subtract => "SUBTRACT",
        };
        let setting = match kind {
            ResourceKind::Topic => topic_setting(&name),
            ResourceKind::Broker => broker_setting(&name),
        };
        let Some(setting) = setting.filter(|setting| setting.kind == Kind::List) else {
            let why = format!("Can't {verb} to key {name} because its type is not LIST.");
            return Err(Refusal::new(ErrorCode::InvalidConfig, why));
        };
        let layers = self.image.layers(&self.rules.static_broker);
        let current = match kind {
            ResourceKind::Topic => layers.topic_text(setting, overrides),
            ResourceKind::Broker => overrides.get(&name).cloned().or_else(|| layers.text(&name).map(str::to_owned)),
        };
        let mut items: Vec<String> = parts(current.as_deref().unwrap_or_default()).map(str::to_owned).collect();
        for item in parts(value) {
            match operation {
                Operation::Append if !items.iter().any(|i| i == item) => items.push(item.to_owned()),
                Operation::Subtract => items.retain(|i| i != item),
                _ => {}
            }
        }
        overrides.insert(name, items.join(","));
        Ok(())
    }

    /// Checks the whole of a topic's own settings.
    pub(super) fn check_topic_configs(&self, overrides: &Overrides) -> Result<(), Refusal> {
        let invalid = |why: String| Refusal::new(ErrorCode::InvalidConfig, why);
        for (name, value) in overrides {
            let setting = topic_setting(name).ok_or_else(|| invalid(format!("Unknown topic config name: {name}")))?;
            let value = setting.parse(value).map_err(|e| invalid(e.to_string()))?;
            if setting.refusal(&value).is_some() {
                let why = "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log storage.";
                return Err(invalid(why.to_owned()));
            }
        }
        let layers = self.image.layers(&self.rules.static_broker);
        let lag = |name: &str| match layers.topic_value(topic_setting(name)?, overrides) {
            Some(Value::Integer(ms)) => Some(ms),
            _ => None,
        };
        if let (Some(low), Some(high)) = (lag("min.compaction.lag.ms"), lag("max.compaction.lag.ms"))
            && low > high
        {
            let why =
                format!("conflict topic config setting min.compaction.lag.ms ({low}) > max.compaction.lag.ms ({high})");
            return Err(invalid(why));
        }
        Ok(())
    }
}

/// Checks what is set for a broker at run time, as far as it changes.
fn check_broker_configs(now: &Overrides, overrides: &Overrides, for_all: bool) -> Result<(), Refusal> {
    let changed = || overrides.iter().filter(|(name, value)| now.get(*name) != Some(value));
    let refused = |text: &str, refused: &dyn Fn(&str) -> bool| {
        let names: Vec<_> = changed().map(|(name, _)| name.as_str()).filter(|name| refused(name)).collect();
        if names.is_empty() {
            return Ok(());
        }
        Err(Refusal::new(ErrorCode::InvalidRequest, format!("{text}: [{}]", names.join(", "))))
    };
    let scope = |name: &str| broker_setting(name).map(|setting| setting.scope);
    refused("Cannot update these configs dynamically", &|name| scope(name) == Some(Scope::ReadOnly))?;
    if for_all {
        let text = "Cannot update these configs at default cluster level, broker id must be specified";
        refused(text, &|name| scope(name) == Some(Scope::PerBroker))?;
    }
    for (name, value) in changed() {
        let setting = broker_setting(name)
            .ok_or_else(|| Refusal::new(ErrorCode::InvalidConfig, format!("Unknown broker config name: {name}")))?;
        let value = setting.parse(value).map_err(|e| Refusal::new(ErrorCode::InvalidRequest, e.to_string()))?;
        if let Some(why) = setting.refusal(&value) {
            let why = format!("Invalid value {value} for configuration {name}: {why}");
            return Err(Refusal::new(ErrorCode::InvalidConfig, why));
        }
    }
    Ok(())
}

fn parts(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|item| !item.is_empty())
}

fn count<'a>(keys: impl Iterator<Item = (i8, &'a str)>) -> BTreeMap<(i8, &'a str), usize> {
    let mut counts = BTreeMap::new();
    for key in keys {
        *counts.entry(key).or_insert(0) += 1;
    }
    counts
}
