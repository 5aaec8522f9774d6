//! Every codec of timestamps and values: what goes in comes out in every bit, and no bytes whatever make a decoder
//! panic or reserve more than the row's count.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::{
    chunk::{Chunk, ChunkDecoder},
    codec::DECODED_SAMPLES_MAX,
    decimal::Decimal,
    testdata::{arbitrary_timestamps, arbitrary_values},
    times, times_delta, times_pco, times_regular, values, values_decimal_packed, values_decimal_pco, values_delta,
    values_delta2, values_float_packed, values_float_pco, values_raw, values_runs,
};

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// What each codec that can take `data` makes of it.
fn all_value_encodings(data: &[f64]) -> Vec<Vec<u8>> {
    let mut all = vec![values_raw::encode(data), values_float_packed::encode(data), values::encode(data)];
    all.extend(values_float_pco::encode(data));
    if let Some(decimal) = Decimal::of(data) {
        all.push(values_delta::encode(&decimal));
        all.push(values_delta2::encode(&decimal));
        all.push(values_decimal_packed::encode(&decimal));
        all.extend(values_runs::encode(&decimal));
        all.extend(values_decimal_pco::encode(&decimal));
    }
    all
}

fn all_time_encodings(timestamps: &[i64]) -> Vec<Vec<u8>> {
    let mut all = vec![times::encode(timestamps)];
    all.extend(times_regular::step(timestamps).map(times_regular::encode));
    let deltas: Vec<i64> = timestamps.windows(2).map(|w| w[1] - w[0]).collect();
    if !deltas.is_empty() {
        all.push(times_delta::encode(&deltas));
        all.extend(times_pco::encode(&deltas));
    }
    all
}

proptest! {
    #[test]
    fn values_come_back_in_every_bit(data in arbitrary_values()) {
        for bytes in all_value_encodings(&data) {
            let mut out = vec![7.0];
            values::decode(&bytes, data.len(), &mut out).unwrap();
            prop_assert_eq!(bits(&out[1..]), bits(&data), "tag {}", bytes[0]);
        }
    }

    #[test]
    fn timestamps_come_back(timestamps in (1usize..300).prop_flat_map(arbitrary_timestamps)) {
        let (first, last) = (timestamps[0], timestamps[timestamps.len() - 1]);
        for bytes in all_time_encodings(&timestamps) {
            let mut out = vec![7];
            times::decode(&bytes, first, last, timestamps.len(), &mut out).unwrap();
            prop_assert_eq!(&out[1..], &timestamps[..]);
        }
    }

    #[test]
    fn damaged_values_are_an_error_or_values(
        data in arbitrary_values(), which in 0usize..9, at in any::<prop::sample::Index>(),
        flip in 1u8.., cut in any::<prop::sample::Index>(), count in 0usize..1000,
    ) {
        let all = all_value_encodings(&data);
        let mut bytes = all[which % all.len()].clone();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        for (bytes, count) in [(&bytes[..], data.len()), (&bytes[..cut.index(bytes.len())], data.len()), (&bytes[..], count)] {
            let mut out = Vec::new();
            match values::decode(bytes, count, &mut out) {
                Ok(()) => prop_assert_eq!(out.len(), count),
                Err(_) => prop_assert!(out.len() <= count),
            }
        }
    }

    #[test]
    fn damaged_timestamps_are_an_error_or_ascend(
        timestamps in (1usize..200).prop_flat_map(arbitrary_timestamps), which in 0usize..4,
        at in any::<prop::sample::Index>(), flip in 1u8.., count in 0usize..1000,
    ) {
        let (first, last) = (timestamps[0], timestamps[timestamps.len() - 1]);
        let all = all_time_encodings(&timestamps);
        let mut bytes = all[which % all.len()].clone();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        for count in [timestamps.len(), count] {
            let mut out = Vec::new();
            if times::decode(&bytes, first, last, count, &mut out).is_ok() {
                prop_assert_eq!(out.len(), count);
                prop_assert!(out.windows(2).all(|w| w[0] < w[1]));
            }
        }
    }

    #[test]
    fn any_bytes_under_any_tag_are_harmless(tag in 0u8..20, body in proptest::collection::vec(any::<u8>(), 0..80), count in 0usize..5000) {
        let bytes: Vec<u8> = [tag].into_iter().chain(body).collect();
        let mut out = Vec::new();
        let _ = values::decode(&bytes, count, &mut out);
        prop_assert!(out.capacity() <= 8 * count + 64);
        let mut out = Vec::new();
        let _ = times::decode(&bytes, 1000, 2000, count, &mut out);
        prop_assert!(out.capacity() <= 8 * count + 64);
    }

    #[test]
    fn a_chunk_gives_the_samples_of_a_range(
        (timestamps, data) in arbitrary_values().prop_flat_map(|v| (arbitrary_timestamps(v.len()), Just(v))),
        from in any::<prop::sample::Index>(), to in any::<prop::sample::Index>(),
    ) {
        let chunk = Chunk::encode(&timestamps, &data);
        let (from, to) = (timestamps[from.index(timestamps.len())], timestamps[to.index(timestamps.len())]);
        let mut decoder = ChunkDecoder::default();
        for (from, to) in [(i64::MIN, i64::MAX), (from, to), (from + 1, to - 1)] {
            let (mut ts, mut vs) = (vec![], vec![]);
            decoder.decode(chunk.body(), from, to, &mut ts, &mut vs).unwrap();
            let expected: Vec<(i64, u64)> = timestamps.iter().copied().zip(bits(&data)).filter(|s| s.0 >= from && s.0 <= to).collect();
            prop_assert_eq!(ts.into_iter().zip(bits(&vs)).collect::<Vec<_>>(), expected);
        }
    }
}

