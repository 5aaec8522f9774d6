//! Records of exemplars.
//!
//! Byte by byte: docs/formats/log.md.

use proto::Labels;

use super::{
    bytes::{Cursor, Malformed, put_bytes, put_varint, unzigzag, zigzag},
    record::{Head, put_block, put_head, row_count, take_block},
};
use crate::exemplars::Exemplar;

/// Exemplars in the order they came.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ExemplarsRecord {
    /// Whether these are all there are: those of earlier records are among them, or gone.
    pub(crate) is_whole: bool,
    pub(crate) rows: Vec<LoggedExemplar>,
}

/// One exemplar, with whose it is.
#[derive(Clone, Debug)]
pub(crate) struct LoggedExemplar {
    pub(crate) tenant: Box<str>,
    pub(crate) series: Labels,
    pub(crate) exemplar: Exemplar,
}

impl PartialEq for LoggedExemplar {
    /// Values by their bits.
    fn eq(&self, other: &LoggedExemplar) -> bool {
        let key = |of: &LoggedExemplar| (of.exemplar.timestamp_ms, of.exemplar.value.to_bits());
        (&self.tenant, &self.series, &self.exemplar.labels, key(self))
            == (&other.tenant, &other.series, &other.exemplar.labels, key(other))
    }
}

/// The payload of a record of exemplars, in pieces: rows go into it one by one.
pub(crate) struct ExemplarsWriter {
    block: Vec<u8>,
    rows: u64,
    last_ms: i64,
}

impl ExemplarsWriter {
    /// One without rows.
    pub(crate) fn new() -> ExemplarsWriter {
        ExemplarsWriter { block: Vec::new(), rows: 0, last_ms: 0 }
    }

    /// At most so many bytes a row takes before compression.
    pub(crate) fn row_bytes_max(tenant: &str, series: &[u8], exemplar: &Exemplar) -> usize {
        const NUMBER_BYTES_MAX: usize = 10;
        tenant.len() + series.len() + exemplar.labels.as_bytes().len() + size_of::<f64>() + 4 * NUMBER_BYTES_MAX
    }

    /// Adds a row.
    pub(crate) fn put(&mut self, tenant: &str, series: &[u8], exemplar: &Exemplar) {
        put_bytes(&mut self.block, tenant.as_bytes());
        put_bytes(&mut self.block, series);
        put_varint(&mut self.block, zigzag(exemplar.timestamp_ms.wrapping_sub(self.last_ms)));
        self.block.extend_from_slice(&exemplar.value.to_bits().to_le_bytes());
        put_bytes(&mut self.block, exemplar.labels.as_bytes());
        self.last_ms = exemplar.timestamp_ms;
        self.rows += 1;
    }

    /// The payload.
    pub(crate) fn payload(&self, is_whole: bool) -> Vec<u8> {
        let mut out = Vec::new();
        put_head(&mut out, &Head::default());
        out.push(u8::from(is_whole));
        put_varint(&mut out, self.rows);
        put_block(&mut out, &self.block);
        out
    }
}

/// The rows of a record, behind its beginning.
pub(super) fn decode(cursor: &mut Cursor<'_>) -> Result<ExemplarsRecord, Malformed> {
    let is_whole = match cursor.byte()? {
        0 => false,
        1 => true,
        _ => return Err(Malformed("unknown coding of exemplars")),
    };
    let count = row_count(cursor)?;
    let block = take_block(cursor)?;
    let (mut block, mut last_ms, mut rows) = (Cursor(&block), 0i64, Vec::new());
    let labels = |bytes| Labels::from_bytes(bytes).ok_or(Malformed("labels not in canonical form"));
    for _ in 0..count {
        let tenant = block.text()?.into();
        let series = labels(block.bytes()?)?;
        last_ms = last_ms.wrapping_add(unzigzag(block.varint()?));
        let value = f64::from_bits(u64::from_le_bytes(block.fixed()?));
        let exemplar = Exemplar { labels: labels(block.bytes()?)?, timestamp_ms: last_ms, value };
        rows.push(LoggedExemplar { tenant, series, exemplar });
    }
    if block.is_empty() {
        Ok(ExemplarsRecord { is_whole, rows })
    } else {
        Err(Malformed("more bytes than the exemplars have"))
    }
}
