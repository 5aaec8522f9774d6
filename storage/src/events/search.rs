//! The filters of a part's searched columns: written behind the column data, read to choose blocks of rows.
//!
//! A block is some thousand consecutive rows of one row group. For each row group there is a section: its blocks, each with
//! its number of rows and one filter (`grams`) a searched column. The file's metadata says where the sections are.

use std::ops::Range;

use arrow::array::{AsArray, RecordBatch};
use parquet::file::metadata::{KeyValue, ParquetMetaData};
use proto::Table;

use super::grams::{Grams, GramsBuilder};
use crate::metrics::metadata_value;

/// Key in the file's metadata.
pub(crate) const KEY: &str = "tidewatch.search";
const PREFIX: &str = "grams/1";
/// Most rows of a block: what one found row costs to read.
pub(crate) const BLOCK_ROWS: usize = 4096;

/// The text columns of a table that people search for a part of.
fn searched(table: Table) -> &'static [&'static str] {
    match table {
        Table::Logs => &["body", "attributes"],
        Table::StatementSamples | Table::Statements | Table::Activity => &["text"],
        Table::Plans => &["plan", "summary"],
        Table::AlertEvents => &["labels", "detail"],
        Table::StatementStats | Table::Objects | Table::Gaps => &[],
    }
}

/// Builds the sections of a file.
pub(crate) struct SearchWriter {
    names: &'static [&'static str],
    columns: Vec<(usize, GramsBuilder)>,
    rows: u32,
    section: Vec<u8>,
    sections: Vec<Vec<u8>>,
}

impl SearchWriter {
    pub(crate) fn new(table: Table) -> SearchWriter {
        let names = searched(table);
        let indexes = names.iter().filter_map(|name| table.column_index(name));
        let columns = indexes.map(|index| (index, GramsBuilder::new())).collect();
        SearchWriter { names, columns, rows: 0, section: Vec::new(), sections: Vec::new() }
    }

    /// Whether its filters are of these columns.
    pub(crate) fn is_of(&self, columns: &[usize]) -> bool {
        self.columns.iter().map(|(index, _)| index).eq(columns)
    }

    /// Rows that the present block can take.
    pub(crate) fn room(&self) -> usize {
        BLOCK_ROWS - self.rows as usize
    }

    /// Adds rows, all columns of the table, to the present block, and ends it when it is full.
    pub(crate) fn add(&mut self, batch: &RecordBatch) {
        for (index, builder) in &mut self.columns {
            let texts = batch.column(*index).as_string::<i32>();
            let mut last = None;
            for text in texts.iter().flatten() {
                if last != Some(text) {
                    builder.add(text); // neighbours often say the same
                    last = Some(text);
                }
            }
        }
        self.rows += batch.num_rows() as u32;
        if self.room() == 0 {
            self.end_block();
        }
    }

    /// Ends the present block, if it has rows.
    pub(crate) fn end_block(&mut self) {
        if self.rows > 0 {
            self.section.extend_from_slice(&std::mem::take(&mut self.rows).to_le_bytes());
            self.columns.iter_mut().for_each(|(_, builder)| builder.finish(&mut self.section));
        }
    }

    /// Ends the present row group.
    pub(crate) fn end_group(&mut self) {
        self.end_block();
        self.sections.push(std::mem::take(&mut self.section));
    }

    /// The bytes for the file, to stand at `start`, and the metadata that says so; `None` if nothing of the table is searched.
    pub(crate) fn finish(self, start: usize) -> Option<(Vec<u8>, KeyValue)> {
        if self.names.is_empty() {
            return None;
        }
        let sizes: Vec<String> = self.sections.iter().map(|section| section.len().to_string()).collect();
        let value = format!("{PREFIX}:{}:{start}:{}", self.names.join(","), sizes.join(","));
        Some((self.sections.concat(), KeyValue::new(KEY.into(), value)))
    }
}

/// Where a part's filters are.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Search {
    /// Indexes of the searched columns.
    pub(crate) columns: Vec<usize>,
    /// Where each row group's section is in the file.
    pub(crate) sections: Vec<Range<u64>>,
}

impl Search {
    /// What the metadata says; nothing if the file has no filters. Columns that this program does not know are an error.
    pub(crate) fn of(metadata: &ParquetMetaData, table: Table) -> Result<Option<Search>, String> {
        let Some(text) = metadata_value(metadata, KEY) else { return Ok(None) };
        let wrong = || format!("{KEY} is {text:?}");
        let mut fields = text.split(':');
        let (Some(PREFIX), Some(names), Some(start), Some(sizes), None) =
            (fields.next(), fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return Err(wrong());
        };
        let columns = names.split(',').map(|name| table.column_index(name)).collect::<Option<Vec<_>>>();
        let mut at: u64 = start.parse().map_err(|_| wrong())?;
        let mut sections = Vec::with_capacity(metadata.num_row_groups());
        for size in sizes.split(',').filter(|size| !size.is_empty()) {
            let end = size.parse().ok().and_then(|size: u64| at.checked_add(size)).ok_or_else(wrong)?;
            sections.push(at..end);
            at = end;
        }
        match columns {
            Some(columns) if sections.len() == metadata.num_row_groups() => Ok(Some(Search { columns, sections })),
            _ => Err(wrong()),
        }
    }

    /// The blocks of a row group of `rows` rows.
    pub(crate) fn blocks<'a>(&self, mut section: &'a [u8], rows: usize) -> Result<Vec<Block<'a>>, String> {
        let wrong = || "filters that do not fit their row group".to_owned();
        let (mut blocks, mut left) = (Vec::new(), rows);
        while let Some((count, rest)) = section.split_first_chunk() {
            section = rest;
            let count = u32::from_le_bytes(*count) as usize;
            left = left.checked_sub(count).filter(|_| (1..=BLOCK_ROWS).contains(&count)).ok_or_else(wrong)?;
            let filters = self.columns.iter().map(|_| Grams::take(&mut section)).collect::<Option<Vec<_>>>();
            blocks.push(Block { rows: count, filters: filters.ok_or_else(wrong)? });
        }
        if left > 0 || !section.is_empty() { Err(wrong()) } else { Ok(blocks) }
    }
}

/// Some rows' filters, one for each searched column.
pub(crate) struct Block<'a> {
    pub(crate) rows: usize,
    pub(crate) filters: Vec<Grams<'a>>,
}