#[test]
fn counts_beyond_the_bound_are_refused_before_anything_is_reserved() {
    let mut out = Vec::new();
    let constant_runs = values_runs::encode(&Decimal::of(&[1.0; 100]).unwrap()).unwrap();
    assert!(values::decode(&constant_runs, DECODED_SAMPLES_MAX + 1, &mut out).is_err());
    let mut out = Vec::new();
    assert!(times::decode(&times_regular::encode(1), 0, i64::MAX, usize::MAX, &mut out).is_err());
    assert_eq!(out.capacity(), 0);
}

#[test]
fn each_kind_of_series_gets_the_codec_made_for_it() {
    let n = 1000;
    let noise = |i: u64| fastrand::Rng::with_seed(i).u64(..) >> 54;
    let counter: Vec<f64> = (0..n)
        .scan(0, |sum, i| {
            *sum += noise(i);
            Some(*sum as f64)
        })
        .collect();
    let few: Vec<f64> = (0..20).map(|i| (i * 17 + i * i % 5) as f64 / 100.0).collect();
    let state: Vec<f64> = (0..n).map(|i| (i / 100) as f64).collect();
    let quotient: Vec<f64> = (0..n).map(|i| (i as f64 * 0.7).sin() / 3.0).collect();
    let odd: Vec<f64> = (0..20).map(|i| f64::from_bits(0x9e37_79b9_7f4a_7c15u64.wrapping_mul(i))).collect();
    let measured: Vec<f64> = (0..n).map(|i| (1 << 20 | noise(i) << 10 | noise(i + n)) as f64 / 3e6).collect();
    let skewed: Vec<f64> = (0..n).map(|i| (noise(i).trailing_zeros() * 1000) as f64 + (noise(i) % 3) as f64).collect();
    for (name, data, codec) in [
        ("counter", counter, "decimal packed"),
        ("short", few, "decimal delta of delta"),
        ("state", state, "decimal runs"),
        ("skewed", skewed, "decimal pco"),
        ("quotient", quotient, "float pco"),
        ("measured", measured, "float packed"),
        ("odd", odd, "raw"),
    ] {
        assert_eq!(values::name(&values::encode(&data)), codec, "{name}");
    }
}
