//! `impl Decode`.

use anyhow::Result;

use super::names;
use super::types::{Element, Place, Shape, condition, flexible};
use crate::schemas::model::Versions;

/// The implementation for one struct.
pub fn decode(shape: &Shape<'_>) -> Result<String> {
    let ty = if shape.borrows { format!("{}<'a>", shape.name) } else { shape.name.clone() };
    let mode = flexible(shape.flexible, shape.within);
    let mut body = String::new();
    if mode == "flexible" && needs_flexible(shape) {
        body.push_str(&format!("let flexible = version >= {};\n", shape.flexible.from));
    }
    for place in &shape.places {
        body.push_str(&field(place)?);
    }
    body.push_str(&tags(shape, mode)?);
    let fields: Vec<String> = shape
        .places
        .iter()
        .map(|p| if p.name() == p.local() { p.name() } else { format!("{}: {}", p.name(), p.local()) })
        .collect();
    let version = if names::mentions(&body, "version") { "version" } else { "_version" };
    let reader = if names::mentions(&body, "r") { "r" } else { "_r" };
    Ok(format!(
        "\nimpl<'a> Decode<'a> for {ty} {{\n\
         fn decode({reader}: &mut Reader<'a>, {version}: i16) -> Result<Self, DecodeError> {{\n\
         {body}Ok(Self {{ {} }})\n}}\n}}\n",
        fields.join(", ")
    ))
}

/// Whether any part of the struct's layout asks at run time whether the encoding is flexible.
pub fn needs_flexible(shape: &Shape<'_>) -> bool {
    flexible(shape.flexible, shape.within) == "flexible"
}

/// `let name = …;` for a field: its value where the version has it outside the tags, its default otherwise.
fn field(place: &Place<'_>) -> Result<String> {
    let plain = untagged(place);
    let mutable = if place.tagged.is_empty() { "" } else { "mut " };
    let name = place.local();
    if plain.is_empty() {
        return Ok(format!("let {mutable}{name} = {};\n", place.default()?));
    }
    let value = value(place, plain);
    Ok(match condition(plain, place.within) {
        None => format!("let {mutable}{name} = {value};\n"),
        Some(when) => format!("let {mutable}{name} = if {when} {{ {value} }} else {{ {} }};\n", place.default()?),
    })
}

/// The versions in which the field is there and not tagged.
pub fn untagged(place: &Place<'_>) -> Versions {
    if place.tagged.is_empty() {
        place.versions
    } else {
        Versions { from: place.versions.from, to: place.versions.to.min(place.tagged.from - 1) }
            .intersect(place.versions)
    }
}

/// The expression that reads the field in the versions `plain`.
fn value(place: &Place<'_>, plain: Versions) -> String {
    let mode = flexible(place.flexible, plain);
    let may_be_null = place.nullable.intersect(plain);
    if may_be_null.is_empty() {
        let value = format!("{}?", read(place, mode, false, false));
        return if place.is_nullable() { format!("Some({value})") } else { value };
    }
    match condition(may_be_null, plain) {
        None => format!("{}?", read(place, mode, true, false)),
        Some(when) => {
            let (nullable, not) = (read(place, mode, true, false), read(place, mode, false, false));
            format!("if {when} {{ {nullable}? }} else {{ Some({not}?) }}")
        }
    }
}

/// The call that reads the field; nullable or not, in a tagged field or not.
fn read(place: &Place<'_>, mode: &str, nullable: bool, tagged: bool) -> String {
    let prefix = if nullable { "nullable_" } else { "" };
    if place.array {
        return format!("r.{prefix}array({mode}, |r| {})", read_element(place, mode));
    }
    match &place.element {
        Element::Plain(method, _) => format!("r.{method}()"),
        Element::String => format!("r.{prefix}string({mode})"),
        Element::Bytes => format!("r.{prefix}bytes({mode})"),
        Element::Records => format!("r.{prefix}records({mode})"),
        Element::Struct(name) => match (nullable, tagged) {
            (false, _) => format!("{name}::decode(r, version)"),
            (true, false) => format!("r.nullable_struct(|r| {name}::decode(r, version))"),
            (true, true) => format!("r.nullable_tagged_struct(|r| {name}::decode(r, version))"),
        },
    }
}

fn read_element(place: &Place<'_>, mode: &str) -> String {
    match &place.element {
        Element::Plain(method, _) => format!("r.{method}()"),
        Element::String => format!("r.string({mode})"),
        Element::Bytes => format!("r.bytes({mode})"),
        Element::Records => format!("r.records({mode})"),
        Element::Struct(name) => format!("{name}::decode(r, version)"),
    }
}

/// Reads or skips the tagged fields.
fn tags(shape: &Shape<'_>, mode: &str) -> Result<String> {
    let mut arms = String::new();
    for place in shape.places.iter().filter(|p| !p.tagged.is_empty()) {
        let known = shape.flexible.intersect(shape.within);
        let when = condition(place.tagged, known).map(|c| format!(" if {c}")).unwrap_or_default();
        let nullable = !place.nullable.intersect(place.tagged).is_empty();
        let value = format!("{}?", read(place, "true", nullable, true));
        let value = if place.is_nullable() && !nullable { format!("Some({value})") } else { value };
        arms.push_str(&format!("{}{when} => {} = {value},\n", place.field.tag.unwrap_or(0), place.local()));
    }
    let call = match arms.is_empty() {
        true => "r.skip_tags()?;\n".to_owned(),
        false => format!("r.tags(|r, tag| {{ match tag {{ {arms} _ => return Ok(false), }} Ok(true) }})?;\n"),
    };
    Ok(match mode {
        "false" => String::new(),
        "true" => call,
        _ => format!("if flexible {{ {call} }}\n"),
    })
}
