//! `cargo xtask schemas`: Kafka's message schemas out of its published jars, in a compact notation of ours.
//!
//! Today's versions come from [`TODAY`], the versions that Kafka 4 dropped and that old clients still speak from [`OLD`].
//! Only facts are taken over: names, types, versions, nullability, defaults, tags, keys, header versions; none of the prose.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::root;

mod json;
mod merge;
pub mod model;
pub mod notation;

use model::{Kind, Message};

/// The Kafka release whose schemas are today's.
const TODAY: &str = "4.4.0";
/// The last Kafka release that has the versions that Kafka 4 dropped.
const OLD: &str = "3.9.2";

/// The jars of today's release, where the schemas lie in them, and the folder of ours that takes them.
const RECORD_JARS: &[(&str, &str, &str)] = &[
    ("kafka-group-coordinator", "common/message", "group"),
    ("kafka-transaction-coordinator", "common/message", "transaction"),
    ("kafka-share-coordinator", "common/message", "share"),
    ("kafka-metadata", "common/metadata", "metadata"),
    ("kafka-storage", "message", "storage"),
];

/// Reads the jars and rewrites `crates/schemas`.
pub fn run(_args: &[String]) -> Result<()> {
    let work = root::dir().join("target/schemas");
    fs::create_dir_all(&work)?;
    let today = extract(&work, "kafka-clients", TODAY, "common/message")?;
    let old = extract(&work, "kafka-clients", OLD, "common/message")?;
    let mut files: BTreeMap<PathBuf, String> = BTreeMap::new();
    let mut facts = ask_kafka(&work, OLD)?;
    let newer = ask_kafka(&work, TODAY)?;
    facts.errors = newer.errors;
    for (key, headers) in newer.headers {
        // Today's classes know the headers of today's versions only.
        let old = facts.headers.entry(key).or_default();
        old.retain(|o| headers.first().is_some_and(|first| o.0 < first.0));
        old.extend(headers);
    }
    let (apis, data) = split(merge::merge(today, old)?);
    for (key, (request, response)) in apis {
        let name = request.name.trim_end_matches("Request").to_owned();
        let headers = facts.headers.get(&key).with_context(|| format!("no header versions for {name}"))?;
        let request = Message { headers: merge::headers(headers, 0, &request)?, ..request };
        let headers = merge::headers(headers, 1, &response)?;
        let response = Message { headers, latest_unstable: request.latest_unstable, ..response };
        files.insert(format!("api/{name}.txt").into(), notation::write(&[&request, &response]));
    }
    for message in data {
        files.insert(format!("data/{}.txt", message.name).into(), notation::write(&[&message]));
    }
    for (artifact, inside, folder) in RECORD_JARS {
        for message in extract(&work, artifact, TODAY, inside)? {
            files.insert(format!("{folder}/{}.txt", message.name).into(), notation::write(&[&message]));
        }
    }
    files.insert("errors.txt".into(), facts.errors);
    write(&root::dir().join("crates/schemas"), &files)
}

/// Requests with their responses by API key, and everything else.
type Apis = BTreeMap<i16, (Message, Message)>;

fn split(messages: Vec<Message>) -> (Apis, Vec<Message>) {
    let (mut requests, mut responses, mut data) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    for message in messages {
        match (message.kind, message.key) {
            (Kind::Request, Some(key)) => drop(requests.insert(key, message)),
            (Kind::Response, Some(key)) => drop(responses.insert(key, message)),
            _ => data.push(message),
        }
    }
    let pair = |(key, request)| responses.remove(&key).map(|response| (key, (request, response)));
    (requests.into_iter().filter_map(pair).collect(), data)
}

/// Fetches one jar and reads the schemas in the folder `inside` it; messages without a version left are passed over.
fn extract(work: &Path, artifact: &str, version: &str, inside: &str) -> Result<Vec<Message>> {
    let jar = fetch(work, artifact, version)?;
    let to = work.join(format!("{artifact}-{version}"));
    fs::create_dir_all(&to)?;
    root::output(Command::new("jar").arg("xf").arg(&jar).arg(inside).current_dir(&to))?;
    let mut paths: Vec<PathBuf> = fs::read_dir(to.join(inside))?.map(|e| Ok(e?.path())).collect::<Result<_>>()?;
    paths.retain(|path| path.extension().is_some_and(|e| e == "json"));
    paths.sort();
    let mut messages = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path)?;
        messages.extend(json::read(&text).with_context(|| path.display().to_string())?);
    }
    if messages.is_empty() {
        bail!("{} has no schemas in {inside}", jar.display());
    }
    Ok(messages)
}

