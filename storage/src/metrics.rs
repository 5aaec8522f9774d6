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
//!
//! Reading order: `head` (with `head_stream`, `head_histograms`, `index`) · `chunk` (with `statistics`, `times` and `values`: the lists of
//! codecs, one file each, `decimal`, `codec`, `varint`) · `part_schema`, `part_write`, `part_merge` (with `samples`, `labels_text`, `part_sums`) ·
//! `part` (with `part_footer`, `part_file`, `part_index`, `part_bodies`) · `read`, `select`, `view`, `flat` with `histogram_text` (questions).

mod chunk;
mod codec;
mod decimal;
mod flat;
mod head;
mod head_histograms;
mod head_stream;
mod histogram_text;
mod index;
mod labels_text;
mod packed;
mod part;
mod part_bodies;
mod part_check;
mod part_file;
mod part_footer;
mod part_index;
mod part_merge;
mod part_schema;
pub(crate) mod part_sums;
mod part_write;
mod read;
mod samples;
mod select;
mod statistics;
mod times;
mod times_delta;
mod times_pco;
mod times_regular;
mod values;
mod values_decimal_packed;
mod values_decimal_pco;
mod values_delta;
mod values_delta2;
mod values_float_packed;
mod values_float_pco;
mod values_histogram;
mod values_raw;
mod values_runs;
mod varint;
mod view;
mod whole;

#[cfg(test)]
mod codec_tests;
#[cfg(test)]
mod histogram_tests;
#[cfg(test)]
mod testdata;
#[cfg(test)]
mod tests;

pub(crate) use chunk::{CHUNK_SAMPLES_MAX, Chunk, ChunkBody, ChunkDecoder, ChunkValues};
pub use flat::flat_schema;
pub use head::{HeadEpoch, HeadWriter, MetricsHead, SeriesId};
pub use part::{MetricsPart, PartInfo};
pub(crate) use part_bodies::Bodies;
pub(crate) use part_file::CheckedFile;
pub(crate) use part_footer::{FORMAT_KEY, Footer, check_format, damaged, metadata_value, read_error, read_footer};
pub(crate) use part_index::GroupIndex;
pub(crate) use part_merge::{Cut, rewrite_parts};
pub use part_merge::{MergedPart, merge_parts};
pub use part_write::{DAY_MS, EncodedPart, PartError, write_parts};
pub use read::{ReadError, SeriesQuery, SeriesSamples};
pub use view::{MetricsView, PlannedRead};
pub(crate) use whole::GroupStatistics;
pub use whole::{WholeChunk, WholeChunks};
