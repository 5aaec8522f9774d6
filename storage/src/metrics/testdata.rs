//! Values and chunks that tests draw from.

use proptest::prelude::*;

/// Values as exporters give them, and every odd one: NaN payloads, −0.0, infinities, subnormals, any bits.
pub(crate) fn arbitrary_value() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => Just(0.0),
        4 => (-20i64..20).prop_map(|n| n as f64),
        2 => (0i64..1 << 54).prop_map(|n| n as f64),
        3 => (-9999i64..9999).prop_map(|n| n as f64 / 100.0),
        1 => (0u64..1 << 20).prop_map(f64::from_bits),
        1 => Just(f64::from_bits(proto::samples::STALE_MARKER_BITS)),
        1 => prop_oneof![Just(-0.0), Just(f64::INFINITY), Just(f64::NEG_INFINITY), Just(f64::NAN), Just(f64::MIN), Just(f64::MAX)],
        1 => any::<u64>().prop_map(f64::from_bits),
    ]
}

/// Series of values of every kind that a codec is made for, and mixtures.
pub(crate) fn arbitrary_values() -> impl Strategy<Value = Vec<f64>> {
    let len = 1usize..400;
    prop_oneof![
        proptest::collection::vec(arbitrary_value(), len.clone()),
        (arbitrary_value(), len.clone()).prop_map(|(v, n)| vec![v; n]),
        proptest::collection::vec(0u32..1000, len.clone()).prop_map(|steps| {
            let mut sum = 1e9;
            steps
                .iter()
                .map(|&s| {
                    sum += s as f64;
                    sum
                })
                .collect()
        }),
        proptest::collection::vec((0u8..4, 1usize..50), 1..20)
            .prop_map(|runs| runs.into_iter().flat_map(|(v, n)| vec![v as f64 * 0.25; n]).collect()),
        proptest::collection::vec(any::<f64>(), len),
    ]
}

/// Strictly ascending timestamps: regular, with jitter, with gaps, or wild.
pub(crate) fn arbitrary_timestamps(n: usize) -> impl Strategy<Value = Vec<i64>> {
    let ascending = |first: i64, steps: Vec<i64>| {
        let mut ts = first;
        steps
            .into_iter()
            .map(move |step| {
                ts += step;
                ts
            })
            .collect::<Vec<i64>>()
    };
    prop_oneof![
        (0i64..1 << 41, 1i64..100_000).prop_map(move |(first, step)| (0..n as i64).map(|i| first + i * step).collect()),
        (0i64..1 << 41, proptest::collection::vec(9_990i64..10_010, n)).prop_map(move |(f, s)| ascending(f, s)),
        (-(1i64 << 41)..1 << 41, proptest::collection::vec(prop_oneof![9 => Just(1000i64), 1 => 1i64..1 << 40], n))
            .prop_map(move |(f, s)| ascending(f, s)),
    ]
}
