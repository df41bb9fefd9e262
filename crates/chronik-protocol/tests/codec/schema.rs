//! The schemas as data, read from `crates/schemas`: what the tests hold the generated code against.

use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;

pub(crate) type Versions = RangeInclusive<i16>;

#[derive(Clone, Debug)]
pub(crate) struct Field {
    #[allow(dead_code)] // for tests that name values
    pub(crate) name: String,
    pub(crate) ty: String,
    pub(crate) array: bool,
    pub(crate) versions: Versions,
    pub(crate) nullable: Versions,
    pub(crate) tag: u32,
    pub(crate) tagged: Versions,
    pub(crate) default: Option<String>,
    pub(crate) inflexible: bool,
    /// What the value names: `topicName`, `groupId`, ….
    #[allow(dead_code)] // for tests that name values
    pub(crate) entity: String,
    pub(crate) fields: Vec<Field>,
}

#[derive(Clone, Debug)]
pub(crate) struct Message {
    /// `api`, `data`, `group`, …
    pub(crate) folder: String,
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) key: i16,
    /// Without an unstable latest one.
    pub(crate) versions: Versions,
    pub(crate) flexible: Versions,
    pub(crate) fields: Vec<Field>,
    pub(crate) structs: Vec<(String, Vec<Field>)>,
}

impl Message {
    /// The fields of a struct: the field's own, or those of a struct that fields share.
    pub(crate) fn fields_of<'a>(&'a self, field: &'a Field) -> &'a [Field] {
        if !field.fields.is_empty() {
            return &field.fields;
        }
        self.structs.iter().find(|s| s.0 == field.ty).map_or(&[], |s| &s.1)
    }
}

const NONE: Versions = RangeInclusive::new(0, -1);

fn versions(text: &str) -> Versions {
    let number = |n: &str| n.parse::<i16>().unwrap();
    match (text, text.strip_suffix('+'), text.split_once('-')) {
        ("none", ..) => NONE,
        (_, Some(from), _) => number(from)..=i16::MAX,
        (_, _, Some((from, to))) => number(from)..=number(to),
        _ => number(text)..=number(text),
    }
}

/// Every message of every folder.
pub(crate) fn all() -> Vec<Message> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas");
    let mut messages = Vec::new();
    for folder in ["api", "data", "group", "transaction", "share", "metadata", "storage"] {
        let mut paths: Vec<_> = fs::read_dir(root.join(folder)).unwrap().map(|e| e.unwrap().path()).collect();
        paths.sort();
        for path in paths {
            messages.extend(read(folder, &fs::read_to_string(path).unwrap()));
        }
    }
    messages
}

fn read(folder: &str, text: &str) -> Vec<Message> {
    let mut messages = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let mut message = head(folder, line);
        let mut block = Vec::new();
        while let Some(line) = lines.next_if(|line| line.starts_with(' ')) {
            block.push(line);
        }
        let mut rest = &block[..];
        message.fields = fields(&mut rest, 1);
        while let Some((line, tail)) = rest.split_first() {
            let name = line.split_whitespace().nth(1).unwrap().to_owned();
            rest = tail;
            message.structs.push((name, fields(&mut rest, 2)));
        }
        messages.push(message);
    }
    messages
}

fn head(folder: &str, line: &str) -> Message {
    let words: Vec<&str> = line.split(' ').collect();
    let value = |key: &str| words.iter().find_map(|w| w.strip_prefix(key));
    let mut known = versions(value("versions=").unwrap());
    if words.contains(&"latest-unstable") {
        known = *known.start()..=known.end() - 1;
    }
    Message {
        folder: folder.to_owned(),
        kind: words[0].to_owned(),
        name: words[1].to_owned(),
        key: value("key=").map_or(-1, |k| k.parse().unwrap()),
        versions: known,
        flexible: versions(value("flexible=").unwrap()),
        fields: Vec::new(),
        structs: Vec::new(),
    }
}

fn fields(lines: &mut &[&str], depth: usize) -> Vec<Field> {
    let mut fields = Vec::new();
    while let Some((line, rest)) = lines.split_first() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if line.len() - line.trim_start().len() != depth * 2 || words[0] == "struct" {
            break;
        }
        let value = |key: &str| words.iter().find_map(|w| w.strip_prefix(key));
        let tag = value("tag=").and_then(|t| t.split_once('@'));
        *lines = rest;
        fields.push(Field {
            name: words[0].to_owned(),
            ty: words[1].trim_start_matches("[]").to_owned(),
            array: words[1].starts_with("[]"),
            versions: versions(words[2]),
            nullable: value("null=").map_or(NONE, versions),
            tag: tag.map_or(0, |t| t.0.parse().unwrap()),
            tagged: tag.map_or(NONE, |t| versions(t.1)),
            default: value("default=").map(str::to_owned),
            inflexible: words.contains(&"inflexible"),
            entity: value("entity=").unwrap_or_default().to_owned(),
            fields: self::fields(lines, depth + 1),
        });
    }
    fields
}
