//! What a run prints: counts per partition, totals, rates and latencies.

use serde::Serialize;

use super::latency::{Latencies, Percentiles};
use super::ledger::{Counts, Ledger};
use super::options::Plan;
use crate::fault::{Fault, MISMATCH};
use crate::output::{self, Format, grouped};

/// The report of a run; its field names are stable.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Which bench.
    pub bench: &'static str,
    /// True if every record has exactly one outcome and the log agrees.
    pub exact: bool,
    /// All partitions together.
    pub totals: Counts,
    /// Each partition.
    pub partitions: Vec<Counts>,
    /// Offsets that the log gained between the beginning and the end of the sending.
    pub log_gained: i64,
    /// Seconds of sending.
    pub produce_seconds: f64,
    /// Seconds until the last record had been read.
    pub total_seconds: f64,
    /// Acknowledged records a second.
    pub records_per_second: f64,
    /// Acknowledged bytes of values a second, in MiB.
    pub mib_per_second: f64,
    /// From a send to its acknowledgement.
    pub acknowledgement: Percentiles,
    /// From a send to the record's arrival at a consumer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_to_end: Option<Percentiles>,
    /// The first error of a failed send.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_error: Option<String>,
}

impl Report {
    pub(super) fn new(
        plan: &Plan,
        ledger: &Ledger,
        (produce_seconds, total_seconds): (f64, f64),
        log_gained: i64,
        acknowledgements: &Latencies,
        arrivals: &Latencies,
        first_error: Option<String>,
    ) -> Report {
        let totals = ledger.totals();
        let per_second = totals.acknowledged as f64 / produce_seconds.max(1e-9);
        let exact =
            if plan.consumers > 0 { totals.exact() } else { totals.failed == 0 && totals.sent == totals.acknowledged };
        // Another writer in the same topic makes the log gain more; records of other programs were counted on the way.
        let others = if plan.topic.is_some() { None } else { Some(log_gained.cast_unsigned()) };
        let log_agrees = others.is_none_or(|gained| totals.failed > 0 || gained == totals.acknowledged);
        Report {
            bench: plan.name,
            exact: exact && log_agrees,
            partitions: ledger.counts(),
            log_gained,
            produce_seconds,
            total_seconds,
            records_per_second: per_second,
            mib_per_second: per_second * plan.size.max(super::payload::HEADER_BYTES) as f64 / f64::from(1 << 20),
            acknowledgement: acknowledgements.percentiles(),
            end_to_end: (plan.consumers > 0).then(|| arrivals.percentiles()),
            totals,
            first_error,
        }
    }

    /// Prints the report.
    ///
    /// # Errors
    /// [`MISMATCH`] when the counts do not agree.
    pub fn finish(self, format: Format) -> Result<(), Fault> {
        output::document(format, &self, || self.text())?;
        if self.exact {
            return Ok(());
        }
        Err(Fault::new(
            MISMATCH,
            self.difference(),
            self.first_error.unwrap_or_else(|| "see the counts above".to_owned()),
            "look at the broker's log",
        ))
    }

    fn difference(&self) -> String {
        let totals = &self.totals;
        let named = [
            ("failed", totals.failed),
            ("missing", totals.missing),
            ("duplicated", totals.duplicated),
            ("read again", totals.reread),
            ("out of order", totals.out_of_order),
            ("altered", totals.altered),
            ("misplaced", totals.misplaced),
            ("unknown", totals.unknown),
        ];
        let mut parts: Vec<String> = named
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| format!("{} {name}", grouped(*count)))
            .collect();
        if parts.is_empty() {
            parts.push(format!("{} acknowledged but the log gained {}", grouped(totals.acknowledged), self.log_gained));
        }
        parts.extend(totals.first_missing.iter().map(|first| format!("first missing: {first}")));
        parts.join(", ")
    }

    fn text(&self) -> String {
        let received = self.end_to_end.is_some();
        let mut headings = vec!["partition", "sent", "acknowledged", "failed"];
        if received {
            headings.extend(["received", "missing", "duplicated", "reread", "out of order"]);
        }
        let row = |name: String, counts: &Counts| {
            let mut cells =
                vec![name, counts.sent.to_string(), counts.acknowledged.to_string(), counts.failed.to_string()];
            if received {
                let more = [counts.received, counts.missing, counts.duplicated, counts.reread, counts.out_of_order];
                cells.extend(more.iter().map(ToString::to_string));
            }
            cells
        };
        let rows = self
            .partitions
            .iter()
            .map(|counts| row(counts.partition.unwrap_or_default().to_string(), counts))
            .chain([row("all".to_owned(), &self.totals)]);
        let mut text = output::table(&headings, rows);
        text.push_str(&format!(
            "\n{} records/s, {:.1} MiB/s, {:.2} s of sending, {:.2} s in all; the log gained {}\n",
            grouped(self.records_per_second as u64),
            self.mib_per_second,
            self.produce_seconds,
            self.total_seconds,
            grouped(self.log_gained.max(0).cast_unsigned()),
        ));
        text.push_str(&percentiles("acknowledgement", &self.acknowledgement));
        if let Some(arrivals) = &self.end_to_end {
            text.push_str(&percentiles("end to end", arrivals));
        }
        text
    }
}

/// One line of percentiles.
pub(super) fn percentiles(name: &str, of: &Percentiles) -> String {
    format!(
        "{name:16} p50 {:.2} ms  p99 {:.2} ms  p99.9 {:.2} ms  max {:.2} ms\n",
        of.p50_ms, of.p99_ms, of.p999_ms, of.max_ms
    )
}
