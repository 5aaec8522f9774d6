//! The codecs of a chunk's timestamps, chosen by size. The first byte is the codec's tag; the first timestamp and the
//! count are in the row, so that chunks of equal rhythm have equal bytes and share one dictionary entry.
//!
//! | tag | codec | for |
//! |---|---|---|
//! | 1 | regular | one distance |
//! | 2 | delta | scrapes with jitter or gaps |
//! | 3 | pco | no rhythm |

use super::{
    codec::{CodecError, DECODED_SAMPLES_MAX, PCO_SAMPLES_MIN, damaged},
    times_delta, times_pco, times_regular, varint,
};

/// The smallest encoding of `timestamps`, which ascend strictly.
pub(crate) fn encode(timestamps: &[i64]) -> Vec<u8> {
    if let Some(step) = times_regular::step(timestamps) {
        return times_regular::encode(step);
    }
    let deltas: Vec<i64> = timestamps.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
    let delta = times_delta::encode(&deltas);
    if deltas.len() >= PCO_SAMPLES_MIN
        && let Some(pco) = times_pco::encode(&deltas)
        && pco.len() < varint::entropy_bytes(&delta)
    {
        return pco;
    }
    delta
}

/// Appends the `count` timestamps of `bytes` to `out`, checked to ascend strictly from `first` to `last`.
pub(crate) fn decode(bytes: &[u8], first: i64, last: i64, count: usize, out: &mut Vec<i64>) -> Result<(), CodecError> {
    if count == 0 || count > DECODED_SAMPLES_MAX {
        return Err(damaged("timestamps", "no samples, or more than a chunk may hold"));
    }
    let (&tag, body) = bytes.split_first().ok_or(damaged("timestamps", "no codec byte"))?;
    let start = out.len();
    match tag {
        times_regular::TAG => times_regular::decode(body, first, count, out)?,
        times_delta::TAG => times_delta::decode(body, first, count, out)?,
        times_pco::TAG => times_pco::decode(body, first, count, out)?,
        _ => return Err(damaged("timestamps", "unknown codec")),
    }
    let decoded = &out[start..];
    let descents = decoded.windows(2).fold(0usize, |n, pair| n + (pair[0] >= pair[1]) as usize);
    if descents > 0 || decoded.first() != Some(&first) || decoded.last() != Some(&last) {
        return Err(damaged("timestamps", "not ascending from the row's first to its last"));
    }
    Ok(())
}
