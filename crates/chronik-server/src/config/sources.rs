//! Where settings are written: `server.properties`, `chronik.toml`, the environment. All become name, text and origin.

use std::fmt;
use std::path::{Path, PathBuf};

use super::ConfigError;

/// Where a setting was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody made it.
    Default,
    /// In a file, at this line (0 where the format does not tell).
    File(PathBuf, usize),
    /// In this environment variable.
    Environment(String),
    /// On the command line.
    CommandLine,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(path, 0) => write!(f, "{}", path.display()),
            Origin::File(path, line) => write!(f, "{}:{line}", path.display()),
            Origin::Environment(variable) => write!(f, "environment {variable}"),
            Origin::CommandLine => f.write_str("command line"),
        }
    }
}

/// A setting as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) name: String,
    pub(super) value: String,
    pub(super) origin: Origin,
}

/// Reads a file: TOML if it is called `*.toml`, Java properties otherwise.
pub(super) fn file(path: &Path) -> Result<Vec<Written>, ConfigError> {
    let unreadable = |e: &dyn fmt::Display| ConfigError {
        what: format!("cannot read the configuration file {}", path.display()),
        cause: e.to_string(),
        fix: "name a readable file with --config, or leave it out: everything has a default".to_owned(),
    };
    let text = std::fs::read_to_string(path).map_err(|e| unreadable(&e))?;
    if path.extension().is_some_and(|extension| extension == "toml") {
        let table: toml::Table = text.parse().map_err(|e: toml::de::Error| unreadable(&e))?;
        let mut out = Vec::new();
        flatten("", &toml::Value::Table(table), path, &mut out);
        return Ok(out);
    }
    Ok(properties(&text, path))
}

fn flatten(prefix: &str, value: &toml::Value, path: &Path, out: &mut Vec<Written>) {
    let text = match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                flatten(&name, value, path, out);
            }
            return;
        }
        other => scalar(other),
    };
    out.push(Written { name: prefix.to_owned(), value: text, origin: Origin::File(path.to_owned(), 0) });
}

fn scalar(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Array(items) => items.iter().map(scalar).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// Java's properties format: `=`, `:` or a space between key and value, `#` and `!` comments, a backslash continues a line or escapes.
fn properties(text: &str, path: &Path) -> Vec<Written> {
    let mut out = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, first)) = lines.next() {
        let mut line = first.trim_start().to_owned();
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        while line.chars().rev().take_while(|c| *c == '\\').count() % 2 == 1 {
            line.pop();
            match lines.next() {
                Some((_, next)) => line.push_str(next.trim_start()),
                None => break,
            }
        }
        let (name, value) = split(&line);
        let origin = Origin::File(path.to_owned(), number + 1);
        out.push(Written { name: unescape(name), value: unescape(value.trim_end()), origin });
    }
    out
}

fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    for (at, c) in line.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '=' | ':' => return (&line[..at], line[at + 1..].trim_start()),
            c if c.is_whitespace() => {
                let rest = line[at..].trim_start();
                let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
                return (&line[..at], rest.trim_start());
            }
            _ => {}
        }
    }
    (line, "")
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some('u') => {
                let hex: String = chars.by_ref().take(4).collect();
                let code = u32::from_str_radix(&hex, 16).ok().and_then(char::from_u32);
                out.push(code.unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            Some(other) => out.push(other),
            None => {}
        }
    }
    out
}

/// Variables of Kafka's start scripts and of ours that are not settings.
const NOT_SETTINGS: &[&str] = &[
    "KAFKA_HOME",
    "KAFKA_OPTS",
    "KAFKA_HEAP_OPTS",
    "KAFKA_JMX_OPTS",
    "KAFKA_JMX_PORT",
    "KAFKA_JMX_HOSTNAME",
    "KAFKA_JVM_PERFORMANCE_OPTS",
    "KAFKA_GC_LOG_OPTS",
    "KAFKA_LOG4J_OPTS",
    "KAFKA_LOG4J_LOGGERS",
    "KAFKA_LOG4J_ROOT_LOGLEVEL",
    "KAFKA_TOOLS_LOG4J_LOGLEVEL",
    "KAFKA_CLUSTER_ID",
    "KAFKA_DEBUG",
    "KAFKA_VERSION",
    "CHRONIK_CONFIG",
    "CHRONIK_DATA_DIR",
    "CHRONIK_BOOTSTRAP_SERVER",
    "CHRONIK_BOOTSTRAP_SERVERS",
    "CHRONIK_BROKERS",
    "CHRONIK_OUTPUT",
    "CHRONIK_LOG",
];

