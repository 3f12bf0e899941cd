//! The one source of truth of Assay: what a row is, what things are called, what they cost. No I/O, no other Assay crate.
//!
//! Reading order: [`ids`] (identifiers every crate shares), [`table`] (how a table is described and turned into Arrow),
//! [`tables`] (the tables themselves, the public contract), [`genai`] (the canonical columns that spans and logs share),
//! [`prices`] (what tokens cost).
//! [`dialects`] (the mapping files that fill them), [`clickhouse`] (the tables as ClickHouse has them).

pub mod clickhouse;
pub mod dialects;
pub mod genai;
pub mod ids;
pub mod prices;
pub mod table;
pub mod tables;
