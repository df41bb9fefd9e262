//! The command line against a broker: what it prints, and its exit statuses.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod support;

use std::io::Write;
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};

use support::broker::Broker;

struct Cli(Broker);

impl Cli {
    fn run(&self, arguments: &[&str]) -> Output {
        self.with_input(arguments, "")
    }

    fn with_input(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = Command::new(support::chronik())
            .args(arguments)
            .env("CHRONIK_BOOTSTRAP_SERVER", self.0.address())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    fn text(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// A command that must fail with this status and code.
    fn fails(&self, arguments: &[&str], status: i32, code: &str) {
        let output = self.run(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {errors}");
        assert!(errors.starts_with(&format!("error[{code}]: ")), "{arguments:?}: {errors}");
        assert_eq!(
            errors.lines().filter(|line| line.starts_with("cause:") || line.starts_with("fix:")).count(),
            2,
            "{errors}"
        );
    }
}

#[test]
fn records_go_in_and_come_back_in_every_format() {
    let cli = Cli(Broker::start(&[]));
    cli.text(&["topic", "create", "orders", "-p", "3"]);
    let produced = cli
        .with_input(&["produce", "orders", "-K", "=", "-p", "1", "-H", "h=1", "--report", "-O", "json"], "a=1\nb=2\n");
    let report: serde_json::Value = serde_json::from_slice(&produced.stdout).unwrap();
    assert_eq!((report["records"].as_u64(), report["partitions"][0]["last_offset"].as_i64()), (Some(2), Some(1)));
    let all = ["consume", "orders", "-o", "beginning", "-e"];
    assert_eq!(cli.text(&all), "1\n2\n");
    assert_eq!(cli.text(&[&all[..], &["-f", "%p/%o %k=%s %h\\n"]].concat()), "1/0 a=1 h=1\n1/1 b=2 h=1\n");
    let lines = cli.text(&[&all[..], &["-O", "jsonl"]].concat());
    let first: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!(
        (first["key"].as_str(), first["payload"].as_str(), first["offset"].as_i64()),
        (Some("a"), Some("1"), Some(0))
    );
    let back = cli.with_input(&["produce", "orders", "--input", "jsonl"], &lines);
    assert_eq!(back.status.code(), Some(0));
    assert_eq!(cli.text(&["consume", "orders", "-p", "1", "-o", "-1", "-c", "1", "-f", "%o %k"]), "3 b");
}

#[test]
fn a_group_is_read_reset_and_deleted() {
    let cli = Cli(Broker::start(&[]));
    cli.text(&["topic", "create", "t", "-p", "1"]);
    cli.with_input(&["produce", "t"], "1\n2\n3\n");
    assert_eq!(cli.text(&["consume", "t", "-G", "g", "-c", "3"]), "1\n2\n3\n");
    let lag = |cli: &Cli| -> serde_json::Value {
        serde_json::from_str(&cli.text(&["group", "lag", "g", "-O", "json"])).unwrap()
    };
    assert_eq!((lag(&cli)[0]["committed"].as_i64(), lag(&cli)[0]["lag"].as_i64()), (Some(3), Some(0)));
    cli.fails(&["group", "reset", "g", "--earliest"], 2, "CHR-0803");
    cli.text(&["group", "reset", "g", "--to", "1", "--yes"]);
    assert_eq!(lag(&cli)[0]["lag"].as_i64(), Some(2));
    assert_eq!(cli.text(&["consume", "t", "-G", "g", "-c", "2"]), "2\n3\n");
    cli.text(&["group", "delete", "g", "--yes"]);
    cli.fails(&["group", "describe", "g"], 5, "CHR-0402");
    cli.fails(&["group", "lag", "g"], 5, "CHR-0402");
}

#[test]
fn each_failure_has_its_status() {
    let cli = Cli(Broker::start(&[]));
    cli.text(&["topic", "create", "t"]);
    cli.fails(&["topic", "create", "t"], 6, "CHR-0501");
    cli.text(&["topic", "create", "t", "--if-not-exists"]);
    cli.fails(&["topic", "create", "t", "u"], 8, "CHR-0701");
    cli.fails(&["topic", "describe", "missing"], 5, "CHR-0401");
    cli.fails(&["topic", "alter", "t", "--set", "retention.ms=often"], 1, "CHR-0801");
    cli.fails(&["topic", "delete", "t"], 2, "CHR-0803");
    cli.fails(&["config", "check", "--set", "num.partitons=3"], 2, "CHR-0102");
    cli.fails(&["produce", "t", "no-such-file"], 2, "CHR-0103");
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    cli.fails(&["topic", "list", "-b", &nobody], 3, "CHR-0201");
    cli.text(&["topic", "trim", "t", "--yes"]);
    cli.text(&["topic", "delete", "t", "u", "--yes"]);
    assert_eq!(cli.text(&["topic", "list", "-O", "json"]).trim(), "[]");
}

#[test]
fn the_demonstration_counts_every_message() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    // Twice: the second finds its topic, its group and 3,000 messages there.
    for _ in 0..2 {
        let output = support::run(&[
            "demo",
            "--once",
            "--data-dir",
            data.to_str().unwrap(),
            "--listen",
            &format!("127.0.0.1:{port}"),
        ]);
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
        assert!(text.contains("3,000 sent, 3,000 received, none twice, none missing"), "{text}");
    }
}

#[test]
fn an_address_that_is_taken_is_said_so() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = support::run(&["start", "--data-dir", folder.path().to_str().unwrap(), "--listen", &address]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("error[CHR-0202]"));
}
