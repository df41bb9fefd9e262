//! What commands print to stdout: the same rows as a table for people or as JSON, JSON lines or YAML for programs.
//!
//! Field names are stable: a row is a `Serialize` struct whose field names are the JSON keys, and whose [`Row`] gives the
//! table's headings and cells.

use std::io::{self, Write};

use clap::ValueEnum;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;

use crate::fault::Fault;

/// How rows are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// Columns for people.
    #[default]
    Table,
    /// One JSON document.
    Json,
    /// One JSON object a line.
    Jsonl,
    /// One YAML document.
    Yaml,
}

/// A row of a table.
pub trait Row: Serialize {
    /// Column headings, in the order of [`Row::cells`].
    const HEADINGS: &'static [&'static str];

    /// The cells of this row.
    fn cells(&self) -> Vec<String>;
}

/// Prints rows in the format that was asked for.
pub fn rows<R: Row>(format: Format, rows: &[R]) -> Result<(), Fault> {
    let text = match format {
        Format::Table => table(R::HEADINGS, rows.iter().map(Row::cells)),
        Format::Json => json(&rows)?,
        Format::Yaml => yaml(&rows)?,
        Format::Jsonl => {
            let mut lines = String::new();
            for row in rows {
                lines.push_str(&serde_json::to_string(row).map_err(|e| unprintable(&e))?);
                lines.push('\n');
            }
            lines
        }
    };
    print(&text)
}

/// Prints one document: `human` for the table format, the value itself otherwise.
pub fn document<T: Serialize>(format: Format, value: &T, human: impl FnOnce() -> String) -> Result<(), Fault> {
    let text = match format {
        Format::Table => human(),
        Format::Json => json(value)?,
        Format::Jsonl => serde_json::to_string(value).map_err(|e| unprintable(&e))? + "\n",
        Format::Yaml => yaml(value)?,
    };
    print(&text)
}

/// Lays out headings and cells without rules, numbers to the right.
pub fn table(headings: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(headings.iter().map(|heading| heading.to_uppercase()));
    let mut numeric = vec![true; headings.len()];
    for cells in rows {
        for (column, cell) in cells.iter().enumerate() {
            let number = cell.parse::<f64>().is_ok() || cell == "-";
            numeric[column] = numeric[column] && number;
        }
        table.add_row(cells);
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if numeric[index] {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut text: String = table.lines().map(|line| line.trim_end().to_owned() + "\n").collect();
    if text.is_empty() {
        text.push('\n');
    }
    text
}

/// Writes to stdout. A closed pipe ends the program quietly, as with other tools.
pub fn print(text: &str) -> Result<(), Fault> {
    match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(Fault::io("cannot write to standard output", &error)),
        Ok(()) => Ok(()),
    }
}

fn json<T: Serialize + ?Sized>(value: &T) -> Result<String, Fault> {
    serde_json::to_string_pretty(value).map(|text| text + "\n").map_err(|e| unprintable(&e))
}

fn yaml<T: Serialize + ?Sized>(value: &T) -> Result<String, Fault> {
    serde_yaml_ng::to_string(value).map_err(|e| unprintable(&e))
}

fn unprintable(error: &dyn std::error::Error) -> Fault {
    Fault::new(
        crate::fault::INTERNAL,
        "a result cannot be printed in this format",
        error.to_string(),
        "use --output table",
    )
}

/// A count of bytes for people: `512 B`, `1.5 KiB`, `20.0 MiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// A number with thousands separated: `12,345`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_align_right_and_text_left() {
        let rows = [vec!["a".to_owned(), "1".to_owned()], vec!["bcd".to_owned(), "200".to_owned()]];
        assert_eq!(table(&["name", "count"], rows.into_iter()), "NAME  COUNT\na         1\nbcd     200\n");
    }

    #[test]
    fn amounts_for_people() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(20 << 20), "20.0 MiB");
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1,234,567");
    }
}
