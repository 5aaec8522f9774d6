//! PostgreSQL, MySQL and MariaDB: metrics by templates, statements as deltas, sessions, plans, objects, and what is wrong.
//!
//! What is read is data (`template`, `collector/templates/*.yaml`) or one file per thing and server; what is made of it
//! is a function of values. Nothing here writes to a database, runs `EXPLAIN ANALYZE`, holds more than two connections
//! to one instance or more than one query in each.
//!
//! Reading order: `connection` (`postgres`, `mysql`, `tls`) · `reading` · `trouble` · `identity` · `place` (which part of what) · `template`
//! (`template_file`, `templates`) · `manners` (what keeps us a guest) · `metrics`
//! · `sql_tokens` (`sql_words`) · `sql_mask` · `fingerprint` · `statements` (`postgres_statements`, `mysql_statements`) · `activity`
//! (`postgres_activity`, `mysql_activity`) · `explain` · `plan` · `plans` · `objects` (`object_queries`) · `watch`
//! (`watch_read`, `watch_activity`, `watch_place`, `watch_publish`) · `log_sources` · `attempt` · `discover` · `grants`.

pub mod activity;
pub mod attempt;
pub mod connection;
pub mod discover;
pub mod explain;
pub mod fingerprint;
pub mod grants;
pub mod identity;
pub mod log_sources;
pub mod manners;
pub mod metrics;
pub mod mysql;
pub mod mysql_activity;
pub mod mysql_statements;
pub mod object_queries;
pub mod objects;
pub mod place;
pub mod plan;
pub mod plans;
pub mod postgres;
pub mod postgres_activity;
pub mod postgres_statements;
pub mod reading;
pub mod sql_mask;
pub mod sql_tokens;
mod sql_words;
pub mod statements;
pub mod template;
pub mod template_file;
pub mod templates;
pub mod tls;
pub mod trouble;
mod watch;
mod watch_activity;
mod watch_place;
mod watch_publish;
mod watch_read;

pub use attempt::{Tried, attempt};
pub use discover::{Discovered, Surroundings, discover, target_of_url};
pub use fingerprint::{FINGERPRINT_VERSION, Fingerprint, fingerprint};
pub use grants::grants;
pub use sql_mask::{mask_credentials, mask_sql};
pub use sql_tokens::Dialect;
pub use watch::watch;
