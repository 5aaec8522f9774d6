//! The door: what arrives is admitted, a duplicate, or refused with a reason.
//!
//! Every way in (the collectors' gRPC stream, a Kafka topic, Prometheus remote write, the server's own metrics) brings its rows to one
//! function, [`Admission::admit`], which hands them to the store and answers only when they are on disk. Foreign formats
//! never become a batch: their adapters hand over borrowed rows.
//!
//! This room never looks into stored data, never evaluates anything and never invents a time: clocks are handed in by the
//! program that opens the doors.
//!
//! Reading order: `admission` (the one function) · `counters` (what was admitted and refused, by door and reason) ·
//! `progress` (sequences of one stream: next, again, after a gap, held back) · `batch_header` (which batch the bytes
//! claim to be, when the rest is unreadable) · `rows` (a batch as the store takes it) · `gap` (what is missing, as a row) ·
//! `stream` (one collector's connection) · `grpc` (the service) · `kafka` (the partitions of a topic) ·
//! `collectors` (who is connected, and reading something now) · `remote_write` (the protobuf of 1.0 without strings) · `remote_write_interned` (that of 2.0) · `remote_write_exemplars` · `remote_write_histogram` ·
//! `remote_write_http` (its HTTP answers).

pub mod admission;
pub mod batch_header;
pub mod collectors;
pub mod counters;
mod gap;
pub mod grpc;
pub mod kafka;
pub mod progress;
pub mod remote_write;
mod remote_write_exemplars;
mod remote_write_histogram;
pub mod remote_write_http;
mod remote_write_interned;
mod rows;
mod stream;

pub use admission::{Admission, Admitted, Refused};
pub use collectors::{CollectorStatus, Collectors, ReadNowError};
pub use counters::{Counters, Door};
pub use kafka::{Kafka, KafkaSettings};
