//! A chunk: consecutive samples of one series, the row of a part.

use std::ops::Range;

use bytes::Bytes;
use proto::Histogram;

use super::{
    codec::CodecError,
    statistics::{self, Statistics},
    times, values, values_histogram,
};

/// Most samples a writer puts into one chunk. More gain nothing measurable; a read within a chunk decodes all of it.
pub(crate) const CHUNK_SAMPLES_MAX: usize = 8192;

/// Two days at ten seconds must fit a few chunks, and a decoder must accept what a writer makes.
const _: () = assert!(CHUNK_SAMPLES_MAX <= super::codec::DECODED_SAMPLES_MAX);

/// The columns of a row, but the series.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Chunk {
    pub(crate) first_ts: i64,
    pub(crate) last_ts: i64,
    /// Samples that are no staleness markers.
    pub(crate) count: u32,
    /// Staleness markers.
    pub(crate) stale: u32,
    /// Of a constant chunk `first` alone: the value of every sample. None of histograms.
    pub(crate) statistics: Statistics,
    pub(crate) timestamps: Bytes,
    /// `None`: constant.
    pub(crate) values: Option<Bytes>,
}

impl Chunk {
    /// Encodes samples, at least one, timestamps strictly ascending.
    pub(crate) fn encode(timestamps: &[i64], samples: &[f64]) -> Chunk {
        debug_assert!(timestamps.len() == samples.len() && !samples.is_empty());
        let stale = statistics::stale(samples) as u32;
        let (statistics, encoded) = match values::constant(samples) {
            Some(value) => (Statistics { first: Some(value), ..Statistics::default() }, None),
            None => (statistics::of(samples), Some(Bytes::from(values::encode(samples)))),
        };
        Chunk {
            first_ts: timestamps.first().copied().unwrap_or(0),
            last_ts: timestamps.last().copied().unwrap_or(0),
            count: samples.len() as u32 - stale,
            stale,
            statistics,
            timestamps: Bytes::from(times::encode(timestamps)),
            values: encoded,
        }
    }

    /// Encodes histograms, at least one and at most [`values_histogram::chunk_len`], timestamps strictly ascending.
    pub(crate) fn encode_histograms(samples: &[(i64, Histogram)]) -> Chunk {
        let timestamps: Vec<i64> = samples.iter().map(|(ts, _)| *ts).collect();
        let stale = samples.iter().filter(|(_, histogram)| histogram.is_stale()).count() as u32;
        Chunk {
            first_ts: timestamps.first().copied().unwrap_or(0),
            last_ts: timestamps.last().copied().unwrap_or(0),
            count: samples.len() as u32 - stale,
            stale,
            statistics: Statistics::default(),
            timestamps: Bytes::from(times::encode(&timestamps)),
            values: Some(Bytes::from(values_histogram::encode(samples))),
        }
    }

    /// All samples, staleness markers included.
    pub(crate) fn samples(&self) -> usize {
        self.count as usize + self.stale as usize
    }

    /// Whether its samples are histograms.
    pub(crate) fn is_histogram(&self) -> bool {
        self.values.as_ref().is_some_and(|bytes| values_histogram::is_histogram(bytes))
    }

    /// What a decoder needs.
    pub(crate) fn body(&self) -> ChunkBody<'_> {
        ChunkBody {
            first_ts: self.first_ts,
            last_ts: self.last_ts,
            samples: self.samples(),
            timestamps: &self.timestamps,
            values: match &self.values {
                Some(bytes) => ChunkValues::Encoded(bytes),
                None => ChunkValues::Constant(self.statistics.first.unwrap_or(f64::NAN)),
            },
        }
    }

    /// Memory of the bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.timestamps.len() + self.values.as_ref().map_or(0, Bytes::len)
    }
}

/// A chunk's bytes, borrowed from where they were read to.
#[derive(Clone, Copy)]
pub(crate) struct ChunkBody<'a> {
    pub(crate) first_ts: i64,
    pub(crate) last_ts: i64,
    pub(crate) samples: usize,
    pub(crate) timestamps: &'a [u8],
    pub(crate) values: ChunkValues<'a>,
}

impl ChunkBody<'_> {
    /// Whether its samples are histograms.
    pub(crate) fn is_histogram(&self) -> bool {
        matches!(self.values, ChunkValues::Encoded(bytes) if values_histogram::is_histogram(bytes))
    }
}

#[derive(Clone, Copy)]
pub(crate) enum ChunkValues<'a> {
    Constant(f64),
    Encoded(&'a [u8]),
}

/// Decodes chunks one after another; keeps the last timestamps, which neighbours mostly share.
#[derive(Default)]
pub(crate) struct ChunkDecoder {
    timestamps: Vec<i64>,
    /// First and last of `timestamps`, and how many they are; none if they are of no chunk.
    decoded_from: Option<(i64, i64, usize)>,
    /// The bytes they were decoded from.
    decoded_bytes: Vec<u8>,
    values: Vec<f64>,
}

