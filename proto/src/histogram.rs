//! A native histogram: one sample that holds a whole distribution (Prometheus' native histogram specification).
//!
//! The buckets that exist are written as spans of neighbours, and a count for each. Bucket `i` of an exponential histogram holds
//! `(2^((i-1)/2^schema), 2^(i/2^schema)]`, a negative one mirrors that, the zero bucket holds what is closer to zero than
//! its threshold; custom bucket `i` (schema −53) ends at the bound `i`, the last is open. What can be built here is sound: the rules are
//! those by which Prometheus refuses a histogram. [`Histogram::put`] gives its canonical bytes (docs/formats/wire.md).

use std::sync::Arc;

/// The schema of histograms with bounds of their own.
pub const SCHEMA_CUSTOM: i32 = -53;
/// The coarsest exponential schema: each bucket's bound is 65 536 times the one before.
pub const SCHEMA_MIN: i32 = -4;
/// The finest exponential schema: 256 buckets between powers of two.
pub const SCHEMA_MAX: i32 = 8;
/// Most buckets of one histogram, both sides together; also the most spans of a side, and the most bounds. Clients make at most
/// 160; this bounds what one sample can cost.
pub const BUCKETS_MAX: usize = 4096;
/// What stands before the buckets in [`Counts`]: all observations, and those in the zero bucket.
pub const TOTALS: usize = 2;

/// What its sender knows about a counter reset between a sample and the one before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ResetHint {
    /// Nothing: compare the samples.
    #[default]
    Unknown,
    /// There was one.
    Reset,
    /// There was none.
    NotReset,
    /// The histogram is not a counter.
    Gauge,
}

impl ResetHint {
    /// By their numbers on the wire.
    pub const ALL: [ResetHint; 4] = [ResetHint::Unknown, ResetHint::Reset, ResetHint::NotReset, ResetHint::Gauge];
}

/// Buckets that follow each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// How many buckets are left out before it; of the first span of a side: the index of its first bucket.
    pub offset: i32,
    /// How many buckets.
    pub length: u32,
}

/// Which buckets there are, as a sender says it.
#[derive(Clone, Debug, Default)]
pub struct Shape {
    /// About counter resets.
    pub hint: ResetHint,
    /// Resolution, −4 to 8, or [`SCHEMA_CUSTOM`].
    pub schema: i32,
    /// Half the width of the zero bucket; 0 with custom bounds.
    pub zero_threshold: f64,
    /// Positive buckets, or the custom ones.
    pub positive: Vec<Span>,
    /// Negative buckets.
    pub negative: Vec<Span>,
    /// Upper bounds of the custom buckets, ascending, without the infinite one.
    pub bounds: Vec<f64>,
}

/// A shape that keeps the rules; samples of a series mostly share one.
#[derive(Clone, Debug)]
pub struct Layout {
    shape: Shape,
    positive: usize,
    negative: usize,
}

/// All observations, those in the zero bucket, those of each positive bucket, those of each negative one, in order of indices.
#[derive(Clone, Debug)]
pub enum Counts {
    /// Of a histogram that counts.
    Integers(Vec<u64>),
    /// Of a computed one.
    Floats(Vec<f64>),
}

/// One sample.
#[derive(Clone, Debug)]
pub struct Histogram {
    layout: Arc<Layout>,
    sum: f64,
    counts: Counts,
}

/// A rule that a histogram breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HistogramError {
    /// An unknown resolution.
    #[error("its schema is {0}; -4 to 8 and -53 are taken")]
    Schema(i32),
    /// Over a bound.
    #[error("{what}: more than {max}", max = BUCKETS_MAX)]
    TooMany {
        /// Of what there are too many.
        what: &'static str,
    },
    /// A later span that begins before the end of the one before it.
    #[error("{side} span {span} has a negative offset")]
    SpanOffset {
        /// Positive or negative.
        side: &'static str,
        /// Which span, from 1.
        span: usize,
    },
    /// Buckets beyond any index.
    #[error("{side} spans reach beyond the last bucket there can be")]
    Reach {
        /// Positive or negative.
        side: &'static str,
    },
    /// Another number of buckets than of counts.
    #[error("{side} spans need {needed} buckets, there are {found}")]
    Buckets {
        /// Positive or negative, or both.
        side: &'static str,
        /// By the spans.
        needed: usize,
        /// Counts.
        found: usize,
    },
    /// A number that can't stand there.
    #[error("{what} {rule}")]
    Number {
        /// Which.
        what: &'static str,
        /// What it must be, or is.
        rule: &'static str,
    },
    /// Integers that don't sum up.
    #[error("its buckets hold {found} observations, its count is {count}")]
    Sum {
        /// In all buckets.
        found: u128,
        /// By its count.
        count: u64,
    },
    /// Bytes that are no histogram.
    #[error("damaged: {0}")]
    Damaged(&'static str),
}

