//! A batch: rows of one class from one source, with a sequence number. Encoded, it is what spool, gRPC and Kafka carry.
//!
//! Bytes: the magic `TWB1` (with native histograms `TWB2`, which an older reader refuses), then one zstd frame with a checksum that holds a [`wire::Batch`] (docs/formats/wire.md).

use std::{cell::RefCell, collections::HashMap, sync::Arc};

use prost::Message;
use zstd::bulk::Decompressor;

use crate::{
    Events, Histogram, Labels, Samples,
    events::Cells,
    samples::{Family, HistogramRow},
    tables::{Kind, Table, class_name},
    wire::{self, Class},
};

/// First bytes of an encoded batch; the digit is the version.
pub const MAGIC: &[u8; 4] = b"TWB1";
/// First bytes of one with native histograms.
pub const MAGIC_HISTOGRAMS: &[u8; 4] = b"TWB2";
/// Largest encoded batch taken, bytes.
pub const ENCODED_BYTES_MAX: usize = 8 << 20;
/// Largest batch after decompression, bytes: bounds what a hostile frame can make us allocate.
pub const DECODED_BYTES_MAX: usize = 64 << 20;
/// Most rows in one batch.
pub const ROWS_MAX: usize = 1 << 20;
/// Most native histograms in one batch or foreign request; they are larger than other samples.
pub const HISTOGRAMS_MAX: usize = 1 << 16;
/// Most counts in all of those together: 32 MiB.
pub const HISTOGRAM_COUNTS_MAX: usize = 1 << 22;
/// Most labels a series may travel with, resource labels included.
pub const LABELS_MAX: usize = 128;
const ZSTD_LEVEL: i32 = 3;

/// Who sent a batch: a collector and the life of its spool.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Source {
    /// The collector's id.
    pub collector: Arc<str>,
    /// Begins anew when the collector's memory of sequences was lost.
    pub epoch: u64,
}

/// The rows of a batch.
#[derive(Clone, Debug, PartialEq)]
pub enum Payload {
    /// Class samples.
    Samples(Samples),
    /// Every other class.
    Events(Events),
}

/// Rows of one class, from one source, in their place in its sequence.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Who sent it.
    pub source: Source,
    /// Its place: 1, 2, 3 … per (source, class).
    pub sequence: u64,
    /// Whose data; never empty.
    pub tenant: Arc<str>,
    /// When it was made, milliseconds.
    pub sent_at_ms: i64,
    /// Labels that every series carries unless it has its own of that name; for events, context only.
    pub resource: Labels,
    /// The rows.
    pub payload: Payload,
}

