//! What people make in Assay, kept in a relational store: saved views and queries, and notes on traces.
//!
//! Reading order: [`Accounts`] (the store and its migrations), [`saved`], [`notes`], [`error`] (why not). Everything belongs to a
//! project, and no call reaches another project's rows.

pub mod error;
pub mod notes;
pub mod saved;
mod store;

pub use self::{
    error::{AccountsError, OpenAccountsError},
    notes::{NewNote, Note},
    saved::{NewSaved, Saved, SavedChange, SavedKind},
    store::Accounts,
};
