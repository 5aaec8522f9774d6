//! The exemplars of a write request, whichever version: their labels made canonical in one arena of their own.
//!
//! Field numbers of 1.0: Exemplar {1 Label, 2 double value, 3 int64 timestamp in ms}; in 2.0 the first is `labels_refs`. Labels that
//! break a rule cost their exemplar, not the request: as in Prometheus, samples don't depend on exemplars.

use std::ops::Range;

use proto::{batch::LABELS_MAX, labels::put_str};
use storage::{ExemplarRow, NotKept};

use crate::remote_write::{Field, field, read_label};

/// Most exemplars of one request; Prometheus sends at most 2 000 of all kinds at once unless told otherwise.
pub(crate) const EXEMPLARS_MAX: usize = 1 << 17;

/// Reuse it: its buffers stay.
#[derive(Default)]
pub(crate) struct ReadExemplars {
    arena: Vec<u8>,
    rows: Vec<Row>,
    /// Labels, in the request's arena, of series that have exemplars and no samples.
    without_samples: Vec<Range<usize>>,
}

struct Row {
    series: Of,
    timestamp_ms: i64,
    value: f64,
    labels: Result<Range<usize>, NotKept>,
}

/// The series an exemplar is of, as an index.
#[derive(Clone, Copy)]
enum Of {
    WithSamples(usize),
    WithoutSamples(usize),
}

/// Time and value of an exemplar, whose labels are elsewhere.
#[derive(Default)]
pub(crate) struct Observed {
    pub(crate) timestamp_ms: i64,
    pub(crate) value: f64,
}

impl Observed {
    /// Takes one field of the message; labels are not among those it knows.
    pub(crate) fn put(&mut self, number: u64, value: &Field<'_>) {
        match (number, value) {
            (2, Field::Fixed64(bits)) => self.value = f64::from_bits(*bits),
            (3, Field::Varint(ms)) => self.timestamp_ms = *ms as i64, // int64: two's complement
            _ => {}
        }
    }
}

impl ReadExemplars {
    pub(crate) fn clear(&mut self) {
        self.rows.clear();
        self.arena.clear();
        self.without_samples.clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Forgets the last ones. What stands in the arena of them stays until the next request.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.rows.truncate(len);
    }

    /// The series that is read, whose exemplars begin at `from`, has no samples; its labels stand there in the request's arena.
    pub(crate) fn without_samples(&mut self, from: usize, labels: Range<usize>) {
        let series = Of::WithoutSamples(self.without_samples.len());
        self.rows[from..].iter_mut().for_each(|row| row.series = series);
        self.without_samples.push(labels);
    }

    /// Reads an `Exemplar` of 1.0; `None`: its protobuf is damaged.
    pub(crate) fn read<'a>(
        &mut self,
        series: usize,
        mut rest: &'a [u8],
        pairs: &mut Vec<(&'a str, &'a str)>,
    ) -> Option<()> {
        pairs.clear();
        let (mut observed, mut broken) = (Observed::default(), None);
        while !rest.is_empty() {
            match field(&mut rest)? {
                (1, Field::Bytes(_)) if pairs.len() >= LABELS_MAX => broken = Some(NotKept::LabelsTooLong),
                (1, Field::Bytes(label)) => match read_label(label) {
                    Some(pair) => pairs.push(pair),
                    None => broken = Some(NotKept::BadLabels),
                },
                (number, value) => observed.put(number, &value),
            }
        }
        self.push(series, &observed, broken.map_or(Ok(pairs), Err));
        Some(())
    }

    /// Adds an exemplar of a series that will be at this index if it has samples; its labels in any order.
    pub(crate) fn push(&mut self, series: usize, of: &Observed, labels: Result<&mut Vec<(&str, &str)>, NotKept>) {
        let labels = labels.and_then(|pairs| self.put_labels(pairs));
        self.rows.push(Row { series: Of::WithSamples(series), timestamp_ms: of.timestamp_ms, value: of.value, labels });
    }

    fn put_labels(&mut self, pairs: &mut [(&str, &str)]) -> Result<Range<usize>, NotKept> {
        pairs.sort_unstable();
        if pairs.iter().any(|(name, _)| name.is_empty()) || pairs.windows(2).any(|w| w[0].0 == w[1].0) {
            return Err(NotKept::BadLabels);
        }
        let start = self.arena.len();
        for (name, value) in pairs.iter().filter(|(_, value)| !value.is_empty()) {
            put_str(&mut self.arena, name);
            put_str(&mut self.arena, value);
        }
        Ok(start..self.arena.len())
    }

    /// Where the labels are of series without samples.
    pub(crate) fn series_without_samples(&self) -> impl Iterator<Item = Range<usize>> {
        self.without_samples.iter().cloned()
    }

    /// All of them; series without samples stand behind those, so many, that have some.
    pub(crate) fn rows(&self, with_samples: usize) -> impl Iterator<Item = ExemplarRow<'_>> {
        self.rows.iter().map(move |row| ExemplarRow {
            series: match row.series {
                Of::WithSamples(at) => at as u32,
                Of::WithoutSamples(at) => (with_samples + at) as u32,
            },
            timestamp_ms: row.timestamp_ms,
            value: row.value,
            labels: row.labels.clone().map(|range| &self.arena[range]),
        })
    }
}

#[cfg(test)]
#[path = "remote_write/exemplar_tests.rs"]
mod tests;
