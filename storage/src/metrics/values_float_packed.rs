//! Floats that are no decimals, packed: their bits as integers that are in the floats' order, so that near floats are near integers.

use super::{codec::CodecError, packed};

pub(super) const TAG: u8 = 7;
const NAME: &str = "float packed";

pub(super) fn encode(values: &[f64]) -> Vec<u8> {
    let mut out = vec![TAG];
    let integers: Vec<i64> = values.iter().map(|value| in_order(value.to_bits() as i64)).collect();
    packed::put(&integers, &mut out);
    out
}

pub(super) fn decode(bytes: &[u8], count: usize, out: &mut Vec<f64>) -> Result<(), CodecError> {
    packed::take(NAME, bytes, count, out, |integer| f64::from_bits(in_order(integer) as u64))
}

/// A float's bits as an integer that is larger where the float is; twice is nothing.
fn in_order(bits: i64) -> i64 {
    bits ^ (bits >> 63) & i64::MAX
}
