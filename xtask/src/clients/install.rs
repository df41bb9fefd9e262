//! Installs the clients by their public package names, each into its own folder of the cache.
//!
//! A stamp file holds what an installation was made from; it is made again when that has changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::catalog::{Client, LIBRDKAFKA, Runtime};
use super::{in_parallel, options};
use crate::{fetch, root};

/// Installs `clients`, and the one that creates topics for those that cannot.
pub(crate) fn all(clients: &[&Client], cache: &Path) -> Result<()> {
    let mut wanted: Vec<&Client> = clients.to_vec();
    if wanted.iter().any(|client| !client.creates_topics()) && wanted.iter().all(|c| c.name != LIBRDKAFKA.name) {
        wanted.push(&LIBRDKAFKA);
    }
    let failures = Mutex::new(Vec::new());
    in_parallel(2, &wanted, |client| {
        let start = Instant::now();
        let result = one(client, cache);
        let seconds = start.elapsed().as_secs_f32();
        match result {
            Ok(true) => eprintln!("installed {} in {seconds:.1} s", client.name),
            Ok(false) => {}
            Err(error) => failures.lock().map(|mut all| all.push(format!("{}: {error:#}", client.name))).unwrap_or(()),
        }
    });
    let failures = failures.into_inner().unwrap_or_default();
    if !failures.is_empty() {
        bail!("not installed: {}", failures.join("\n"));
    }
    Ok(())
}

/// False when it was there already.
fn one(client: &Client, cache: &Path) -> Result<bool> {
    let home = cache.join(client.name);
    let folder = options::programs().join(client.folder);
    if let Runtime::Debian { package } = client.runtime {
        return fetch::debian(package, package);
    }
    let stamp = home.join("stamp");
    let made_from = inputs(client, &folder)?;
    if fs::read_to_string(&stamp).is_ok_and(|text| text == made_from) {
        return Ok(false);
    }
    if home.exists() {
        fs::remove_dir_all(&home)?;
    }
    fs::create_dir_all(&home)?;
    match client.runtime {
        Runtime::Python { requirements } => python(&home, &folder.join(requirements))?,
        Runtime::Java { pom, calls } => java(&home, &folder, pom, calls)?,
        Runtime::Go => go(&home, &folder)?,
        Runtime::Node => node(&home, &folder)?,
        Runtime::Debian { .. } => {}
    }
    fs::write(stamp, made_from)?;
    Ok(true)
}

/// The text of every file that the installation depends on.
fn inputs(client: &Client, folder: &Path) -> Result<String> {
    let files = match client.runtime {
        Runtime::Python { requirements } => vec![folder.join(requirements)],
        Runtime::Java { pom, calls } => {
            let mut files = vec![folder.join(pom)];
            files.extend(sources(&folder.join("src"))?);
            files.extend(sources(&folder.join(calls))?);
            files
        }
        Runtime::Go => [sources(folder)?, sources(&options::programs().join("go"))?].concat(),
        Runtime::Node => vec![folder.join("package.json")],
        Runtime::Debian { .. } => Vec::new(),
    };
    let mut text = String::new();
    for file in files {
        text += &fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    }
    Ok(text)
}

/// The files of a folder, in order of their names.
fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    files.retain(|file| file.is_file());
    files.sort();
    Ok(files)
}

fn python(home: &Path, requirements: &Path) -> Result<()> {
    let environment = || root::output(Command::new("python3").args(["-m", "venv", "--clear"]).arg(home));
    if environment().is_err() {
        // Debian parts this module from its Python.
        fetch::apt(&["update", "-q"])?;
        fetch::apt(&["install", "-y", "-q", "python3-venv"])?;
        environment()?;
    }
    let mut pip = Command::new(home.join("bin/pip"));
    fetch::tried(pip.args(["install", "--quiet", "--disable-pip-version-check", "-r"]).arg(requirements))
}

fn java(home: &Path, folder: &Path, pom: &str, calls: &str) -> Result<()> {
    fetch::maven(&folder.join(pom), &home.join("jars"))?;
    let mut compiler = Command::new("javac");
    compiler.args(["-cp", &format!("{}/jars/*", home.display()), "-d"]).arg(home.join("classes"));
    compiler.args(sources(&folder.join("src"))?).args(sources(&folder.join(calls))?);
    root::output(&mut compiler).map(drop)
}

fn go(home: &Path, folder: &Path) -> Result<()> {
    fetch::tried(Command::new("go").args(["mod", "download"]).current_dir(folder))?;
    let mut build = Command::new("go");
    root::output(build.args(["build", "-buildvcs=false", "-o"]).arg(home.join("client")).arg(".").current_dir(folder))
        .map(drop)
}

fn node(home: &Path, folder: &Path) -> Result<()> {
    fs::copy(folder.join("package.json"), home.join("package.json"))?;
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error"]);
    fetch::tried(npm.current_dir(home))
}
