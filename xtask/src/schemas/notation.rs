//! Our notation of a schema: one line a field, two spaces a depth, defaults of every attribute left out.
//!
//! ```text
//! request ProduceRequest key=0 versions=0-13 flexible=9+ listeners=broker header=0-8:1,9-13:2
//!   TransactionalId string 3+ null=3+ default=null entity=transactionalId
//!   TopicData []TopicProduceData 0+
//!     Name string 0-12 key ignorable entity=topicName
//! ```
//!
//! `struct NAME VERSIONS` at a message's first depth begins a struct that several fields share.

use std::fmt::Write;

use anyhow::{Context, Result, bail};

use super::model::{Field, Kind, Message, Struct, Versions};

/// Writes the messages of one file.
pub fn write(messages: &[&Message]) -> String {
    let mut out = String::new();
    for message in messages {
        write_message(&mut out, message);
    }
    out
}

fn write_message(out: &mut String, message: &Message) {
    let _ = write!(out, "{} {}", message.kind.name(), message.name);
    if let Some(key) = message.key {
        let _ = write!(out, " key={key}");
    }
    let _ = write!(out, " versions={} flexible={}", message.versions, message.flexible);
    if message.latest_unstable {
        out.push_str(" latest-unstable");
    }
    if !message.listeners.is_empty() {
        let _ = write!(out, " listeners={}", message.listeners.join(","));
    }
    if !message.headers.is_empty() {
        let headers: Vec<String> = message.headers.iter().map(|(range, header)| format!("{range}:{header}")).collect();
        let _ = write!(out, " header={}", headers.join(","));
    }
    out.push('\n');
    write_fields(out, &message.fields, 1);
    for shared in &message.structs {
        let _ = writeln!(out, "  struct {} {}", shared.name, shared.versions);
        write_fields(out, &shared.fields, 2);
    }
}

fn write_fields(out: &mut String, fields: &[Field], depth: usize) {
    for field in fields {
        let _ = write!(out, "{:1$}{2} {3} {4}", "", depth * 2, field.name, field.ty, field.versions);
        if !field.nullable.is_empty() {
            let _ = write!(out, " null={}", field.nullable);
        }
        if let Some(tag) = field.tag {
            let _ = write!(out, " tag={tag}@{}", field.tagged);
        }
        if let Some(default) = &field.default {
            let _ = write!(out, " default={default}");
        }
        for (is, word) in [(field.key, " key"), (field.ignorable, " ignorable"), (field.inflexible, " inflexible")] {
            out.push_str(if is { word } else { "" });
        }
        if let Some(entity) = &field.entity {
            let _ = write!(out, " entity={entity}");
        }
        out.push('\n');
        write_fields(out, &field.fields, depth + 1);
    }
}

/// Reads the messages of one file.
pub fn read(text: &str) -> Result<Vec<Message>> {
    let mut lines = text.lines().enumerate().peekable();
    let mut messages = Vec::new();
    while let Some((number, line)) = lines.next() {
        let mut message = head(line).with_context(|| format!("line {}", number + 1))?;
        let mut block = Vec::new();
        while let Some(next) = lines.next_if(|(_, line)| line.starts_with(' ')) {
            block.push(next);
        }
        let mut rest = &block[..];
        message.fields = read_fields(&mut rest, 1)?;
        while let Some(((number, line), tail)) = rest.split_first() {
            let Some(["struct", name, versions]) = words(line).first_chunk::<3>().copied() else {
                bail!("line {}: neither a field nor a struct", number + 1);
            };
            rest = tail;
            let fields = read_fields(&mut rest, 2)?;
            message.structs.push(Struct { name: name.to_owned(), versions: Versions::parse(versions)?, fields });
        }
        messages.push(message);
    }
    Ok(messages)
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

fn head(line: &str) -> Result<Message> {
    let words = words(line);
    let [kind, name, rest @ ..] = &words[..] else { bail!("not a message: {line}") };
    let mut message = Message {
        kind: Kind::parse(kind)?,
        name: (*name).to_owned(),
        key: None,
        versions: Versions::NONE,
        latest_unstable: false,
        flexible: Versions::NONE,
        listeners: Vec::new(),
        headers: Vec::new(),
        fields: Vec::new(),
        structs: Vec::new(),
    };
    for word in rest {
        match word.split_once('=') {
            Some(("key", key)) => message.key = Some(key.parse()?),
            Some(("versions", versions)) => message.versions = Versions::parse(versions)?,
            Some(("flexible", versions)) => message.flexible = Versions::parse(versions)?,
            Some(("listeners", names)) => message.listeners = names.split(',').map(str::to_owned).collect(),
            Some(("header", ranges)) => {
                for range in ranges.split(',') {
                    let (versions, header) = range.split_once(':').context("a header range without a version")?;
                    message.headers.push((Versions::parse(versions)?, header.parse()?));
                }
            }
            None if *word == "latest-unstable" => message.latest_unstable = true,
            _ => bail!("unknown attribute {word}"),
        }
    }
    Ok(message)
}

/// Reads the fields at `depth` from the front of `lines`, with what is nested below them.
fn read_fields(lines: &mut &[(usize, &str)], depth: usize) -> Result<Vec<Field>> {
    let mut fields = Vec::new();
    while let Some(((number, line), rest)) = lines.split_first() {
        let indent = line.len() - line.trim_start().len();
        if indent != depth * 2 || (depth == 1 && line.trim_start().starts_with("struct ")) {
            break;
        }
        let mut field = read_field(line).with_context(|| format!("line {}", number + 1))?;
        *lines = rest;
        field.fields = read_fields(lines, depth + 1)?;
        fields.push(field);
    }
    Ok(fields)
}

fn read_field(line: &str) -> Result<Field> {
    let words = words(line);
    let [name, ty, versions, rest @ ..] = &words[..] else { bail!("not a field: {line}") };
    let mut field = Field {
        name: (*name).to_owned(),
        ty: (*ty).to_owned(),
        versions: Versions::parse(versions)?,
        nullable: Versions::NONE,
        tag: None,
        tagged: Versions::NONE,
        default: None,
        ignorable: false,
        key: false,
        inflexible: false,
        entity: None,
        fields: Vec::new(),
    };
    for word in rest {
        match (word.split_once('='), *word) {
            (Some(("null", versions)), _) => field.nullable = Versions::parse(versions)?,
            (Some(("default", default)), _) => field.default = Some(default.to_owned()),
            (Some(("entity", entity)), _) => field.entity = Some(entity.to_owned()),
            (Some(("tag", tag)), _) => {
                let (tag, versions) = tag.split_once('@').context("a tag without versions")?;
                (field.tag, field.tagged) = (Some(tag.parse()?), Versions::parse(versions)?);
            }
            (None, "key") => field.key = true,
            (None, "ignorable") => field.ignorable = true,
            (None, "inflexible") => field.inflexible = true,
            _ => bail!("unknown attribute {word}"),
        }
    }
    Ok(field)
}
