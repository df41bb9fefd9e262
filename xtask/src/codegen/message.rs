//! One message: its structs with their implementations.

use std::collections::BTreeSet;

use anyhow::Result;

use super::types::{Element, Place, Shape, shapes};
use super::{BANNER, decode, encode, names};
use crate::schemas::model::{Kind, Message};

/// The whole file of a message.
/// `borrowing` names the responses that borrow.
pub fn file(message: &Message, borrowing: &BTreeSet<String>) -> Result<String> {
    let shapes = shapes(message)?;
    let mut items = String::new();
    for (i, shape) in shapes.iter().enumerate() {
        let about = if i == 0 { about(message) } else { format!("Versions {}.", shape.within) };
        items.push_str(&structure(shape, &about)?);
        if i == 0 {
            items.push_str(&constants(message, shape, borrowing));
        }
        items.push_str(&decode::decode(shape)?);
        items.push_str(&encode::encode(shape)?);
    }
    let mut out = format!("//! {} {BANNER}\n\n", about(message));
    if items.contains("Cow::") {
        out.push_str("use std::borrow::Cow;\n\n");
    }
    if items.contains("ApiKey::") {
        out.push_str("use crate::generated::api::ApiKey;\n");
    }
    if items.contains("Uuid") {
        out.push_str("use crate::uuid::Uuid;\n");
    }
    let mut wire = vec!["Decode", "DecodeError", "Encode", "EncodeError", "Message", "Reader", "Writer"];
    let uses = |word: &str| items.contains(word);
    for (name, mark) in [("Blob", "Blob<"), ("Str", "Str<"), ("Records", "Records<"), ("Request", "\nimpl Request ")] {
        if uses(mark)
            || (name == "Request" && items.contains("> Request for"))
            || (name == "Records" && uses("Records::"))
        {
            wire.push(name);
        }
    }
    if items.contains(" TypedRecord for") {
        wire.push("TypedRecord");
    }
    wire.sort_unstable();
    out.push_str(&format!("use crate::wire::{{{}}};\n{items}", wire.join(", ")));
    Ok(out)
}

/// What a message is, in one line.
fn about(message: &Message) -> String {
    let key = match (message.kind, message.key) {
        (Kind::Request | Kind::Response, Some(key)) => format!("API key {key}, "),
        (_, Some(key)) => format!("record type {key}, "),
        _ => String::new(),
    };
    let flexible = match message.flexible.intersect(message.stable()) {
        none if none.is_empty() => "never flexible".to_owned(),
        some => format!("flexible from {}", some.from),
    };
    format!("`{}`: {key}versions {}, {flexible}.", message.name, message.stable())
}

fn structure(shape: &Shape<'_>, about: &str) -> Result<String> {
    let lifetime = if shape.borrows { "<'a>" } else { "" };
    let plain = shape.places.iter().all(Place::default_is_rusts);
    let derive = if plain { "Debug, Clone, PartialEq, Default" } else { "Debug, Clone, PartialEq" };
    let mut out = format!("\n/// {about}\n#[derive({derive})]\npub struct {}{lifetime} {{\n", shape.name);
    for place in &shape.places {
        out.push_str(&format!("/// {}\npub {}: {},\n", facts(place), place.name(), place.rust_type()));
    }
    out.push_str("}\n");
    if !plain {
        let elided = if shape.borrows { "<'_>" } else { "" };
        let mut fields = String::new();
        for place in &shape.places {
            fields.push_str(&format!("{}: {},\n", place.name(), place.default()?));
        }
        out.push_str(&format!(
            "\nimpl Default for {}{elided} {{\nfn default() -> Self {{\nSelf {{ {fields} }}\n}}\n}}\n",
            shape.name
        ));
    }
    if shape.borrows {
        out.push_str(&owned(shape));
    }
    Ok(out)
}

/// A field's versions and peculiarities, in one line.
fn facts(place: &Place<'_>) -> String {
    let field = place.field;
    let mut out = format!("Versions {}", place.versions);
    if place.is_nullable() {
        out.push_str(&format!(", nullable {}", place.nullable));
    }
    if let (Some(tag), false) = (field.tag, place.tagged.is_empty()) {
        out.push_str(&format!(", tag {tag}"));
    }
    if let Some(default) = &field.default {
        out.push_str(&format!(", default {default}"));
    }
    for (is, word) in [(field.key, ", key"), (field.ignorable, ", ignorable")] {
        out.push_str(if is { word } else { "" });
    }
    out + "."
}

/// `into_owned`: the same value with nothing borrowed from the frame.
fn owned(shape: &Shape<'_>) -> String {
    let mut fields = String::new();
    for place in &shape.places {
        let name = place.name();
        let one = |v: &str| match &place.element {
            Element::String | Element::Bytes => format!("Cow::Owned({v}.into_owned())"),
            _ => format!("{v}.into_owned()"),
        };
        let copied = match &place.element {
            Element::Plain(..) => true,
            Element::Struct(_) => !place.borrows,
            _ => false,
        };
        let value = match (copied, place.array, place.is_nullable()) {
            (true, ..) => format!("self.{name}"),
            (false, true, false) => format!("self.{name}.into_iter().map(|v| {}).collect()", one("v")),
            (false, true, true) => {
                format!("self.{name}.map(|vs| vs.into_iter().map(|v| {}).collect())", one("v"))
            }
            (false, false, true) => format!("self.{name}.map(|v| {})", one("v")),
            (false, false, false) => one(&format!("self.{name}")),
        };
        fields.push_str(&format!("{name}: {value},\n"));
    }
    format!(
        "\nimpl {0}<'_> {{\n/// The same value with nothing borrowed.\n#[inline]\npub fn into_owned(self) -> {0}<'static> {{\n\
         {0} {{ {fields} }}\n}}\n}}\n",
        shape.name
    )
}

/// The traits of a whole message.
fn constants(message: &Message, shape: &Shape<'_>, borrowing: &BTreeSet<String>) -> String {
    let elided = if shape.borrows { "<'_>" } else { "" };
    let (name, versions) = (&shape.name, message.stable());
    let flexible = match message.flexible.intersect(versions) {
        none if none.is_empty() => "i16::MAX".to_owned(),
        some => some.from.to_string(),
    };
    let mut out = format!(
        "\nimpl Message for {name}{elided} {{\nconst NAME: &'static str = {:?};\nconst MIN_VERSION: i16 = {};\n\
         const MAX_VERSION: i16 = {};\nconst FLEXIBLE_FROM: i16 = {flexible};\n}}\n",
        message.name, versions.from, versions.to
    );
    match (message.kind, message.key) {
        (Kind::Request, Some(_)) => {
            let api = name.trim_end_matches("Request");
            let response = format!("{api}Response");
            let lifetime = if borrowing.contains(&response) { "<'b>" } else { "" };
            out.push_str(&format!(
                "\nimpl Request for {name}{elided} {{\nconst KEY: ApiKey = ApiKey::{api};\n\
                 type Response<'b> = crate::generated::{}::{response}{lifetime};\n}}\n",
                names::snake(&response)
            ));
        }
        (Kind::Response, _) | (_, None) => {}
        (_, Some(key)) => {
            out.push_str(&format!("\nimpl TypedRecord for {name}{elided} {{\nconst RECORD_TYPE: i16 = {key};\n}}\n"));
        }
    }
    out
}
