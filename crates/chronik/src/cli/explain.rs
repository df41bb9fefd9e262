//! `chronik explain`: the text behind an error code.

use clap::Args;
use serde::Serialize;

use crate::fault::{CODES, Code, Fault, UNKNOWN_NAME};
use crate::output::{self, Format, Row};

/// Print what an error code means.
#[derive(Debug, Args)]
pub struct Explain {
    /// The code, such as CHR-0201; all codes are listed without it
    pub code: Option<String>,
}

#[derive(Serialize)]
struct Line {
    code: String,
    exit_status: u8,
    title: &'static str,
}

impl Row for Line {
    const HEADINGS: &'static [&'static str] = &["code", "exit", "title"];

    fn cells(&self) -> Vec<String> {
        vec![self.code.clone(), self.exit_status.to_string(), self.title.to_owned()]
    }
}

#[derive(Serialize)]
struct Text {
    code: String,
    exit_status: u8,
    title: &'static str,
    explanation: &'static str,
}

impl Explain {
    /// Runs the command.
    pub fn run(&self, format: Format) -> Result<(), Fault> {
        let Some(name) = &self.code else {
            let line = |code: &&'static Code| Line { code: code.name(), exit_status: code.exit, title: code.title };
            return output::rows(format, &CODES.iter().map(line).collect::<Vec<_>>());
        };
        let code = Code::find(name).ok_or_else(|| {
            Fault::new(UNKNOWN_NAME, format!("no error code {name}"), "it is not in the list", "chronik explain")
        })?;
        let text = Text { code: code.name(), exit_status: code.exit, title: code.title, explanation: code.explanation };
        output::document(format, &text, || {
            format!(
                "{}: {} (exit status {})\n\n{}\n",
                text.code,
                text.title,
                text.exit_status,
                wrapped(text.explanation, 78)
            )
        })
    }
}

fn wrapped(text: &str, width: usize) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.len() - 1;
        if !lines[last].is_empty() && lines[last].len() + 1 + word.len() > width {
            lines.push(word.to_owned());
        } else {
            if !lines[last].is_empty() {
                lines[last].push(' ');
            }
            lines[last].push_str(word);
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::wrapped;

    #[test]
    fn words_wrap() {
        assert_eq!(wrapped("aa bb cc", 5), "aa bb\ncc");
    }
}
