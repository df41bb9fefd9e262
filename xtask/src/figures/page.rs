//! docs/performance.md: the figures as a table, with machine, command and date.

use std::fmt::Write;
use std::process::Command;

use anyhow::Result;

use super::Row;
use crate::root;

const HEAD: &str = "\
# Performance

Every figure is the median of its rounds; contenders take turns within one run on the same machine, driven by `chronik bench` on the same cores, so
compare ratios, not absolute figures. Chronik syncs to stable storage before it acknowledges `acks=all`; Apache Kafka, as it ships, acknowledges out of
the page cache. CPU is the broker process's own, user and system.
";

pub(super) fn render(rows: &[Row], command: &str) -> Result<String> {
    let mut page = HEAD.to_owned();
    let date = root::output(Command::new("date").args(["-u", "+%Y-%m-%d"]))?;
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or(": unknown")
        .trim_start_matches(['\t', ' ', ':']);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    writeln!(page, "\n`{command}`, {}, {cores} cores of {model}, Apache Kafka 4.4.0.\n", date.trim())?;
    writeln!(page, "| what | unit | Chronik | Apache Kafka | ratio | target | met |\n|---|---|--:|--:|--:|--:|---|")?;
    for row in rows {
        let (ours, theirs) = (median(&row.chronik), median(&row.kafka));
        let target =
            row.target.map_or("–".to_owned(), |target| format!("{} {target}", if row.smaller { "≤" } else { "≥" }));
        let met = match row.target {
            None => "",
            Some(target) if (ours <= target) == row.smaller => "yes",
            Some(_) => "no",
        };
        writeln!(
            page,
            "| {} | {} | {} | {} | {:.2} | {target} | {met} |",
            row.name,
            row.unit,
            shown(ours),
            shown(theirs),
            ours / theirs
        )?;
    }
    writeln!(page, "\nThe ratio is Chronik's figure divided by Apache Kafka's.")?;
    page.push_str(&codec()?);
    Ok(page)
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn shown(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 1.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

/// Medians that criterion left behind, if the benches were run.
fn codec() -> Result<String> {
    let mut text = String::from(
        "\n## Codec and batches, per operation on one core (`cargo bench -p chronik-protocol`)\n\n| bench | time |\n|---|--:|\n",
    );
    let folder = root::dir().join("target/criterion");
    let mut lines = Vec::new();
    collect(&folder, &folder, &mut lines)?;
    lines.sort_by(|a: &(String, f64), b| a.0.cmp(&b.0));
    for (name, nanos) in &lines {
        writeln!(text, "| {name} | {} |", time(*nanos))?;
    }
    Ok(if lines.is_empty() { String::new() } else { text })
}

fn collect(folder: &std::path::Path, top: &std::path::Path, lines: &mut Vec<(String, f64)>) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(()) };
    for entry in entries {
        let path = entry?.path();
        let estimates = path.join("new/estimates.json");
        if estimates.exists() {
            let value: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(estimates)?)?;
            let name = path.strip_prefix(top)?.display().to_string();
            lines.push((name, value["median"]["point_estimate"].as_f64().unwrap_or(f64::NAN)));
        } else if path.is_dir() {
            collect(&path, top, lines)?;
        }
    }
    Ok(())
}

fn time(nanos: f64) -> String {
    match nanos {
        nanos if nanos >= 1e6 => format!("{:.2} ms", nanos / 1e6),
        nanos if nanos >= 1e3 => format!("{:.2} µs", nanos / 1e3),
        nanos => format!("{nanos:.0} ns"),
    }
}
