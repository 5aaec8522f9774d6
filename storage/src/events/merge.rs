//! Merging parts of one tenant, table and day: a k-way merge of sorted streams, a few thousand rows of each in memory.

use std::{cmp::Ordering, sync::Arc};

use arrow::array::{AsArray, RecordBatch};
use futures::{StreamExt, stream::BoxStream};
use object_store::ObjectStore;
use proto::Table;

use super::{
    gather::Picked,
    read::{open, unfit},
    write::{EncodedEvents, EventWriter, OUTPUT_ROWS, timestamps},
};
use crate::ReadError;

/// One input: where it is, and its size in bytes.
pub(crate) struct Input {
    pub(crate) path: String,
    pub(crate) bytes: u64,
}

struct Source {
    stream: BoxStream<'static, Result<RecordBatch, ReadError>>,
    /// Index of the present batch among those kept for the next output; its next row.
    batch: usize,
    row: usize,
}

/// Merges inputs, given in the order of their sequence: rows of equal (instance, ts) keep that order. The result is one
/// file in memory, so the caller bounds what the inputs have together.
pub(crate) async fn merge(
    store: Arc<dyn ObjectStore>,
    table: Table,
    day: i64,
    inputs: &[Input],
) -> Result<EncodedEvents, ReadError> {
    let fail = |e: &dyn std::fmt::Display| unfit(table, e);
    let size_hint = inputs.iter().map(|input| input.bytes).sum::<u64>() as usize;
    let mut writer = EventWriter::new(table, size_hint).map_err(|e| fail(&e))?;
    let mut batches: Vec<RecordBatch> = Vec::new();
    let mut sources = Vec::with_capacity(inputs.len());
    for input in inputs {
        let stream = open(store.clone(), &input.path, input.bytes, table).await?;
        let mut source = Source { stream, batch: 0, row: 0 };
        if source.advance(&mut batches).await? {
            sources.push(source);
        }
    }
    let mut picked = Picked::default();
    while !sources.is_empty() {
        let mut least = 0;
        for candidate in 1..sources.len() {
            if sources[candidate].compare(&sources[least], &batches) == Ordering::Less {
                least = candidate;
            }
        }
        let source = &mut sources[least];
        picked.add(source.batch, source.row);
        source.row += 1;
        let is_used_up = source.row == batches[source.batch].num_rows();
        if is_used_up && !source.advance(&mut batches).await? {
            sources.remove(least);
        }
        // kept batches are bounded too: each input holds one, and used-up ones go with every output
        if picked.rows() == OUTPUT_ROWS || sources.is_empty() || batches.len() > 2 * inputs.len() + 8 {
            let refs: Vec<&RecordBatch> = batches.iter().collect();
            for rows in picked.take(&refs).map_err(|e| fail(&e))? {
                writer.write(&rows).map_err(|e| fail(&e))?;
            }
            let kept: Vec<RecordBatch> = sources.iter().map(|s| batches[s.batch].clone()).collect();
            sources.iter_mut().enumerate().for_each(|(i, s)| s.batch = i);
            batches = kept;
            tokio::task::yield_now().await; // ingest and queries share these cores
        }
    }
    writer.finish(day).map_err(|e| fail(&e))
}

impl Source {
    /// Takes the next batch that has rows; false at the end.
    async fn advance(&mut self, batches: &mut Vec<RecordBatch>) -> Result<bool, ReadError> {
        while let Some(batch) = self.stream.next().await {
            let batch = batch?;
            if batch.num_rows() > 0 {
                (self.batch, self.row) = (batches.len(), 0);
                batches.push(batch);
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn compare(&self, other: &Source, batches: &[RecordBatch]) -> Ordering {
        let (a, b) = (&batches[self.batch], &batches[other.batch]);
        let instance_a = a.column(0).as_string::<i32>().value(self.row);
        let instance_b = b.column(0).as_string::<i32>().value(other.row);
        instance_a.cmp(instance_b).then_with(|| timestamps(a)[self.row].cmp(&timestamps(b)[other.row]))
    }
}
