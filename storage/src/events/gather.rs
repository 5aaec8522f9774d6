//! Rows picked out of many batches, copied a run at a time: neighbours mostly stay neighbours.

use arrow::{
    array::{
        Array, ArrayData, ArrayRef, AsArray, Capacities, MutableArrayData, RecordBatch, make_array, new_null_array,
    },
    datatypes::DataType,
    error::ArrowError,
};

/// Most bytes of one column's texts in one batch, unless one row has more: bounds what a copy holds, and offsets are `i32`.
const COLUMN_BYTES_MAX: usize = 64 << 20;

/// Rows that follow one another in a batch.
#[derive(Clone, Copy, Debug)]
struct Run {
    batch: usize,
    start: usize,
    end: usize,
}

/// Rows of several batches, in the order of the output.
#[derive(Debug, Default)]
pub(super) struct Picked {
    runs: Vec<Run>,
    rows: usize,
}

impl Picked {
    /// Adds a row of a batch; how many there are then.
    pub(super) fn add(&mut self, batch: usize, row: usize) -> usize {
        match self.runs.last_mut() {
            Some(run) if run.batch == batch && run.end == row => run.end += 1,
            _ => self.runs.push(Run { batch, start: row, end: row + 1 }),
        }
        self.rows += 1;
        self.rows
    }

    /// How many rows there are.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// The rows, of batches of one schema, mostly in one piece; none are left.
    pub(super) fn take(&mut self, batches: &[&RecordBatch]) -> Result<Vec<RecordBatch>, ArrowError> {
        let (runs, rows) = (std::mem::take(&mut self.runs), std::mem::take(&mut self.rows));
        let mut out = Vec::with_capacity(1);
        gather(batches, runs, rows, &mut out)?;
        Ok(out)
    }
}

fn gather(
    batches: &[&RecordBatch],
    mut runs: Vec<Run>,
    rows: usize,
    out: &mut Vec<RecordBatch>,
) -> Result<(), ArrowError> {
    let Some(first) = runs.first() else { return Ok(()) };
    if runs.len() == 1 {
        out.push(batches[first.batch].slice(first.start, rows));
        return Ok(());
    }
    let schema = batches[first.batch].schema();
    let texts: Vec<usize> = (0..schema.fields().len()).map(|at| text_bytes(batches, at, &runs)).collect();
    if texts.iter().any(|bytes| *bytes > COLUMN_BYTES_MAX) {
        let behind = split(&mut runs, rows / 2);
        gather(batches, runs, rows / 2, out)?;
        return gather(batches, behind, rows - rows / 2, out);
    }
    let columns = texts.iter().enumerate().map(|(at, bytes)| column(batches, at, &runs, rows, *bytes));
    out.push(RecordBatch::try_new(schema, columns.collect::<Result<_, _>>()?)?);
    Ok(())
}

/// Leaves the first `rows` rows in `runs`; the others.
fn split(runs: &mut Vec<Run>, rows: usize) -> Vec<Run> {
    let mut left = rows;
    let at = runs.iter().position(|run| {
        let len = run.end - run.start;
        left.checked_sub(len).inspect(|rest| left = *rest).is_none()
    });
    let mut behind = runs.split_off(at.unwrap_or(runs.len()));
    if let Some(cut) = behind.first_mut().filter(|_| left > 0) {
        runs.push(Run { end: cut.start + left, ..*cut });
        cut.start += left;
    }
    behind
}

/// Bytes of the texts of a column's picked rows.
fn text_bytes(batches: &[&RecordBatch], at: usize, runs: &[Run]) -> usize {
    let of = |run: &Run| {
        let column = batches[run.batch].column(at);
        let offsets = match column.data_type() {
            DataType::Utf8 => column.as_string::<i32>().value_offsets(),
            DataType::Binary => column.as_binary::<i32>().value_offsets(),
            _ => return 0,
        };
        (offsets[run.end] - offsets[run.start]) as usize
    };
    runs.iter().map(of).sum()
}

