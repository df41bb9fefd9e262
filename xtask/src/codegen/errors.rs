//! `error_code.rs`: Kafka's error codes.

use anyhow::{Context, Result};

use super::{BANNER, names};

/// The enum, its numbers, names and which of them a retry may cure.
pub fn file(text: &str) -> Result<String> {
    let mut rows = Vec::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        let code: i16 = words.next().context("an empty line")?.parse()?;
        let name = words.next().with_context(|| format!("no name in {line}"))?;
        rows.push((code, name, words.next() == Some("retriable")));
    }
    let mut variants = String::new();
    let mut from = String::new();
    let mut name_of = String::new();
    for (code, name, _) in &rows {
        let variant = names::camel(name);
        variants.push_str(&format!("/// `{name}`.\n{variant} = {code},\n"));
        from.push_str(&format!("{code} => Self::{variant},\n"));
        name_of.push_str(&format!("Self::{variant} => {name:?},\n"));
    }
    let all: Vec<String> = rows.iter().map(|r| format!("ErrorCode::{}", names::camel(r.1))).collect();
    let retriable: Vec<String> = rows.iter().filter(|r| r.2).map(|r| format!("Self::{}", names::camel(r.1))).collect();
    Ok(format!(
        "//! Kafka's error codes. {BANNER}\n\n\
         /// An error code of the protocol.\n#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]\n#[repr(i16)]\n\
         pub enum ErrorCode {{\n{variants}}}\n\n\
         impl ErrorCode {{\n\
         /// Every code, in the order of the numbers.\npub const ALL: &'static [ErrorCode] = &[{}];\n\n\
         /// The error with this number; a number that is not known is `UnknownServerError`, as for Kafka's clients.\n\
         pub const fn from_code(code: i16) -> Self {{ match code {{ {from} _ => Self::UnknownServerError }} }}\n\n\
         /// Kafka's name.\npub const fn name(self) -> &'static str {{ match self {{ {name_of} }} }}\n\n\
         /// Whether the same request may succeed when it is sent again.\n\
         pub const fn is_retriable(self) -> bool {{ matches!(self, {}) }}\n}}\n",
        all.join(", "),
        retriable.join(" | ")
    ))
}
