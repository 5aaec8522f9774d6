//! The canonical bytes of a histogram and of a layout; docs/formats/wire.md describes them.

use std::sync::Arc;

use super::{BUCKETS_MAX, Counts, Histogram, HistogramError, Layout, ResetHint, Shape, Span, TOTALS};

/// Bits of the first byte.
const FLOATS: u8 = 1;
const HINT_SHIFT: u8 = 1;
const HINT_MASK: u8 = 3;
const FIRST_BYTE_MAX: u8 = FLOATS | HINT_MASK << HINT_SHIFT;

const CUT: HistogramError = HistogramError::Damaged("it ends too early, or a number is too long");

fn put_varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn put_signed(out: &mut Vec<u8>, n: i64) {
    put_varint(out, ((n << 1) ^ (n >> 63)) as u64);
}

fn take_varint(rest: &mut &[u8]) -> Result<u64, HistogramError> {
    let mut n = 0u64;
    for (at, &byte) in rest.iter().enumerate().take(10) {
        if at == 9 && byte > 1 {
            break;
        }
        n |= u64::from(byte & 0x7f) << (7 * at);
        if byte < 0x80 {
            *rest = &rest[at + 1..];
            return Ok(n);
        }
    }
    Err(CUT)
}

fn take_signed(rest: &mut &[u8]) -> Result<i64, HistogramError> {
    let n = take_varint(rest)?;
    Ok((n >> 1) as i64 ^ -((n & 1) as i64))
}

fn take_float(rest: &mut &[u8]) -> Result<f64, HistogramError> {
    let (bits, after) = rest.split_first_chunk().ok_or(CUT)?;
    *rest = after;
    Ok(f64::from_bits(u64::from_le_bytes(*bits)))
}

/// A count of things that take at least `bytes_each`, so that nothing is reserved for what can't be there.
fn take_count(rest: &mut &[u8], bytes_each: usize) -> Result<usize, HistogramError> {
    match usize::try_from(take_varint(rest)?) {
        Ok(n) if n <= BUCKETS_MAX && n * bytes_each <= rest.len() => Ok(n),
        _ => Err(HistogramError::Damaged("a count of more than there is")),
    }
}

fn put_spans(out: &mut Vec<u8>, spans: &[Span]) {
    put_varint(out, spans.len() as u64);
    for span in spans {
        put_signed(out, span.offset.into());
        put_varint(out, span.length.into());
    }
}

fn take_spans(rest: &mut &[u8]) -> Result<Vec<Span>, HistogramError> {
    const WIDE: HistogramError = HistogramError::Damaged("a span of more than 32 bits");
    let count = take_count(rest, 2)?;
    let span = |_| {
        let offset = i32::try_from(take_signed(rest)?).map_err(|_| WIDE)?;
        let length = u32::try_from(take_varint(rest)?).map_err(|_| WIDE)?;
        Ok(Span { offset, length })
    };
    (0..count).map(span).collect()
}

impl Layout {
    /// Appends its bytes; `is_float` says what counts will follow.
    pub fn put(&self, is_float: bool, out: &mut Vec<u8>) {
        let shape = self.shape();
        let floats = if is_float { FLOATS } else { 0 };
        out.push(floats | (shape.hint as u8) << HINT_SHIFT);
        put_signed(out, shape.schema.into());
        out.extend_from_slice(&shape.zero_threshold.to_le_bytes());
        put_spans(out, &shape.positive);
        put_spans(out, &shape.negative);
        if self.is_custom() {
            put_varint(out, shape.bounds.len() as u64);
            shape.bounds.iter().for_each(|bound| out.extend_from_slice(&bound.to_le_bytes()));
        }
    }

    /// Takes one off the front of `rest`, and whether floats follow.
    pub fn take(rest: &mut &[u8]) -> Result<(Layout, bool), HistogramError> {
        let (&first, after) = rest.split_first().ok_or(CUT)?;
        *rest = after;
        if first > FIRST_BYTE_MAX {
            return Err(HistogramError::Damaged("an unknown first byte"));
        }
        let mut shape = Shape {
            hint: ResetHint::ALL[usize::from(first >> HINT_SHIFT & HINT_MASK)],
            schema: i32::try_from(take_signed(rest)?).map_err(|_| HistogramError::Damaged("a schema of no i32"))?,
            zero_threshold: take_float(rest)?,
            positive: take_spans(rest)?,
            negative: take_spans(rest)?,
            bounds: Vec::new(),
        };
        if shape.schema == super::SCHEMA_CUSTOM {
            let count = take_count(rest, size_of::<f64>())?;
            shape.bounds = (0..count).map(|_| take_float(rest)).collect::<Result<_, _>>()?;
        }
        Ok((Layout::new(shape)?, first & FLOATS != 0))
    }
}

impl Histogram {
    /// Appends its canonical bytes.
    pub fn put(&self, out: &mut Vec<u8>) {
        self.layout().put(self.is_float(), out);
        out.extend_from_slice(&self.sum().to_le_bytes());
        match self.counts() {
            Counts::Integers(counts) => {
                let mut last = 0u64;
                for &n in counts {
                    put_signed(out, n.wrapping_sub(last) as i64);
                    last = n;
                }
            }
            Counts::Floats(counts) => counts.iter().for_each(|n| out.extend_from_slice(&n.to_le_bytes())),
        }
    }

    /// Its canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.put(&mut out);
        out
    }

    /// Takes one off the front of `rest`. Nothing is trusted.
    pub fn take(rest: &mut &[u8]) -> Result<Histogram, HistogramError> {
        let (layout, is_float) = Layout::take(rest)?;
        let sum = take_float(rest)?;
        let columns = layout.columns();
        let bytes_each = if is_float { size_of::<f64>() } else { 1 };
        if columns * bytes_each > rest.len() {
            return Err(CUT);
        }
        let counts = if is_float {
            Counts::Floats((0..columns).map(|_| take_float(rest)).collect::<Result<_, _>>()?)
        } else {
            let mut last = 0u64;
            let mut next = |_| {
                last = last.wrapping_add(take_signed(rest)? as u64);
                Ok::<_, HistogramError>(last)
            };
            Counts::Integers((0..columns).map(&mut next).collect::<Result<_, _>>()?)
        };
        Histogram::new(Arc::new(layout), sum, counts)
    }

    /// Reads bytes that are one histogram and nothing else.
    pub fn from_bytes(mut bytes: &[u8]) -> Result<Histogram, HistogramError> {
        let histogram = Histogram::take(&mut bytes)?;
        if bytes.is_empty() { Ok(histogram) } else { Err(HistogramError::Damaged("more bytes than it has")) }
    }
}

const _: () = assert!(TOTALS == 2, "the totals stand first among the counts");
