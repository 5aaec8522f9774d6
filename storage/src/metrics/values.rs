//! The codecs of a chunk's values, chosen by size. The first byte of the bytes is the codec's tag.
//!
//! | tag | codec | for |
//! |---|---|---|
//! | – | constant (no bytes at all: the row's `first`) | four fifths of real series |
//! | 0 | raw | nothing else helps |
//! | 1 | decimal runs | settings, states, slow counters |
//! | 2 | decimal delta | short chunks |
//! | 3 | decimal delta of delta | short chunks of steady counters |
//! | 4 | decimal pco | long chunks that pco makes clearly smaller |
//! | 5 | float pco | the same of computed values |
//! | 6 | decimal packed | counters and printed gauges |
//! | 7 | float packed | computed values |
//!
//! Tag 16 says that the samples are native histograms (`values_histogram`), no floats. Varint codecs count by what the page's zstd will leave of them.

use super::{
    codec::{CodecError, DECODED_SAMPLES_MAX, PCO_SAMPLES_MIN, damaged},
    decimal::Decimal,
    values_decimal_packed, values_decimal_pco, values_delta, values_delta2, values_float_packed, values_float_pco,
    values_histogram, values_raw, values_runs, varint,
};

/// pco is taken where it saves more than one byte in so many: setting it up for a chunk takes longer than reading all of a
/// packed one.
const PCO_SAVES_MIN: usize = 32;
/// What zstd leaves of a chunk's bytes is larger than their own entropy by one byte in so many: it codes all chunks of a page
/// alike. Measured on parts of a fleet, where 8 gave the smallest pages.
const ZSTD_LOSES: usize = 8;

/// The one value, in every bit, of all `values`.
pub(crate) fn constant(values: &[f64]) -> Option<f64> {
    let first = *values.first()?;
    values.iter().all(|v| v.to_bits() == first.to_bits()).then_some(first)
}

/// The smallest encoding of `values`, or one that is hardly larger and quicker to read.
pub(crate) fn encode(values: &[f64]) -> Vec<u8> {
    let mut best = (usize::MAX, Vec::new());
    let mut offer = |cost: usize, bytes: Vec<u8>| {
        if cost < best.0 {
            best = (cost, bytes);
        }
    };
    let compressed = |bytes: &[u8]| varint::entropy_bytes(bytes) * (ZSTD_LOSES + 1) / ZSTD_LOSES;
    let decimal = Decimal::of(values);
    if let Some(decimal) = &decimal {
        let bytes = values_decimal_packed::encode(decimal);
        offer(bytes.len(), bytes);
        if let Some(bytes) = values_runs::encode(decimal) {
            offer(varint::entropy_bytes(&bytes), bytes);
        }
        for bytes in [values_delta::encode(decimal), values_delta2::encode(decimal)] {
            offer(compressed(&bytes), bytes);
        }
    } else {
        let bytes = values_float_packed::encode(values);
        offer(bytes.len(), bytes);
        let bytes = values_raw::encode(values);
        offer(compressed(&bytes), bytes);
    }
    if values.len() >= PCO_SAMPLES_MIN
        && let Some(bytes) =
            decimal.map_or_else(|| values_float_pco::encode(values), |d| values_decimal_pco::encode(&d))
    {
        offer(bytes.len() + bytes.len() / PCO_SAVES_MIN, bytes);
    }
    best.1
}

/// The codec's name, for people.
pub(crate) fn name(bytes: &[u8]) -> &'static str {
    match bytes.first() {
        Some(&values_raw::TAG) => "raw",
        Some(&values_runs::TAG) => "decimal runs",
        Some(&values_delta::TAG) => "decimal delta",
        Some(&values_delta2::TAG) => "decimal delta of delta",
        Some(&values_decimal_pco::TAG) => "decimal pco",
        Some(&values_float_pco::TAG) => "float pco",
        Some(&values_decimal_packed::TAG) => "decimal packed",
        Some(&values_float_packed::TAG) => "float packed",
        Some(&values_histogram::TAG) => "histograms",
        _ => "unknown",
    }
}

/// Appends the `count` values of `bytes` to `out`. On an error `out` may hold some of them.
pub(crate) fn decode(bytes: &[u8], count: usize, out: &mut Vec<f64>) -> Result<(), CodecError> {
    if count > DECODED_SAMPLES_MAX {
        return Err(damaged("values", "more samples than a chunk may hold"));
    }
    let (&tag, body) = bytes.split_first().ok_or(damaged("values", "no codec byte"))?;
    match tag {
        values_raw::TAG => values_raw::decode(body, count, out),
        values_runs::TAG => values_runs::decode(body, count, out),
        values_delta::TAG => values_delta::decode(body, count, out),
        values_delta2::TAG => values_delta2::decode(body, count, out),
        values_decimal_pco::TAG => values_decimal_pco::decode(body, count, out),
        values_float_pco::TAG => values_float_pco::decode(body, count, out),
        values_decimal_packed::TAG => values_decimal_packed::decode(body, count, out),
        values_float_packed::TAG => values_float_packed::decode(body, count, out),
        values_histogram::TAG => Err(damaged("values", "histograms where floats are expected")),
        _ => Err(damaged("values", "unknown codec")),
    }
}
