//! Timestamps near one distance: the step (varint), then each difference minus the step (zigzag varints).

use super::{
    codec::{CodecError, damaged},
    varint,
};

pub(super) const TAG: u8 = 2;
const NAME: &str = "delta timestamps";

pub(super) fn encode(deltas: &[i64]) -> Vec<u8> {
    let mut sorted = deltas.to_vec();
    let middle = sorted.len() / 2;
    let step = *sorted.select_nth_unstable(middle).1;
    let mut out = vec![TAG];
    varint::put(&mut out, step as u64);
    deltas.iter().for_each(|&delta| varint::put_signed(&mut out, delta.wrapping_sub(step)));
    out
}

/// Appends `count` timestamps.
pub(super) fn decode(mut bytes: &[u8], first: i64, count: usize, out: &mut Vec<i64>) -> Result<(), CodecError> {
    let step = varint::take(&mut bytes).ok_or(damaged(NAME, "cut off"))? as i64;
    let start = out.len();
    out.push(first);
    varint::take_signed_all(bytes, count - 1, out)
        .ok_or(damaged(NAME, "another number of samples than the row says"))?;
    let mut last = first;
    for slot in &mut out[start + 1..] {
        last = last.wrapping_add(slot.wrapping_add(step));
        *slot = last;
    }
    Ok(())
}
