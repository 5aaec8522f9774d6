//! Prometheus remote write 1.0 (`prometheus.WriteRequest`): protobuf read in place, labels turned into canonical bytes in one
//! arena, no string built and none kept. Source of the format: the Remote-Write 1.0 specification, prometheus.io/docs/specs.
//!
//! Field numbers: WriteRequest {1 TimeSeries, 3 MetricMetadata}; TimeSeries {1 Label, 2 Sample, 3 Exemplar, 4 Histogram};
//! Label {1 name, 2 value}; Sample {1 double value, 2 int64 timestamp in ms}; MetricMetadata {1 type, 2 family name, 4 help, 5 unit};
//! Exemplar: `remote_write_exemplars`; Histogram: `remote_write_histogram`. One that breaks a rule is left out and counted, the rest is taken.

use std::ops::Range;

use proto::{
    HistogramError, Labels,
    batch::{HISTOGRAM_COUNTS_MAX, HISTOGRAMS_MAX, LABELS_MAX, ROWS_MAX},
    labels::put_str,
    samples::{Family, HistogramRow},
};
use storage::{ExemplarRow, NotKept, SampleRows};

use crate::{
    batch_header::varint,
    remote_write_exemplars::{EXEMPLARS_MAX, Observed, ReadExemplars},
    remote_write_histogram::{self, NotTaken},
};

/// Why bytes are not a write request.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteRequestError {
    /// The protobuf is damaged.
    #[error("protobuf: damaged at byte {0}")]
    Damaged(usize),
    /// A label breaks a rule.
    #[error("series {series}: {rule}")]
    Label {
        /// Which series of the request, from 0.
        series: usize,
        /// What is wrong.
        rule: &'static str,
    },
    /// Over a bound.
    #[error("{what}: more than {max}")]
    TooMany {
        /// Which bound.
        what: &'static str,
        /// What is allowed.
        max: usize,
    },
    /// The table of symbols of 2.0 breaks a rule.
    #[error("symbols: {symbol}: {rule}")]
    Symbol {
        /// Which symbol, from 0.
        symbol: usize,
        /// What is wrong.
        rule: &'static str,
    },
    /// References of 2.0 lead nowhere.
    #[error("series {series}: {field}: {wrong}")]
    Reference {
        /// Which series of the request, from 0.
        series: usize,
        /// Which field of it.
        field: &'static str,
        /// What is wrong.
        wrong: BadReference,
    },
}

/// What is wrong with references to symbols.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadReference {
    /// To a symbol that is not there.
    #[error("{reference} is past the {symbols} symbols")]
    PastTheEnd {
        /// What was referred to.
        reference: u64,
        /// How many symbols there are.
        symbols: usize,
    },
    /// A name without a value.
    #[error("{0} references are no pairs")]
    NoPairs(usize),
}

/// Most series of one request: as many as there may be rows, since Prometheus sends each row as a series of its own.
const SERIES_MAX: usize = ROWS_MAX + HISTOGRAMS_MAX + EXEMPLARS_MAX;

/// The kinds of metrics, as both versions number them.
pub(crate) const KINDS: [&str; 8] =
    ["unknown", "counter", "gauge", "histogram", "gaugehistogram", "summary", "info", "stateset"];

/// The rows of one request. Reuse it: its buffers stay.
#[derive(Default)]
pub struct WriteRequest {
    arena: Vec<u8>,
    labels: Vec<Range<usize>>,
    /// Series read, those without samples included.
    pub(crate) series_read: usize,
    series: Vec<u32>,
    timestamps_ms: Vec<i64>,
    values: Vec<f64>,
    histograms: Vec<HistogramRow>,
    /// Counts of all histograms together.
    histogram_counts: usize,
    bad_histograms: u64,
    /// The first one's series and what is wrong with it.
    bad_histogram: Option<(usize, HistogramError)>,
    exemplars: ReadExemplars,
    pub(crate) families: Vec<Family>,
}

/// Where a series begins among what was read before it.
pub(crate) struct Begin {
    arena: usize,
    rows: usize,
    histograms: usize,
    histogram_counts: usize,
    bad_histograms: u64,
    exemplars: usize,
}

/// Texts of the message being read, collected here before they are put in order. Reuse it: its buffers stay.
#[derive(Default)]
struct Scratch<'a> {
    of_series: Vec<(&'a str, &'a str)>,
    of_exemplar: Vec<(&'a str, &'a str)>,
}

/// One field of a message.
pub(crate) enum Field<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32,
}

