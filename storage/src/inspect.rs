//! Looks into one part's file: what it is, what it holds, what that costs, and whether it is sound.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use object_store::{ObjectStore, local::LocalFileSystem};
use parquet::file::metadata::PageIndexPolicy;
use proto::Table;

use crate::{
    OpenError, ReadCache, events,
    metrics::{FORMAT_KEY, MetricsPart, PartInfo, metadata_value, read_footer},
    part::METRICS,
};

/// Memory for the part's footer and indexes, bytes.
const CACHE_BYTES_MAX: usize = 64 << 20;

/// What a part's file was found to be.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inspection {
    /// The file.
    pub file: PathBuf,
    /// Its size, bytes.
    pub bytes: u64,
    /// `tidewatch.format`.
    pub format: String,
    /// `metrics` or an event table.
    pub table: String,
    /// Row groups.
    pub groups: usize,
    /// Rows (chunks, for metrics).
    pub rows: u64,
    /// Series and samples, for metrics.
    pub series_samples: Option<(u64, u64)>,
    /// Oldest and newest timestamp, milliseconds.
    pub times: Option<(i64, i64)>,
    /// Per column: its name, its bytes in the file, and before page compression.
    pub columns: Vec<(String, u64, u64)>,
    /// Per coding of values, for metrics: chunks, samples, bytes before page compression.
    pub codecs: BTreeMap<&'static str, (u64, u64, u64)>,
    /// What is wrong.
    pub damages: Vec<String>,
}

/// Reads all of a part's file. An error means that it could not be read or is no part.
pub async fn inspect(file: &Path) -> Result<Inspection, OpenError> {
    let io = |source| OpenError::Io { what: format!("reading {}", file.display()), source };
    let whole = std::fs::canonicalize(file).map_err(io)?;
    let bytes = std::fs::metadata(&whole).map_err(io)?.len();
    let (Some(dir), Some(name)) = (whole.parent(), whole.file_name()) else {
        return Err(io(std::io::ErrorKind::InvalidInput.into()));
    };
    let failed = |source| OpenError::ObjectStore { what: format!("reading {}", file.display()), source };
    let objects: Arc<dyn ObjectStore> = Arc::new(LocalFileSystem::new_with_prefix(dir).map_err(failed)?);
    let path = object_store::path::Path::from(name.to_string_lossy().as_ref());
    let no_part = |what: String| OpenError::Damaged { file: file.display().to_string(), offset: 0, what };
    let (metadata, _) = read_footer(&objects, &path, bytes, PageIndexPolicy::Skip)
        .await
        .map_err(|e| no_part(format!("its footer: {e}")))?;
    let value = |key: &str| metadata_value(&metadata, key).map(str::to_owned);
    let format = value(FORMAT_KEY).ok_or_else(|| no_part(format!("{FORMAT_KEY} is not in its metadata")))?;
    let mut columns: Vec<(String, u64, u64)> = Vec::new();
    for (at, column) in metadata.row_groups().iter().flat_map(|g| g.columns().iter().enumerate()) {
        if at >= columns.len() {
            columns.push((column.column_path().string(), 0, 0));
        }
        columns[at].1 += column.compressed_size().max(0) as u64;
        columns[at].2 += column.uncompressed_size().max(0) as u64;
    }
    let table = value("tidewatch.table").unwrap_or_else(|| METRICS.into());
    let mut found = Inspection { file: file.to_owned(), bytes, format, table, columns, ..Inspection::default() };
    found.groups = metadata.num_row_groups();
    match Table::from_name(&found.table) {
        Some(table) => {
            let facts = events::check::check(objects, path.as_ref(), bytes, table, &mut found.damages).await;
            (found.rows, found.times) = (facts.rows, facts.times);
        }
        None if found.table == METRICS => {
            let info = PartInfo { path, size_bytes: bytes, sequence: 0, min_ts_ms: i64::MIN, max_ts_ms: i64::MAX };
            let part = MetricsPart::open(objects, info, ReadCache::new(CACHE_BYTES_MAX));
            let facts = part.check(&mut found.damages).await;
            (found.rows, found.times, found.codecs) = (facts.rows, facts.times, facts.codecs);
            found.series_samples = Some((facts.series, facts.samples));
        }
        None => return Err(no_part(format!("it is of {:?}, which is no table", found.table))),
    }
    Ok(found)
}

fn time(ms: i64) -> String {
    chrono::DateTime::from_timestamp_millis(ms)
        .map_or_else(|| format!("{ms} ms"), |t| t.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {} of table {}, {} bytes", self.file.display(), self.format, self.table, self.bytes)?;
        write!(f, "{} rows in {} row groups", self.rows, self.groups)?;
        if let Some((min, max)) = self.times {
            write!(f, ", {} to {}", time(min), time(max))?;
        }
        writeln!(f)?;
        if let Some((series, samples)) = self.series_samples {
            write!(f, "{samples} samples of {series} series")?;
            if samples > 0 {
                write!(f, ", {:.3} bytes a sample", self.bytes as f64 / samples as f64)?;
            }
            writeln!(f)?;
        }
        writeln!(f, "\n{:<24} {:>14} {:>14}", "column", "bytes", "uncompressed")?;
        for (name, bytes, before) in &self.columns {
            writeln!(f, "{name:<24} {bytes:>14} {before:>14}")?;
        }
        if !self.codecs.is_empty() {
            writeln!(f, "\n{:<24} {:>14} {:>14} {:>14}", "values coded as", "chunks", "samples", "bytes")?;
        }
        for (name, (chunks, samples, bytes)) in &self.codecs {
            writeln!(f, "{name:<24} {chunks:>14} {samples:>14} {bytes:>14}")?;
        }
        writeln!(f)?;
        self.damages.iter().try_for_each(|what| writeln!(f, "damaged: {what}"))?;
        if self.damages.is_empty() { writeln!(f, "sound") } else { Ok(()) }
    }
}
