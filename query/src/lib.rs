//! One SQL engine over hot buffer and lake, or hot buffer and ClickHouse, and the HTTP API that asks it.
//!
//! Reading order: [`engine`] (a question in, rows out), `statement` (what counts as a question), `catalog`, `table_provider` and `clickhouse` (what it
//! can name), `scan` (slim columns, decoded once), [`views`], `information_schema`, `system`, `functions`, [`error`] (why not).

#![expect(clippy::result_large_err, reason = "an error ends its request: it is moved a few times, once per request")]

pub mod api;
mod catalog;
mod clickhouse;
mod corrections;
mod dialect;
mod distributed;
pub mod engine;
pub mod error;
pub mod filter;
pub mod format;
mod functions;
mod information_schema;
mod lake_store;
mod like;
pub mod lists;
pub mod metrics;
mod pruning;
pub mod running;
mod scan;
mod statement;
mod system;
mod table_provider;
mod text_pruning;
pub mod time_range;
pub mod traces;
pub mod views;

pub use self::{
    distributed::DistributedConfig,
    engine::{Answer, AnswerStats, Ask, Explanation, OpenEngineError, Params, QueryConfig, QueryEngine},
    error::{Position, QueryError, QueryErrorKind},
    functions::FunctionDoc,
    information_schema::{ColumnDoc, TableDoc},
    running::{QuerySource, RunningQuery},
};
