//! Values as they are: eight bytes each, little endian.

use super::codec::{CodecError, damaged};

pub(super) const TAG: u8 = 0;
const NAME: &str = "raw values";

pub(super) fn encode(values: &[f64]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + values.len() * 8);
    out.push(TAG);
    values.iter().for_each(|v| out.extend_from_slice(&v.to_bits().to_le_bytes()));
    out
}

pub(super) fn decode(bytes: &[u8], count: usize, out: &mut Vec<f64>) -> Result<(), CodecError> {
    let (eights, rest) = bytes.as_chunks::<8>();
    if eights.len() != count || !rest.is_empty() {
        return Err(damaged(NAME, "not eight bytes for each sample"));
    }
    out.extend(eights.iter().map(|b| f64::from_bits(u64::from_le_bytes(*b))));
    Ok(())
}