/// A service of Kubernetes that is called kafka or chronik plants such variables in every pod.
fn from_kubernetes(variable: &str) -> bool {
    let tail = |suffix: &str| variable.ends_with(suffix);
    tail("_SERVICE_HOST")
        || variable.contains("_SERVICE_PORT")
        || tail("_TCP_ADDR")
        || tail("_TCP_PORT")
        || tail("_TCP_PROTO")
        || tail("_TCP")
        || variable == "KAFKA_PORT"
        || variable == "CHRONIK_PORT"
}

/// `KAFKA_LOG_RETENTION_MS` by the rule of Apache's container: `_` is a dot, `__` an underscore, `___` a dash. `CHRONIK_` too, where the
/// `chronik.` in front of a setting of ours may be left out.
pub(super) fn environment(
    variables: impl IntoIterator<Item = (String, String)>,
    known: impl Fn(&str) -> bool,
) -> Vec<Written> {
    let mut out = Vec::new();
    for (variable, value) in variables {
        if NOT_SETTINGS.contains(&variable.as_str()) || from_kubernetes(&variable) {
            continue;
        }
        let (rest, ours) = match (variable.strip_prefix("KAFKA_"), variable.strip_prefix("CHRONIK_")) {
            (Some(rest), _) => (rest, false),
            (_, Some(rest)) => (rest, true),
            _ => continue,
        };
        let mut name =
            rest.to_lowercase().replace("___", "-").replace("__", "\u{0}").replace('_', ".").replace('\u{0}', "_");
        if ours && !known(&name) {
            name = format!("chronik.{name}");
        }
        out.push(Written { name, value, origin: Origin::Environment(variable) });
    }
    out.sort_by(|a, b| a.name.cmp(&b.name));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_javas() {
        let text = "# a comment\n! another\n\nnode.id=3\nlisteners = PLAINTEXT://:9092,\\\n   CONTROLLER://:9093\nlog.dirs:/a b/c\nbroker.rack r\\u00e4ck\nempty=\n";
        let read: Vec<_> = properties(text, Path::new("f")).into_iter().map(|w| (w.name, w.value)).collect();
        let expected = [
            ("node.id", "3"),
            ("listeners", "PLAINTEXT://:9092,CONTROLLER://:9093"),
            ("log.dirs", "/a b/c"),
            ("broker.rack", "räck"),
            ("empty", ""),
        ];
        assert_eq!(read, expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
    }

    #[test]
    fn toml_tables_nest() {
        let table: toml::Table =
            "num.partitions = 3\n[log]\nretention.ms = 5\ndirs = ['a', 'b']\n[log.segment]\nbytes = 7\n"
                .parse()
                .unwrap();
        let mut out = Vec::new();
        flatten("", &toml::Value::Table(table), Path::new("f"), &mut out);
        let mut read: Vec<_> = out.into_iter().map(|w| format!("{}={}", w.name, w.value)).collect();
        read.sort();
        assert_eq!(read, ["log.dirs=a,b", "log.retention.ms=5", "log.segment.bytes=7", "num.partitions=3"]);
    }

    #[test]
    fn environment_follows_the_container_rule() {
        let variables = [
            ("KAFKA_LOG_RETENTION_MS", "5"),
            ("KAFKA_HEAP_OPTS", "-Xmx1g"),
            ("KAFKA_SERVICE_HOST", "10.0.0.1"),
            ("KAFKA_PORT_9092_TCP_ADDR", "10.0.0.1"),
            ("KAFKA_A___B__C", "x"),
            ("CHRONIK_DURABILITY", "os"),
            ("CHRONIK_NODE_ID", "4"),
            ("PATH", "/bin"),
        ];
        let known = |name: &str| name == "node.id";
        let variables = variables.map(|(k, v)| (k.to_owned(), v.to_owned()));
        let read: Vec<_> =
            environment(variables, known).into_iter().map(|w| format!("{}={}", w.name, w.value)).collect();
        assert_eq!(read, ["a-b_c=x", "chronik.durability=os", "log.retention.ms=5", "node.id=4"]);
    }
}