#[inline]
pub(crate) fn field<'a>(rest: &mut &'a [u8]) -> Option<(u64, Field<'a>)> {
    let key = varint(rest)?;
    let value = match key & 7 {
        0 => Field::Varint(varint(rest)?),
        1 => Field::Fixed64(u64::from_le_bytes(take(rest, 8)?.try_into().ok()?)),
        2 => {
            let length = usize::try_from(varint(rest)?).ok()?;
            Field::Bytes(take(rest, length)?)
        }
        5 => {
            take(rest, 4)?;
            Field::Fixed32
        }
        _ => return None,
    };
    Some((key >> 3, value))
}

#[inline]
fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(taken)
}

impl WriteRequest {
    /// Reads a request, forgetting what was read before.
    pub fn read(&mut self, bytes: &[u8]) -> Result<(), WriteRequestError> {
        self.clear();
        let mut scratch = Scratch::default();
        let mut rest = bytes;
        while !rest.is_empty() {
            let at = bytes.len() - rest.len();
            let damaged = WriteRequestError::Damaged(at);
            match field(&mut rest) {
                Some((1, Field::Bytes(series))) => self.read_series(series, &mut scratch, at)?,
                Some((3, Field::Bytes(metadata))) => {
                    self.families.extend(read_family(metadata).ok_or(damaged)?);
                }
                Some(_) => {}
                None => return Err(damaged),
            }
        }
        Ok(())
    }

    pub(crate) fn clear(&mut self) {
        self.arena.clear();
        self.labels.clear();
        self.series.clear();
        self.timestamps_ms.clear();
        self.values.clear();
        self.families.clear();
        self.histograms.clear();
        self.exemplars.clear();
        (self.series_read, self.histogram_counts, self.bad_histograms, self.bad_histogram) = (0, 0, 0, None);
    }

