//! Decimal integers that seldom change: for each run the change (zigzag varint) and its length (varint).

use super::{
    codec::{CodecError, damaged},
    decimal::{self, Decimal},
    varint,
};

pub(super) const TAG: u8 = 1;
const NAME: &str = "decimal runs";
/// Only tried when runs are at least this long on average.
const RUN_SAMPLES_MIN: usize = 4;

pub(super) fn encode(decimal: &Decimal) -> Option<Vec<u8>> {
    let runs = decimal.integers.chunk_by(|a, b| a == b).count();
    if runs * RUN_SAMPLES_MIN > decimal.integers.len() {
        return None;
    }
    let mut out = vec![TAG];
    decimal.put_head(&mut out);
    let mut last = 0i64;
    for run in decimal.integers.chunk_by(|a, b| a == b) {
        varint::put_signed(&mut out, run[0].wrapping_sub(last));
        varint::put(&mut out, run.len() as u64);
        last = run[0];
    }
    Some(out)
}

pub(super) fn decode(mut bytes: &[u8], count: usize, out: &mut Vec<f64>) -> Result<(), CodecError> {
    let cut = damaged(NAME, "cut off");
    let mut decimal = decimal::take_head(NAME, &mut bytes, count)?;
    let mut last = 0i64;
    while !bytes.is_empty() {
        last = last.wrapping_add(varint::take_signed(&mut bytes).ok_or(cut)?);
        let length = varint::take(&mut bytes).ok_or(cut)?;
        if length > (count - decimal.integers.len()) as u64 {
            return Err(damaged(NAME, "more samples than the row says"));
        }
        decimal.integers.resize(decimal.integers.len() + length as usize, last);
    }
    if decimal.integers.len() != count {
        return Err(damaged(NAME, "fewer samples than the row says"));
    }
    decimal.put_values(out);
    Ok(())
}