/// Why bytes are not a batch.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// Not ours, or of a newer version.
    #[error("does not begin with TWB1 or TWB2")]
    Magic,
    /// Over a bound.
    #[error("{what} {found} exceeds {max}")]
    TooLarge {
        /// Which bound.
        what: &'static str,
        /// What was found; at least this.
        found: usize,
        /// What is allowed.
        max: usize,
    },
    /// The zstd frame is damaged.
    #[error("zstd: {0}")]
    Zstd(#[source] std::io::Error),
    /// The protobuf is damaged.
    #[error("protobuf: {0}")]
    Protobuf(#[from] prost::DecodeError),
    /// Well-formed bytes that break a rule.
    #[error("{0}")]
    Rule(String),
}

fn rule<T>(message: impl Into<String>) -> Result<T, BatchError> {
    Err(BatchError::Rule(message.into()))
}

impl Batch {
    /// Its class.
    pub fn class(&self) -> Class {
        match &self.payload {
            Payload::Samples(_) => Class::Samples,
            Payload::Events(events) => events.table.class(),
        }
    }

    /// How many rows.
    pub fn rows(&self) -> usize {
        match &self.payload {
            Payload::Samples(samples) => samples.len(),
            Payload::Events(events) => events.rows(),
        }
    }

    /// The bytes that travel.
    pub fn encode(&self) -> Vec<u8> {
        let mut strings = StringTable::new();
        let columns = match &self.payload {
            Payload::Samples(samples) => wire::batch::Columns::Samples(encode_samples(samples, &mut strings)),
            Payload::Events(events) => wire::batch::Columns::Events(encode_events(events, &mut strings)),
        };
        let resource = self.resource.iter().flat_map(|(n, v)| [n, v]).map(|s| strings.reference(s)).collect();
        let message = wire::Batch {
            source: Some(wire::Source { collector: self.source.collector.to_string(), epoch: self.source.epoch }),
            class: self.class() as i32,
            sequence: self.sequence,
            tenant: self.tenant.to_string(),
            sent_at_ms: self.sent_at_ms,
            strings: strings.strings,
            resource,
            columns: Some(columns),
        };
        let has_histograms = matches!(&self.payload, Payload::Samples(samples) if !samples.histograms.is_empty());
        let mut bytes = if has_histograms { MAGIC_HISTOGRAMS } else { MAGIC }.to_vec();
        let compressed = compress(&message.encode_to_vec()).unwrap_or_else(|e| unreachable!("zstd into memory: {e}"));
        bytes.extend_from_slice(&compressed);
        bytes
    }

    /// Reads the bytes that travelled. Nothing is trusted: sizes, references, lengths, kinds and order are checked.
    pub fn decode(bytes: &[u8]) -> Result<Batch, BatchError> {
        if bytes.len() > ENCODED_BYTES_MAX {
            return Err(BatchError::TooLarge { what: "encoded bytes", found: bytes.len(), max: ENCODED_BYTES_MAX });
        }
        let frame = frame(bytes).ok_or(BatchError::Magic)?;
        let message = wire::Batch::decode(&decompress(frame)?[..])?;
        let class = Class::try_from(message.class).unwrap_or(Class::Unspecified);
        let Some(source) = message.source.filter(|s| !s.collector.is_empty() && s.collector.len() <= 128) else {
            return rule("source.collector must have 1 to 128 bytes");
        };
        if message.sequence == 0 {
            return rule("sequence must be at least 1");
        }
        if message.tenant.len() > 64
            || !message.tenant.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        {
            return rule("tenant must have at most 64 letters, digits, '-' or '_'");
        }
        let strings: Vec<Arc<str>> = message.strings.into_iter().map(Into::into).collect();
        let strings = Strings(&strings);
        let resource = strings.labels(&message.resource, "resource")?;
        let payload = match message.columns {
            Some(wire::batch::Columns::Samples(samples)) if class == Class::Samples => {
                Payload::Samples(decode_samples(samples, strings, &resource)?)
            }
            Some(wire::batch::Columns::Events(events)) => match Table::of_class(class) {
                Some(table) => Payload::Events(decode_events(table, events, strings)?),
                None => return rule(format!("class {} can't hold events", message.class)),
            },
            _ => return rule(format!("class {} does not fit the columns sent", message.class)),
        };
        let tenant = if message.tenant.is_empty() { crate::DEFAULT_TENANT.into() } else { message.tenant.into() };
        Ok(Batch {
            source: Source { collector: source.collector.into(), epoch: source.epoch },
            sequence: message.sequence,
            tenant,
            sent_at_ms: message.sent_at_ms,
            resource,
            payload,
        })
    }
}

/// What follows the magic, if bytes begin with it: a zstd frame.
pub fn frame(bytes: &[u8]) -> Option<&[u8]> {
    bytes.strip_prefix(MAGIC).or_else(|| bytes.strip_prefix(MAGIC_HISTOGRAMS))
}

fn compress(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut compressor = zstd::bulk::Compressor::new(ZSTD_LEVEL)?;
    compressor.include_checksum(true)?;
    compressor.compress(bytes)
}

fn decompress(frame: &[u8]) -> Result<Vec<u8>, BatchError> {
    use std::io::Read;
    // ours say their size: they are unpacked in one piece
    if let Ok(Some(size)) = zstd::zstd_safe::get_frame_content_size(frame) {
        if size > DECODED_BYTES_MAX as u64 {
            let found = usize::try_from(size).unwrap_or(usize::MAX);
            return Err(BatchError::TooLarge { what: "decoded bytes", found, max: DECODED_BYTES_MAX });
        }
        // with a context that the thread keeps: a new one costs as much as a small batch
        thread_local!(static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) });
        let unpacked = DECOMPRESSOR.with_borrow_mut(|kept| match kept {
            Some(decompressor) => decompressor.decompress(frame, size as usize),
            None => kept.insert(Decompressor::new()?).decompress(frame, size as usize),
        });
        return unpacked.map_err(BatchError::Zstd);
    }
    let mut bytes = Vec::new();
    let decoder = zstd::stream::read::Decoder::with_buffer(frame).map_err(BatchError::Zstd)?;
    decoder.take(DECODED_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(BatchError::Zstd)?;
    if bytes.len() > DECODED_BYTES_MAX {
        return Err(BatchError::TooLarge { what: "decoded bytes", found: bytes.len(), max: DECODED_BYTES_MAX });
    }
    Ok(bytes)
}

