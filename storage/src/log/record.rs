//! What one append is in the log: rows with their tenant and their place in their sender's sequence.
//!
//! Byte by byte: docs/formats/log.md.

use std::cell::RefCell;

use proto::{Batch, Class, Events, Histogram, Labels, Payload, Table, events::Cells, samples::Family};
use zstd::bulk::Compressor;

use super::{
    bytes::{Cursor, Malformed, put_bytes, put_varint, unzigzag, zigzag},
    frame::FrameKind,
    record_exemplars::{self, ExemplarsRecord},
};
use crate::append::{Consumed, Origin};

/// Most rows in one record.
pub(crate) const RECORD_ROWS_MAX: usize = proto::batch::ROWS_MAX;
/// Largest record, bytes, decompressed.
pub(crate) const RECORD_BYTES_MAX: usize = 128 << 20;
/// Blocks smaller than this are not worth compressing, bytes.
const COMPRESS_BYTES_MIN: usize = 512;
/// The log is read once at most: fast matters, size hardly.
const ZSTD_LEVEL: i32 = 1;

const PLAIN: u8 = 0;
const ZSTD: u8 = 1;
/// Values: this nibble says that eight raw bytes follow; a smaller one, how many bytes of an integer.
const RAW: u8 = 15;
/// Largest integer written as one, so that it is exact as a float.
const INTEGER_MAX: f64 = 9_007_199_254_740_992.0;

/// An origin that owns its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OwnedOrigin {
    pub(crate) collector: String,
    pub(crate) epoch: u64,
    pub(crate) class: Class,
    pub(crate) sequence: u64,
}

/// A place in a stream that owns its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OwnedConsumed {
    pub(crate) stream: String,
    pub(crate) partition: u32,
    pub(crate) offset: u64,
}

impl OwnedConsumed {
    /// The same, borrowed.
    pub(crate) fn borrow(&self) -> Consumed<'_> {
        Consumed { stream: &self.stream, partition: self.partition, offset: self.offset }
    }
}

/// What every record begins with.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Head<'a> {
    pub(crate) tenant: &'a str,
    pub(crate) origin: Option<Origin<'a>>,
    pub(crate) consumed: Option<Consumed<'a>>,
}

/// A decoded record.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Record {
    pub(crate) tenant: String,
    pub(crate) origin: Option<OwnedOrigin>,
    pub(crate) consumed: Option<OwnedConsumed>,
    pub(crate) rows: RecordRows,
}

/// Its rows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum RecordRows {
    Samples(SamplesRecord),
    Events(Events),
    Exemplars(ExemplarsRecord),
    /// An offset alone.
    None,
}

/// Samples by series id; ids are given by definitions in this or an earlier record of the same tenant and generation.
#[derive(Clone, Debug, Default)]
pub(crate) struct SamplesRecord {
    pub(crate) definitions: Vec<(u32, Labels)>,
    pub(crate) series: Vec<u32>,
    pub(crate) timestamps_ms: Vec<i64>,
    pub(crate) values: Vec<f64>,
    pub(crate) families: Vec<Family>,
    /// Series id, milliseconds, sample.
    pub(crate) histograms: Vec<(u32, i64, Histogram)>,
}

impl PartialEq for SamplesRecord {
    /// Values by their bits.
    fn eq(&self, other: &SamplesRecord) -> bool {
        let bits = |v: &[f64]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        (&self.definitions, &self.series, &self.timestamps_ms, &self.families, &self.histograms)
            == (&other.definitions, &other.series, &other.timestamps_ms, &other.families, &other.histograms)
            && bits(&self.values) == bits(&other.values)
    }
}

/// Bits of the byte behind the tenant: what follows it.
const HAS_ORIGIN: u8 = 1;
const HAS_CONSUMED: u8 = 2;

pub(super) fn put_head(out: &mut Vec<u8>, head: &Head<'_>) {
    put_bytes(out, head.tenant.as_bytes());
    let origin_bit = if head.origin.is_some() { HAS_ORIGIN } else { 0 };
    out.push(origin_bit | if head.consumed.is_some() { HAS_CONSUMED } else { 0 });
    if let Some(origin) = &head.origin {
        put_bytes(out, origin.collector.as_bytes());
        put_varint(out, origin.epoch);
        put_varint(out, origin.class as u64);
        put_varint(out, origin.sequence);
    }
    if let Some(consumed) = &head.consumed {
        put_bytes(out, consumed.stream.as_bytes());
        put_varint(out, u64::from(consumed.partition));
        put_varint(out, consumed.offset);
    }
}

