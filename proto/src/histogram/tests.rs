//! What is a histogram, what is none and why, and its bytes.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

const STALE: f64 = f64::from_bits(crate::samples::STALE_MARKER_BITS);

fn spans(of: &[(i32, u32)]) -> Vec<Span> {
    of.iter().map(|&(offset, length)| Span { offset, length }).collect()
}

fn shape() -> Shape {
    Shape {
        schema: 3,
        zero_threshold: 0.001,
        positive: spans(&[(-2, 2), (3, 1)]),
        negative: spans(&[(0, 1)]),
        ..Shape::default()
    }
}

fn custom() -> Shape {
    Shape { schema: SCHEMA_CUSTOM, positive: spans(&[(0, 2), (1, 1)]), bounds: vec![0.1, 1.0, 5.0], ..Shape::default() }
}

fn build(shape: Shape, sum: f64, counts: Counts) -> Result<Histogram, HistogramError> {
    Histogram::new(Arc::new(Layout::new(shape)?), sum, counts)
}

fn integers(shape: Shape, sum: f64, counts: &[u64]) -> Result<Histogram, HistogramError> {
    build(shape, sum, Counts::Integers(counts.to_vec()))
}

fn floats(shape: Shape, counts: &[f64]) -> Result<Histogram, HistogramError> {
    build(shape, 1.0, Counts::Floats(counts.to_vec()))
}

#[test]
fn what_is_no_histogram_is_refused_with_its_reason() {
    assert!(integers(shape(), 1.5, &[10, 1, 2, 3, 0, 4]).is_ok());
    assert!(integers(shape(), f64::NAN, &[11, 1, 2, 3, 0, 4]).is_ok(), "one observation was NaN");
    assert!(integers(Shape::default(), STALE, &[0, 0]).unwrap().is_stale());
    assert!(floats(shape(), &[0.5, 0.0, 0.1, 0.2, 0.0, 9.0]).is_ok(), "floats need not sum up exactly");
    assert!(integers(custom(), 1.0, &[6, 0, 1, 2, 3]).is_ok());
    let cases: [(Result<Histogram, HistogramError>, &str); 16] = [
        (integers(Shape { schema: 9, ..shape() }, 1.0, &[0; 6]), "its schema is 9; -4 to 8 and -53 are taken"),
        (integers(Shape { schema: -5, ..shape() }, 1.0, &[0; 6]), "its schema is -5; -4 to 8 and -53 are taken"),
        (integers(shape(), 1.0, &[0; 5]), "positive and negative spans need 4 buckets, there are 3"),
        (integers(shape(), 1.0, &[9, 1, 2, 3, 0, 4]), "its buckets hold 10 observations, its count is 9"),
        (integers(shape(), f64::NAN, &[9, 1, 2, 3, 0, 4]), "its buckets hold 10 observations, its count is 9"),
        (
            integers(Shape { positive: spans(&[(0, 1), (-1, 1)]), ..shape() }, 1.0, &[0; 5]),
            "positive span 2 has a negative offset",
        ),
        (
            integers(Shape { negative: spans(&[(i32::MAX, 1)]), ..shape() }, 1.0, &[0; 6]),
            "negative spans reach beyond the last bucket there can be",
        ),
        (integers(Shape { positive: spans(&[(0, 4097)]), ..shape() }, 1.0, &[0; 6]), "buckets: more than 4096"),
        (
            integers(Shape { positive: spans(&[(0, 4000)]), negative: spans(&[(0, 97)]), ..shape() }, 1.0, &[0; 6]),
            "buckets: more than 4096",
        ),
        (integers(Shape { zero_threshold: -1.0, ..shape() }, 1.0, &[0; 6]), "its zero threshold must be at least 0"),
        (floats(shape(), &[1.0, 0.0, -0.5, 0.0, 0.0, 0.0]), "a bucket's count is negative"),
        (floats(shape(), &[-1.0, 0.0, 0.5, 0.0, 0.0, 0.0]), "its count is negative"),
        (integers(Shape { bounds: vec![1.0], ..shape() }, 1.0, &[0; 6]), "custom bounds belong to schema -53 alone"),
        (
            integers(Shape { bounds: vec![1.0, 1.0, 2.0], ..custom() }, 1.0, &[0; 5]),
            "its custom bounds must ascend, without NaN or +Inf",
        ),
        (
            integers(Shape { bounds: vec![1.0, 2.0], ..custom() }, 1.0, &[0; 5]),
            "its spans reach beyond its custom bounds",
        ),
        (integers(custom(), 1.0, &[7, 1, 1, 2, 3]), "its zero count must be 0 with custom bounds"),
    ];
    for (case, reason) in cases {
        assert_eq!(case.unwrap_err().to_string(), reason);
    }
    for shape in [
        Shape { bounds: vec![0.1, 1.0, f64::INFINITY], ..custom() },
        Shape { bounds: vec![0.1, f64::NAN, 5.0], ..custom() },
        Shape { negative: spans(&[(0, 1)]), ..custom() },
        Shape { zero_threshold: 0.5, ..custom() },
        Shape { positive: spans(&[(-1, 2)]), ..custom() },
        Shape { zero_threshold: f64::NAN, ..shape() },
        Shape { positive: vec![Span::default(); 4097], ..shape() },
    ] {
        assert!(Layout::new(shape.clone()).is_err(), "{shape:?}");
    }
}

