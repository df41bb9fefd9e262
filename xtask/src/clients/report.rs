//! The table at the end: clients down, scenarios across, what was counted in each cell; then what failed and why.

use std::sync::Mutex;
use std::time::Instant;

use anyhow::Result;

use super::catalog::Client;

/// Which of the tables a cell belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Table {
    /// The matrix of clients and scenarios.
    Clients,
    /// The package index, by codec.
    PackageIndex,
    /// What Kafka's tool says of the files.
    Files,
}

impl Table {
    const ALL: [(Self, &'static str); 3] =
        [(Self::Clients, "client"), (Self::PackageIndex, "package index"), (Self::Files, "files")];
}

/// Gathers cells from all threads.
pub(super) struct Report {
    clients: Vec<&'static str>,
    cells: Mutex<Vec<Cell>>,
    start: Instant,
}

struct Cell {
    table: Table,
    row: String,
    column: &'static str,
    outcome: Result<String, String>,
}

impl Report {
    pub(super) fn new(clients: &[&Client]) -> Self {
        let clients = clients.iter().map(|client| client.name).collect();
        Self { clients, cells: Mutex::new(Vec::new()), start: Instant::now() }
    }

    /// Adds a cell; a failure is also said at once. True when it is well.
    pub(super) fn add(&self, table: Table, row: &str, column: &'static str, outcome: Result<String>) -> bool {
        let outcome = outcome.map_err(|error| format!("{error:#}"));
        if let Err(error) = &outcome {
            eprintln!("FAILED {row}, {column}: {error}");
        }
        let well = outcome.is_ok();
        if let Ok(mut cells) = self.cells.lock() {
            cells.push(Cell { table, row: row.to_owned(), column, outcome });
        }
        well
    }

    /// Clients in the order of the catalog, others as their first cells came.
    fn rows<'a>(&self, table: Table, cells: &[&'a Cell]) -> Vec<&'a str> {
        let mut rows: Vec<&str> = Vec::new();
        for cell in cells {
            if !rows.contains(&cell.row.as_str()) {
                rows.push(&cell.row);
            }
        }
        if table == Table::Clients {
            rows.sort_by_key(|row| self.clients.iter().position(|client| client == row));
        }
        rows
    }

    /// Prints the tables and the closing line. True when there is a cell and none failed.
    #[expect(clippy::print_stdout, reason = "the table is what the command is for")]
    pub(super) fn print(&self) -> bool {
        let Ok(cells) = self.cells.lock() else { return false };
        for (table, title) in Table::ALL {
            let cells: Vec<&Cell> = cells.iter().filter(|cell| cell.table == table).collect();
            print!("{}", text_of(title, &self.rows(table, &cells), &cells));
        }
        for cell in cells.iter() {
            if let Err(error) = &cell.outcome {
                println!("FAILED {}, {}: {error}", cell.row, cell.column);
            }
        }
        let failed = cells.iter().filter(|cell| cell.outcome.is_err()).count();
        println!("in {} s", self.start.elapsed().as_secs());
        println!("{} passed, {failed} failed", cells.len() - failed);
        failed == 0 && !cells.is_empty()
    }
}

fn text_of(title: &str, rows: &[&str], cells: &[&Cell]) -> String {
    let mut columns: Vec<&str> = Vec::new();
    for cell in cells {
        if !columns.contains(&cell.column) {
            columns.push(cell.column);
        }
    }
    if columns.is_empty() {
        return String::new();
    }
    let text = |row: &str, column: &str| match cells.iter().find(|cell| cell.row == row && cell.column == column) {
        Some(Cell { outcome: Ok(counts), .. }) => counts.clone(),
        Some(_) => "FAILED".to_owned(),
        None => "-".to_owned(),
    };
    let mut lines = vec![String::new(); rows.len() + 1];
    let mut add = |cells: Vec<String>| {
        let width = cells.iter().map(String::len).max().unwrap_or(0);
        for (line, cell) in lines.iter_mut().zip(cells) {
            *line += &format!("{cell:width$}  ");
        }
    };
    add(std::iter::once(title).chain(rows.iter().copied()).map(str::to_owned).collect());
    for column in columns {
        add(std::iter::once(column.to_owned()).chain(rows.iter().map(|row| text(row, column))).collect());
    }
    lines.iter().map(|line| format!("{}\n", line.trim_end())).collect::<String>() + "\n"
}
