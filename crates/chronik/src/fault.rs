//! What a person sees when something fails: four lines with what happened, the cause, the fix and where to read more.
//!
//! Every code stands once in [`CODES`], with its exit status and the text that `chronik explain` prints. A code is never
//! reused for another meaning.

use std::fmt;

use crate::style::Style;

/// Exit statuses of every command, as documented in `docs/cli.md`.
pub mod exit {
    /// Everything that was asked for was done.
    pub const OK: u8 = 0;
    /// The operation failed.
    pub const FAILED: u8 = 1;
    /// The command line or the configuration is wrong.
    pub const USAGE: u8 = 2;
    /// No broker could be reached.
    pub const CONNECT: u8 = 3;
    /// The broker did not allow it.
    pub const UNAUTHORIZED: u8 = 4;
    /// A topic, partition, group or file does not exist.
    pub const NOT_FOUND: u8 = 5;
    /// It exists already.
    pub const EXISTS: u8 = 6;
    /// No answer came in time.
    pub const TIMEOUT: u8 = 7;
    /// Some entries were done and others were not.
    pub const PARTLY: u8 = 8;
    /// A bug in Chronik.
    pub const INTERNAL: u8 = 70;
    /// The data directory cannot be used.
    pub const DATA_DIR: u8 = 78;
}

/// One documented error code.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    /// The number in `CHR-0123`.
    pub number: u16,
    /// Exit status of a command that ends with this error.
    pub exit: u8,
    /// A short name, shown by `chronik explain` without arguments.
    pub title: &'static str,
    /// What `chronik explain CHR-0123` prints.
    pub explanation: &'static str,
}