impl ChunkDecoder {
    /// Decodes a chunk's timestamps, unless they are those of the chunk before; the places of those within the range.
    fn decode_times(&mut self, chunk: ChunkBody<'_>, min_ts: i64, max_ts: i64) -> Result<Range<usize>, CodecError> {
        let from = (chunk.first_ts, chunk.last_ts, chunk.samples);
        if self.decoded_from != Some(from) || self.decoded_bytes != chunk.timestamps {
            self.decoded_from = None;
            self.timestamps.clear();
            times::decode(chunk.timestamps, chunk.first_ts, chunk.last_ts, chunk.samples, &mut self.timestamps)?;
            self.decoded_bytes.clear();
            self.decoded_bytes.extend_from_slice(chunk.timestamps);
            self.decoded_from = Some(from);
        }
        let start = self.timestamps.partition_point(|&ts| ts < min_ts);
        let end = self.timestamps.partition_point(|&ts| ts <= max_ts);
        Ok(start..end.max(start))
    }

    /// Appends the histograms within the range to `out`. Only for a chunk of histograms.
    pub(crate) fn decode_histograms(
        &mut self,
        chunk: ChunkBody<'_>,
        min_ts: i64,
        max_ts: i64,
        out: &mut Vec<(i64, Histogram)>,
    ) -> Result<(), CodecError> {
        let range = self.decode_times(chunk, min_ts, max_ts)?;
        let ChunkValues::Encoded(bytes) = chunk.values else { return Ok(()) };
        if range.is_empty() {
            return Ok(());
        }
        let histograms = values_histogram::decode(bytes, chunk.samples)?.into_iter();
        let within = histograms.skip(range.start).take(range.len());
        out.extend(self.timestamps[range].iter().copied().zip(within));
        Ok(())
    }

    /// Appends the samples within the range to the columns. Only for a chunk of floats.
    pub(crate) fn decode(
        &mut self,
        chunk: ChunkBody<'_>,
        min_ts: i64,
        max_ts: i64,
        timestamps: &mut Vec<i64>,
        samples: &mut Vec<f64>,
    ) -> Result<(), CodecError> {
        let Range { start, end } = self.decode_times(chunk, min_ts, max_ts)?;
        if start == end {
            return Ok(());
        }
        match chunk.values {
            ChunkValues::Constant(value) => samples.resize(samples.len() + (end - start), value),
            ChunkValues::Encoded(bytes) if (start, end) == (0, chunk.samples) => {
                values::decode(bytes, chunk.samples, samples)?;
            }
            ChunkValues::Encoded(bytes) => {
                self.values.clear();
                values::decode(bytes, chunk.samples, &mut self.values)?;
                samples.extend_from_slice(&self.values[start..end]);
            }
        }
        timestamps.extend_from_slice(&self.timestamps[start..end]);
        Ok(())
    }
}

/// Makes timestamps strictly ascending; of equal ones the sample that stands last stays. Cheap when nothing is to do.
pub(crate) fn resolve(timestamps: &mut Vec<i64>, values: &mut Vec<f64>) {
    if is_ascending(timestamps) {
        return;
    }
    let mut order: Vec<u32> = (0..timestamps.len() as u32).collect();
    order.sort_by_key(|&i| timestamps[i as usize]); // stable: later appended stays behind
    let mut kept: Vec<u32> = Vec::with_capacity(order.len());
    for i in order {
        match kept.last_mut() {
            Some(last) if timestamps[*last as usize] == timestamps[i as usize] => *last = i,
            _ => kept.push(i),
        }
    }
    let sorted_ts = kept.iter().map(|&i| timestamps[i as usize]).collect();
    let sorted_values = kept.iter().map(|&i| values[i as usize]).collect();
    (*timestamps, *values) = (sorted_ts, sorted_values);
}

/// Whether each is later than the one before. A block is compared without a branch, since nearly always the answer is yes.
fn is_ascending(timestamps: &[i64]) -> bool {
    const BLOCK: usize = 64;
    let Some(next) = timestamps.get(1..) else { return true };
    let mut blocks = timestamps.chunks(BLOCK).zip(next.chunks(BLOCK));
    blocks.all(|(a, b)| a.iter().zip(b).fold(true, |all, (a, b)| all & (a < b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One sample that came late or twice is found wherever it stands.
    #[test]
    fn one_sample_a_timestamp_in_order() {
        for len in 1..140 {
            let times: Vec<i64> = (0..len).map(|i| i * 10).collect();
            let values: Vec<f64> = times.iter().map(|t| *t as f64).collect();
            let (mut resolved, mut of) = (times.clone(), values.clone());
            resolve(&mut resolved, &mut of);
            assert_eq!((&resolved, &of), (&times, &values));
            for at in 0..len as usize {
                let (mut late, mut of) = (times.clone(), values.clone());
                late.push(times[at]);
                of.push(-1.0);
                let mut expected = values.clone();
                expected[at] = -1.0;
                resolve(&mut late, &mut of);
                assert_eq!((&late, &of), (&times, &expected), "{at} of {len}");
                if at > 0 {
                    let (mut swapped, mut of) = (times.clone(), values.clone());
                    swapped.swap(at - 1, at);
                    of.swap(at - 1, at);
                    resolve(&mut swapped, &mut of);
                    assert_eq!((&swapped, &of), (&times, &values), "{at} of {len}");
                }
            }
        }
    }
}