struct StringTable {
    strings: Vec<String>,
    index: HashMap<String, u32>,
}

impl StringTable {
    fn new() -> StringTable {
        StringTable { strings: vec![String::new()], index: HashMap::from([(String::new(), 0)]) }
    }

    fn reference(&mut self, s: &str) -> u32 {
        if let Some(&reference) = self.index.get(s) {
            return reference;
        }
        let reference = self.strings.len() as u32;
        self.strings.push(s.into());
        self.index.insert(s.into(), reference);
        reference
    }
}

#[derive(Clone, Copy)]
struct Strings<'a>(&'a [Arc<str>]);

impl Strings<'_> {
    fn get(&self, reference: u32) -> Result<&Arc<str>, BatchError> {
        match self.0.get(reference as usize) {
            Some(s) => Ok(s),
            None => rule(format!("string reference {reference} is past the table's {} entries", self.0.len())),
        }
    }

    fn labels(&self, references: &[u32], what: &'static str) -> Result<Labels, BatchError> {
        if !references.len().is_multiple_of(2) {
            return rule(format!("{what} holds half a label"));
        }
        if references.len() / 2 > LABELS_MAX {
            return Err(BatchError::TooLarge {
                what: "labels of one series",
                found: references.len() / 2,
                max: LABELS_MAX,
            });
        }
        let mut builder = crate::LabelsBuilder::default();
        for pair in references.chunks_exact(2) {
            let (name, value) = (self.get(pair[0])?, self.get(pair[1])?);
            if name.is_empty() {
                return rule(format!("{what} holds a label without a name"));
            }
            builder.set(name, value);
        }
        Ok(builder.build())
    }
}

fn encode_samples(samples: &Samples, strings: &mut StringTable) -> wire::Samples {
    let mut message = wire::Samples::default();
    for labels in &samples.labels {
        message.label_counts.push(labels.len() as u32);
        message.label_refs.extend(labels.iter().flat_map(|(n, v)| [n, v]).map(|s| strings.reference(s)));
    }
    message.series.clone_from(&samples.series);
    message.timestamps_ms.clone_from(&samples.timestamps_ms);
    message.values.clone_from(&samples.values);
    for row in &samples.histograms {
        message.histogram_series.push(row.series);
        message.histogram_timestamps_ms.push(row.timestamp_ms);
        message.histograms.push(row.histogram.to_bytes());
    }
    message.families = samples
        .families
        .iter()
        .map(|f| wire::Family {
            name: strings.reference(&f.name),
            kind: strings.reference(&f.kind),
            help: strings.reference(&f.help),
            unit: strings.reference(&f.unit),
        })
        .collect();
    message
}