fn number<T>(what: &'static str, rule: &'static str) -> Result<T, HistogramError> {
    Err(HistogramError::Number { what, rule })
}

/// How many buckets the spans of a side have; the index behind the last must be one too.
fn buckets(side: &'static str, spans: &[Span]) -> Result<usize, HistogramError> {
    if spans.len() > BUCKETS_MAX {
        return Err(HistogramError::TooMany { what: "spans" });
    }
    let (mut index, mut buckets) = (0i64, 0u64);
    for (at, span) in spans.iter().enumerate() {
        if at > 0 && span.offset < 0 {
            return Err(HistogramError::SpanOffset { side, span: at + 1 });
        }
        index += i64::from(span.offset) + i64::from(span.length);
        buckets += u64::from(span.length);
        if index >= i64::from(i32::MAX) {
            return Err(HistogramError::Reach { side });
        }
    }
    match usize::try_from(buckets) {
        Ok(buckets) if buckets <= BUCKETS_MAX => Ok(buckets),
        _ => Err(HistogramError::TooMany { what: "buckets" }),
    }
}

impl Layout {
    /// Checks a shape.
    pub fn new(shape: Shape) -> Result<Layout, HistogramError> {
        let (positive, negative) = (buckets("positive", &shape.positive)?, buckets("negative", &shape.negative)?);
        if positive + negative > BUCKETS_MAX {
            return Err(HistogramError::TooMany { what: "buckets" });
        }
        if shape.schema == SCHEMA_CUSTOM {
            check_custom(&shape)?;
        } else if !(SCHEMA_MIN..=SCHEMA_MAX).contains(&shape.schema) {
            return Err(HistogramError::Schema(shape.schema));
        } else if !shape.bounds.is_empty() {
            return number("custom bounds", "belong to schema -53 alone");
        } else if shape.zero_threshold.is_nan() || shape.zero_threshold < 0.0 {
            return number("its zero threshold", "must be at least 0");
        }
        Ok(Layout { shape, positive, negative })
    }

    /// What it was made of.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Whether the buckets have bounds of their own.
    pub fn is_custom(&self) -> bool {
        self.shape.schema == SCHEMA_CUSTOM
    }

    /// How many counts a histogram of it has: the two totals and the buckets.
    pub fn columns(&self) -> usize {
        TOTALS + self.positive + self.negative
    }

    /// How many positive buckets.
    pub fn positive_buckets(&self) -> usize {
        self.positive
    }

    /// Indices of the positive buckets, ascending.
    pub fn positive_indices(&self) -> impl Iterator<Item = i32> + '_ {
        indices(&self.shape.positive)
    }

    /// Indices of the negative buckets, ascending.
    pub fn negative_indices(&self) -> impl Iterator<Item = i32> + '_ {
        indices(&self.shape.negative)
    }

    /// Memory, bytes.
    pub fn bytes(&self) -> usize {
        let spans = self.shape.positive.len() + self.shape.negative.len();
        size_of::<Layout>() + spans * size_of::<Span>() + self.shape.bounds.len() * size_of::<f64>()
    }
}

impl PartialEq for Layout {
    /// Floats by their bits.
    fn eq(&self, other: &Layout) -> bool {
        let (a, b) = (&self.shape, &other.shape);
        (a.hint, a.schema, a.zero_threshold.to_bits()) == (b.hint, b.schema, b.zero_threshold.to_bits())
            && a.positive == b.positive
            && a.negative == b.negative
            && a.bounds.iter().map(|v| v.to_bits()).eq(b.bounds.iter().map(|v| v.to_bits()))
    }
}

/// What custom bounds ask of the rest.
fn check_custom(shape: &Shape) -> Result<(), HistogramError> {
    if shape.bounds.len() > BUCKETS_MAX {
        return Err(HistogramError::TooMany { what: "custom bounds" });
    }
    if shape.bounds.iter().any(|b| b.is_nan() || *b == f64::INFINITY) || !shape.bounds.is_sorted_by(|a, b| a < b) {
        return number("its custom bounds", "must ascend, without NaN or +Inf");
    }
    if shape.zero_threshold != 0.0 {
        return number("its zero threshold", "must be 0 with custom bounds");
    }
    if !shape.negative.is_empty() {
        return number("negative spans", "are not taken with custom bounds");
    }
    if shape.positive.first().is_some_and(|span| span.offset < 0) {
        return Err(HistogramError::SpanOffset { side: "positive", span: 1 });
    }
    let end: i64 = shape.positive.iter().map(|s| i64::from(s.offset) + i64::from(s.length)).sum();
    if end > shape.bounds.len() as i64 + 1 {
        return number("its spans", "reach beyond its custom bounds");
    }
    Ok(())
}

