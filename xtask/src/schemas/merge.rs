//! The versions that Kafka 4 dropped, put back under today's schemas.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

use super::model::{Field, Kind, Message, Struct, Versions};

/// Today's messages, each lengthened downwards by the stable versions that only `old` has.
pub fn merge(today: Vec<Message>, old: Vec<Message>) -> Result<Vec<Message>> {
    let unstable: Vec<Option<i16>> =
        old.iter().filter(|m| m.kind == Kind::Request && m.stable().is_empty()).map(|m| m.key).collect();
    let mut by_name: BTreeMap<String, Message> = old.into_iter().map(|m| (m.name.clone(), m)).collect();
    let mut merged = Vec::new();
    for message in today {
        match by_name.remove(&message.name) {
            Some(old) if old.versions.from < message.versions.from && !unstable.contains(&message.key) => {
                merged.push(lengthen(message, &old)?);
            }
            _ => merged.push(message),
        }
    }
    Ok(merged)
}

/// `today` with the versions below its first one, as `old` describes them.
fn lengthen(today: Message, old: &Message) -> Result<Message> {
    let dropped = Versions { from: old.versions.from, to: today.versions.from - 1 };
    let mut message = today;
    message.versions.from = old.versions.from;
    message.fields = lengthen_fields(message.fields, &old.fields, dropped);
    for shared in &mut message.structs {
        if let Some(old) = old.structs.iter().find(|s| s.name == shared.name) {
            shared.fields = lengthen_fields(std::mem::take(&mut shared.fields), &old.fields, dropped);
        }
    }
    for version in dropped.from..=dropped.to {
        if layout(&message, version) != layout(old, version) {
            bail!("{} v{version} cannot be put under today's schema", message.name);
        }
    }
    Ok(message)
}

/// Adds the fields that lived only in dropped versions, each behind its old neighbour.
fn lengthen_fields(mut today: Vec<Field>, old: &[Field], dropped: Versions) -> Vec<Field> {
    for (at, field) in old.iter().enumerate() {
        if let Some(same) = today.iter_mut().find(|f| f.name == field.name) {
            same.fields = lengthen_fields(std::mem::take(&mut same.fields), &field.fields, dropped);
        } else if dropped.covers(field.versions) {
            let before = at.checked_sub(1).and_then(|i| today.iter().position(|f| f.name == old[i].name));
            today.insert(before.map_or(0, |i| i + 1), field.clone());
        }
    }
    today
}

/// What lies on the wire in one version, flattened: for comparing two schemas.
fn layout(message: &Message, version: i16) -> Vec<String> {
    fn walk(out: &mut Vec<String>, fields: &[Field], structs: &[Struct], version: i16, depth: usize) {
        for field in fields.iter().filter(|f| f.versions.contains(version)) {
            let null = if field.nullable.contains(version) { "?" } else { "" };
            let tag = if field.tagged.contains(version) { format!(" tag {:?}", field.tag) } else { String::new() };
            out.push(format!("{depth} {}: {}{null}{tag} = {:?}", field.name, field.ty, field.default));
            walk(out, &field.fields, structs, version, depth + 1);
            let ty = field.ty.trim_start_matches("[]");
            if let Some(shared) = structs.iter().find(|s| s.name == ty) {
                walk(out, &shared.fields, structs, version, depth + 1);
            }
        }
    }
    let mut out = vec![format!("flexible {}", message.flexible.contains(version))];
    walk(&mut out, &message.fields, &message.structs, version, 0);
    out
}

/// The header versions of a request (`which` 0) or a response (1), as ranges over the message's versions.
pub fn headers(asked: &[(i16, i16, i16)], which: usize, message: &Message) -> Result<Vec<(Versions, i16)>> {
    let mut ranges: Vec<(Versions, i16)> = Vec::new();
    for &(version, request, response) in asked.iter().filter(|a| message.versions.contains(a.0)) {
        let header = if which == 0 { request } else { response };
        match ranges.last_mut() {
            Some((range, last)) if *last == header => range.to = version,
            _ => ranges.push((Versions { from: version, to: version }, header)),
        }
    }
    match ranges.last() {
        Some((last, _)) if last.to == message.versions.to => Ok(ranges),
        _ => bail!("{}: Kafka knows header versions for other versions than the schema has", message.name),
    }
}
