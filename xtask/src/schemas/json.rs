//! Kafka's schema files: JSON with `//` comment lines.

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

use super::model::{Field, Kind, Message, Struct, Versions};

/// Reads one file; `None` if the message has no valid version any more.
pub fn read(text: &str) -> Result<Option<Message>> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let value: Value = serde_json::from_str(&lines.join("\n"))?;
    let object = value.as_object().context("not an object")?;
    let versions = Versions::parse(string(object, "validVersions")?)?;
    if versions.is_empty() {
        return Ok(None);
    }
    let structs = list(object, "commonStructs").iter().map(common_struct).collect::<Result<_>>()?;
    Ok(Some(Message {
        kind: Kind::parse(string(object, "type")?)?,
        name: string(object, "name")?.to_owned(),
        key: object.get("apiKey").and_then(Value::as_i64).map(i16::try_from).transpose()?,
        versions,
        latest_unstable: flag(object, "latestVersionUnstable"),
        flexible: Versions::parse(string(object, "flexibleVersions")?)?,
        listeners: list(object, "listeners")
            .iter()
            .filter_map(Value::as_str)
            .filter(|l| *l != "zkBroker")
            .map(str::to_owned)
            .collect(),
        headers: Vec::new(),
        fields: fields(object)?,
        structs,
    }))
}

fn common_struct(value: &Value) -> Result<Struct> {
    let object = value.as_object().context("a struct is no object")?;
    Ok(Struct {
        name: string(object, "name")?.to_owned(),
        versions: Versions::parse(string(object, "versions")?)?,
        fields: fields(object)?,
    })
}

fn fields(object: &Map<String, Value>) -> Result<Vec<Field>> {
    list(object, "fields").iter().map(field).collect()
}

fn field(value: &Value) -> Result<Field> {
    let object = value.as_object().context("a field is no object")?;
    let name = string(object, "name")?.to_owned();
    let versions = |key| object.get(key).and_then(Value::as_str).map_or(Ok(Versions::NONE), Versions::parse);
    let tag = object.get("tag").map(|tag| match tag {
        Value::String(text) => Ok(text.parse()?),
        other => other.as_u64().and_then(|n| u32::try_from(n).ok()).context("not a tag"),
    });
    let default = match object.get("default") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(other) => Some(other.to_string()),
    };
    Ok(Field {
        ty: string(object, "type")?.to_owned(),
        // A tagged field may leave out its versions.
        versions: Versions::parse(string(object, "versions").or_else(|_| string(object, "taggedVersions"))?)?,
        nullable: versions("nullableVersions")?,
        tag: tag.transpose()?,
        tagged: versions("taggedVersions")?,
        default: default.filter(|d: &String| !d.is_empty()),
        ignorable: flag(object, "ignorable"),
        key: flag(object, "mapKey"),
        inflexible: match object.get("flexibleVersions").and_then(Value::as_str) {
            None => false,
            Some("none") => true,
            Some(other) => bail!("{name}: flexible versions {other} of a single field"),
        },
        entity: object.get("entityType").and_then(Value::as_str).map(str::to_owned),
        fields: fields(object)?,
        name,
    })
}

fn string<'a>(object: &'a Map<String, Value>, key: &str) -> Result<&'a str> {
    object.get(key).and_then(Value::as_str).with_context(|| format!("no {key}"))
}

fn list<'a>(object: &'a Map<String, Value>, key: &str) -> &'a [Value] {
    object.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn flag(object: &Map<String, Value>, key: &str) -> bool {
    match object.get(key) {
        Some(Value::String(text)) => text == "true",
        Some(other) => other.as_bool().unwrap_or(false),
        None => false,
    }
}
