//! Times of acknowledgement, and what part of them lies below which.

use std::time::Duration;

/// Times in microseconds, each kept: a run has millions at most.
#[derive(Debug, Default)]
pub(crate) struct Latencies(Vec<u32>);

impl Latencies {
    pub(crate) fn add(&mut self, time: Duration) {
        self.0.push(u32::try_from(time.as_micros()).unwrap_or(u32::MAX));
    }

    /// Milliseconds at 50 %, 99 %, 99.9 % and the longest; `None` without any.
    pub(crate) fn summary(mut self) -> Option<serde_json::Value> {
        self.0.sort_unstable();
        let longest = self.0.len().checked_sub(1)?;
        let at = |part: f64| f64::from(self.0[((longest as f64 * part).round() as usize).min(longest)]) / 1000.0;
        Some(serde_json::json!({ "p50": at(0.5), "p99": at(0.99), "p999": at(0.999), "max": at(1.0) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_those_of_the_sorted_times() {
        let mut latencies = Latencies::default();
        (0..=1000).rev().for_each(|ms| latencies.add(Duration::from_millis(ms)));
        let summary = latencies.summary().expect("some");
        assert_eq!(summary, serde_json::json!({ "p50": 500.0, "p99": 990.0, "p999": 999.0, "max": 1000.0 }));
        assert_eq!(Latencies::default().summary(), None);
    }
}
