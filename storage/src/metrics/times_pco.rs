//! Timestamps without a rhythm: their differences through pco (a standalone file of i64).

use super::codec::{self, CodecError};

pub(super) const TAG: u8 = 3;
const NAME: &str = "pco timestamps";

pub(super) fn encode(deltas: &[i64]) -> Option<Vec<u8>> {
    let mut out = vec![TAG];
    codec::pco_put(deltas, &mut out).then_some(out)
}

/// Appends `count` timestamps.
pub(super) fn decode(bytes: &[u8], first: i64, count: usize, out: &mut Vec<i64>) -> Result<(), CodecError> {
    let start = out.len();
    out.push(first);
    codec::pco_take(NAME, bytes, count - 1, out)?;
    let mut last = first;
    for slot in &mut out[start + 1..] {
        last = last.wrapping_add(*slot);
        *slot = last;
    }
    Ok(())
}