macro_rules! codes {
    ($($(#[$meta:meta])* $name:ident = $number:literal, $exit:ident, $title:literal, $text:literal;)*) => {
        $($(#[$meta])* pub const $name: &Code = &Code { number: $number, exit: exit::$exit, title: $title, explanation: $text };)*
        /// Every code, in rising order.
        pub const CODES: &[&Code] = &[$($name),*];
    };
}

codes! {
    /// A bug.
    INTERNAL = 1, INTERNAL, "internal bug",
        "Chronik reached a state that its code rules out. Nothing that was acknowledged is lost. Please report the message \
         with the lines of the log before it.";
    /// A setting that does not exist.
    UNKNOWN_SETTING = 101, USAGE, "unknown setting",
        "A key in the configuration file, the environment or --set is neither a setting of Apache Kafka nor one of Chronik's \
         own (prefix chronik.). The nearest known name is suggested. `chronik config reference` lists them all.";
    /// A value that a setting does not take.
    INVALID_SETTING = 102, USAGE, "value out of range or of the wrong type",
        "The value does not parse as the setting's type or lies outside its range. `chronik config reference NAME` shows type, \
         default and range.";
    /// A file that the command line names cannot be read.
    UNREADABLE_FILE = 103, USAGE, "file cannot be read",
        "A file that the command line or the configuration names does not exist or may not be read. Relative paths are \
         taken from the current directory.";
    /// Command line is wrong.
    USAGE = 104, USAGE, "usage",
        "The command line does not parse or combines options that exclude each other. Add --help to the command for its \
         options and examples.";
    /// Cannot connect.
    CONNECT = 201, CONNECT, "cannot connect",
        "None of the bootstrap servers accepted a connection and spoke the Kafka protocol. Is the broker running (`chronik \
         start`), is the address right (-b HOST:PORT), and does a firewall lie in between? A broker that listens on \
         loopback only cannot be reached from another machine: see `listeners`.";
    /// Listening address cannot be bound.
    LISTEN = 202, FAILED, "cannot listen",
        "The address of a listener cannot be bound: another process listens there, or the address does not belong to this \
         machine. Pick another with --listen HOST:PORT, or stop the other process.";
    /// Not authorised.
    UNAUTHORIZED = 301, UNAUTHORIZED, "not authorised",
        "The broker knows who asked and does not allow it. Ask for an ACL, or use other credentials (-X, --command-config).";
    /// No such topic or partition.
    UNKNOWN_TOPIC = 401, NOT_FOUND, "no such topic or partition",
        "The topic or partition does not exist on this cluster. `chronik topic list` shows the topics, `chronik topic \
         describe TOPIC` a topic's partitions.";
    /// No such group.
    UNKNOWN_GROUP = 402, NOT_FOUND, "no such group",
        "The group has neither members nor committed offsets. `chronik group list` shows all groups.";
    /// No such code or setting to explain.
    UNKNOWN_NAME = 403, NOT_FOUND, "no such name",
        "The name that was asked for is not known. Codes look like CHR-0201; `chronik explain` lists them.";
    /// Topic exists.
    TOPIC_EXISTS = 501, EXISTS, "topic exists",
        "A topic of this name exists. Use --if-not-exists to take that as success; `chronik topic alter` changes its \
         settings, `chronik topic add-partitions` its partition count.";
    /// Timed out.
    TIMEOUT = 601, TIMEOUT, "timed out",
        "The broker did not finish in time. The operation may still have been carried out: look before you repeat it. \
         --timeout SECONDS waits longer.";
    /// Some entries failed.
    PARTLY = 701, PARTLY, "partly done",
        "Some of the entries were done, others were refused. Each refused entry is listed with its own reason; the others \
         are in effect.";
    /// The broker refused.
    REFUSED = 801, FAILED, "refused by the broker",
        "The broker answered with an error. Its Kafka error name is part of the message and can be looked up in the Kafka \
         documentation.";
    /// A group with members.
    GROUP_NOT_EMPTY = 802, FAILED, "group has active members",
        "Offsets of a group can be changed, and the group deleted, only while none of its members is active. Stop its \
         consumers, or wait for their session timeout, and repeat.";
    /// Needs a yes.
    CONFIRM = 803, USAGE, "confirmation needed",
        "The command destroys data and was not confirmed. Repeat it with --yes, or with --dry-run to see what it would do.";
    /// Counts differ.
    MISMATCH = 811, FAILED, "counts differ",
        "A measurement counted messages that are missing, duplicated, out of order, altered or failed. The report names \
         partition and offsets. On a healthy broker all of them are zero.";
    /// Input or output failed.
    IO = 812, FAILED, "input or output failed",
        "Reading standard input or a file, or writing standard output, failed. The cause is the operating system's.";
    /// Records could not be delivered.
    DELIVERY = 813, FAILED, "records not delivered",
        "Some records were not acknowledged. Those that were are in the topic; the count and the first error are in the \
         message.";
    /// Data directory in use.
    DATA_DIR_LOCKED = 901, DATA_DIR, "data directory in use",
        "Another process owns the data directory; its process id is in the message. One broker owns one directory. Stop the \
         other process or give this one another directory (--data-dir).";
    /// Data directory cannot be used.
    DATA_DIR_UNUSABLE = 902, DATA_DIR, "data directory unusable",
        "The data directory cannot be created, read or written. Check that it exists, that this user owns it and that its \
         file system is mounted read-write.";
    /// Data damaged.
    DATA_DAMAGED = 903, DATA_DIR, "data damaged",
        "The journal or the metadata of the data directory is damaged in a way that cannot be the tail of an interrupted \
         write. Chronik does not start with a part of the truth. Restore the directory from a backup or a replica; keep a \
         copy of the damaged one before you try anything else.";
    /// Newer format.
    DATA_NEWER = 904, DATA_DIR, "data of a newer version",
        "The data directory was written by a newer version of Chronik. Start it with that version or a later one.";
}

impl Code {
    /// `CHR-0123`.
    pub fn name(&self) -> String {
        format!("CHR-{:04}", self.number)
    }

    /// Looks a code up by `CHR-0123`, `chr-123` or `123`.
    pub fn find(name: &str) -> Option<&'static Code> {
        let digits = name.trim().to_ascii_uppercase();
        let number: u16 = digits.strip_prefix("CHR-").unwrap_or(&digits).parse().ok()?;
        CODES.iter().copied().find(|code| code.number == number)
    }
}

/// An error that ends a command, in the words its user needs.
#[derive(Debug)]
pub struct Fault {
    /// Which error it is; decides the exit status.
    pub code: &'static Code,
    /// What happened.
    pub what: String,
    /// Why, as far as it is known.
    pub cause: String,
    /// The command or setting that helps.
    pub fix: String,
}

impl Fault {
    /// A fault with all of its lines.
    pub fn new(code: &'static Code, what: impl Into<String>, cause: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { code, what: what.into(), cause: cause.into(), fix: fix.into() }
    }

    /// A command line that does not make sense.
    pub fn usage(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::new(USAGE, what, "the command line", fix)
    }

    /// A failed read or write of a file or a standard stream.
    pub fn io(what: impl Into<String>, error: &std::io::Error) -> Self {
        Self::new(IO, what, error.to_string(), "check the path, its permissions and the free space")
    }

    /// The four lines, as they go to stderr.
    pub fn render(&self, style: &Style) -> String {
        let name = self.code.name();
        format!(
            "{} {}\n{} {}\n{}   {}\n{}  chronik explain {name}",
            style.error(&format!("error[{name}]:")),
            self.what,
            style.dim("cause:"),
            self.cause,
            style.dim("fix:"),
            self.fix,
            style.dim("docs:"),
        )
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(&Style::plain()))
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_rise_and_are_unique() {
        assert!(CODES.windows(2).all(|pair| pair[0].number < pair[1].number));
    }

    #[test]
    fn every_code_is_found_by_its_name_and_explains_itself() {
        for code in CODES {
            assert_eq!(Code::find(&code.name()), Some(*code));
            assert_eq!(Code::find(&code.number.to_string()), Some(*code));
            assert!(code.explanation.len() > 60, "{} says too little", code.name());
        }
        assert_eq!(Code::find("CHR-9999"), None);
        assert_eq!(Code::find("nonsense"), None);
    }

    #[test]
    fn an_error_has_four_lines() {
        let fault = Fault::new(CONNECT, "no broker at 127.0.0.1:1", "connection refused", "chronik start");
        assert_eq!(
            fault.to_string(),
            "error[CHR-0201]: no broker at 127.0.0.1:1\ncause: connection refused\nfix:   chronik start\ndocs:  chronik explain CHR-0201"
        );
        assert_eq!(fault.code.exit, 3);
    }
}
