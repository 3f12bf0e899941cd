//! What people make in Assay, kept in a relational store: saved views and queries, and notes on traces.
//!
//! Reading order: [`Accounts`] (the store and its migrations), [`saved`], [`notes`] (the rules, the same on both stores), [`error`] (why not),
//! then `transaction` (what the rules ask of a store), `sqlite` and `postgres`. Everything belongs to a project, and no call reaches another
//! project's rows.

pub mod error;
mod metrics;
pub mod notes;
mod postgres;
pub mod saved;
mod sqlite;
mod store;
mod transaction;

pub use self::{
    error::{AccountsError, NewerDatabase, OpenAccountsError},
    notes::{NewNote, Note},
    postgres::{InvalidPostgresUrl, PostgresConfig, PostgresUrl},
    saved::{NewSaved, Saved, SavedChange, SavedKind},
    store::Accounts,
};
