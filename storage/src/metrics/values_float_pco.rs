//! Floats through pco (a standalone file of f64), for values that are no decimals: quotients, averages, measured seconds.

use super::codec::{self, CodecError};

pub(super) const TAG: u8 = 5;
const NAME: &str = "float pco";

pub(super) fn encode(values: &[f64]) -> Option<Vec<u8>> {
    let mut out = vec![TAG];
    codec::pco_put(values, &mut out).then_some(out)
}

pub(super) fn decode(bytes: &[u8], count: usize, out: &mut Vec<f64>) -> Result<(), CodecError> {
    codec::pco_take(NAME, bytes, count, out)
}
