//! Colours, only where a person looks: plain when the stream is not a terminal, with `NO_COLOR`, or with `TERM=dumb`.

use std::io::IsTerminal;

/// Decides whether text gets colours.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    colour: bool,
}

impl Style {
    /// No colours.
    pub fn plain() -> Self {
        Self { colour: false }
    }

    /// Colours if stderr is a terminal that wants them.
    pub fn stderr() -> Self {
        Self { colour: std::io::stderr().is_terminal() && wanted() }
    }

    /// Colours if stdout is a terminal that wants them.
    pub fn stdout() -> Self {
        Self { colour: std::io::stdout().is_terminal() && wanted() }
    }

    /// Bold red.
    pub fn error(&self, text: &str) -> String {
        self.paint("1;31", text)
    }

    /// Bold green.
    pub fn good(&self, text: &str) -> String {
        self.paint("1;32", text)
    }

    /// Bold.
    pub fn bold(&self, text: &str) -> String {
        self.paint("1", text)
    }

    /// Grey.
    pub fn dim(&self, text: &str) -> String {
        self.paint("2", text)
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

fn wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|value| value != "dumb")
}

#[cfg(test)]
mod tests {
    use super::Style;

    #[test]
    fn plain_adds_nothing() {
        assert_eq!(Style::plain().error("x"), "x");
        assert_eq!(Style { colour: true }.good("x"), "\x1b[1;32mx\x1b[0m");
    }
}