fn indices(spans: &[Span]) -> impl Iterator<Item = i32> + '_ {
    let mut next = 0i32;
    spans.iter().flat_map(move |span| {
        // within an i32: the layout was checked
        let first = next.wrapping_add(span.offset);
        next = first.wrapping_add_unsigned(span.length);
        first..next
    })
}

impl Counts {
    /// How many.
    pub fn len(&self) -> usize {
        match self {
            Counts::Integers(v) => v.len(),
            Counts::Floats(v) => v.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn check(&self, sum: f64) -> Result<(), HistogramError> {
        match self {
            Counts::Integers(counts) => {
                let found: u128 = counts.iter().skip(1).map(|n| u128::from(*n)).sum();
                let count = counts.first().copied().unwrap_or(0);
                // observations of NaN are in no bucket, and make the sum NaN
                let fits = if sum.is_nan() { found <= count.into() } else { found == count.into() };
                if fits { Ok(()) } else { Err(HistogramError::Sum { found, count }) }
            }
            Counts::Floats(counts) => {
                let what = ["its count", "its zero count", "a bucket's count"];
                match counts.iter().position(|n| *n < 0.0) {
                    Some(at) => number(what[at.min(TOTALS)], "is negative"),
                    None => Ok(()),
                }
            }
        }
    }
}

impl Counts {
    /// Integers as Prometheus' messages have them: all observations, those in the zero bucket, and of each side every bucket's
    /// difference from the one before it. No count may be negative.
    pub fn from_differences(all: u64, zero: u64, sides: [&[i64]; 2]) -> Result<Counts, HistogramError> {
        let mut counts = vec![all, zero];
        for differences in sides {
            let mut count = 0i64;
            for difference in differences {
                let next = count.checked_add(*difference).filter(|n| *n >= 0);
                let rule = "is negative, or beyond 64 bits";
                count = next.ok_or(HistogramError::Number { what: "a bucket's count", rule })?;
                counts.push(count as u64);
            }
        }
        Ok(Counts::Integers(counts))
    }
}

impl Histogram {
    /// Checks that counts and sum fit the layout and each other.
    pub fn new(layout: Arc<Layout>, sum: f64, counts: Counts) -> Result<Histogram, HistogramError> {
        if counts.len() != layout.columns() {
            let found = counts.len().saturating_sub(TOTALS);
            let needed = layout.columns() - TOTALS;
            return Err(HistogramError::Buckets { side: "positive and negative", needed, found });
        }
        let zero_count = match &counts {
            Counts::Integers(v) => v[1] as f64,
            Counts::Floats(v) => v[1],
        };
        if layout.is_custom() && zero_count != 0.0 {
            return number("its zero count", "must be 0 with custom bounds");
        }
        counts.check(sum)?;
        Ok(Histogram { layout, sum, counts })
    }

    /// Which buckets it has.
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// The sum of all observations; every bit pattern is kept, staleness markers included.
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// Its counts, as many as [`Layout::columns`].
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Whether it counts in floats.
    pub fn is_float(&self) -> bool {
        matches!(self.counts, Counts::Floats(_))
    }

    /// Whether it is no sample but the staleness marker: the series has ended here.
    pub fn is_stale(&self) -> bool {
        crate::samples::is_stale(self.sum)
    }

    /// Memory, bytes, without its layout.
    pub fn bytes(&self) -> usize {
        size_of::<Histogram>() + self.counts.len() * size_of::<u64>()
    }

    /// How many float samples it counts for in budgets: 16 bytes of memory each.
    pub fn weight(&self) -> usize {
        self.bytes().div_ceil(16)
    }

    /// The same with a layout that is equal, so that both share its memory.
    pub fn sharing(mut self, layout: &Arc<Layout>) -> Histogram {
        if *self.layout == **layout {
            self.layout = layout.clone();
        }
        self
    }
}

impl PartialEq for Histogram {
    /// Floats by their bits.
    fn eq(&self, other: &Histogram) -> bool {
        let same_counts = match (&self.counts, &other.counts) {
            (Counts::Integers(a), Counts::Integers(b)) => a == b,
            (Counts::Floats(a), Counts::Floats(b)) => a.iter().map(|v| v.to_bits()).eq(b.iter().map(|v| v.to_bits())),
            _ => false,
        };
        let same_layout = Arc::ptr_eq(&self.layout, &other.layout) || self.layout == other.layout;
        same_layout && same_counts && self.sum.to_bits() == other.sum.to_bits()
    }
}

#[path = "histogram_bytes.rs"]
mod bytes;

#[cfg(test)]
#[path = "histogram/tests.rs"]
mod tests;
