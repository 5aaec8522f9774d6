//! The nouns every room shares, and their bytes on the wire.
//!
//! A label set, a sample, an event table's columns, a batch and its acknowledgement. This room never does I/O,
//! never reads a clock and never decides anything: it says what a thing is, how it is written down, and refuses
//! bytes that are not that thing.
//!
//! Reading order: `labels` (a series' identity) · `tables` (every event table and its columns) · `events` (rows of
//! one table) · `samples` (rows of the metrics table) · `histogram` (a sample that is a distribution) · `batch` (what travels) · `refusal` (why something was not taken) ·
//! `kafka` (what both ends say to brokers) · `wire` (the generated messages; docs/formats/wire.md).

pub mod batch;
pub mod events;
pub mod histogram;
pub mod kafka;
pub mod labels;
pub mod refusal;
pub mod samples;
pub mod tables;

#[allow(missing_docs, clippy::all, clippy::unwrap_used)]
pub mod wire {
    //! Messages generated from `proto/tidewatch.proto`.
    tonic::include_proto!("tidewatch.v1");
}

pub use batch::{Batch, BatchError, Payload};
pub use events::{Events, EventsBuilder, Value};
pub use histogram::{Histogram, HistogramError};
pub use labels::{Labels, LabelsBuilder};
pub use samples::Samples;
pub use tables::{Column, Kind, Table};
pub use wire::Class;

/// The tenant of everything that names none.
pub const DEFAULT_TENANT: &str = "0";
