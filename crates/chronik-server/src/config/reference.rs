//! `docs/config.md`, written from the table.

use std::fmt::Write as _;

use chronik_coordinator::metadata::config::{
    Here, Importance, Scope, Setting, broker_subjects, broker_synonym, topic_settings,
};

const HEAD: &str = "\
# Settings

Generated from the table of settings by `chronik config reference`; a test compares. Names, types, defaults and ranges are Apache
Kafka 4.4's. A setting comes from the command line (`--set name=value`), the environment (`KAFKA_LOG_RETENTION_MS` or
`CHRONIK_LOG_RETENTION_MS`), a file (`server.properties` or `*.toml`, given with `--config`) or its default, in this order.

Where Chronik differs from Kafka on purpose: it syncs before it acknowledges (`chronik.durability`), keeps its data in `./chronik-data`
(`log.dir`), does not hold back the first rebalance of a group (`group.initial.rebalance.delay.ms`), and listens on loopback until it is
told otherwise (`listeners`). `advertised.listeners` may be left out: each client is told the address at which it reached the broker.

*here* says what a setting does in Chronik: **works**, or why it does nothing (it is accepted, checked and given back), or which value alone
is taken. *change*: *restart*, or at run time for one *broker*, or for *all* brokers too.
";

/// The whole page.
pub fn reference() -> String {
    let mut out = HEAD.to_owned();
    out.push_str(
        "\n## Topics\n\n| name | type | default | valid | broker's name | here | |\n|---|---|---|---|---|---|---|\n",
    );
    for setting in topic_settings() {
        let synonym = broker_synonym(setting.name).map(|name| format!("`{name}`")).unwrap_or_default();
        let _ = writeln!(out, "| {} | {synonym} | {} | {} |", facts(setting), here(setting), setting.doc);
    }
    for (subject, table) in broker_subjects() {
        let _ = write!(
            out,
            "\n## {subject}\n\n| name | type | default | valid | change | here | |\n|---|---|---|---|---|---|---|\n"
        );
        for setting in table {
            let change = match setting.scope {
                Scope::ReadOnly => "restart",
                Scope::PerBroker => "broker",
                Scope::ClusterWide => "all",
            };
            let _ = writeln!(out, "| {} | {change} | {} | {} |", facts(setting), here(setting), setting.doc);
        }
    }
    out
}

/// What the table knows of a setting, as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingFacts {
    /// Kafka's name.
    pub name: &'static str,
    /// `topic` or `broker`.
    pub subject: &'static str,
    /// Its type in Kafka's words, lower case.
    pub kind: String,
    /// The default; `None` is null.
    pub default: Option<&'static str>,
    /// Its valid values.
    pub valid: String,
    /// `works`, or why it does nothing here.
    pub here: String,
    /// What it is for.
    pub doc: &'static str,
}

/// Every setting of topics and brokers.
pub fn settings() -> Vec<SettingFacts> {
    let facts = |subject, setting: &Setting| SettingFacts {
        name: setting.name,
        subject,
        kind: setting.kind.name().to_lowercase(),
        default: setting.default,
        valid: setting.valid_text(),
        here: here(setting),
        doc: setting.doc,
    };
    let brokers = broker_subjects().flat_map(|(_, table)| table).map(|setting| facts("broker", setting));
    topic_settings().map(|setting| facts("topic", setting)).chain(brokers).collect()
}

fn facts(setting: &Setting) -> String {
    let default = match setting.default {
        None => "–".to_owned(),
        Some("") => "empty".to_owned(),
        Some(text) => format!("`{text}`"),
    };
    let name = match setting.importance {
        Importance::High => format!("**`{}`**", setting.name),
        Importance::Medium | Importance::Low => format!("`{}`", setting.name),
    };
    format!("{name} | {} | {default} | {}", setting.kind.name().to_lowercase(), setting.valid_text())
}

fn here(setting: &Setting) -> String {
    match setting.here {
        Here::Works => "works".to_owned(),
        Here::Inert(why) => why.to_owned(),
        Here::Only("", why) => format!("only empty: {why}"),
        Here::Only(value, why) => format!("only `{value}`: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Set `CHRONIK_WRITE_DOCS` to write the page instead.
    #[test]
    fn the_page_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/config.md");
        if std::env::var_os("CHRONIK_WRITE_DOCS").is_some() {
            std::fs::write(path, reference()).unwrap();
        }
        let page = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            page == reference(),
            "docs/config.md is not what the table says: run CHRONIK_WRITE_DOCS=1 cargo test -p chronik-server reference"
        );
    }
}