fn decode_samples(message: wire::Samples, strings: Strings<'_>, resource: &Labels) -> Result<Samples, BatchError> {
    let rows = message.values.len();
    if rows > ROWS_MAX {
        return Err(BatchError::TooLarge { what: "rows", found: rows, max: ROWS_MAX });
    }
    if message.series.len() != rows || message.timestamps_ms.len() != rows {
        return rule(format!(
            "columns differ in length: {} series, {} timestamps, {rows} values",
            message.series.len(),
            message.timestamps_ms.len()
        ));
    }
    let histograms = decode_histograms(&message)?;
    let mut refs = &message.label_refs[..];
    let mut labels = Vec::with_capacity(message.label_counts.len());
    for &count in &message.label_counts {
        let Some((of_this, rest)) = (count as usize).checked_mul(2).and_then(|n| refs.split_at_checked(n)) else {
            return rule("label_counts ask for more labels than label_refs holds");
        };
        refs = rest;
        let mut builder = strings.labels(of_this, "series")?.to_builder();
        for (name, value) in resource {
            builder.set_default(name, value);
        }
        labels.push(builder.build());
    }
    if !refs.is_empty() {
        return rule("label_refs holds more labels than label_counts ask for");
    }
    let mut series = message.series.iter().chain(&message.histogram_series);
    if let Some(bad) = series.find(|&&s| s as usize >= labels.len()) {
        return rule(format!("series {bad} is past the batch's {} series", labels.len()));
    }
    let mut families = Vec::with_capacity(message.families.len());
    for f in message.families {
        let text = |r| strings.get(r).map(|s| s.to_string());
        families.push(Family { name: text(f.name)?, kind: text(f.kind)?, help: text(f.help)?, unit: text(f.unit)? });
    }
    Ok(Samples {
        labels,
        series: message.series,
        timestamps_ms: message.timestamps_ms,
        values: message.values,
        histograms,
        families,
    })
}

/// Their series are still to be compared with the labels.
fn decode_histograms(message: &wire::Samples) -> Result<Vec<HistogramRow>, BatchError> {
    let rows = message.histograms.len();
    if rows > HISTOGRAMS_MAX {
        return Err(BatchError::TooLarge { what: "histograms", found: rows, max: HISTOGRAMS_MAX });
    }
    if message.histogram_series.len() != rows || message.histogram_timestamps_ms.len() != rows {
        return rule(format!(
            "columns differ in length: {} series, {} timestamps, {rows} histograms",
            message.histogram_series.len(),
            message.histogram_timestamps_ms.len()
        ));
    }
    let (mut out, mut counts) = (Vec::with_capacity(rows), 0);
    let places = message.histogram_series.iter().zip(&message.histogram_timestamps_ms);
    for (at, ((&series, &timestamp_ms), bytes)) in places.zip(&message.histograms).enumerate() {
        let histogram = match Histogram::from_bytes(bytes) {
            Ok(histogram) => histogram,
            Err(e) => return rule(format!("histogram {at}: {e}")),
        };
        counts += histogram.counts().len();
        if counts > HISTOGRAM_COUNTS_MAX {
            return Err(BatchError::TooLarge {
                what: "counts of histograms",
                found: counts,
                max: HISTOGRAM_COUNTS_MAX,
            });
        }
        out.push(HistogramRow { series, timestamp_ms, histogram });
    }
    Ok(out)
}

fn encode_events(events: &Events, strings: &mut StringTable) -> wire::Events {
    let mut columns = Vec::new();
    for (column, cells) in events.table.columns().iter().zip(&events.columns) {
        let mut message = wire::Column { name: strings.reference(column.name), ..Default::default() };
        let mut null = |row: usize| message.nulls.push(row as u32);
        match cells {
            Cells::Ints(v) => {
                v.iter().enumerate().filter(|(_, x)| x.is_none()).for_each(|(row, _)| null(row));
                message.ints = v.iter().map(|x| x.unwrap_or(0)).collect();
            }
            Cells::Floats(v) => {
                v.iter().enumerate().filter(|(_, x)| x.is_none()).for_each(|(row, _)| null(row));
                message.floats = v.iter().map(|x| x.unwrap_or(0.0)).collect();
            }
            Cells::Texts(v) => {
                v.iter().enumerate().filter(|(_, x)| x.is_none()).for_each(|(row, _)| null(row));
                message.texts = v.iter().map(|x| x.as_deref().map_or(0, |s| strings.reference(s))).collect();
            }
            Cells::Blobs(v) => {
                v.iter().enumerate().filter(|(_, x)| x.is_none()).for_each(|(row, _)| null(row));
                message.blobs = v.iter().map(|x| x.as_deref().unwrap_or(&[]).to_vec()).collect();
            }
        }
        if message.nulls.len() < events.rows() {
            columns.push(message);
        }
    }
    wire::Events { rows: events.rows() as u32, columns }
}

