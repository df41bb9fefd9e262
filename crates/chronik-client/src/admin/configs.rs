//! Configurations of topics and brokers.

use chronik_protocol::generated::describe_configs_request::DescribeConfigsResource;
use chronik_protocol::generated::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use chronik_protocol::messages::{DescribeConfigsRequest, IncrementalAlterConfigsRequest};

use super::{Admin, unanswered};
use crate::cluster::Node;
use crate::error::Error;

/// Whose configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigResource {
    /// A topic's.
    Topic(String),
    /// One broker's; the cluster-wide default for an empty name.
    Broker(String),
}

impl ConfigResource {
    fn parts(&self) -> (i8, &str) {
        match self {
            ConfigResource::Topic(name) => (2, name),
            ConfigResource::Broker(id) => (4, id),
        }
    }

    fn node(&self) -> Node {
        match self {
            ConfigResource::Topic(_) => Node::Any,
            ConfigResource::Broker(id) => id.parse().map_or(Node::Any, Node::Id),
        }
    }
}

/// A setting and where its value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigEntry {
    /// Kafka's name of the setting.
    pub name: String,
    /// Its value; none for a secret.
    pub value: Option<String>,
    /// Kafka's name of the value's source, such as `DYNAMIC_TOPIC_CONFIG`.
    pub source: &'static str,
    /// True if it cannot be changed while the broker runs.
    pub read_only: bool,
    /// True if its value is never shown.
    pub sensitive: bool,
    /// The settings that it falls back to, nearest first.
    pub synonyms: Vec<ConfigSynonym>,
    /// What it means, if the broker says.
    pub documentation: Option<String>,
}

/// A setting that another falls back to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigSynonym {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Option<String>,
    /// Its source.
    pub source: &'static str,
}

/// A change of one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigOperation {
    /// Give it a value.
    Set(String),
    /// Go back to what it falls back to.
    Delete,
    /// Add to a list.
    Append(String),
    /// Take from a list.
    Subtract(String),
}

fn source(code: i8) -> &'static str {
    match code {
        1 => "DYNAMIC_TOPIC_CONFIG",
        2 => "DYNAMIC_BROKER_CONFIG",
        3 => "DYNAMIC_DEFAULT_BROKER_CONFIG",
        4 => "STATIC_BROKER_CONFIG",
        5 => "DEFAULT_CONFIG",
        6 => "DYNAMIC_BROKER_LOGGER_CONFIG",
        7 => "DYNAMIC_CLIENT_METRICS_CONFIG",
        8 => "DYNAMIC_GROUP_CONFIG",
        _ => "UNKNOWN",
    }
}

impl Admin {
    /// The settings of a resource with their sources.
    pub async fn describe_configs(
        &self,
        resource: &ConfigResource,
        documentation: bool,
    ) -> Result<Vec<ConfigEntry>, Error> {
        let (kind, name) = resource.parts();
        let request = DescribeConfigsRequest {
            resources: vec![DescribeConfigsResource {
                resource_type: kind,
                resource_name: name.into(),
                configuration_keys: None,
            }],
            include_synonyms: true,
            include_documentation: documentation,
        };
        let answer = self.client.call(resource.node(), &request).await?;
        let body = answer.body()?;
        let result = body.results.first().ok_or_else(|| unanswered(name))?;
        Error::check(
            result.error_code,
            || format!("describe the settings of {name}"),
            result.error_message.as_deref(),
        )?;
        Ok(result
            .configs
            .iter()
            .map(|entry| ConfigEntry {
                name: entry.name.to_string(),
                value: entry.value.as_ref().map(ToString::to_string),
                source: source(entry.config_source),
                read_only: entry.read_only,
                sensitive: entry.is_sensitive,
                synonyms: entry
                    .synonyms
                    .iter()
                    .map(|synonym| ConfigSynonym {
                        name: synonym.name.to_string(),
                        value: synonym.value.as_ref().map(ToString::to_string),
                        source: source(synonym.source),
                    })
                    .collect(),
                documentation: entry.documentation.as_ref().map(ToString::to_string),
            })
            .collect())
    }

    /// Changes settings of a resource, all or none of them.
    pub async fn alter_configs(
        &self,
        resource: &ConfigResource,
        changes: &[(String, ConfigOperation)],
        validate_only: bool,
    ) -> Result<(), Error> {
        let (kind, name) = resource.parts();
        let alterable = |(name, operation): &(String, ConfigOperation)| {
            let (code, value) = match operation {
                ConfigOperation::Set(value) => (0, Some(value)),
                ConfigOperation::Delete => (1, None),
                ConfigOperation::Append(value) => (2, Some(value)),
                ConfigOperation::Subtract(value) => (3, Some(value)),
            };
            AlterableConfig {
                name: name.clone().into(),
                config_operation: code,
                value: value.map(|value| value.clone().into()),
            }
        };
        let request = IncrementalAlterConfigsRequest {
            resources: vec![AlterConfigsResource {
                resource_type: kind,
                resource_name: name.into(),
                configs: changes.iter().map(alterable).collect(),
            }],
            validate_only,
        };
        let answer = self.client.call(resource.node(), &request).await?;
        let body = answer.body()?;
        let result = body.responses.first().ok_or_else(|| unanswered(name))?;
        Error::check(result.error_code, || format!("alter the settings of {name}"), result.error_message.as_deref())
    }
}