/// The payload of an offset that brought no rows.
pub(crate) fn encode_consumed(consumed: Consumed<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    put_head(&mut out, &Head { consumed: Some(consumed), ..Head::default() });
    out
}

/// Appends a block: its coding, then its bytes behind their length.
pub(super) fn put_block(out: &mut Vec<u8>, block: &[u8]) {
    if block.len() >= COMPRESS_BYTES_MIN
        && let Ok(small) = compress(block)
        && small.len() < block.len()
    {
        out.push(ZSTD);
        put_varint(out, block.len() as u64);
        put_bytes(out, &small);
        return;
    }
    out.push(PLAIN);
    put_bytes(out, block);
}

/// With a context that the thread keeps: a new one costs as much as a small block.
fn compress(block: &[u8]) -> std::io::Result<Vec<u8>> {
    thread_local!(static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) });
    COMPRESSOR.with_borrow_mut(|kept| match kept {
        Some(compressor) => compressor.compress(block),
        None => kept.insert(Compressor::new(ZSTD_LEVEL)?).compress(block),
    })
}

pub(super) fn take_block(cursor: &mut Cursor<'_>) -> Result<Vec<u8>, Malformed> {
    match cursor.byte()? {
        PLAIN => Ok(cursor.bytes()?.to_vec()),
        ZSTD => {
            let size = usize::try_from(cursor.varint()?).unwrap_or(usize::MAX);
            if size > RECORD_BYTES_MAX {
                return Err(Malformed("block larger than a record may be"));
            }
            match zstd::bulk::decompress(cursor.bytes()?, size) {
                Ok(block) if block.len() == size => Ok(block),
                _ => Err(Malformed("damaged zstd block")),
            }
        }
        _ => Err(Malformed("unknown block coding")),
    }
}

/// A samples record's payload.
pub(crate) fn encode_samples<'a>(
    head: &Head<'_>,
    definitions: impl Iterator<Item = (u32, &'a [u8])>,
    series: &[u32],
    timestamps_ms: &[i64],
    values: &[f64],
    families: &[&Family],
    histograms: &[(u32, i64, &Histogram)],
) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + values.len() * 8);
    put_head(&mut out, head);
    let mut block = Vec::new();
    for (id, labels) in definitions {
        put_varint(&mut block, u64::from(id));
        put_bytes(&mut block, labels);
    }
    put_block(&mut out, &block);
    put_varint(&mut out, values.len() as u64);
    put_series(&mut out, series);
    put_timestamps(&mut out, timestamps_ms);
    put_values(&mut out, values);
    put_varint(&mut out, families.len() as u64);
    for family in families {
        for text in [&family.name, &family.kind, &family.help, &family.unit] {
            put_bytes(&mut out, text.as_bytes());
        }
    }
    if !histograms.is_empty() {
        put_histograms(&mut out, histograms);
    }
    out
}

/// At most so many bytes a histogram takes before compression: what a record is bounded by.
pub(crate) fn histogram_bytes_max(histogram: &Histogram) -> usize {
    const NUMBER_BYTES_MAX: usize = 10;
    histogram.layout().bytes() + NUMBER_BYTES_MAX * (2 + histogram.counts().len())
}

fn put_histograms(out: &mut Vec<u8>, histograms: &[(u32, i64, &Histogram)]) {
    put_varint(out, histograms.len() as u64);
    let (mut block, mut last) = (Vec::new(), 0i64);
    for (id, ts, histogram) in histograms {
        put_varint(&mut block, u64::from(*id));
        put_varint(&mut block, zigzag(ts.wrapping_sub(last)));
        histogram.put(&mut block);
        last = *ts;
    }
    put_block(out, &block);
}

/// They end a record; one of floats alone ends before them.
fn take_histograms(cursor: &mut Cursor<'_>) -> Result<Vec<(u32, i64, Histogram)>, Malformed> {
    let rows = if cursor.is_empty() { return Ok(Vec::new()) } else { row_count(cursor)? };
    let block = take_block(cursor)?;
    let (mut block, mut last, mut histograms) = (Cursor(&block), 0i64, Vec::new());
    for _ in 0..rows {
        let id = u32::try_from(block.varint()?).map_err(|_| Malformed("series id that is no u32"))?;
        last = last.wrapping_add(unzigzag(block.varint()?));
        histograms.push((id, last, Histogram::take(&mut block.0).map_err(|_| Malformed("damaged histogram"))?));
    }
    if block.is_empty() { Ok(histograms) } else { Err(Malformed("more bytes than the histograms have")) }
}