fn decode_events(table: Table, message: wire::Events, strings: Strings<'_>) -> Result<Events, BatchError> {
    let rows = message.rows as usize;
    if rows > ROWS_MAX {
        return Err(BatchError::TooLarge { what: "rows", found: rows, max: ROWS_MAX });
    }
    let mut columns: Vec<Option<Cells>> = vec![None; table.columns().len()];
    for column in message.columns {
        let name = strings.get(column.name)?;
        let Some(index) = table.column_index(name) else {
            continue; // from a newer collector: what this version can't name it leaves out
        };
        let kind = table.columns()[index].kind;
        let is_null = null_mask(&column.nulls, rows, name)?;
        let length_is = |found: usize| match found == rows {
            true => Ok(()),
            false => rule(format!("{}.{name} has {found} cells for {rows} rows", table.name())),
        };
        let keep = |row: usize| !is_null.get(row).copied().unwrap_or(false);
        let cells = match kind {
            Kind::Timestamp | Kind::Int | Kind::Bool => {
                length_is(column.ints.len())?;
                Cells::Ints(column.ints.into_iter().enumerate().map(|(row, x)| keep(row).then_some(x)).collect())
            }
            Kind::Float => {
                length_is(column.floats.len())?;
                Cells::Floats(column.floats.into_iter().enumerate().map(|(row, x)| keep(row).then_some(x)).collect())
            }
            Kind::Text => {
                length_is(column.texts.len())?;
                let cell = |(row, r)| Ok(if keep(row) { Some(strings.get(r)?.clone()) } else { None });
                Cells::Texts(column.texts.into_iter().enumerate().map(cell).collect::<Result<_, BatchError>>()?)
            }
            Kind::Bytes => {
                length_is(column.blobs.len())?;
                Cells::Blobs(column.blobs.into_iter().enumerate().map(|(row, x)| keep(row).then(|| x.into())).collect())
            }
        };
        let required = matches!(table.columns()[index].name, "instance" | "ts");
        if required && is_null.contains(&true) {
            return rule(format!("{}.{name} must not be null", table.name()));
        }
        if columns[index].replace(cells).is_some() {
            return rule(format!("{}.{name} is there twice", table.name()));
        }
    }
    let mut filled = Vec::with_capacity(columns.len());
    for (column, cells) in table.columns().iter().zip(columns) {
        filled.push(match cells {
            Some(cells) => cells,
            None if rows > 0 && matches!(column.name, "instance" | "ts") => {
                return rule(format!("{}.{} is missing", table.name(), column.name));
            }
            None => all_null(column.kind, rows),
        });
    }
    Ok(Events { table, columns: filled })
}

fn null_mask(nulls: &[u32], rows: usize, name: &str) -> Result<Vec<bool>, BatchError> {
    if nulls.is_empty() {
        return Ok(Vec::new());
    }
    let mut mask = vec![false; rows];
    for &row in nulls {
        match mask.get_mut(row as usize) {
            Some(m) => *m = true,
            None => return rule(format!("{name}: null row {row} is past the {rows} rows")),
        }
    }
    Ok(mask)
}

fn all_null(kind: Kind, rows: usize) -> Cells {
    match kind {
        Kind::Timestamp | Kind::Int | Kind::Bool => Cells::Ints(vec![None; rows]),
        Kind::Float => Cells::Floats(vec![None; rows]),
        Kind::Text => Cells::Texts(vec![None; rows]),
        Kind::Bytes => Cells::Blobs(vec![None; rows]),
    }
}

/// A batch's class by name, for messages: `samples`, `logs` ….
pub fn describe(batch: &Batch) -> String {
    format!("{} #{} of {}/{}", class_name(batch.class()), batch.sequence, batch.source.collector, batch.source.epoch)
}

#[cfg(test)]
#[path = "batch/tests.rs"]
mod tests;
