//! A message schema in memory, as both the JSON of Kafka and the notation of ours describe it.

use std::fmt;

use anyhow::{Context, Result};

/// The versions `from..=to`; empty if `to < from`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    pub from: i16,
    pub to: i16,
}

impl Versions {
    pub const NONE: Versions = Versions { from: 0, to: -1 };

    /// Reads `none`, `3`, `3+` or `3-7`.
    pub fn parse(text: &str) -> Result<Versions> {
        let number = |n: &str| n.parse::<i16>().with_context(|| format!("not a version range: {text}"));
        Ok(match text {
            "none" => Versions::NONE,
            _ => match (text.strip_suffix('+'), text.split_once('-')) {
                (Some(from), _) => Versions { from: number(from)?, to: i16::MAX },
                (None, Some((from, to))) => Versions { from: number(from)?, to: number(to)? },
                (None, None) => Versions { from: number(text)?, to: number(text)? },
            },
        })
    }

    pub fn is_empty(self) -> bool {
        self.to < self.from
    }

    pub fn contains(self, version: i16) -> bool {
        self.from <= version && version <= self.to
    }

    pub fn covers(self, other: Versions) -> bool {
        self.from <= other.from && other.to <= self.to
    }

    pub fn intersect(self, other: Versions) -> Versions {
        let both = Versions { from: self.from.max(other.from), to: self.to.min(other.to) };
        if both.is_empty() { Versions::NONE } else { both }
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Versions { from, to } if to < from => write!(f, "none"),
            Versions { from, to: i16::MAX } => write!(f, "{from}+"),
            Versions { from, to } if from == to => write!(f, "{from}"),
            Versions { from, to } => write!(f, "{from}-{to}"),
        }
    }
}

/// What a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Request,
    Response,
    Header,
    Data,
    CoordinatorKey,
    CoordinatorValue,
    Metadata,
}

impl Kind {
    const NAMES: [(Kind, &str); 7] = [
        (Kind::Request, "request"),
        (Kind::Response, "response"),
        (Kind::Header, "header"),
        (Kind::Data, "data"),
        (Kind::CoordinatorKey, "coordinator-key"),
        (Kind::CoordinatorValue, "coordinator-value"),
        (Kind::Metadata, "metadata"),
    ];

    pub fn parse(name: &str) -> Result<Kind> {
        Kind::NAMES.iter().find(|k| k.1 == name).map(|k| k.0).with_context(|| format!("not a kind of message: {name}"))
    }

    pub fn name(self) -> &'static str {
        Kind::NAMES.iter().find(|k| k.0 == self).map_or("", |k| k.1)
    }
}

/// One message.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    pub kind: Kind,
    pub name: String,
    /// The API's key, or the type of a record.
    pub key: Option<i16>,
    pub versions: Versions,
    /// The latest version may still change: nobody advertises it.
    pub latest_unstable: bool,
    pub flexible: Versions,
    /// The listeners that serve a request: `broker`, `controller`.
    pub listeners: Vec<String>,
    /// The header's version by the message's versions (requests and responses).
    pub headers: Vec<(Versions, i16)>,
    pub fields: Vec<Field>,
    /// Structs that several fields share.
    pub structs: Vec<Struct>,
}

/// A struct that several fields share.
#[derive(Clone, Debug, PartialEq)]
pub struct Struct {
    pub name: String,
    pub versions: Versions,
    pub fields: Vec<Field>,
}

/// One field.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    pub name: String,
    /// Kafka's name of the type; `[]` before it means an array.
    pub ty: String,
    pub versions: Versions,
    pub nullable: Versions,
    pub tag: Option<u32>,
    pub tagged: Versions,
    pub default: Option<String>,
    /// An older version may drop the value without a word.
    pub ignorable: bool,
    /// The element's key: no two elements of an array have the same.
    pub key: bool,
    /// Never in the flexible encoding, whatever the message's version.
    pub inflexible: bool,
    /// What the value names: `topicName`, `groupId`, ….
    pub entity: Option<String>,
    pub fields: Vec<Field>,
}

impl Message {
    /// The versions that are on offer: without an unstable latest one.
    pub fn stable(&self) -> Versions {
        Versions { to: self.versions.to - i16::from(self.latest_unstable), ..self.versions }
    }
}
