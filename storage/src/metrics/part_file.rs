//! A part's file as the Parquet reader reads it: every byte is checked by the part's own checksums before it is handed out.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use parquet::{
    arrow::{arrow_reader::ArrowReaderOptions, async_reader::AsyncFileReader},
    errors::ParquetError,
    file::metadata::ParquetMetaData,
};

use super::part_sums::{BLOCK_BYTES, Sums};

/// Blocks that a check reads with one request.
const CHECK_BLOCKS: usize = 16;

/// A part's file for the Parquet reader.
#[derive(Clone)]
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

impl CheckedFile {
    /// Reads all column data; the answer is how many blocks are not what their checksum says. Each is told in `damages`.
    pub(crate) async fn check_all(&self, damages: &mut Vec<String>) -> usize {
        let mut bad = 0;
        for first in (0..self.sums.blocks.len()).step_by(CHECK_BLOCKS) {
            let last = self.sums.blocks.len().min(first + CHECK_BLOCKS);
            let range = first as u64 * BLOCK_BYTES..(last as u64 * BLOCK_BYTES).min(self.sums.end);
            let bytes = match self.store.get_range(&self.path, range).await {
                Ok(bytes) => bytes,
                Err(e) => {
                    damages.push(format!("it can't be read: {e}"));
                    return bad + 1;
                }
            };
            for (at, block) in bytes.chunks(BLOCK_BYTES as usize).enumerate() {
                if !self.sums.hold(first + at..first + at + 1, block) {
                    bad += 1;
                    let start = (first + at) as u64 * BLOCK_BYTES;
                    let end = start + block.len() as u64;
                    damages.push(format!("the checksum of bytes {start}..{end} does not hold"));
                }
            }
        }
        bad
    }
}
