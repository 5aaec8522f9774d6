//! The `Histogram` of remote write 1.0 (`prompb.Histogram`): read in place, checked, made ours.
//!
//! Field numbers: Histogram {1 uint64 count_int or 2 double count_float, 3 double sum, 4 sint32 schema, 5 double zero_threshold,
//! 6 uint64 zero_count_int or 7 double zero_count_float, 8 negative_spans, 9 sint64 negative_deltas, 10 double
//! negative_counts, 11 positive_spans, 12 positive_deltas, 13 positive_counts, 14 reset_hint, 15 int64 timestamp in ms, 16 double
//! custom_values}; BucketSpan {1 sint32 offset, 2 uint32 length}. A histogram counts in floats if its count is one.

use std::sync::Arc;

use proto::histogram::{BUCKETS_MAX, Counts, Histogram, HistogramError, Layout, ResetHint, Shape, Span};

use crate::{
    batch_header::varint,
    remote_write::{Field, field},
};

/// Why it is not taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotTaken {
    /// The protobuf is damaged.
    Damaged,
    /// It breaks this rule.
    Broken(HistogramError),
}

impl From<HistogramError> for NotTaken {
    fn from(error: HistogramError) -> NotTaken {
        NotTaken::Broken(error)
    }
}

#[derive(Default)]
struct Message {
    count_int: u64,
    count_float: f64,
    is_float: bool,
    zero_int: u64,
    zero_float: f64,
    sum: f64,
    shape: Shape,
    positive: Side,
    negative: Side,
    timestamp_ms: i64,
}

/// The counts of a side's buckets, in either form.
#[derive(Default)]
struct Side {
    deltas: Vec<i64>,
    counts: Vec<f64>,
}

/// Reads one; its time in milliseconds.
pub(crate) fn read(mut rest: &[u8]) -> Result<(i64, Histogram), NotTaken> {
    let mut message = Message::default();
    while !rest.is_empty() {
        let (number, value) = field(&mut rest).ok_or(NotTaken::Damaged)?;
        message.put(number, &value)?;
    }
    Ok((message.timestamp_ms, message.finish()?))
}

impl Message {
    fn put(&mut self, number: u64, value: &Field<'_>) -> Result<(), NotTaken> {
        let Message { shape, positive, negative, .. } = self;
        match (number, value) {
            (1, Field::Varint(n)) => (self.count_int, self.is_float) = (*n, false),
            (2, Field::Fixed64(bits)) => (self.count_float, self.is_float) = (f64::from_bits(*bits), true),
            (3, Field::Fixed64(bits)) => self.sum = f64::from_bits(*bits),
            (4, Field::Varint(n)) => shape.schema = i32::try_from(unzigzag(*n)).map_err(|_| NotTaken::Damaged)?,
            (5, Field::Fixed64(bits)) => shape.zero_threshold = f64::from_bits(*bits),
            (6, Field::Varint(n)) => self.zero_int = *n,
            (7, Field::Fixed64(bits)) => self.zero_float = f64::from_bits(*bits),
            (8, Field::Bytes(span)) => put_span(span, &mut shape.negative)?,
            (9, value) => put_integers(value, &mut negative.deltas)?,
            (10, value) => put_floats(value, &mut negative.counts, "negative buckets")?,
            (11, Field::Bytes(span)) => put_span(span, &mut shape.positive)?,
            (12, value) => put_integers(value, &mut positive.deltas)?,
            (13, value) => put_floats(value, &mut positive.counts, "positive buckets")?,
            (14, Field::Varint(n)) => {
                shape.hint = ResetHint::ALL.get(*n as usize).copied().unwrap_or_default();
            }
            (15, Field::Varint(n)) => self.timestamp_ms = *n as i64, // int64: two's complement
            (16, value) => put_floats(value, &mut shape.bounds, "custom bounds")?,
            _ => {}
        }
        Ok(())
    }

    fn finish(self) -> Result<Histogram, HistogramError> {
        let Message { is_float, shape, positive, negative, .. } = self;
        let layout = Layout::new(shape)?;
        let needed =
            [layout.positive_buckets(), layout.columns() - proto::histogram::TOTALS - layout.positive_buckets()];
        for (needed, (side, of)) in needed.into_iter().zip([("positive", &positive), ("negative", &negative)]) {
            let found = if is_float { of.counts.len() } else { of.deltas.len() };
            if found != needed {
                return Err(HistogramError::Buckets { side, needed, found });
            }
        }
        let counts = match is_float {
            true => {
                let totals = [self.count_float, self.zero_float].into_iter();
                Counts::Floats(totals.chain(positive.counts).chain(negative.counts).collect())
            }
            false => {
                let sides = [&positive.deltas[..], &negative.deltas];
                Counts::from_differences(self.count_int, self.zero_int, sides)?
            }
        };
        Histogram::new(Arc::new(layout), self.sum, counts)
    }
}

fn unzigzag(n: u64) -> i64 {
    (n >> 1) as i64 ^ -((n & 1) as i64)
}

fn check_room(len: usize, what: &'static str) -> Result<(), NotTaken> {
    if len < BUCKETS_MAX { Ok(()) } else { Err(HistogramError::TooMany { what }.into()) }
}

fn put_span(mut rest: &[u8], out: &mut Vec<Span>) -> Result<(), NotTaken> {
    check_room(out.len(), "spans")?;
    let mut span = Span::default();
    while !rest.is_empty() {
        match field(&mut rest).ok_or(NotTaken::Damaged)? {
            (1, Field::Varint(n)) => span.offset = i32::try_from(unzigzag(n)).map_err(|_| NotTaken::Damaged)?,
            (2, Field::Varint(n)) => span.length = u32::try_from(n).map_err(|_| NotTaken::Damaged)?,
            _ => {}
        }
    }
    out.push(span);
    Ok(())
}

/// Packed or one by one, as protobuf allows both.
fn put_integers(value: &Field<'_>, out: &mut Vec<i64>) -> Result<(), NotTaken> {
    let mut put = |n: u64| {
        check_room(out.len(), "buckets")?;
        out.push(unzigzag(n));
        Ok::<_, NotTaken>(())
    };
    match value {
        Field::Varint(n) => put(*n),
        Field::Bytes(packed) => {
            let mut rest = *packed;
            while !rest.is_empty() {
                put(varint(&mut rest).ok_or(NotTaken::Damaged)?)?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn put_floats(value: &Field<'_>, out: &mut Vec<f64>, what: &'static str) -> Result<(), NotTaken> {
    let mut put = |bits: u64| {
        check_room(out.len(), what)?;
        out.push(f64::from_bits(bits));
        Ok::<_, NotTaken>(())
    };
    match value {
        Field::Fixed64(bits) => put(*bits),
        Field::Bytes(packed) => {
            let (numbers, rest) = packed.as_chunks::<8>();
            if !rest.is_empty() {
                return Err(NotTaken::Damaged);
            }
            numbers.iter().try_for_each(|bits| put(u64::from_le_bytes(*bits)))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "remote_write/histogram_tests.rs"]
mod tests;