fn column(
    batches: &[&RecordBatch],
    at: usize,
    runs: &[Run],
    rows: usize,
    text_bytes: usize,
) -> Result<ArrayRef, ArrowError> {
    // many columns of a table are of one engine, or of few rows
    if batches.iter().all(|batch| batch.column(at).null_count() == batch.num_rows()) {
        return Ok(new_null_array(batches[0].column(at).data_type(), rows));
    }
    let data: Vec<ArrayData> = batches.iter().map(|batch| batch.column(at).to_data()).collect();
    let capacities = match batches[0].column(at).data_type() {
        DataType::Utf8 | DataType::Binary => Capacities::Binary(rows, Some(text_bytes)),
        _ => Capacities::Array(rows),
    };
    let mut out = MutableArrayData::with_capacities(data.iter().collect(), false, capacities);
    for run in runs {
        out.try_extend(run.batch, run.start, run.end)?;
    }
    Ok(make_array(out.freeze()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use arrow::{
        array::{Int64Array, StringArray},
        compute::interleave_record_batch,
        datatypes::{Field, Schema},
    };
    use proptest::prelude::*;

    use super::*;

    fn batch(texts: Vec<Option<String>>) -> RecordBatch {
        let numbers: Int64Array = (0..texts.len() as i64).map(|n| (n % 3 > 0).then_some(n)).collect();
        let fields = [("text", DataType::Utf8), ("number", DataType::Int64)];
        let schema = Schema::new(fields.map(|(name, of)| Field::new(name, of, true)).to_vec());
        let columns: Vec<ArrayRef> = vec![Arc::new(StringArray::from(texts)), Arc::new(numbers)];
        RecordBatch::try_new(schema.into(), columns).unwrap()
    }

    proptest! {
        #[test]
        fn rows_are_those_picked_one_by_one(
            texts in proptest::collection::vec(proptest::collection::vec(proptest::option::of(".{0,5}"), 1..20), 1..5),
            picks in proptest::collection::vec((0usize..5, 0usize..20, 1usize..20), 1..20),
        ) {
            let batches: Vec<RecordBatch> = texts.into_iter().map(batch).collect();
            let refs: Vec<&RecordBatch> = batches.iter().collect();
            let (mut picked, mut one_by_one) = (Picked::default(), Vec::new());
            for (batch, start, len) in picks {
                let batch = batch % refs.len();
                let rows = refs[batch].num_rows();
                for row in start % rows..(start % rows + len).min(rows) {
                    one_by_one.push((batch, row));
                    prop_assert_eq!(picked.add(batch, row), one_by_one.len());
                }
            }
            let rows = picked.take(&refs).unwrap();
            prop_assert_eq!(&rows, &[interleave_record_batch(&refs, &one_by_one).unwrap()]);
            prop_assert_eq!(picked.rows(), 0);
        }
    }

    #[test]
    fn large_texts_come_in_several_pieces() {
        let large = |n: usize| Some(char::from(b'a' + n as u8).to_string().repeat(COLUMN_BYTES_MAX / 4 + 1));
        let batches = [batch(vec![large(0), None, large(1), large(2)]), batch(vec![large(3), large(4)])];
        let refs: Vec<&RecordBatch> = batches.iter().collect();
        let mut picked = Picked::default();
        let order = [(0, 0), (1, 0), (1, 1), (0, 1), (0, 2), (0, 3)];
        for (batch, row) in order {
            picked.add(batch, row);
        }
        let pieces = picked.take(&refs).unwrap();
        assert_eq!(pieces.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [3, 3]);
        let rows = pieces.iter().flat_map(|piece| piece.column(0).as_string::<i32>().iter());
        let firsts: Vec<_> = rows.map(|text| text.map_or('-', |text| text.chars().next().unwrap())).collect();
        assert_eq!(firsts, ['a', 'd', 'e', '-', 'b', 'c']);
    }
}
