//! Chunks that are answered by their statistics, without their samples: those that lie in the range asked for and that no
//! other chunk of their series touches, in a part or in memory.

use arrow::array::{Array, Float64Array, RecordBatch};

use super::{part_bodies::whole_column, part_index::Row, part_schema::column};

/// Columns that [`GroupStatistics`] are built from, ascending.
pub(crate) const COLUMNS: [usize; 5] = [column::MIN, column::MAX, column::FIRST, column::LAST, column::INCREASE];
/// Shorter chunks are decoded for less than their statistics cost to read.
const SAMPLES_MIN: usize = 32;

/// Which chunks may be given as wholes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WholeChunks {
    /// Any.
    Any,
    /// Those whose first value is the smallest, whose last is the largest, and that have no reset between them.
    Rising,
}

/// What is known of a chunk of floats whose samples were not read: none is a staleness marker, and neither the first nor the
/// last is NaN.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WholeChunk {
    /// When its first sample is, milliseconds.
    pub first_ms: i64,
    /// When its last sample is, milliseconds.
    pub last_ms: i64,
    /// How many samples it has, at least one.
    pub count: u32,
    /// Its first value.
    pub first: f64,
    /// Its last value.
    pub last: f64,
    /// Its smallest value, the earliest of equal ones.
    pub min: f64,
    /// Its largest value, the earliest of equal ones.
    pub max: f64,
}

/// The statistics of all rows of a row group.
pub(crate) struct GroupStatistics {
    /// As [`COLUMNS`].
    columns: [Float64Array; 5],
}

impl GroupStatistics {
    /// Reads the columns of [`COLUMNS`]; the reason if they are not what the format says.
    pub(crate) fn build(batches: &[RecordBatch]) -> Result<GroupStatistics, &'static str> {
        let column = |at: usize| {
            let column = whole_column(batches, at)?;
            column.as_any().downcast_ref::<Float64Array>().cloned().ok_or("statistics are no floats")
        };
        Ok(GroupStatistics { columns: [column(0)?, column(1)?, column(2)?, column(3)?, column(4)?] })
    }

    /// How many rows there are.
    pub(crate) fn len(&self) -> usize {
        self.columns[0].len()
    }

    /// Memory, bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.columns.iter().map(Array::get_array_memory_size).sum()
    }

    /// The chunk of row `at`, if its statistics say all that is wanted of it.
    pub(crate) fn whole(&self, at: usize, row: &Row, wanted: WholeChunks) -> Option<WholeChunk> {
        let [min, max, first, last, increase] =
            self.columns.each_ref().map(|column| column.is_valid(at).then(|| column.value(at)));
        let first = first.filter(|first| !first.is_nan())?;
        // a constant chunk has only the first
        let (min, max, last, increase) = match (min, max, last, increase) {
            (None, None, None, None) => (first, first, first, 0.0),
            (Some(min), Some(max), Some(last), Some(increase)) => (min, max, last, increase),
            _ => return None,
        };
        let is_rising = increase == last - first && min == first && max == last;
        if last.is_nan() || wanted == WholeChunks::Rising && !is_rising {
            return None;
        }
        Some(WholeChunk { first_ms: row.first_ts, last_ms: row.last_ts, count: row.count, first, last, min, max })
    }
}

/// Whether statistics may stand for a row's samples, were they all there is of its series' time.
pub(crate) fn is_worth_it(row: &Row, (min_ts, max_ts): (i64, i64)) -> bool {
    row.stale == 0 && row.samples() >= SAMPLES_MIN && row.lies_in(min_ts, max_ts)
}

/// The times that a chunk, or a buffer in memory, covers.
#[derive(Clone, Copy)]
pub(crate) struct Cover {
    /// Its series' place in the plan.
    pub(crate) place: u32,
    pub(crate) first_ts: i64,
    pub(crate) last_ts: i64,
    /// Which row group of the plan, and which of its rows; `None`: in memory.
    pub(crate) row: Option<(u32, u32)>,
}

/// Those rows that share no time with any other cover of their series.
pub(crate) fn alone(mut covers: Vec<Cover>) -> Vec<(u32, u32)> {
    covers.sort_unstable_by_key(|cover| (cover.place, cover.first_ts));
    let mut alone = Vec::new();
    for series in covers.chunk_by(|a, b| a.place == b.place) {
        let mut reached = i64::MIN;
        for (at, cover) in series.iter().enumerate() {
            let touches_next = series.get(at + 1).is_some_and(|next| next.first_ts <= cover.last_ts);
            let touches_before = at > 0 && cover.first_ts <= reached;
            reached = reached.max(cover.last_ts);
            if !touches_next && !touches_before {
                alone.extend(cover.row);
            }
        }
    }
    alone
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nothing_touches_is_alone() {
        let cover = |place, first_ts, last_ts, row: Option<u32>| Cover {
            place,
            first_ts,
            last_ts,
            row: row.map(|row| (0, row)),
        };
        let alone = |covers: &[Cover]| {
            let mut rows: Vec<u32> = alone(covers.to_vec()).into_iter().map(|(_, row)| row).collect();
            rows.sort_unstable();
            rows
        };
        assert_eq!(alone(&[cover(0, 0, 9, Some(0)), cover(0, 10, 19, Some(1))]), [0, 1]);
        assert_eq!(alone(&[cover(0, 0, 10, Some(0)), cover(0, 10, 19, Some(1))]), [0; 0], "they share a time");
        assert_eq!(alone(&[cover(0, 0, 100, Some(0)), cover(0, 10, 19, Some(1)), cover(0, 30, 39, Some(2))]), [0; 0]);
        assert_eq!(alone(&[cover(0, 0, 9, Some(0)), cover(0, 5, 30, None), cover(0, 40, 50, Some(1))]), [1]);
        assert_eq!(alone(&[cover(1, 0, 9, Some(0)), cover(0, 5, 30, None)]), [0], "another series");
    }

    #[test]
    fn a_chunk_is_whole_only_if_its_statistics_say_enough() {
        let row = Row { first_ts: 5, last_ts: 50, count: 40, stale: 0 };
        let group =
            |columns: [Option<f64>; 5]| GroupStatistics { columns: columns.map(|v| Float64Array::from(vec![v])) };
        let whole = |columns, wanted| group(columns).whole(0, &row, wanted);
        let rising = [Some(1.0), Some(9.0), Some(1.0), Some(9.0), Some(8.0)];
        let expected = WholeChunk { first_ms: 5, last_ms: 50, count: 40, first: 1.0, last: 9.0, min: 1.0, max: 9.0 };
        assert_eq!(whole(rising, WholeChunks::Rising), Some(expected));
        let falls = [Some(1.0), Some(9.0), Some(1.0), Some(9.0), Some(15.0)];
        assert_eq!((whole(falls, WholeChunks::Any), whole(falls, WholeChunks::Rising)), (Some(expected), None));
        let constant = [None, None, Some(3.0), None, None];
        let three = WholeChunk { first: 3.0, last: 3.0, min: 3.0, max: 3.0, ..expected };
        assert_eq!(whole(constant, WholeChunks::Rising), Some(three));
        for nothing in [[None; 5], [None, None, Some(f64::NAN), None, None]] {
            assert_eq!(whole(nothing, WholeChunks::Any), None, "histograms, or nothing but NaN");
        }
    }
}
