//! Floats as decimal integers: `value = integer / 10^exponent`, bit for bit, with the few that are not listed apart.
//!
//! Metrics are written by programs that print or count: 0.25, 1633, 12.6 are exact as an integer and an exponent, and
//! integers have small differences where floats have none. Powers of ten up to 10^15 and integers up to 2^53 are exact
//! in a float and division rounds correctly, so a decimal of up to 15 digits always comes back as the same bits.

use super::{
    codec::{CodecError, damaged},
    varint,
};

/// Largest decimal exponent that is tried.
const EXPONENT_MAX: u8 = 15;
/// Largest integer magnitude: all below are exact in a float.
const INTEGER_MAX: f64 = (1u64 << 53) as f64;
/// One value in so many may be an exception (staleness markers, NaN, −0.0, infinities, other floats).
const EXCEPTION_SHARE: usize = 16;
/// Exceptions that are always allowed.
const EXCEPTIONS_FREE: usize = 2;

const POWERS: [f64; EXPONENT_MAX as usize + 1] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// A chunk's values as integers.
#[derive(Debug, PartialEq)]
pub(crate) struct Decimal {
    pub(crate) exponent: u8,
    /// One for each value; an exception repeats the integer before it.
    pub(crate) integers: Vec<i64>,
    /// Position and bits, ascending.
    pub(crate) exceptions: Vec<(usize, u64)>,
}

impl Decimal {
    /// The decimal form of `values`, unless too many of them have none.
    pub(crate) fn of(values: &[f64]) -> Option<Decimal> {
        let exceptions_max = EXCEPTIONS_FREE + values.len() / EXCEPTION_SHARE;
        let (mut exponent, mut odd) = (0u8, 0usize);
        for &value in values {
            if integer_of(value, exponent).is_some() {
                continue;
            }
            match (exponent + 1..=EXPONENT_MAX).find(|&e| integer_of(value, e).is_some()) {
                Some(larger) => exponent = larger,
                None => {
                    odd += 1;
                    if odd > exceptions_max {
                        return None;
                    }
                }
            }
        }
        let mut decimal = Decimal { exponent, integers: Vec::with_capacity(values.len()), exceptions: Vec::new() };
        let mut last = values.iter().find_map(|&v| integer_of(v, exponent)).unwrap_or(0);
        for (i, &value) in values.iter().enumerate() {
            match integer_of(value, exponent) {
                Some(integer) => last = integer,
                None => decimal.exceptions.push((i, value.to_bits())),
            }
            decimal.integers.push(last);
        }
        (decimal.exceptions.len() <= exceptions_max).then_some(decimal)
    }

    /// Appends exponent and exceptions; the integers are the codec's own affair.
    pub(crate) fn put_head(&self, out: &mut Vec<u8>) {
        out.push(self.exponent);
        varint::put(out, self.exceptions.len() as u64);
        let mut next = 0;
        for &(at, bits) in &self.exceptions {
            varint::put(out, (at - next) as u64);
            out.extend_from_slice(&bits.to_le_bytes());
            next = at + 1;
        }
    }
}

/// Exponent and exceptions of `count` values, off the front of `rest`.
pub(crate) fn take_head(codec: &'static str, rest: &mut &[u8], count: usize) -> Result<Decimal, CodecError> {
    let cut = damaged(codec, "cut off");
    let (&exponent, tail) = rest.split_first().ok_or(cut)?;
    *rest = tail;
    if exponent > EXPONENT_MAX {
        return Err(damaged(codec, "exponent above 15"));
    }
    let n = varint::take(rest).ok_or(cut)? as usize;
    if n > count || n > rest.len() {
        return Err(damaged(codec, "more exceptions than samples or bytes"));
    }
    let mut exceptions = Vec::with_capacity(n);
    let mut next = 0usize;
    for _ in 0..n {
        let gap = varint::take(rest).ok_or(cut)?;
        let at = usize::try_from(gap).ok().and_then(|gap| gap.checked_add(next)).filter(|&at| at < count);
        let at = at.ok_or(damaged(codec, "exception past the last sample"))?;
        let (bits, tail) = rest.split_first_chunk::<8>().ok_or(cut)?;
        *rest = tail;
        exceptions.push((at, u64::from_le_bytes(*bits)));
        next = at + 1;
    }
    Ok(Decimal { exponent, integers: Vec::new(), exceptions })
}

impl Decimal {
    /// Appends the values.
    pub(crate) fn put_values(&self, out: &mut Vec<f64>) {
        let start = out.len();
        match self.divisor() {
            None => out.extend(self.integers.iter().map(|&i| i as f64)),
            Some(power) => out.extend(self.integers.iter().map(|&i| i as f64 / power)),
        }
        self.put_exceptions(&mut out[start..]);
    }

    /// What the integers are divided by, unless they are the values.
    pub(super) fn divisor(&self) -> Option<f64> {
        (self.exponent > 0).then_some(POWERS[self.exponent as usize])
    }

    /// Puts the exceptions to their places in the chunk's values.
    pub(super) fn put_exceptions(&self, values: &mut [f64]) {
        for &(at, bits) in &self.exceptions {
            values[at] = f64::from_bits(bits);
        }
    }
}

/// The integer `i` with `i / 10^exponent` equal to `value` in every bit.
fn integer_of(value: f64, exponent: u8) -> Option<i64> {
    let power = POWERS[exponent as usize];
    let scaled = (value * power).round_ties_even();
    let fits = scaled.abs() <= INTEGER_MAX; // false for NaN
    let integer = scaled as i64;
    (fits && (integer as f64 / power).to_bits() == value.to_bits()).then_some(integer)
}
