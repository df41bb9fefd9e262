//! `cargo xtask tidy`: what no compiler checks: the edges between crates, budgets of files and functions, and that
//! nothing of a developer's machine is in a tracked file.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::root;

/// Every crate with the crates of ours that it may depend on. An edge that is not here is a decision, not an edit.
const EDGES: &[(&str, &[&str])] = &[
    ("chronik-protocol", &[]),
    ("chronik-coordinator", &["chronik-protocol"]),
    ("chronik-storage", &["chronik-protocol"]),
    ("chronik-client", &["chronik-protocol"]),
    ("chronik-server", &["chronik-protocol", "chronik-storage", "chronik-coordinator"]),
    ("chronik", &["chronik-server", "chronik-client", "chronik-protocol"]),
    ("xtask", &[]),
];

/// The crates in which nothing may read a clock, do I/O or know tokio.
const PURE: &[&str] = &["chronik-protocol", "chronik-coordinator"];

/// The longest file, and the length that nine of ten files keep below.
const FILE_LINES_MAX: usize = 700;
const FILE_LINES_P90: usize = 400;

/// Text that names one machine or one registry.
const FOREIGN: &[&str] =
    &["/home/", concat!("/ro", "ot/"), concat!("/wo", "rk/"), "/Users/", "artifactory", "jfrog", "nexus."];

/// Files that may hold it: this list, and locks whose hosts are the public registries'.
const FOREIGN_IN: &[&str] = &["xtask/src/tidy.rs"];

/// Runs every check and reports all that is wrong.
pub fn run(_args: &[String]) -> Result<()> {
    let files = tracked()?;
    let mut wrong = Vec::new();
    edges(&mut wrong)?;
    budgets(&files, &mut wrong);
    foreign(&files, &mut wrong);
    headed(&files, &mut wrong);
    api_files(&files, &mut wrong);
    if !wrong.is_empty() {
        bail!("{} things are untidy:\n  {}", wrong.len(), wrong.join("\n  "));
    }
    Ok(())
}

/// Every tracked text file with its content.
fn tracked() -> Result<BTreeMap<String, String>> {
    let mut git = Command::new("git");
    git.args(["ls-files", "--cached", "--others", "--exclude-standard"]).current_dir(root::dir());
    let mut files = BTreeMap::new();
    for path in root::output(&mut git)?.lines() {
        if let Ok(text) = fs::read_to_string(root::dir().join(path)) {
            files.insert(path.to_owned(), text);
        }
    }
    Ok(files)
}

fn edges(wrong: &mut Vec<String>) -> Result<()> {
    let mut cargo = Command::new("cargo");
    cargo.args(["metadata", "--format-version=1", "--no-deps", "--offline"]).current_dir(root::dir());
    let metadata: serde_json::Value = serde_json::from_str(&root::output(&mut cargo)?)?;
    let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let Some((_, allowed)) = EDGES.iter().find(|e| e.0 == name) else {
            wrong.push(format!("crate {name} is not in the list of edges"));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let to = dependency["name"].as_str().unwrap_or_default();
            let shipped = dependency["kind"].is_null();
            if shipped && EDGES.iter().any(|e| e.0 == to) && !allowed.contains(&to) {
                wrong.push(format!("{name} must not depend on {to}"));
            }
            if shipped && PURE.contains(&name) && ["tokio", "rand", "rustix", "libc"].contains(&to) {
                wrong.push(format!("{name} is pure and must not depend on {to}"));
            }
        }
    }
    Ok(())
}

fn is_generated(path: &str) -> bool {
    path.contains("/src/generated/")
}

fn budgets(files: &BTreeMap<String, String>, wrong: &mut Vec<String>) {
    let code = files.iter().filter(|(path, _)| path.ends_with(".rs") && !is_generated(path));
    let mut lengths: Vec<(usize, &String)> = code.map(|(path, text)| (text.lines().count(), path)).collect();
    lengths.sort_unstable();
    for (lines, path) in lengths.iter().filter(|l| l.0 > FILE_LINES_MAX) {
        wrong.push(format!("{path} has {lines} lines, more than {FILE_LINES_MAX}"));
    }
    if let Some((lines, path)) = lengths.get(lengths.len() * 9 / 10).filter(|l| l.0 > FILE_LINES_P90) {
        wrong.push(format!("a tenth of the files is longer than {FILE_LINES_P90} lines, e.g. {path} with {lines}"));
    }
}

fn foreign(files: &BTreeMap<String, String>, wrong: &mut Vec<String>) {
    for (path, text) in files.iter().filter(|(path, _)| !FOREIGN_IN.contains(&path.as_str())) {
        for (number, line) in text.lines().enumerate() {
            if let Some(word) = FOREIGN.iter().find(|word| line.contains(**word)) {
                wrong.push(format!("{path}:{} names a machine or a registry: {word}", number + 1));
            }
        }
    }
}

/// Every Rust file says first what it is for.
fn headed(files: &BTreeMap<String, String>, wrong: &mut Vec<String>) {
    for (path, text) in files.iter().filter(|(path, _)| path.ends_with(".rs")) {
        if !text.starts_with("//!") {
            wrong.push(format!("{path} does not open with //!"));
        }
    }
}

/// Every API is one file, and every file of an API is in the table that dispatch and `ApiVersions` derive from.
fn api_files(files: &BTreeMap<String, String>, wrong: &mut Vec<String>) {
    const FOLDER: &str = "crates/chronik-server/src/api/";
    let Some(table) = files.get(&format!("{FOLDER}mod.rs")) else { return };
    let schemas: Vec<String> = files
        .keys()
        .filter_map(|path| path.strip_prefix("crates/schemas/api/")?.strip_suffix(".txt"))
        .map(crate::codegen::names::snake)
        .collect();
    let modules = files.keys().filter_map(|path| path.strip_prefix(FOLDER)?.strip_suffix(".rs"));
    for module in modules.filter(|m| schemas.iter().any(|s| s == m)) {
        if !table.lines().any(|line| line.contains(&format!("=> {module}"))) {
            wrong.push(format!("{FOLDER}{module}.rs is not in the table of {FOLDER}mod.rs"));
        }
    }
}
