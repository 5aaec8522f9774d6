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
//! · `databases` (PostgreSQL, MySQL, MariaDB).

pub mod check;
pub mod clock;
pub mod config;
pub mod databases;
pub mod host;
pub mod outlet;
pub mod run;
pub mod self_watch;
pub mod sender;
pub mod source;
pub mod spool;

pub use clock::Clock;
pub use config::{Config, ConfigError};
pub use outlet::Outlet;
pub use run::{RunError, run};
pub use source::Context;
