//! The `metrics` table: samples in memory (head), chunks of one series each, Parquet parts, and the reads over all of them.
//!
//! A sample enters a [`MetricsHead`]. [`MetricsHead::seal`] ends an epoch of the head; [`write_parts`] turns a sealed epoch
//! into one Parquet file a UTC day; [`merge_parts`] joins the files of a day. A [`MetricsView`] (epochs and parts, pinned by
//! their `Arc`s) answers `select`, `series`, `label_names`, `label_values` and `scan_flat`. The bytes of a part:
//! docs/formats/metrics-part.md.
//!
//! This room never decides when to flush, merge or delete, and never writes the log or the manifest: the store does.
//!
//! Duplicates: of several samples of one series with one timestamp the one appended last is the answer. Order of
//! appending is the order within an epoch, then of epochs, then of parts by `sequence`; parts are older than every epoch.

mod head;
mod part;
mod part_write;
mod read;
mod view;

pub use head::{HeadEpoch, HeadWriter, MetricsHead, SeriesId};
pub use part::{MetricsCache, MetricsPart, PartInfo};
pub use part_write::{EncodedPart, MergedPart, PartError, merge_parts, write_parts};
pub use read::{ReadError, SeriesQuery, SeriesSamples};
pub use view::MetricsView;
