//! Latencies in a high dynamic range histogram: 1 µs to an hour at three significant digits.

use hdrhistogram::Histogram;
use serde::Serialize;

const LONGEST_US: u64 = 3_600_000_000;

/// Latencies of one kind of operation.
#[derive(Debug, Clone)]
pub struct Latencies(Histogram<u64>);

/// Percentiles in milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Percentiles {
    /// Measurements.
    pub count: u64,
    /// Half of them took at most this.
    pub p50_ms: f64,
    /// 99 %.
    pub p99_ms: f64,
    /// 99.9 %.
    pub p999_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

impl Default for Latencies {
    fn default() -> Self {
        // Three digits and this range are accepted by the histogram, whose constructor refuses only others.
        Self(Histogram::new_with_bounds(1, LONGEST_US, 3).unwrap_or_else(|_| std::process::abort()))
    }
}

impl Latencies {
    /// Adds one measurement.
    pub fn record_us(&mut self, microseconds: u64) {
        self.0.saturating_record(microseconds.clamp(1, LONGEST_US));
    }

    /// Adds all of another's.
    pub fn merge(&mut self, other: &Latencies) {
        // Equal bounds: adding cannot fail.
        let _ = self.0.add(&other.0);
    }

    /// The percentiles.
    pub fn percentiles(&self) -> Percentiles {
        let ms = |quantile: f64| self.0.value_at_quantile(quantile) as f64 / 1000.0;
        if self.0.is_empty() {
            return Percentiles::default();
        }
        Percentiles {
            count: self.0.len(),
            p50_ms: ms(0.5),
            p99_ms: ms(0.99),
            p999_ms: ms(0.999),
            max_ms: self.0.max() as f64 / 1000.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_a_known_distribution() {
        let mut latencies = Latencies::default();
        (1..=1000).for_each(|ms| latencies.record_us(ms * 1000));
        let percentiles = latencies.percentiles();
        assert_eq!(percentiles.count, 1000);
        assert!((percentiles.p50_ms - 500.0).abs() < 1.0);
        assert!((percentiles.p99_ms - 990.0).abs() < 1.0);
        assert!((percentiles.max_ms - 1000.0).abs() < 1.0);
    }

    #[test]
    fn nothing_measured_is_zero() {
        assert_eq!(Latencies::default().percentiles(), Percentiles::default());
    }
}
