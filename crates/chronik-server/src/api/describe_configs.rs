//! DescribeConfigs: v0–4. Settings of topics and brokers: the values in force, where they come from, what else bears on them.
//!
//! * v1: where a value comes from, and its synonyms; v0 knows only whether it is the default. v3: types and documentation.

use std::borrow::Cow;

use chronik_coordinator::metadata::config::{Description, Source, Synonym};
use chronik_coordinator::metadata::{MetadataImage, Refusal, ResourceKind, names};
use chronik_protocol::ErrorCode;
use chronik_protocol::generated::describe_configs_request::DescribeConfigsResource;
use chronik_protocol::generated::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use chronik_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};

use super::{Reply, RequestContext};

pub(crate) fn handle(cx: &RequestContext<'_>, request: DescribeConfigsRequest<'_>) -> Reply {
    let image = cx.broker.metadata.image();
    let shape = Shape {
        version: cx.version,
        synonyms: request.include_synonyms,
        documentation: request.include_documentation,
    };
    let results = request.resources.iter().map(|resource| {
        let (error_code, error_message, configs) = match describe(cx, &image, resource) {
            Ok(all) => {
                let keys = resource.configuration_keys.as_deref().filter(|keys| !keys.is_empty());
                let wanted = |d: &Description| keys.is_none_or(|keys| keys.iter().any(|key| *key == d.name));
                (ErrorCode::None, String::new(), all.into_iter().filter(wanted).map(|d| shape.result(d)).collect())
            }
            Err(refusal) => (refusal.code, refusal.message.unwrap_or_default(), Vec::new()),
        };
        DescribeConfigsResult {
            error_code: error_code.code(),
            error_message: Some(Cow::Owned(error_message)),
            resource_type: resource.resource_type,
            resource_name: Cow::Owned(resource.resource_name.as_ref().to_owned()),
            configs,
        }
    });
    Reply::ready(DescribeConfigsResponse { results: results.collect(), ..DescribeConfigsResponse::default() })
}

fn describe(
    cx: &RequestContext<'_>,
    image: &MetadataImage,
    resource: &DescribeConfigsResource<'_>,
) -> Result<Vec<Description>, Refusal> {
    let name = resource.resource_name.as_ref();
    let layers = cx.broker.metadata.layers(image);
    match ResourceKind::from_i8(resource.resource_type) {
        Some(ResourceKind::Topic) => {
            names::check(name).map_err(|why| Refusal::new(ErrorCode::InvalidTopicException, why))?;
            image.topic(name).ok_or_else(|| Refusal::plain(ErrorCode::UnknownTopicOrPartition))?;
            Ok(layers.describe_topic(image.topic_overrides(name)))
        }
        Some(ResourceKind::Broker) if name.is_empty() => Ok(layers.describe_broker_default()),
        Some(ResourceKind::Broker) => {
            let id = cx.broker.config.node_id;
            match name.parse::<i32>() {
                Ok(asked) if asked == id => Ok(layers.describe_broker()),
                Ok(_) => {
                    let why = format!("Unexpected broker id, expected {id} or empty string, but received {name}");
                    Err(Refusal::new(ErrorCode::InvalidRequest, why))
                }
                Err(_) => {
                    let why = format!("Broker id must be an integer, but it is: {name}");
                    Err(Refusal::new(ErrorCode::InvalidRequest, why))
                }
            }
        }
        None => {
            let why = format!("Unsupported resource type: {}", resource.resource_type);
            Err(Refusal::new(ErrorCode::InvalidRequest, why))
        }
    }
}

/// What the client wants to know, in its version.
struct Shape {
    version: i16,
    synonyms: bool,
    documentation: bool,
}

impl Shape {
    fn result(&self, description: Description) -> DescribeConfigsResourceResult<'static> {
        let synonyms = if self.synonyms && self.version >= 1 { description.synonyms } else { Vec::new() };
        DescribeConfigsResourceResult {
            name: Cow::Owned(description.name),
            value: description.value.map(Cow::Owned),
            read_only: description.read_only,
            is_default: self.version == 0 && description.source == Source::Default,
            config_source: if self.version == 0 { -1 } else { description.source as i8 },
            is_sensitive: description.sensitive,
            synonyms: synonyms.into_iter().map(synonym).collect(),
            config_type: if self.version >= 3 { description.kind.map_or(0, |kind| kind as i8) } else { 0 },
            documentation: description.doc.filter(|_| self.documentation && self.version >= 3).map(Cow::Borrowed),
        }
    }
}

fn synonym(synonym: Synonym) -> DescribeConfigsSynonym<'static> {
    DescribeConfigsSynonym {
        name: Cow::Owned(synonym.name),
        value: synonym.value.map(Cow::Owned),
        source: synonym.source as i8,
    }
}
