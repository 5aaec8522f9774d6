//! Reads a whole part of an event table and says what is not as its format says: checksums, order, filters.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use bytes::Bytes;
use futures::StreamExt;
use object_store::ObjectStore;
use parquet::arrow::async_reader::AsyncFileReader;
use proto::Table;

use super::{
    read::EventFile,
    search::{KEY, Search, SearchWriter},
    write::timestamps,
};
use crate::{
    ReadError,
    metrics::{damaged, metadata_value, read_error},
};

/// What a part was found to hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct EventFacts {
    pub(crate) rows: u64,
    /// Oldest and newest timestamp, milliseconds; `None` without rows.
    pub(crate) times: Option<(i64, i64)>,
}

/// What it holds. What is wrong is added to `damages`; then the facts are of what could be read.
pub(crate) async fn check(
    store: Arc<dyn ObjectStore>,
    path: &str,
    bytes: u64,
    table: Table,
    damages: &mut Vec<String>,
) -> EventFacts {
    let mut facts = EventFacts::default();
    let file = match EventFile::open(store, path, bytes, table).await {
        Ok(file) => file,
        Err(e) => {
            damages.push(e.to_string());
            return facts;
        }
    };
    if file.file.check_all(damages).await > 0 {
        return facts; // the rows could only say the same again
    }
    if let Err(e) = check_rows(file, &mut facts).await {
        damages.push(format!("after row {}: {e}", facts.rows));
    }
    facts
}

async fn check_rows(file: EventFile, facts: &mut EventFacts) -> Result<(), ReadError> {
    let path = file.file.path.clone();
    let mut filters = Filters::of(&file).await?;
    let everything = file.everything();
    let mut batches = file.batches(None, everything)?;
    let mut last: Option<(String, i64)> = None;
    while let Some(batch) = batches.next().await {
        let batch = batch?;
        let instances = batch.column(0).as_string::<i32>();
        for (row, ts) in timestamps(&batch).iter().enumerate() {
            let instance = instances.value(row);
            if last.as_ref().is_some_and(|(i, t)| (i.as_str(), *t) > (instance, *ts)) {
                return Err(damaged(&path, format!("row {} stands behind a later one", facts.rows)));
            }
            match &mut last {
                Some((i, t)) if i == instance => *t = *ts,
                _ => last = Some((instance.to_owned(), *ts)),
            }
            let (min, max) = facts.times.unwrap_or((*ts, *ts));
            facts.times = Some((min.min(*ts), max.max(*ts)));
            facts.rows += 1;
        }
        if let Some(filters) = &mut filters {
            filters.add(&batch);
        }
    }
    if filters.is_some_and(|filters| !filters.are_of_the_rows()) {
        return Err(damaged(&path, "its filters are not those of its rows"));
    }
    Ok(())
}

/// The filters of a file, and those that its rows should have.
struct Filters {
    found: Bytes,
    start: u64,
    place: String,
    /// Rows of each block, and whether a row group ends with it; in reverse.
    blocks: Vec<(usize, bool)>,
    expected: SearchWriter,
}

impl Filters {
    /// `None`: the file has none, or of other columns than this program's.
    async fn of(file: &EventFile) -> Result<Option<Filters>, ReadError> {
        let path = &file.file.path;
        let search = Search::of(file.metadata(), file.table).map_err(|e| damaged(path, e))?;
        let expected = SearchWriter::new(file.table);
        let Some(search) = search.filter(|search| expected.is_of(&search.columns)) else { return Ok(None) };
        let (Some(first), Some(last)) = (search.sections.first(), search.sections.last()) else { return Ok(None) };
        let (start, end) = (first.start, last.end);
        let found = file.file.clone().get_bytes(start..end).await.map_err(|e| read_error(path, e))?;
        let mut blocks = Vec::new();
        for (group, section) in search.sections.iter().enumerate() {
            let rows = file.metadata().row_group(group).num_rows() as usize;
            let section = &found[(section.start - start) as usize..(section.end - start) as usize];
            let of_group = search.blocks(section, rows).map_err(|e| damaged(path, e))?;
            let count = of_group.len();
            blocks.extend(of_group.iter().enumerate().map(|(at, block)| (block.rows, at + 1 == count)));
        }
        blocks.reverse();
        let place = metadata_value(file.metadata(), KEY).unwrap_or_default().to_owned();
        Ok(Some(Filters { found, start, place, blocks, expected }))
    }

    fn add(&mut self, batch: &RecordBatch) {
        let mut start = 0;
        while start < batch.num_rows() {
            let Some((left, ends_group)) = self.blocks.last_mut() else { return };
            let rows = (*left).min(batch.num_rows() - start);
            self.expected.add(&batch.slice(start, rows));
            start += rows;
            *left -= rows;
            if *left == 0 {
                match *ends_group {
                    true => self.expected.end_group(),
                    false => self.expected.end_block(),
                }
                self.blocks.pop();
            }
        }
    }

    fn are_of_the_rows(self) -> bool {
        let expected = self.expected.finish(self.start as usize);
        expected
            .is_some_and(|(bytes, place)| bytes == self.found && place.value.as_deref() == Some(self.place.as_str()))
    }
}