fn put_series(out: &mut Vec<u8>, series: &[u32]) {
    let consecutive = series.windows(2).all(|w| w[0].checked_add(1) == Some(w[1]));
    out.push(u8::from(!consecutive));
    if consecutive {
        put_varint(out, series.first().copied().unwrap_or(0).into());
    } else {
        let mut expected = 0i64;
        for &id in series {
            put_varint(out, zigzag(i64::from(id) - expected));
            expected = i64::from(id) + 1;
        }
    }
}

fn take_series(cursor: &mut Cursor<'_>, rows: usize) -> Result<Vec<u32>, Malformed> {
    let wrong = Malformed("series id that is no u32");
    let mut series = Vec::with_capacity(rows);
    match cursor.byte()? {
        0 => {
            let first = cursor.varint()?;
            for row in 0..rows as u64 {
                series.push(first.checked_add(row).and_then(|id| u32::try_from(id).ok()).ok_or(wrong)?);
            }
        }
        1 => {
            let mut expected = 0i64;
            for _ in 0..rows {
                let id = unzigzag(cursor.varint()?).checked_add(expected).and_then(|id| u32::try_from(id).ok());
                series.push(id.ok_or(wrong)?);
                expected = i64::from(id.ok_or(wrong)?) + 1;
            }
        }
        _ => return Err(Malformed("unknown series coding")),
    }
    Ok(series)
}

fn put_timestamps(out: &mut Vec<u8>, timestamps_ms: &[i64]) {
    let first = timestamps_ms.first().copied().unwrap_or(0);
    let same = timestamps_ms.iter().all(|t| *t == first);
    out.push(u8::from(!same));
    if same {
        put_varint(out, zigzag(first));
    } else {
        let mut last = 0i64;
        for &t in timestamps_ms {
            put_varint(out, zigzag(t.wrapping_sub(last)));
            last = t;
        }
    }
}

fn take_timestamps(cursor: &mut Cursor<'_>, rows: usize) -> Result<Vec<i64>, Malformed> {
    match cursor.byte()? {
        0 => Ok(vec![unzigzag(cursor.varint()?); rows]),
        1 => {
            let mut last = 0i64;
            (0..rows)
                .map(|_| {
                    last = last.wrapping_add(unzigzag(cursor.varint()?));
                    Ok(last)
                })
                .collect()
        }
        _ => Err(Malformed("unknown timestamp coding")),
    }
}

/// Two nibbles a byte say how each value is written, then the values: most are small integers.
fn put_values(out: &mut Vec<u8>, values: &[f64]) {
    let nibbles_at = out.len();
    out.resize(nibbles_at + values.len().div_ceil(2), 0);
    for (row, &value) in values.iter().enumerate() {
        let integer = value as i64;
        let exact = value.abs() <= INTEGER_MAX && (integer as f64).to_bits() == value.to_bits();
        let nibble = if exact {
            let n = zigzag(integer);
            let len = 8 - n.leading_zeros() as usize / 8;
            out.extend_from_slice(&n.to_le_bytes()[..len]);
            len as u8
        } else {
            out.extend_from_slice(&value.to_bits().to_le_bytes());
            RAW
        };
        out[nibbles_at + row / 2] |= nibble << (row % 2 * 4);
    }
}

fn take_values(cursor: &mut Cursor<'_>, rows: usize) -> Result<Vec<f64>, Malformed> {
    let nibbles = cursor.take(rows.div_ceil(2))?;
    let mut values = Vec::with_capacity(rows);
    for row in 0..rows {
        values.push(match nibbles[row / 2] >> (row % 2 * 4) & 15 {
            RAW => f64::from_bits(u64::from_le_bytes(cursor.fixed()?)),
            len @ 0..=8 => {
                let mut n = [0; 8];
                n[..len as usize].copy_from_slice(cursor.take(len as usize)?);
                unzigzag(u64::from_le_bytes(n)) as f64
            }
            _ => return Err(Malformed("unknown value coding")),
        });
    }
    Ok(values)
}

