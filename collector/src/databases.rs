//! PostgreSQL, MySQL and MariaDB: metrics by templates, statements as deltas, sessions, plans, objects, and what is wrong.
//!
//! What is read is data (`template`, `collector/templates/*.yaml`) or one file per thing and server; what is made of it
//! is a function of values. Nothing here writes to a database, runs `EXPLAIN ANALYZE`, holds more than two connections
//! to one instance or more than one query in each.
//!
//! Reading order: `connection` (`postgres`, `mysql`, `tls`) · `reading` · `trouble` · `template` · `metrics` · `sql_tokens`
//! · `fingerprint` · `statements` (`postgres_statements`, `mysql_statements`) · `activity` (`postgres_activity`,
//! `mysql_activity`).

pub mod activity;
pub mod connection;
pub mod fingerprint;
pub mod metrics;
pub mod mysql;
pub mod mysql_activity;
pub mod mysql_statements;
pub mod postgres;
pub mod postgres_activity;
pub mod postgres_statements;
pub mod reading;
pub mod sql_tokens;
pub mod statements;
pub mod template;
pub mod tls;
pub mod trouble;

pub use fingerprint::{FINGERPRINT_VERSION, Fingerprint, fingerprint, mask_sql};
pub use sql_tokens::Dialect;
