//! What of a part a scan has to read: row groups by their statistics and bloom filters, blocks by the filters of their texts.

use std::collections::HashMap;

use parquet::{
    arrow::{
        ParquetRecordBatchStreamBuilder,
        arrow_reader::{RowSelection, RowSelector},
        async_reader::AsyncFileReader,
    },
    bloom_filter::Sbbf,
    file::{metadata::RowGroupMetaData, statistics::Statistics},
};

use super::{
    grams::fold,
    read::{Chosen, EventFile, Scan},
    search::{Block, Search},
};
use crate::{
    ReadError,
    metrics::{damaged, read_error},
};

/// Row groups whose filters are read with one request, and held at once.
const SECTIONS_AT_ONCE: usize = 16;

impl Scan {
    /// The rows that may be asked for.
    pub(super) async fn choose(&self, file: &EventFile) -> Result<Chosen, ReadError> {
        let metadata = file.metadata();
        let all = 0..metadata.num_row_groups();
        let mut groups: Vec<usize> = all.filter(|group| self.group_may_match(metadata.row_group(*group))).collect();
        if self.need.is_nothing() || groups.is_empty() {
            return Ok(Chosen { groups, rows: None });
        }
        groups = self.choose_groups(file, groups).await?;
        let search = Search::of(metadata, file.table).map_err(|e| damaged(&file.file.path, e))?;
        match search {
            Some(search) => self.choose_blocks(file, &search, groups).await,
            None => Ok(Chosen { groups, rows: None }),
        }
    }

    fn group_may_match(&self, group: &RowGroupMetaData) -> bool {
        if let Some(Statistics::Int64(ts)) = group.column(1).statistics()
            && let (Some(min), Some(max)) = (ts.min_opt(), ts.max_opt())
            && !self.overlaps(*min, *max)
        {
            return false;
        }
        self.instances.as_ref().is_none_or(|names| names.iter().any(|name| may_hold(group, 0, name)))
    }

    /// Of `groups` those that may hold the texts which columns are to be.
    async fn choose_groups(&self, file: &EventFile, groups: Vec<usize>) -> Result<Vec<usize>, ReadError> {
        let mut columns = Vec::new();
        self.need.exact_columns(&mut columns);
        columns.retain(|column| *column < file.arrow.schema().fields().len());
        if columns.is_empty() {
            return Ok(groups);
        }
        let mut reader = ParquetRecordBatchStreamBuilder::new_with_metadata(file.file.clone(), file.arrow.clone());
        let mut left = Vec::with_capacity(groups.len());
        for group in groups {
            let mut blooms: HashMap<usize, Sbbf> = HashMap::new();
            for &column in &columns {
                let bloom = reader.get_row_group_column_bloom_filter(group, column).await;
                blooms.extend(bloom.map_err(|e| read_error(&file.file.path, e))?.map(|bloom| (column, bloom)));
            }
            let metadata = file.metadata().row_group(group);
            let one_of = |column: usize, texts: &[String]| {
                let bloom = blooms.get(&column);
                !columns.contains(&column)
                    || texts.iter().any(|text| {
                        may_hold(metadata, column, text) && bloom.is_none_or(|bloom| bloom.check(text.as_str()))
                    })
            };
            if self.need.may_be_met(&|_, _| true, &one_of) {
                left.push(group);
            }
        }
        Ok(left)
    }

    /// Of `groups` those, and of these the blocks, whose filters let the need be met.
    async fn choose_blocks(&self, file: &EventFile, search: &Search, groups: Vec<usize>) -> Result<Chosen, ReadError> {
        let mut reader = file.file.clone();
        let mut chosen = Vec::with_capacity(groups.len());
        let mut selectors: Vec<RowSelector> = Vec::new();
        for some in groups.chunks(SECTIONS_AT_ONCE) {
            let ranges = some.iter().map(|group| search.sections[*group].clone()).collect();
            let sections = reader.get_byte_ranges(ranges).await.map_err(|e| read_error(&file.file.path, e))?;
            for (&group, section) in some.iter().zip(&sections) {
                let rows = file.metadata().row_group(group).num_rows() as usize;
                let blocks = search.blocks(section, rows).map_err(|e| damaged(&file.file.path, e))?;
                let wanted: Vec<bool> = blocks.iter().map(|block| self.block_may_match(search, block)).collect();
                if !wanted.contains(&true) {
                    continue;
                }
                chosen.push(group);
                selectors.extend(blocks.iter().zip(wanted).map(|(block, is_wanted)| match is_wanted {
                    true => RowSelector::select(block.rows),
                    false => RowSelector::skip(block.rows),
                }));
            }
        }
        Ok(Chosen { groups: chosen, rows: Some(RowSelection::from(selectors)) })
    }

    fn block_may_match(&self, search: &Search, block: &Block<'_>) -> bool {
        let filter = |column: usize| search.columns.iter().position(|c| *c == column).map(|at| block.filters[at]);
        let contains = |column: usize, folded: &[u8]| filter(column).is_none_or(|grams| grams.may_contain(folded));
        let one_of = |column: usize, texts: &[String]| {
            filter(column).is_none_or(|grams| {
                let mut folded = Vec::new();
                texts.iter().any(|text| {
                    fold(text, &mut folded);
                    grams.may_contain(&folded)
                })
            })
        };
        self.need.may_be_met(&contains, &one_of)
    }
}

/// Whether a text lies between the least and the greatest of a column. These may be shortened, the latter upwards:
/// comparing stays right.
fn may_hold(group: &RowGroupMetaData, column: usize, text: &str) -> bool {
    match group.column(column).statistics() {
        Some(Statistics::ByteArray(s)) => {
            s.min_bytes_opt().is_none_or(|min| min <= text.as_bytes())
                && s.max_bytes_opt().is_none_or(|max| text.as_bytes() <= max)
        }
        _ => true,
    }
}
