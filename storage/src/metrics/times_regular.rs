//! Timestamps at one distance: the step in milliseconds (varint); first timestamp and count stand in the row, so every
//! chunk of every target scraped at one interval has the same bytes.

use super::{
    codec::{CodecError, damaged},
    varint,
};

pub(super) const TAG: u8 = 1;
const NAME: &str = "regular timestamps";

/// The step, if there is one.
pub(super) fn step(timestamps: &[i64]) -> Option<i64> {
    let Some((first, second)) = timestamps.first().zip(timestamps.get(1)) else { return Some(0) };
    let step = second.checked_sub(*first)?;
    timestamps.windows(2).all(|pair| pair[1].checked_sub(pair[0]) == Some(step)).then_some(step)
}

pub(super) fn encode(step: i64) -> Vec<u8> {
    let mut out = vec![TAG];
    varint::put(&mut out, step as u64);
    out
}

/// Appends `count` timestamps.
pub(super) fn decode(mut bytes: &[u8], first: i64, count: usize, out: &mut Vec<i64>) -> Result<(), CodecError> {
    let step = varint::take(&mut bytes).and_then(|n| i64::try_from(n).ok());
    let step = step.filter(|_| bytes.is_empty()).ok_or(damaged(NAME, "not a step"))?;
    let span = step.checked_mul(count.saturating_sub(1) as i64).and_then(|span| first.checked_add(span));
    span.ok_or(damaged(NAME, "past the end of time"))?;
    out.extend((0..count as i64).map(|i| first + i * step));
    Ok(())
}
