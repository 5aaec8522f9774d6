//! The chunk bodies of a row group as they came out of the file: what a select decodes.
//!
//! Profiled on small questions: opening pages through the Parquet reader, their checksums and their decompression cost several
//! times what decoding the wanted chunks does. So bodies that are asked for again are kept, decompressed and still encoded.

use std::ops::Range;

use arrow::{
    array::{Array, ArrayRef, BinaryArray, Float64Array, RecordBatch},
    compute::concat,
};

use super::{
    chunk::{ChunkBody, ChunkValues},
    part_index::Row,
    part_schema::column,
};

/// Columns that [`Bodies`] are built from, ascending.
pub(crate) const COLUMNS: [usize; 3] = [column::FIRST, column::TIMESTAMPS, column::VALUES];

/// What is wrong with a row group that can't be read as its format says.
const WRONG: &str = "its columns are not those of its format";

/// One column of all batches.
pub(crate) fn whole_column(batches: &[RecordBatch], at: usize) -> Result<ArrayRef, &'static str> {
    let pieces: Vec<&ArrayRef> = batches.iter().filter_map(|b| b.columns().get(at)).collect();
    match pieces[..] {
        [whole] => Ok(whole.clone()),
        _ => concat(&pieces.into_iter().map(AsRef::as_ref).collect::<Vec<_>>()).map_err(|_| WRONG),
    }
}

/// Bodies of some rows of a row group, or of all.
pub(crate) struct Bodies {
    first: Float64Array,
    timestamps: BinaryArray,
    values: BinaryArray,
    /// Of all rows, so that a row's number is its place here.
    is_whole: bool,
}

impl Bodies {
    /// Reads the columns of [`COLUMNS`]; the reason if they are not what the format says.
    pub(crate) fn build(batches: &[RecordBatch], is_whole: bool) -> Result<Bodies, &'static str> {
        if batches.is_empty() {
            return Err("a row group without rows");
        }
        let (first, timestamps, values) =
            (whole_column(batches, 0)?, whole_column(batches, 1)?, whole_column(batches, 2)?);
        let binary = |array: &dyn Array| array.as_any().downcast_ref::<BinaryArray>().cloned().ok_or(WRONG);
        Ok(Bodies {
            first: first.as_any().downcast_ref::<Float64Array>().cloned().ok_or(WRONG)?,
            timestamps: binary(&timestamps)?,
            values: binary(&values)?,
            is_whole,
        })
    }

    /// Whether these are the bodies of `asked` rows of a row group of `all`, or of all of them.
    pub(crate) fn fits(&self, asked: usize, all: usize) -> bool {
        self.first.len() == if self.is_whole { all } else { asked }
    }

    /// The body of each of `rows`, which were asked for, with its times and size out of `shapes`, one for each of them. `None`: a
    /// constant chunk without its value.
    pub(crate) fn iter<'a>(
        &'a self,
        rows: &'a [Range<usize>],
        shapes: &'a [Row],
    ) -> impl Iterator<Item = Option<ChunkBody<'a>>> + 'a {
        rows.iter().cloned().flatten().zip(shapes).enumerate().map(move |(nth, (number, row))| {
            let at = if self.is_whole { number } else { nth };
            let values = if self.values.is_valid(at) {
                ChunkValues::Encoded(self.values.value(at))
            } else {
                self.first.is_valid(at).then(|| ChunkValues::Constant(self.first.value(at)))?
            };
            let timestamps = self.timestamps.value(at);
            Some(ChunkBody { first_ts: row.first_ts, last_ts: row.last_ts, samples: row.samples(), timestamps, values })
        })
    }

    /// Memory, bytes.
    pub(crate) fn bytes(&self) -> usize {
        let arrays: [&dyn Array; 3] = [&self.first, &self.timestamps, &self.values];
        arrays.iter().map(|array| array.get_array_memory_size()).sum()
    }
}
