//! The histograms of one series in the head: an append-only stream of tokens, like `head_stream` for floats.
//!
//! A token is a byte, the zigzag difference to the timestamp before, and, by that byte: 0 all of the histogram (its canonical bytes);
//! 1 one of the same layout: its sum, then each count as the zigzag difference to the one before (a float: its 8 bytes); 2 the
//! same histogram again. In memory only: never written to disk, so it may change with any release.

use std::sync::Arc;

use proto::histogram::{Counts, Histogram};

use super::varint;

const WHOLE: u8 = 0;
const STEP: u8 = 1;
const SAME: u8 = 2;

/// One series' histograms in the order they were appended.
#[derive(Clone, Default)]
pub(crate) struct HistogramStream {
    tokens: Vec<u8>,
    last: Option<Histogram>,
    last_ts: i64,
    min_ts: i64,
    max_ts: i64,
    count: u32,
    disordered: bool,
}

impl HistogramStream {
    /// Appends a sample; gives the growth in bytes of memory.
    pub(crate) fn append(&mut self, timestamp: i64, histogram: Histogram) -> usize {
        let before = self.bytes();
        let token = match &self.last {
            Some(last) if *last == histogram => SAME,
            Some(last) if last.is_float() == histogram.is_float() && last.layout() == histogram.layout() => STEP,
            _ => WHOLE,
        };
        self.tokens.push(token);
        varint::put_signed(&mut self.tokens, timestamp.wrapping_sub(self.last_ts));
        match (token, &self.last) {
            (WHOLE, _) => histogram.put(&mut self.tokens),
            (STEP, Some(last)) => put_step(&mut self.tokens, last, &histogram),
            _ => {}
        }
        if self.count == 0 {
            (self.min_ts, self.max_ts) = (timestamp, timestamp);
        }
        self.disordered |= self.count > 0 && timestamp <= self.last_ts;
        self.last_ts = timestamp;
        self.min_ts = self.min_ts.min(timestamp);
        self.max_ts = self.max_ts.max(timestamp);
        self.count += 1;
        self.last = match self.last.take() {
            Some(last) if token != WHOLE => Some(histogram.sharing(last.layout())),
            _ => Some(histogram),
        };
        self.bytes().saturating_sub(before)
    }

    /// Memory, bytes.
    fn bytes(&self) -> usize {
        self.tokens.capacity() + self.last.as_ref().map_or(0, |last| last.bytes() + last.layout().bytes())
    }

    /// Samples, duplicates included.
    pub(crate) fn count(&self) -> usize {
        self.count as usize
    }

    /// Whether some sample lies within the range's hull.
    pub(crate) fn overlaps(&self, min_ts: i64, max_ts: i64) -> bool {
        self.count > 0 && self.min_ts <= max_ts && self.max_ts >= min_ts
    }

    /// Its oldest and newest timestamp, if it has a sample.
    pub(crate) fn cover(&self) -> Option<(i64, i64)> {
        (self.count > 0).then_some((self.min_ts, self.max_ts))
    }

    /// Whether the samples were appended in strictly ascending order of time.
    pub(crate) fn ascending(&self) -> bool {
        !self.disordered
    }

    /// Appends the samples within the range, in the order they were appended; neighbours of one layout share it.
    pub(crate) fn read(&self, min_ts: i64, max_ts: i64, out: &mut Vec<(i64, Histogram)>) {
        let (mut rest, mut ts, mut present) = (&self.tokens[..], 0i64, None);
        // the stream is this module's own writing: a `None` below can only be its end
        while let Some((&token, tail)) = rest.split_first() {
            rest = tail;
            ts = ts.wrapping_add(varint::take_signed(&mut rest).unwrap_or(0));
            present = match (token, present) {
                (WHOLE, _) => Histogram::take(&mut rest).ok(),
                (STEP, Some(last)) => take_step(&mut rest, &last),
                (_, last) => last,
            };
            if let Some(histogram) = present.as_ref().filter(|_| (min_ts..=max_ts).contains(&ts)) {
                out.push((ts, histogram.clone()));
            }
        }
    }
}

fn put_step(out: &mut Vec<u8>, last: &Histogram, now: &Histogram) {
    out.extend_from_slice(&now.sum().to_le_bytes());
    match (last.counts(), now.counts()) {
        (Counts::Integers(last), Counts::Integers(now)) => {
            now.iter().zip(last).for_each(|(now, last)| varint::put_signed(out, now.wrapping_sub(*last) as i64));
        }
        (_, Counts::Floats(now)) => now.iter().for_each(|n| out.extend_from_slice(&n.to_le_bytes())),
        _ => {}
    }
}

fn take_step(rest: &mut &[u8], last: &Histogram) -> Option<Histogram> {
    let mut float = || {
        let (bits, after) = rest.split_first_chunk()?;
        *rest = after;
        Some(f64::from_le_bytes(*bits))
    };
    let sum = float()?;
    let counts = match last.counts() {
        Counts::Floats(last) => Counts::Floats(last.iter().map(|_| float()).collect::<Option<_>>()?),
        Counts::Integers(last) => {
            let next = |last: &u64| Some(last.wrapping_add(varint::take_signed(rest)? as u64));
            Counts::Integers(last.iter().map(next).collect::<Option<_>>()?)
        }
    };
    Histogram::new(Arc::clone(last.layout()), sum, counts).ok()
}

/// Makes timestamps strictly ascending; of equal ones the sample that stands last stays. Cheap when nothing is to do.
pub(crate) fn resolve(samples: &mut Vec<(i64, Histogram)>) {
    if samples.is_sorted_by(|a, b| a.0 < b.0) {
        return;
    }
    samples.sort_by_key(|(ts, _)| *ts); // stable: later appended stays behind
    let mut kept: Vec<(i64, Histogram)> = Vec::with_capacity(samples.len());
    for sample in samples.drain(..) {
        match kept.last_mut() {
            Some(last) if last.0 == sample.0 => *last = sample,
            _ => kept.push(sample),
        }
    }
    *samples = kept;
}
