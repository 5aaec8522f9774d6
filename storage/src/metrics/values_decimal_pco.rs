//! Decimal integers through pco (Pcodec, <https://github.com/pcodec/pcodec>; a standalone file of i64).

use super::{
    codec::{self, CodecError},
    decimal::{self, Decimal},
};

pub(super) const TAG: u8 = 4;
const NAME: &str = "decimal pco";

pub(super) fn encode(decimal: &Decimal) -> Option<Vec<u8>> {
    let mut out = vec![TAG];
    decimal.put_head(&mut out);
    codec::pco_put(&decimal.integers, &mut out).then_some(out)
}

pub(super) fn decode(mut bytes: &[u8], count: usize, out: &mut Vec<f64>) -> Result<(), CodecError> {
    let mut decimal = decimal::take_head(NAME, &mut bytes, count)?;
    codec::pco_take(NAME, bytes, count, &mut decimal.integers)?;
    decimal.put_values(out);
    Ok(())
}
