//! `impl Encode`.

use anyhow::Result;

use super::decode::{needs_flexible, untagged};
use super::names;
use super::types::{Element, Place, Shape, condition, flexible, outside};
use crate::schemas::model::Versions;

/// The implementation for one struct.
pub fn encode(shape: &Shape<'_>) -> Result<String> {
    let ty = if shape.borrows { format!("{}<'_>", shape.name) } else { shape.name.clone() };
    let mode = flexible(shape.flexible, shape.within);
    let mut body = String::new();
    if needs_flexible(shape) {
        body.push_str(&format!("let flexible = version >= {};\n", shape.flexible.from));
    }
    for place in &shape.places {
        body.push_str(&field(place, shape)?);
    }
    body.push_str(&tags(shape, mode)?);
    let version = if names::mentions(&body.replace("self.version", ""), "version") { "version" } else { "_version" };
    let writer = if names::mentions(&body, "w") { "w" } else { "_w" };
    Ok(format!(
        "\nimpl Encode for {ty} {{\n\
         fn encode(&self, {writer}: &mut Writer, {version}: i16) -> Result<(), EncodeError> {{\n{body}Ok(())\n}}\n}}\n"
    ))
}

/// Writes a field where the version has it outside the tags; where it has no place at all, only a default may be there.
fn field(place: &Place<'_>, shape: &Shape<'_>) -> Result<String> {
    let plain = untagged(place);
    let mut out = String::new();
    if !plain.is_empty() {
        let write = value(place, plain, shape);
        match condition(plain, place.within) {
            None => out.push_str(&write),
            Some(when) => out.push_str(&format!("if {when} {{ {write} }}")),
        }
    }
    if place.field.ignorable {
        return Ok(out + "\n");
    }
    if let Some(outside) = outside(place.versions, place.within) {
        let (differs, error) = (differs(place)?, error("Unsupported", place, shape));
        match out.is_empty() {
            false if place.tagged.is_empty() => {
                out.push_str(&format!(" else if {differs} {{ return Err({error}); }}"));
            }
            _ => out.push_str(&format!("\nif {outside} && {differs} {{ return Err({error}); }}")),
        }
    }
    Ok(out + "\n")
}

fn error(kind: &str, place: &Place<'_>, shape: &Shape<'_>) -> String {
    format!(
        "EncodeError::{kind} {{ message: {:?}, field: {:?}, version }}",
        shape.name,
        place.name().trim_start_matches("r#")
    )
}

/// The condition that a field has another value than its default.
fn differs(place: &Place<'_>) -> Result<String> {
    let name = format!("self.{}", place.name());
    let default = place.default()?;
    Ok(match (&place.element, place.is_nullable(), place.array) {
        _ if default == "None" => format!("{name}.is_some()"),
        (Element::Plain("bool", _), false, false) if default == "false" => name,
        (Element::Plain("bool", _), false, false) => format!("!{name}"),
        (Element::Plain(..), false, false) => format!("{name} != {default}"),
        (Element::Struct(_), _, false) => format!("{name} != {default}"),
        (Element::String, false, false) if default != "Cow::Borrowed(\"\")" => format!("{name} != {default}"),
        (_, false, _) => format!("!{name}.is_empty()"),
        (_, true, _) => format!("{name}.as_ref().is_none_or(|v| !v.is_empty())"),
    })
}

/// Writes the field in the versions `plain`.
fn value(place: &Place<'_>, plain: Versions, shape: &Shape<'_>) -> String {
    let mode = flexible(place.flexible, plain);
    if !place.is_nullable() {
        return write(place, &format!("&self.{}", place.name()), mode);
    }
    let may_be_null = place.nullable.intersect(plain);
    let nullable = write_nullable(place, mode, false);
    match if may_be_null.is_empty() { Some("false".to_owned()) } else { condition(may_be_null, plain) } {
        None => nullable,
        Some(when) => {
            let err = error("Null", place, shape);
            let check = match when.as_str() {
                "false" => String::new(),
                _ => outside(may_be_null, plain).map(|o| format!(" && {o}")).unwrap_or_default(),
            };
            let name = place.name();
            let refuse = format!("if self.{name}.is_none(){check} {{ return Err({err}); }}\n");
            match (&place.element, place.array) {
                // A struct that may be null has a byte before it only where it may be null.
                (Element::Struct(_), false) => {
                    let plain = format!("if let Some(value) = &self.{name} {{ value.encode(w, version)?; }}");
                    match when.as_str() {
                        "false" => format!("{refuse}{plain}"),
                        when => format!("{refuse}if {when} {{ {nullable} }} else {{ {plain} }}"),
                    }
                }
                _ => format!("{refuse}{nullable}"),
            }
        }
    }
}

