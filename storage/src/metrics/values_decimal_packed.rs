//! Decimal integers, packed: differences of the order that suits them, each in as many bits as its block needs.

use super::{
    codec::CodecError,
    decimal::{self, Decimal},
    packed,
};

pub(super) const TAG: u8 = 6;
const NAME: &str = "decimal packed";

pub(super) fn encode(decimal: &Decimal) -> Vec<u8> {
    let mut out = vec![TAG];
    decimal.put_head(&mut out);
    packed::put(&decimal.integers, &mut out);
    out
}

pub(super) fn decode(mut bytes: &[u8], count: usize, out: &mut Vec<f64>) -> Result<(), CodecError> {
    let head = decimal::take_head(NAME, &mut bytes, count)?;
    let start = out.len();
    match head.divisor() {
        None => packed::take(NAME, bytes, count, out, |integer| integer as f64)?,
        Some(power) => packed::take(NAME, bytes, count, out, |integer| integer as f64 / power)?,
    }
    head.put_exceptions(&mut out[start..]);
    Ok(())
}
