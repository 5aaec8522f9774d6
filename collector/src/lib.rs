//! Reads hosts, databases and their logs, and sends what it read to a Tidewatch server.
//!
//! Every source runs on its own, puts its rows into the outlet and never waits for the network: the outlet numbers and
//! encodes them and writes them to a bounded spool on disk; the sender carries the spool's batches to the server and
//! forgets each when the server says it is durable. What must be dropped is sent as a gap.
//!
//! This room never writes to what it watches, never keeps a literal or a secret in what it sends, and never answers a
//! question: that is the server's.
//!
//! Reading order: `config` (raw, then checked) · `clock` · `source` (what a source is given) · `outlet` (where rows go)
//! · `spool` (what is kept until it is durable) · `sender` (how it gets there) · `kafka` (the other way) · `host` (node_exporter's metrics) · `databases`
//! (PostgreSQL, MySQL, MariaDB) · `logs` (their logs) · `latency` (how long their statements take) · `scrape` (pages of other exporters) · `self_watch` (what this program costs) · `check` (tries everything) ·
//! `reload` (a changed file without a restart) · `run` (puts it together).

pub mod check;
pub mod clock;
pub mod config;
pub mod databases;
pub mod host;
pub mod kafka;
pub mod latency;
pub mod logs;
pub mod outlet;
pub mod reload;
pub mod run;
pub mod scrape;
pub mod self_watch;
pub mod sender;
pub mod source;
pub mod spool;

pub use clock::Clock;
pub use config::{Config, ConfigError};
pub use outlet::Outlet;
pub use run::{RunError, run, run_reloading};
pub use source::Context;
