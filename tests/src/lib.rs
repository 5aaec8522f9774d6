//! Promises about the whole system, kept with real servers: the servers themselves, and how to wait for a state.
//!
//! Every server runs in a private folder on a free loopback port, as the account its package made for it, and is gone
//! when its value is dropped. Nothing here sleeps for a state: `wait::until` polls with a deadline.
//!
//! Reading order: `process` (a child that does not outlive its test) · `wait` · `postgres` (`postgres_versions`) · `mariadb` · `galera` · `pgbouncer` · `tls` · `kafka` · `load` (rows
//! that are counted on both sides) · `rule_states` · `s3` · `program` (our own) · `receiver` · `surroundings` (of a collector's source) · `shop` (load) · `dns` (names) · `disk` (a small file system) · `fault_stage`,
//! `fault_postgres`, `fault_mariadb` (ten real faults) · `fuzzing` (everything that reads bytes from outside).

pub mod disk;
pub mod dns;
pub mod fault_mariadb;
pub mod fault_postgres;
pub mod fault_stage;
pub mod fuzzing;
pub mod galera;
pub mod kafka;
pub mod load;
pub mod mariadb;
pub mod pgbouncer;
pub mod postgres;
pub mod postgres_versions;
pub mod process;
pub mod program;
pub mod receiver;
pub mod road;
pub mod rule_states;
pub mod s3;
pub mod shop;
pub mod smtp;
pub mod surroundings;
pub mod tls;
pub mod wait;

pub use mariadb::MariaDb;
pub use postgres::Postgres;
