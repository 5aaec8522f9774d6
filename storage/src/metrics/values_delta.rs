//! Decimal integers as differences: the first, then each one's difference from the one before, zigzag varints.

use super::{
    codec::{CodecError, damaged},
    decimal::{self, Decimal},
    varint,
};

pub(super) const TAG: u8 = 2;
const NAME: &str = "decimal delta";

pub(super) fn encode(decimal: &Decimal) -> Vec<u8> {
    let mut out = vec![TAG];
    decimal.put_head(&mut out);
    let mut last = 0i64;
    for &integer in &decimal.integers {
        varint::put_signed(&mut out, integer.wrapping_sub(last));
        last = integer;
    }
    out
}

pub(super) fn decode(mut bytes: &[u8], count: usize, out: &mut Vec<f64>) -> Result<(), CodecError> {
    let mut decimal = decimal::take_head(NAME, &mut bytes, count)?;
    varint::take_signed_all(bytes, count, &mut decimal.integers)
        .ok_or(damaged(NAME, "another number of samples than the row says"))?;
    let mut last = 0i64;
    for slot in &mut decimal.integers {
        last = last.wrapping_add(*slot);
        *slot = last;
    }
    decimal.put_values(out);
    Ok(())
}
