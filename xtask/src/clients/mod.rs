//! Real clients against a broker: every count of `tests/clients/scenarios.md`, exact, for every client.
//!
//! The clients are small programs of ours on top of the published libraries, with one command line. This module installs them into a cache folder,
//! owns the broker (so that it can be killed) and judges what the programs print. It believes no summary: it counts the records.

mod broker;
mod catalog;
mod dump;
mod install;
mod judge;
mod options;
mod process;
mod real_input;
mod report;
mod scenarios;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Result, bail};

use broker::Broker;
use catalog::Client;
use options::Options;
use report::Report;
use scenarios::Subject;

pub fn run(args: &[String]) -> Result<()> {
    let options = Options::parse(args)?;
    let wanted = |client: &&Client| options.matrix && options.wants(client.name);
    let clients: Vec<&Client> = catalog::CLIENTS.iter().filter(wanted).collect();
    if clients.is_empty() && options.matrix {
        bail!("no client's name contains what --only says; there are: {}", catalog::names());
    }
    install::all(&clients, &options.cache)?;
    if options.install_only {
        return Ok(());
    }
    let workplace = options.fresh_workplace()?;
    let mut broker = match &options.bootstrap {
        Some(address) => Broker::elsewhere(address),
        None => Broker::start(&options, &workplace)?,
    };
    let report = Report::new(&clients);
    let subjects: Vec<Subject<'_>> =
        clients.iter().map(|client| Subject::new(client, &options, &workplace, broker.address())).collect();
    if options.matrix {
        in_parallel(options.jobs, &subjects, |subject| subject.before_the_kill(&report, broker.is_ours()));
        if broker.is_ours() {
            eprintln!("kill -9 of the broker, restart on the same data");
            broker.kill_and_restart()?;
            in_parallel(options.jobs, &subjects, |subject| subject.after_the_kill(&report));
        }
    }
    if options.real_input {
        real_input::run(&options, &workplace, &broker, &report)?;
    }
    if broker.is_ours() {
        dump::run(&mut broker, &report);
    }
    let ok = report.print();
    if !ok {
        bail!("what the programs and the broker said is in {}", workplace.display());
    }
    std::fs::remove_dir_all(&workplace)?;
    Ok(())
}

/// Calls `work` for each item, on at most `jobs` threads at a time.
fn in_parallel<T: Sync>(jobs: usize, items: &[T], work: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(0);
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    work(item);
                    if let Ok(mut done) = done.lock() {
                        *done += 1;
                        eprintln!("  {done} of {}", items.len());
                    }
                }
            });
        }
    });
}