/// An events record's payload; only the rows of `keep` (all, if `None`).
pub(crate) fn encode_events(head: &Head<'_>, events: &Events, keep: Option<&[u32]>) -> Vec<u8> {
    let mut out = Vec::new();
    put_head(&mut out, head);
    let rows: Vec<u32> = keep.map_or_else(|| (0..events.rows() as u32).collect(), <[u32]>::to_vec);
    put_varint(&mut out, events.table as u64);
    put_varint(&mut out, rows.len() as u64);
    let mut block = Vec::new();
    put_varint(&mut block, events.columns.len() as u64);
    for cells in &events.columns {
        match cells {
            Cells::Ints(v) => {
                let mut last = 0i64;
                put_column(
                    &mut block,
                    &rows,
                    |r| v[r].as_ref(),
                    |out, n: &i64| {
                        put_varint(out, zigzag(n.wrapping_sub(last)));
                        last = *n;
                    },
                );
            }
            Cells::Floats(v) => put_column(
                &mut block,
                &rows,
                |r| v[r].as_ref(),
                |out, x: &f64| {
                    out.extend_from_slice(&x.to_bits().to_le_bytes());
                },
            ),
            Cells::Texts(v) => {
                let texts = rows.iter().filter_map(|r| v[*r as usize].as_deref());
                block.reserve(texts.map(|text| text.len() + LENGTH_BYTES).sum());
                put_column(&mut block, &rows, |r| v[r].as_deref(), |out, s: &str| put_bytes(out, s.as_bytes()));
            }
            Cells::Blobs(v) => put_column(&mut block, &rows, |r| v[r].as_deref(), |out, b: &[u8]| put_bytes(out, b)),
        }
    }
    put_block(&mut out, &block);
    out
}

/// An events record's payload that keeps the rows as the encoded batch that they came in.
pub(crate) fn encode_batch(head: &Head<'_>, encoded: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(encoded.len() + HEAD_BYTES);
    put_head(&mut out, head);
    out.extend_from_slice(encoded);
    out
}

/// What the beginning of most records takes.
const HEAD_BYTES: usize = 128;
/// What the length of most texts takes.
const LENGTH_BYTES: usize = 2;
const ALL: u8 = 0;
const NONE: u8 = 1;
const SOME: u8 = 2;