/// Has Maven bring one jar, unless it is there already.
fn fetch(work: &Path, artifact: &str, version: &str) -> Result<PathBuf> {
    let jar = work.join(format!("{artifact}-{version}.jar"));
    if !jar.exists() {
        root::output(
            Command::new("mvn")
                .args(["-q", "-B", "org.apache.maven.plugins:maven-dependency-plugin:3.7.0:copy"])
                .arg(format!("-Dartifact=org.apache.kafka:{artifact}:{version}"))
                .arg(format!("-DoutputDirectory={}", work.display())),
        )?;
    }
    Ok(jar)
}

/// What Kafka's classes know and its schemas do not say.
struct Facts {
    /// API key → (version, request header version, response header version).
    headers: BTreeMap<i16, Vec<(i16, i16, i16)>>,
    /// The lines of `errors.txt`.
    errors: String,
}

/// The program that asks Kafka's own classes.
const ASK: &str = r#"
import org.apache.kafka.common.message.ApiMessageType;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.errors.RetriableException;

public class Ask {
    public static void main(String[] args) {
        for (ApiMessageType api : ApiMessageType.values())
            for (short v = api.lowestSupportedVersion(); v <= api.highestSupportedVersion(true); v++)
                System.out.println("header " + api.apiKey() + " " + v + " " + api.requestHeaderVersion(v) + " "
                    + api.responseHeaderVersion(v));
        for (Errors error : Errors.values())
            System.out.println("error " + error.code() + " " + error.name()
                + (error.exception() instanceof RetriableException ? " retriable" : ""));
    }
}
"#;

fn ask_kafka(work: &Path, version: &str) -> Result<Facts> {
    let source = work.join("Ask.java");
    fs::write(&source, ASK)?;
    let jars =
        [fetch(work, "kafka-clients", version)?, fetch_logging(work)?].map(|p| p.display().to_string()).join(":");
    let text = root::output(Command::new("java").arg("-cp").arg(jars).arg(&source))?;
    let mut facts = Facts { headers: BTreeMap::new(), errors: String::new() };
    for line in text.lines() {
        if let Some(error) = line.strip_prefix("error ") {
            facts.errors.push_str(error);
            facts.errors.push('\n');
        } else if let Some(header) = line.strip_prefix("header ") {
            let numbers: Vec<i16> = header.split(' ').map(|n| Ok(n.parse()?)).collect::<Result<_>>()?;
            let &[key, version, request, response] = &numbers[..] else { bail!("not a header line: {line}") };
            facts.headers.entry(key).or_default().push((version, request, response));
        }
    }
    Ok(facts)
}

/// Kafka's classes log when they are loaded; they need slf4j's interfaces for that.
fn fetch_logging(work: &Path) -> Result<PathBuf> {
    let jar = work.join("slf4j-api-1.7.36.jar");
    if !jar.exists() {
        root::output(
            Command::new("mvn")
                .args(["-q", "-B", "org.apache.maven.plugins:maven-dependency-plugin:3.7.0:copy"])
                .arg("-Dartifact=org.slf4j:slf4j-api:1.7.36")
                .arg(format!("-DoutputDirectory={}", work.display())),
        )?;
    }
    Ok(jar)
}

/// Replaces the schemas that are there; a file that no schema is behind any more goes.
fn write(to: &Path, files: &BTreeMap<PathBuf, String>) -> Result<()> {
    for folder in ["api", "data", "group", "transaction", "share", "metadata", "storage"] {
        let folder = to.join(folder);
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
    }
    for (path, text) in files {
        fs::write(to.join(path), text)?;
    }
    eprintln!("{} files in {}", files.len(), to.display());
    Ok(())
}
