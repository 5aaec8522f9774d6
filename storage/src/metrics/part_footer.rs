//! The end of a part's file: its checksums and its Parquet footer, checked before anything of it is parsed.

use std::sync::Arc;

use bytes::Bytes;
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use parquet::{
    arrow::arrow_reader::ArrowReaderMetadata,
    errors::ParquetError,
    file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader},
};

use super::{
    ReadError,
    part_sums::{self, Sums},
};

/// Read at once from the end of a file: footer and page offsets of small parts come with one request.
const FOOTER_GUESS_BYTES: u64 = 64 << 10;
/// Key in the file's metadata: what its columns mean.
pub(crate) const FORMAT_KEY: &str = "tidewatch.format";

/// A footer's size in memory as a multiple of what the Parquet reader says of it.
const FOOTER_MEMORY_FACTOR: usize = 4;

/// What a part says of itself, checked.
#[derive(Clone)]
pub(crate) struct Footer {
    pub(crate) arrow: ArrowReaderMetadata,
    pub(crate) sums: Arc<Sums>,
}

impl Footer {
    /// Memory, estimated, bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.arrow.metadata().memory_size().max(1) * FOOTER_MEMORY_FACTOR
    }
}

/// The bytes are not what the format says.
pub(crate) fn damaged(path: &Path, reason: impl ToString) -> ReadError {
    ReadError::Damaged { path: path.to_string(), reason: reason.to_string() }
}

/// What a Parquet reader's error means: the store's failure, or damage.
pub(crate) fn read_error(path: &Path, error: ParquetError) -> ReadError {
    match error {
        ParquetError::External(inner) => match inner.downcast::<object_store::Error>() {
            Ok(source) => ReadError::Unreadable { path: path.to_string(), source: *source },
            Err(other) => damaged(path, other),
        },
        other => damaged(path, other),
    }
}

/// Reads and checks everything behind the column data, mostly with one request, before anything is parsed. Of which
/// format the file is stays to be asked.
pub(crate) async fn read_footer(
    store: &Arc<dyn ObjectStore>,
    path: &Path,
    size: u64,
    pages: PageIndexPolicy,
) -> Result<(Arc<ParquetMetaData>, Sums), ReadError> {
    let fetch = async |start: u64| -> Result<Bytes, ReadError> {
        let bytes = store.get_range(path, start..size).await;
        bytes.map_err(|source| ReadError::Unreadable { path: path.to_string(), source })
    };
    let mut start = size.saturating_sub(FOOTER_GUESS_BYTES);
    let mut last = fetch(start).await?;
    let Some((len, b"PAR1")) = last
        .split_last_chunk::<8>()
        .map(|(_, tail)| (u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]), &tail[4..]))
    else {
        return Err(damaged(path, "it does not end as a Parquet file"));
    };
    let footer_start =
        size.checked_sub(len as u64 + 8).ok_or_else(|| damaged(path, "its footer is longer than the file"))?;
    if footer_start < start {
        start = footer_start;
        last = fetch(start).await?;
    }
    let missing =
        || damaged(path, format!("{} is missing: it is damaged, or not of this version's format", part_sums::KEY));
    let (sums, tail_sum) = part_sums::parse(&last, size).ok_or_else(missing)?;
    if sums.end < start {
        start = sums.end;
        last = fetch(start).await?;
    }
    if !part_sums::tail_holds(&last[(sums.end - start) as usize..], tail_sum) {
        return Err(damaged(path, "the checksum of its footer does not hold"));
    }
    let mut reader = ParquetMetaDataReader::new().with_offset_index_policy(pages);
    reader.try_parse_sized(&last, size).map_err(|e| read_error(path, e))?;
    let metadata = reader.finish().map_err(|e| read_error(path, e))?;
    Ok((Arc::new(metadata), sums))
}

/// A value of the file's own metadata.
pub(crate) fn metadata_value<'a>(metadata: &'a ParquetMetaData, key: &str) -> Option<&'a str> {
    let mut pairs = metadata.file_metadata().key_value_metadata().into_iter().flatten();
    pairs.find(|pair| pair.key == key)?.value.as_deref()
}

/// That a file is of one of the formats that can be read.
pub(crate) fn check_format(path: &Path, metadata: &ParquetMetaData, formats: &[&str]) -> Result<(), ReadError> {
    match metadata_value(metadata, FORMAT_KEY) {
        Some(found) if formats.contains(&found) => Ok(()),
        found => {
            let formats = formats.join(" or ");
            Err(damaged(path, format!("{FORMAT_KEY} is {}, not {formats}", found.unwrap_or("missing"))))
        }
    }
}