#[test]
fn indices_follow_the_spans() {
    let layout = Layout::new(shape()).unwrap();
    assert_eq!(layout.positive_indices().collect::<Vec<_>>(), [-2, -1, 3]);
    assert_eq!(layout.negative_indices().collect::<Vec<_>>(), [0]);
    assert_eq!((layout.columns(), layout.positive_buckets()), (6, 3));
}

fn arbitrary() -> impl Strategy<Value = Histogram> {
    let side = || proptest::collection::vec((0..5i32, 0..4u32), 0..4);
    let counts = proptest::collection::vec(0..1u64 << 40, 64);
    (side(), side(), -20..20i32, counts, 0..4usize, any::<bool>(), any::<bool>(), any::<u64>()).prop_map(
        |(positive, negative, first, counts, hint, is_custom, is_float, sum)| {
            let mut shape = Shape {
                hint: ResetHint::ALL[hint],
                schema: first % 5 + 4,
                zero_threshold: f64::from(first.abs()) / 7.0,
                positive: spans(&positive),
                negative: spans(&negative),
                bounds: Vec::new(),
            };
            shape.positive.iter_mut().take(1).for_each(|span| span.offset = first);
            if is_custom {
                shape.positive.iter_mut().take(1).for_each(|span| span.offset = first.abs());
                (shape.schema, shape.zero_threshold, shape.negative) = (SCHEMA_CUSTOM, 0.0, Vec::new());
                shape.bounds = (0..60).map(|i| f64::from(i) * 0.3 - 2.0).collect();
            }
            let layout = Arc::new(Layout::new(shape).unwrap());
            let mut counts = counts[..layout.columns()].to_vec();
            counts[1] = if is_custom { 0 } else { counts[1] };
            counts[0] = counts[1..].iter().sum();
            let counts = match is_float {
                true => Counts::Floats(counts.iter().map(|n| *n as f64 / 3.0).collect()),
                false => Counts::Integers(counts),
            };
            let sum = f64::from_bits(sum);
            let sum = if sum.is_nan() { STALE } else { sum };
            Histogram::new(layout, sum, counts).unwrap()
        },
    )
}

proptest! {
    #[test]
    fn bytes_come_back(histogram in arbitrary(), at in any::<prop::sample::Index>(), flip in 1u8.., cut in any::<prop::sample::Index>()) {
        let bytes = histogram.to_bytes();
        prop_assert_eq!(Histogram::from_bytes(&bytes), Ok(histogram.clone()));
        prop_assert!(Histogram::from_bytes(&bytes[..cut.index(bytes.len())]).is_err());
        let mut damaged = bytes.clone();
        damaged[at.index(bytes.len())] ^= flip;
        // an error or another histogram, whose canonical bytes need not be these: a varint may be longer than it must
        if let Ok(other) = Histogram::from_bytes(&damaged) {
            prop_assert_eq!(Histogram::from_bytes(&other.to_bytes()), Ok(other));
        }
    }

    #[test]
    fn any_bytes_are_harmless(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let _ = Histogram::from_bytes(&bytes);
    }
}
