//! The targets, by what they decode.

mod body;
mod filter;
mod mapping;
mod otlp;
mod sql;
mod wal;

use crate::memory;

/// A decoder under test.
pub struct Target {
    /// Name, as `make fuzz` says it.
    pub name: &'static str,
    /// Gives the decoder some bytes. Panics if it does something wrong.
    pub run: fn(&[u8]),
    /// What to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Bytes that the decoder may hold at once, whatever it is given; inputs have at most [`INPUT_BYTES_MAX`].
    pub memory_bytes_max: usize,
    /// Inputs of the short form in `make test`.
    pub short_runs: usize,
}

/// Larger inputs are not tried.
pub const INPUT_BYTES_MAX: usize = 64 << 10;

/// All targets.
pub const TARGETS: &[Target] = &[
    Target {
        name: "otlp_protobuf",
        run: otlp::protobuf,
        seeds: otlp::protobuf_seeds,
        memory_bytes_max: 64 << 20,
        short_runs: 1500,
    },
    Target { name: "otlp_span", run: otlp::span, seeds: otlp::span_seeds, memory_bytes_max: 16 << 20, short_runs: 3000 },
    Target { name: "otlp_json", run: otlp::json, seeds: otlp::json_seeds, memory_bytes_max: 64 << 20, short_runs: 1500 },
    Target { name: "messages", run: otlp::messages, seeds: otlp::message_seeds, memory_bytes_max: 64 << 20, short_runs: 1500 },
    Target { name: "body", run: body::run, seeds: body::seeds, memory_bytes_max: 8 << 20, short_runs: 1500 },
    Target { name: "wal", run: wal::run, seeds: wal::seeds, memory_bytes_max: 16 << 20, short_runs: 300 },
    Target { name: "filter", run: filter::text, seeds: filter::text_seeds, memory_bytes_max: 64 << 20, short_runs: 2000 },
    Target { name: "filter_sql", run: filter::sql, seeds: filter::sql_seeds, memory_bytes_max: 64 << 20, short_runs: 2000 },
    Target { name: "sql", run: sql::ask, seeds: sql::seeds, memory_bytes_max: 512 << 20, short_runs: 300 },
    Target { name: "url", run: sql::url, seeds: sql::url_seeds, memory_bytes_max: 512 << 20, short_runs: 100 },
    Target { name: "dialect", run: mapping::dialect, seeds: mapping::dialect_seeds, memory_bytes_max: 64 << 20, short_runs: 300 },
    Target { name: "trial", run: mapping::trial, seeds: mapping::trial_seeds, memory_bytes_max: 64 << 20, short_runs: 1000 },
    Target { name: "prices", run: mapping::prices, seeds: mapping::price_seeds, memory_bytes_max: 16 << 20, short_runs: 1000 },
];

impl Target {
    /// Runs the target on `input` and holds it to its memory.
    ///
    /// # Panics
    /// If the decoder does, or answers wrongly, or takes too much memory.
    pub fn check(&self, input: &[u8]) {
        let input = &input[..input.len().min(INPUT_BYTES_MAX)];
        let peak = memory::peak_of(|| (self.run)(input));
        assert!(peak <= self.memory_bytes_max, "`{}` held `{peak}` bytes at once for `{}` of input", self.name, input.len());
    }
}

/// `input` as its first byte and the rest; 0 and nothing if it is empty.
fn split(input: &[u8]) -> (u8, &[u8]) {
    input.split_first().map_or((0, &[]), |(first, rest)| (*first, rest))
}

/// `input` as text, what is not UTF-8 replaced.
fn text(input: &[u8]) -> String {
    String::from_utf8_lossy(input).into_owned()
}