fn put_column<'a, T: ?Sized + 'a>(
    out: &mut Vec<u8>,
    rows: &[u32],
    cell: impl Fn(usize) -> Option<&'a T>,
    mut put: impl FnMut(&mut Vec<u8>, &'a T),
) {
    let present = rows.iter().filter(|r| cell(**r as usize).is_some()).count();
    if present == 0 {
        out.push(NONE);
        return;
    }
    if present == rows.len() {
        out.push(ALL);
    } else {
        out.push(SOME);
        let at = out.len();
        out.resize(at + rows.len().div_ceil(8), 0);
        for (i, row) in rows.iter().enumerate() {
            out[at + i / 8] |= u8::from(cell(*row as usize).is_some()) << (i % 8);
        }
    }
    for row in rows {
        if let Some(value) = cell(*row as usize) {
            put(out, value);
        }
    }
}

fn take_column<T>(
    cursor: &mut Cursor<'_>,
    rows: usize,
    mut take: impl FnMut(&mut Cursor<'_>) -> Result<T, Malformed>,
) -> Result<Vec<Option<T>>, Malformed> {
    let present = match cursor.byte()? {
        NONE => return Ok((0..rows).map(|_| None).collect()),
        ALL => None,
        SOME => Some(cursor.take(rows.div_ceil(8))?),
        _ => return Err(Malformed("unknown column coding")),
    };
    (0..rows)
        .map(|row| match present.is_none_or(|bits| bits[row / 8] >> (row % 8) & 1 == 1) {
            true => take(cursor).map(Some),
            false => Ok(None),
        })
        .collect()
}

/// Reads a record's payload. Never panics, never allocates more than [`RECORD_BYTES_MAX`] can justify.
pub(crate) fn decode(kind: FrameKind, payload: &[u8]) -> Result<Record, Malformed> {
    let mut cursor = Cursor(payload);
    let tenant = cursor.text()?.to_owned();
    let bits = cursor.byte()?;
    if bits & !(HAS_ORIGIN | HAS_CONSUMED) != 0 {
        return Err(Malformed("unknown origin coding"));
    }
    let mut origin = None;
    if bits & HAS_ORIGIN != 0 {
        origin = Some(OwnedOrigin {
            collector: cursor.text()?.to_owned(),
            epoch: cursor.varint()?,
            class: class(cursor.varint()?)?,
            sequence: cursor.varint()?,
        });
    }
    let mut consumed = None;
    if bits & HAS_CONSUMED != 0 {
        consumed = Some(OwnedConsumed {
            stream: cursor.text()?.to_owned(),
            partition: u32::try_from(cursor.varint()?).map_err(|_| Malformed("partition that is no u32"))?,
            offset: cursor.varint()?,
        });
    }
    let rows = match kind {
        FrameKind::Samples => RecordRows::Samples(decode_samples(&mut cursor)?),
        FrameKind::Events => RecordRows::Events(decode_events(&mut cursor)?),
        FrameKind::Batch => RecordRows::Events(decode_batch(&mut cursor)?),
        FrameKind::Consumed if consumed.is_none() => return Err(Malformed("an offset without its place")),
        FrameKind::Consumed => RecordRows::None,
        FrameKind::Exemplars => RecordRows::Exemplars(record_exemplars::decode(&mut cursor)?),
        FrameKind::Group => return Err(Malformed("a group is no record")),
    };
    if !cursor.is_empty() {
        return Err(Malformed("more bytes than the record has"));
    }
    Ok(Record { tenant, origin, consumed, rows })
}

fn class(n: u64) -> Result<Class, Malformed> {
    i32::try_from(n).ok().and_then(|n| Class::try_from(n).ok()).ok_or(Malformed("unknown class"))
}

pub(super) fn row_count(cursor: &mut Cursor<'_>) -> Result<usize, Malformed> {
    match usize::try_from(cursor.varint()?) {
        Ok(rows) if rows <= RECORD_ROWS_MAX => Ok(rows),
        _ => Err(Malformed("more rows than a record may have")),
    }
}

fn decode_samples(cursor: &mut Cursor<'_>) -> Result<SamplesRecord, Malformed> {
    let block = take_block(cursor)?;
    let mut block = Cursor(&block);
    let mut definitions = Vec::new();
    while !block.is_empty() {
        let id = u32::try_from(block.varint()?).map_err(|_| Malformed("series id that is no u32"))?;
        definitions.push((id, Labels::from_bytes(block.bytes()?).ok_or(Malformed("labels not in canonical form"))?));
    }
    let rows = row_count(cursor)?;
    let series = take_series(cursor, rows)?;
    let timestamps_ms = take_timestamps(cursor, rows)?;
    let values = take_values(cursor, rows)?;
    let families = (0..cursor.count()?)
        .map(|_| {
            let mut text = || Ok::<_, Malformed>(cursor.text()?.to_owned());
            Ok(Family { name: text()?, kind: text()?, help: text()?, unit: text()? })
        })
        .collect::<Result<_, Malformed>>()?;
    let histograms = take_histograms(cursor)?;
    Ok(SamplesRecord { definitions, series, timestamps_ms, values, families, histograms })
}

fn decode_events(cursor: &mut Cursor<'_>) -> Result<Events, Malformed> {
    let table = Table::of_class(class(cursor.varint()?)?).ok_or(Malformed("class without a table"))?;
    let rows = row_count(cursor)?;
    let block = take_block(cursor)?;
    let mut block = Cursor(&block);
    let found = block.count()?;
    let mut events = Events::new(table);
    if found > events.columns.len() {
        return Err(Malformed("more columns than the table has"));
    }
    for (index, cells) in events.columns.iter_mut().enumerate() {
        let old = index >= found; // written before the column was added
        let mut nothing = Cursor(&[NONE]);
        let from = if old { &mut nothing } else { &mut block };
        match cells {
            Cells::Ints(v) => {
                let mut last = 0i64;
                *v = take_column(from, rows, |c| {
                    last = last.wrapping_add(unzigzag(c.varint()?));
                    Ok(last)
                })?;
            }
            Cells::Floats(v) => *v = take_column(from, rows, |c| Ok(f64::from_bits(u64::from_le_bytes(c.fixed()?))))?,
            Cells::Texts(v) => *v = take_column(from, rows, |c| Ok(c.text()?.into()))?,
            Cells::Blobs(v) => *v = take_column(from, rows, |c| Ok(c.bytes()?.into()))?,
        }
        if index < 2 && !column_is_full(cells) {
            return Err(Malformed("row without instance or ts"));
        }
    }
    if !block.is_empty() {
        return Err(Malformed("more bytes than the columns have"));
    }
    Ok(events)
}

fn decode_batch(cursor: &mut Cursor<'_>) -> Result<Events, Malformed> {
    let encoded = cursor.take(cursor.0.len())?;
    match Batch::decode(encoded).map_err(|_| Malformed("damaged batch"))?.payload {
        Payload::Events(events) => Ok(events),
        Payload::Samples(_) => Err(Malformed("a batch of samples")),
    }
}

fn column_is_full(cells: &Cells) -> bool {
    match cells {
        Cells::Ints(v) => v.iter().all(Option::is_some),
        Cells::Texts(v) => v.iter().all(Option::is_some),
        Cells::Floats(_) | Cells::Blobs(_) => true,
    }
}