    fn read_series<'a>(
        &mut self,
        series: &'a [u8],
        scratch: &mut Scratch<'a>,
        at: usize,
    ) -> Result<(), WriteRequestError> {
        let begin = self.begin();
        scratch.of_series.clear();
        if let Some(rest) = put_plain_labels(&mut self.arena, series) {
            self.read_rows(rest, scratch, at)?;
            if scratch.of_series.is_empty() {
                return self.finish(&begin);
            }
        }
        // another shape: read in the way that takes every one
        self.back_to(&begin);
        scratch.of_series.clear();
        self.read_rows(series, scratch, at)?;
        self.put_labels(&mut scratch.of_series, &begin)
    }

    /// Where the series that comes next begins.
    pub(crate) fn begin(&self) -> Begin {
        Begin {
            arena: self.arena.len(),
            rows: self.values.len(),
            histograms: self.histograms.len(),
            histogram_counts: self.histogram_counts,
            bad_histograms: self.bad_histograms,
            exemplars: self.exemplars.len(),
        }
    }

    /// Forgets what was read of a series.
    fn back_to(&mut self, begin: &Begin) {
        self.arena.truncate(begin.arena);
        self.series.truncate(begin.rows);
        self.timestamps_ms.truncate(begin.rows);
        self.values.truncate(begin.rows);
        self.histograms.truncate(begin.histograms);
        (self.histogram_counts, self.bad_histograms) = (begin.histogram_counts, begin.bad_histograms);
        self.exemplars.truncate(begin.exemplars);
    }

    /// A series is read: its labels are the end of the arena. One that brings no sample must not become one of the store's.
    fn finish(&mut self, begin: &Begin) -> Result<(), WriteRequestError> {
        let now = self.begin();
        let labels = begin.arena..now.arena;
        let of_samples = |at: &Begin| (at.rows, at.histograms, at.bad_histograms);
        if of_samples(&now) != of_samples(begin) {
            self.labels.push(labels);
        } else if now.exemplars > begin.exemplars {
            self.exemplars.without_samples(begin.exemplars, labels);
        } else {
            self.arena.truncate(begin.arena);
        }
        self.series_read += 1;
        match self.series_read <= SERIES_MAX {
            true => Ok(()),
            false => Err(WriteRequestError::TooMany { what: "series of one request", max: SERIES_MAX }),
        }
    }

    /// Reads the rows of a series, and what labels there are into `scratch`.
    fn read_rows<'a>(
        &mut self,
        mut rest: &'a [u8],
        scratch: &mut Scratch<'a>,
        at: usize,
    ) -> Result<(), WriteRequestError> {
        while !rest.is_empty() {
            match field(&mut rest).ok_or(WriteRequestError::Damaged(at))? {
                (1, Field::Bytes(label)) => {
                    let wrong = |rule| WriteRequestError::Label { series: self.series_read, rule };
                    let pair = read_label(label).ok_or(wrong("a label is damaged or not UTF-8"))?;
                    if pair.0.is_empty() {
                        return Err(wrong("a label has no name"));
                    }
                    if scratch.of_series.len() >= LABELS_MAX {
                        return Err(WriteRequestError::TooMany { what: "labels of one series", max: LABELS_MAX });
                    }
                    scratch.of_series.push(pair);
                }
                (2, Field::Bytes(sample)) => self.read_sample(sample, at)?,
                (3, Field::Bytes(exemplar)) => {
                    self.check_exemplars()?;
                    let read = self.exemplars.read(self.labels.len(), exemplar, &mut scratch.of_exemplar);
                    read.ok_or(WriteRequestError::Damaged(at))?;
                }
                (4, Field::Bytes(histogram)) => self.read_histogram(histogram, at)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Reads a sample of the series that is being read.
    pub(crate) fn read_sample(&mut self, bytes: &[u8], at: usize) -> Result<(), WriteRequestError> {
        if self.values.len() >= ROWS_MAX {
            return Err(WriteRequestError::TooMany { what: "samples of one request", max: ROWS_MAX });
        }
        let (timestamp_ms, value) = read_sample(bytes).ok_or(WriteRequestError::Damaged(at))?;
        self.series.push(self.labels.len() as u32);
        self.timestamps_ms.push(timestamp_ms);
        self.values.push(value);
        Ok(())
    }

    /// Adds an exemplar of the series that is being read.
    pub(crate) fn push_exemplar(
        &mut self,
        of: &Observed,
        labels: Result<&mut Vec<(&str, &str)>, NotKept>,
    ) -> Result<(), WriteRequestError> {
        self.check_exemplars()?;
        self.exemplars.push(self.labels.len(), of, labels);
        Ok(())
    }

    /// Refuses one exemplar too many.
    fn check_exemplars(&self) -> Result<(), WriteRequestError> {
        match self.exemplars.len() < EXEMPLARS_MAX {
            true => Ok(()),
            false => Err(WriteRequestError::TooMany { what: "exemplars of one request", max: EXEMPLARS_MAX }),
        }
    }

    /// Reads a histogram of the series that is being read.
    pub(crate) fn read_histogram(&mut self, bytes: &[u8], at: usize) -> Result<(), WriteRequestError> {
        let series = self.labels.len();
        match remote_write_histogram::read(bytes) {
            Ok((timestamp_ms, histogram)) => {
                self.histogram_counts += histogram.counts().len();
                self.histograms.push(HistogramRow { series: series as u32, timestamp_ms, histogram });
            }
            Err(NotTaken::Broken(broken)) => {
                self.bad_histograms += 1;
                self.bad_histogram.get_or_insert((series, broken));
            }
            Err(NotTaken::Damaged) => return Err(WriteRequestError::Damaged(at)),
        }
        let counted =
            [(self.histograms.len(), HISTOGRAMS_MAX), (self.histogram_counts, HISTOGRAM_COUNTS_MAX)].into_iter();
        let names = ["native histograms of one request", "counts of the native histograms of one request"];
        match counted.zip(names).find(|((found, max), _)| found > max) {
            Some(((_, max), what)) => Err(WriteRequestError::TooMany { what, max }),
            None => Ok(()),
        }
    }

    /// Puts the labels of a series into the arena, the last that is to be read of it.
    pub(crate) fn put_labels(&mut self, pairs: &mut [(&str, &str)], begin: &Begin) -> Result<(), WriteRequestError> {
        let wrong = |rule| WriteRequestError::Label { series: self.series_read, rule };
        if !pairs.is_sorted_by(|a, b| a.0 < b.0) {
            pairs.sort_unstable();
            if pairs.windows(2).any(|w| w[0].0 == w[1].0) {
                return Err(wrong("a label is there twice"));
            }
        }
        if pairs.iter().all(|(_, value)| value.is_empty()) {
            return Err(wrong("it has no labels"));
        }
        for (name, value) in pairs.iter().filter(|(_, value)| !value.is_empty()) {
            put_str(&mut self.arena, name);
            put_str(&mut self.arena, value);
        }
        self.finish(begin)
    }

    /// How many samples, floats and histograms.
    pub fn len(&self) -> usize {
        self.values.len() + self.histograms.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The histograms that were left out: how many, and what is wrong with the first.
    pub fn bad_histograms(&self) -> Option<(u64, String)> {
        let (series, broken) = self.bad_histogram.as_ref()?;
        let labels = self.labels.get(*series).and_then(|range| Labels::from_bytes(&self.arena[range.clone()]));
        let of = labels.map_or_else(|| format!("series {series}"), |labels| labels.to_string());
        Some((self.bad_histograms, format!("{of}: {broken}")))
    }

    /// The canonical label bytes of each series that has samples.
    pub fn labels(&self) -> Vec<&[u8]> {
        self.labels.iter().map(|range| &self.arena[range.clone()]).collect()
    }

    /// The exemplars, and the canonical label bytes of the series they are of: `labels`, which is what [`WriteRequest::labels`]
    /// gave, and behind it those that have no samples.
    pub fn exemplars<'a>(&'a self, labels: &[&'a [u8]]) -> (Vec<&'a [u8]>, Vec<ExemplarRow<'a>>) {
        let without_samples = self.exemplars.series_without_samples().map(|range| &self.arena[range]);
        let series = labels.iter().copied().chain(without_samples).collect();
        (series, self.exemplars.rows(labels.len()).collect())
    }

    /// The rows, borrowed; `labels` is what [`WriteRequest::labels`] gave.
    pub fn rows<'a>(&'a self, labels: &'a [&'a [u8]]) -> SampleRows<'a> {
        SampleRows {
            labels,
            series: &self.series,
            timestamps_ms: &self.timestamps_ms,
            values: &self.values,
            histograms: &self.histograms,
            families: &self.families,
        }
    }
}

