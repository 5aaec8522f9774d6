//! A question in, rows out, within a budget.
//!
//! PromQL is evaluated by our own engine over selected series; SQL by DataFusion over the same parts and head. Both read a
//! snapshot, so a question that reads twice reads the same rows. This room never writes, never reads a clock except to end a
//! question at its deadline, and never answers beyond its limits: a question too large is an error that says so.
//!
//! Reading order: `ask` (what comes with a question) · `querier` (where questions come in) · `limits` · `error` ·
//! `promql` (the language and its evaluation) ·
//! `source` (the store as PromQL reads it) with `histogram` · `sql` (the engine) · `sql_table` (a scan) · `sql_filter` (what a WHERE clause
//! spares) with `sql_search` (what it needs of texts) · `sql_json` (one function of ours).

mod ask;
mod error;
mod histogram;
mod limits;
mod place;
pub mod promql;
mod querier;
mod source;
mod sql;
mod sql_filter;
mod sql_json;
mod sql_search;
mod sql_table;

pub use ask::{Ask, Asker, Question, Teller, Told, When};
pub use error::{ErrorKind, QueryError};
pub use histogram::storable;
pub use limits::QueryLimits;
pub use querier::Querier;
pub use sql::SqlAnswer;