/// Writes a value that is there; `of` is a reference to it.
fn write(place: &Place<'_>, of: &str, mode: &str) -> String {
    if place.array {
        return format!("w.array({of}, {mode}, {})?;", write_element(place, mode));
    }
    match &place.element {
        Element::Plain(method, _) => format!("w.{method}({});", of.strip_prefix('&').unwrap_or(of)),
        Element::String => format!("w.string({of}, {mode})?;"),
        Element::Bytes => format!("w.bytes({of}, {mode})?;"),
        Element::Records => format!("w.records({of}, {mode})?;"),
        Element::Struct(_) => format!("{}.encode(w, version)?;", of.strip_prefix('&').unwrap_or(of)),
    }
}

/// The closure that writes one element of an array.
fn write_element(place: &Place<'_>, mode: &str) -> String {
    match &place.element {
        Element::Plain(method, _) => format!("|w, v| {{ w.{method}(*v); Ok(()) }}"),
        Element::String => format!("|w, v| w.string(v, {mode})"),
        Element::Bytes => format!("|w, v| w.bytes(v, {mode})"),
        Element::Records => format!("|w, v| w.records(v, {mode})"),
        Element::Struct(_) => "|w, v| v.encode(w, version)".to_owned(),
    }
}

/// Writes a value or null.
fn write_nullable(place: &Place<'_>, mode: &str, tagged: bool) -> String {
    let name = format!("self.{}", place.name());
    if place.array {
        return format!("w.nullable_array({name}.as_deref(), {mode}, {})?;", write_element(place, mode));
    }
    match &place.element {
        Element::Plain(..) => String::new(),
        Element::String => format!("w.nullable_string({name}.as_deref(), {mode})?;"),
        Element::Bytes => format!("w.nullable_bytes({name}.as_deref(), {mode})?;"),
        Element::Records => format!("w.nullable_records({name}.as_ref(), {mode})?;"),
        Element::Struct(_) => {
            let (there, null) = if tagged { ("w.uvarint(1)", "w.uvarint(0)") } else { ("w.i8(1)", "w.i8(-1)") };
            format!("match &{name} {{ Some(value) => {{ {there}; value.encode(w, version)?; }} None => {null}, }}")
        }
    }
}

/// Writes the tagged fields that differ from their defaults.
fn tags(shape: &Shape<'_>, mode: &str) -> Result<String> {
    let mut tagged: Vec<&Place<'_>> = shape.places.iter().filter(|p| !p.tagged.is_empty()).collect();
    tagged.sort_by_key(|p| p.field.tag);
    let known = shape.flexible.intersect(shape.within);
    let mut conditions = Vec::new();
    for place in &tagged {
        let differs = differs(place)?;
        conditions.push(match condition(place.tagged, known) {
            None => differs,
            Some(when) => format!("{when} && {differs}"),
        });
    }
    let mut call = String::new();
    for (i, (condition, place)) in conditions.iter().zip(&tagged).enumerate() {
        call.push_str(&format!("let tag{} = {condition};\n", place.field.tag.unwrap_or(i as u32)));
    }
    let count: Vec<String> = tagged.iter().map(|p| format!("u32::from(tag{})", p.field.tag.unwrap_or(0))).collect();
    call.push_str(&format!("w.uvarint({});\n", if count.is_empty() { "0".to_owned() } else { count.join(" + ") }));
    for place in &tagged {
        let tag = place.field.tag.unwrap_or(0);
        let write = match place.is_nullable() {
            true => write_nullable(place, "true", true),
            false => write(place, &format!("&self.{}", place.name()), "true"),
        };
        call.push_str(&format!("if tag{tag} {{ w.tagged({tag}, |w| {{ {write} Ok(()) }})?; }}\n"));
    }
    Ok(match mode {
        "false" => String::new(),
        "true" => call,
        _ => format!("if flexible {{ {call} }}\n"),
    })
}