/// Appends the labels of a series to the arena if they have the shape that senders give them: at its beginning, each name
/// before its value, names ascending, none of these texts empty or longer than 127 bytes. Canonical bytes are then those of the
/// message without its tags, copied as they stand. Gives what follows the labels; `None`: another shape (the arena then
/// holds some of it).
fn put_plain_labels<'a>(arena: &mut Vec<u8>, mut rest: &'a [u8]) -> Option<&'a [u8]> {
    const LABEL: u8 = 1 << 3 | 2;
    const NAME: u8 = 1 << 3 | 2;
    const VALUE: u8 = 2 << 3 | 2;
    let is_plain = |length: &u8| (1..0x80).contains(length);
    let start = arena.len();
    arena.reserve(rest.len());
    let (mut last, mut count): (&[u8], usize) = (&[], 0);
    while let [LABEL, after @ ..] = rest {
        rest = after;
        let length = usize::try_from(varint(&mut rest)?).ok()?;
        let label = take(&mut rest, length)?;
        let [NAME, name_length, text @ ..] = label else { return None };
        let (name, value_field) = text.split_at_checked(usize::from(*name_length))?;
        let [VALUE, value_length, value @ ..] = value_field else { return None };
        let is_whole = value.len() == usize::from(*value_length);
        if !is_whole || !is_plain(name_length) || !is_plain(value_length) || last >= name {
            return None;
        }
        arena.extend_from_slice(&label[1..2 + name.len()]);
        arena.extend_from_slice(&value_field[1..]);
        (last, count) = (name, count + 1);
    }
    // lengths are ASCII: between them, each text is UTF-8 if and only if the whole is
    let is_text = std::str::from_utf8(arena.get(start..)?).is_ok();
    (is_text && (1..=LABELS_MAX).contains(&count)).then_some(rest)
}

pub(crate) fn read_label(mut rest: &[u8]) -> Option<(&str, &str)> {
    let (mut name, mut value) = ("", "");
    while !rest.is_empty() {
        match field(&mut rest)? {
            (1, Field::Bytes(bytes)) => name = std::str::from_utf8(bytes).ok()?,
            (2, Field::Bytes(bytes)) => value = std::str::from_utf8(bytes).ok()?,
            _ => {}
        }
    }
    Some((name, value))
}

fn read_sample(mut rest: &[u8]) -> Option<(i64, f64)> {
    let (mut timestamp_ms, mut value) = (0, 0.0);
    while !rest.is_empty() {
        match field(&mut rest)? {
            (1, Field::Fixed64(bits)) => value = f64::from_bits(bits),
            (2, Field::Varint(ms)) => timestamp_ms = ms as i64, // int64: two's complement
            _ => {}
        }
    }
    Some((timestamp_ms, value))
}

/// `Some(None)`: metadata without a name says nothing.
fn read_family(mut rest: &[u8]) -> Option<Option<Family>> {
    let mut family = Family { name: String::new(), kind: KINDS[0].into(), help: String::new(), unit: String::new() };
    while !rest.is_empty() {
        let (number, value) = field(&mut rest)?;
        match (number, value) {
            (1, Field::Varint(kind)) => family.kind = KINDS.get(kind as usize).copied().unwrap_or(KINDS[0]).into(),
            (2, Field::Bytes(text)) => family.name = std::str::from_utf8(text).ok()?.into(),
            (4, Field::Bytes(text)) => family.help = std::str::from_utf8(text).ok()?.into(),
            (5, Field::Bytes(text)) => family.unit = std::str::from_utf8(text).ok()?.into(),
            _ => {}
        }
    }
    Some((!family.name.is_empty()).then_some(family))
}

#[cfg(test)]
#[path = "remote_write/tests.rs"]
mod tests;
