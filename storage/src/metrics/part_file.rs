//! Files in the object store as the Parquet reader reads them: plain, and checked by the part's own checksums.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use parquet::{
    arrow::{arrow_reader::ArrowReaderOptions, async_reader::AsyncFileReader},
    errors::ParquetError,
    file::metadata::{ParquetMetaData, ParquetMetaDataReader},
};

use super::part_sums::Sums;

/// Read at once from the end of a file: footer and page offsets of small parts come with one request.
pub(crate) const FOOTER_GUESS_BYTES: u64 = 64 << 10;

/// A file for the Parquet reader, as the object store gives it.
pub(crate) struct PartFile {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) path: Path,
    pub(crate) size_bytes: u64,
}

impl AsyncFileReader for PartFile {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        async move { Ok(self.store.get_range(&self.path, range).await?) }.boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, parquet::errors::Result<Vec<Bytes>>> {
        async move { Ok(self.store.get_ranges(&self.path, &ranges).await?) }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, parquet::errors::Result<Arc<ParquetMetaData>>> {
        async move {
            let size = self.size_bytes;
            let reader = ParquetMetaDataReader::new()
                .with_arrow_reader_options(options)
                .with_prefetch_hint(Some(FOOTER_GUESS_BYTES.min(size) as usize));
            Ok(Arc::new(reader.load_and_finish(self, size).await?))
        }
        .boxed()
    }
}

/// A metrics part's file for the Parquet reader: every byte is checked before it is handed out.
pub(crate) struct CheckedFile {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) path: Path,
    pub(crate) sums: Arc<Sums>,
}

impl AsyncFileReader for CheckedFile {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        async move { Ok(self.get_byte_ranges(vec![range]).await?.pop().unwrap_or_default()) }.boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, parquet::errors::Result<Vec<Bytes>>> {
        async move {
            let outside = || ParquetError::General("a column lies outside of the checked bytes".into());
            let covers = ranges.iter().map(|range| self.sums.cover(range).ok_or_else(outside));
            let covers = covers.collect::<parquet::errors::Result<Vec<_>>>()?;
            let wanted: Vec<Range<u64>> = covers.iter().map(|(cover, _)| cover.clone()).collect();
            let blocks = self.store.get_ranges(&self.path, &wanted).await?;
            let checked = ranges.iter().zip(covers).zip(blocks).map(|((range, (cover, which)), bytes)| {
                if !self.sums.hold(which, &bytes) {
                    let damage = format!("a checksum of bytes {}..{} does not hold", cover.start, cover.end);
                    return Err(ParquetError::General(damage));
                }
                Ok(bytes.slice((range.start - cover.start) as usize..(range.end - cover.start) as usize))
            });
            checked.collect()
        }
        .boxed()
    }

    /// Never asked: the reader is made with metadata.
    fn get_metadata<'a>(
        &'a mut self,
        _options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, parquet::errors::Result<Arc<ParquetMetaData>>> {
        async move { Err(ParquetError::General("metadata is read and checked by the part".into())) }.boxed()
    }
}
