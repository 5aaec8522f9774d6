//! Decimal integers as changes of their difference (delta of delta), zigzag varints: steady counters.

use super::{
    codec::{CodecError, damaged},
    decimal::{self, Decimal},
    varint,
};

pub(super) const TAG: u8 = 3;
const NAME: &str = "decimal delta of delta";

pub(super) fn encode(decimal: &Decimal) -> Vec<u8> {
    let mut out = vec![TAG];
    decimal.put_head(&mut out);
    let (mut last, mut last_delta) = (0i64, 0i64);
    for &integer in &decimal.integers {
        let delta = integer.wrapping_sub(last);
        varint::put_signed(&mut out, delta.wrapping_sub(last_delta));
        (last, last_delta) = (integer, delta);
    }
    out
}

pub(super) fn decode(mut bytes: &[u8], count: usize, out: &mut Vec<f64>) -> Result<(), CodecError> {
    let mut decimal = decimal::take_head(NAME, &mut bytes, count)?;
    varint::take_signed_all(bytes, count, &mut decimal.integers)
        .ok_or(damaged(NAME, "another number of samples than the row says"))?;
    let (mut last, mut delta) = (0i64, 0i64);
    for slot in &mut decimal.integers {
        delta = delta.wrapping_add(*slot);
        last = last.wrapping_add(delta);
        *slot = last;
    }
    decimal.put_values(out);
    Ok(())
}
