//! `chronik config`: check a configuration, show what is in force and why, look settings up.

use std::path::PathBuf;

use chronik_server::config::{BrokerConfig, ConfigError, ConfigInput, Origin, settings};
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::fault::{Fault, INVALID_SETTING, UNKNOWN_NAME};
use crate::output::{self, Format, Row};

/// Where the broker's settings come from. Shared by all commands that read them.
#[derive(Debug, Clone, Default, Args)]
pub struct Settings {
    /// A server.properties or a chronik.toml
    #[arg(long, short, value_name = "FILE", help_heading = "Settings")]
    pub config: Option<PathBuf>,
    /// Where the data lies; short for --set log.dirs=DIR
    #[arg(long, short, value_name = "DIR", help_heading = "Settings")]
    pub data_dir: Option<PathBuf>,
    /// Where to listen; short for --set listeners=PLAINTEXT://HOST:PORT
    #[arg(long, short, value_name = "HOST:PORT", help_heading = "Settings")]
    pub listen: Option<String>,
    /// A setting
    #[arg(long, value_name = "KEY=VALUE", help_heading = "Settings")]
    pub set: Vec<String>,
}

impl Settings {
    /// Reads and checks them.
    pub fn load(&self) -> Result<BrokerConfig, Fault> {
        let mut command_line = Vec::new();
        for text in &self.set {
            let (key, value) = text
                .split_once('=')
                .ok_or_else(|| Fault::usage(format!("--set {text} has no '='"), "--set KEY=VALUE"))?;
            command_line.push((key.trim().to_owned(), value.to_owned()));
        }
        if let Some(dir) = &self.data_dir {
            command_line.push(("log.dirs".to_owned(), dir.display().to_string()));
        }
        if let Some(listen) = &self.listen {
            let listener = if listen.contains("://") { listen.clone() } else { format!("PLAINTEXT://{listen}") };
            command_line.push(("listeners".to_owned(), listener));
        }
        let environment =
            std::env::vars_os().filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)));
        let input = ConfigInput { file: self.config.clone(), environment: environment.collect(), command_line };
        BrokerConfig::load(&input).map_err(told)
    }
}

/// A configuration error in the words of its user.
fn told(error: ConfigError) -> Fault {
    Fault::new(INVALID_SETTING, error.what, error.cause, error.fix)
}

/// The broker's settings.
#[derive(Debug, Args)]
pub struct Config {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Check a configuration without starting a broker
    Check(Check),
    /// Show values in force and where they came from
    Show(Show),
    /// Look settings up: type, default, range, meaning
    Reference(Reference),
}

/// Check a configuration without starting a broker.
#[derive(Debug, Args)]
struct Check {
    #[command(flatten)]
    settings: Settings,
}

/// Show values in force and where they came from.
#[derive(Debug, Args)]
struct Show {
    /// Only settings whose name contains this
    name: Option<String>,
    /// Those at their default too
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    settings: Settings,
}

/// Look settings up.
#[derive(Debug, Args)]
struct Reference {
    /// Only settings whose name contains this
    name: Option<String>,
}

#[derive(Serialize)]
struct Checked {
    ok: bool,
    notices: Vec<String>,
}

#[derive(Serialize)]
struct ShownRow {
    name: String,
    value: Option<String>,
    origin: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    inert: Option<&'static str>,
}

impl Row for ShownRow {
    const HEADINGS: &'static [&'static str] = &["setting", "value", "from"];

    fn cells(&self) -> Vec<String> {
        vec![self.name.clone(), self.value.clone().unwrap_or_else(|| "(null)".to_owned()), self.origin.clone()]
    }
}

#[derive(Serialize)]
struct ReferenceRow {
    name: &'static str,
    subject: &'static str,
    #[serde(rename = "type")]
    kind: String,
    default: Option<&'static str>,
    valid: String,
    here: String,
    doc: &'static str,
}

impl Row for ReferenceRow {
    const HEADINGS: &'static [&'static str] = &["setting", "of", "type", "default", "valid", "here"];

    fn cells(&self) -> Vec<String> {
        let default = self.default.unwrap_or("(null)").to_owned();
        vec![
            self.name.to_owned(),
            self.subject.to_owned(),
            self.kind.clone(),
            default,
            self.valid.clone(),
            self.here.clone(),
        ]
    }
}

impl Config {
    /// Runs the command.
    pub fn run(&self, format: Format) -> Result<(), Fault> {
        match &self.command {
            ConfigCommand::Check(command) => command.run(format),
            ConfigCommand::Show(command) => command.run(format),
            ConfigCommand::Reference(command) => command.run(format),
        }
    }
}

impl Check {
    fn run(&self, format: Format) -> Result<(), Fault> {
        let checked = Checked { ok: true, notices: self.settings.load()?.notices };
        output::document(format, &checked, || {
            let notices: String = checked.notices.iter().map(|notice| format!("notice: {notice}\n")).collect();
            notices + "the configuration is valid\n"
        })
    }
}

impl Show {
    fn run(&self, format: Format) -> Result<(), Fault> {
        let config = self.settings.load()?;
        let wanted = |name: &str| self.name.as_ref().is_none_or(|part| name.contains(part.as_str()));
        let rows: Vec<ShownRow> = config
            .effective()
            .into_iter()
            .filter(|setting| {
                wanted(&setting.name) && (self.all || self.name.is_some() || setting.origin != Origin::Default)
            })
            .map(|setting| ShownRow {
                name: setting.name,
                value: setting.value,
                origin: setting.origin.to_string(),
                inert: setting.inert,
            })
            .collect();
        output::rows(format, &rows)
    }
}

impl Reference {
    fn run(&self, format: Format) -> Result<(), Fault> {
        let wanted = |name: &str| self.name.as_ref().is_none_or(|part| name.contains(part.as_str()));
        let rows: Vec<ReferenceRow> = settings()
            .into_iter()
            .filter(|facts| wanted(facts.name))
            .map(|facts| ReferenceRow {
                name: facts.name,
                subject: facts.subject,
                kind: facts.kind,
                default: facts.default,
                valid: facts.valid,
                here: facts.here,
                doc: facts.doc,
            })
            .collect();
        if rows.is_empty() {
            let name = self.name.as_deref().unwrap_or_default();
            return Err(Fault::new(
                UNKNOWN_NAME,
                format!("no setting {name}"),
                "it is not in the table",
                "chronik config reference",
            ));
        }
        output::rows(format, &rows)?;
        // One setting that was asked for by name is explained too.
        match (&rows[..], format) {
            ([one], Format::Table) => output::print(&format!("\n{}\n", one.doc)),
            _ => Ok(()),
        }
    }
}
