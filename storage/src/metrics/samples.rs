//! Samples of one series and kind while a merge holds them: floats, or native histograms. Chunks in, chunks out.

use proto::Histogram;

use super::{
    chunk::{self, CHUNK_SAMPLES_MAX, Chunk, ChunkDecoder},
    codec::CodecError,
    head_histograms, values_histogram,
};

/// Samples in the order they were decoded.
pub(crate) trait Samples: Default {
    /// How many.
    fn len(&self) -> usize;

    /// Forgets them, but not their memory.
    fn clear(&mut self);

    /// Appends the samples of a chunk of this kind within the range.
    fn decode(&mut self, decoder: &mut ChunkDecoder, chunk: &Chunk, min_ts: i64, max_ts: i64)
    -> Result<(), CodecError>;

    /// Puts those from `start` in order of time; of equal times the last stays.
    fn resolve(&mut self, start: usize);

    /// How many from `start` one chunk holds at most; as many as there are, or fewer if they would fill more.
    fn chunk_len(&self, start: usize) -> usize;

    /// Whether a chunk of so many from `start` can't take what might follow.
    fn is_full(&self, start: usize, len: usize) -> bool;

    /// Encodes `len` samples from `start`.
    fn encode(&self, start: usize, len: usize) -> Chunk;

    /// Forgets the first `n`.
    fn forget(&mut self, n: usize);

    /// Whether a chunk is so large that it is copied as it is if nothing overlaps it.
    fn is_large(chunk: &Chunk) -> bool;
}

/// A chunk of at least so many samples that nothing overlaps is copied as it is.
const COPIED_SAMPLES_MIN: usize = CHUNK_SAMPLES_MAX / 2;
/// The same for histograms, whose size is not known before they are decoded: bytes of their values.
const COPIED_HISTOGRAM_BYTES_MIN: usize = values_histogram::CHUNK_CELLS_MAX / 2;

/// Floats.
#[derive(Default)]
pub(crate) struct Floats {
    timestamps: Vec<i64>,
    values: Vec<f64>,
}

impl Samples for Floats {
    fn len(&self) -> usize {
        self.timestamps.len()
    }

    fn clear(&mut self) {
        self.timestamps.clear();
        self.values.clear();
    }

    fn decode(
        &mut self,
        decoder: &mut ChunkDecoder,
        chunk: &Chunk,
        min_ts: i64,
        max_ts: i64,
    ) -> Result<(), CodecError> {
        decoder.decode(chunk.body(), min_ts, max_ts, &mut self.timestamps, &mut self.values)
    }

    fn resolve(&mut self, start: usize) {
        let (mut timestamps, mut values) = (self.timestamps.split_off(start), self.values.split_off(start));
        chunk::resolve(&mut timestamps, &mut values);
        self.timestamps.append(&mut timestamps);
        self.values.append(&mut values);
    }

    fn chunk_len(&self, start: usize) -> usize {
        (self.len() - start).min(CHUNK_SAMPLES_MAX)
    }

    fn is_full(&self, _: usize, len: usize) -> bool {
        len == CHUNK_SAMPLES_MAX
    }

    fn encode(&self, start: usize, len: usize) -> Chunk {
        Chunk::encode(&self.timestamps[start..start + len], &self.values[start..start + len])
    }

    fn forget(&mut self, n: usize) {
        self.timestamps.drain(..n);
        self.values.drain(..n);
    }

    fn is_large(chunk: &Chunk) -> bool {
        chunk.samples() >= COPIED_SAMPLES_MIN
    }
}

/// Native histograms with their times.
#[derive(Default)]
pub(crate) struct Histograms(pub(crate) Vec<(i64, Histogram)>);

impl Samples for Histograms {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn clear(&mut self) {
        self.0.clear();
    }

    fn decode(
        &mut self,
        decoder: &mut ChunkDecoder,
        chunk: &Chunk,
        min_ts: i64,
        max_ts: i64,
    ) -> Result<(), CodecError> {
        decoder.decode_histograms(chunk.body(), min_ts, max_ts, &mut self.0)
    }

    fn resolve(&mut self, start: usize) {
        let mut late = self.0.split_off(start);
        head_histograms::resolve(&mut late);
        self.0.append(&mut late);
    }

    fn chunk_len(&self, start: usize) -> usize {
        values_histogram::chunk_len(&self.0[start..], CHUNK_SAMPLES_MAX)
    }

    fn is_full(&self, start: usize, len: usize) -> bool {
        len == CHUNK_SAMPLES_MAX || start + len < self.0.len()
    }

    fn encode(&self, start: usize, len: usize) -> Chunk {
        Chunk::encode_histograms(&self.0[start..start + len])
    }

    fn forget(&mut self, n: usize) {
        self.0.drain(..n);
    }

    fn is_large(chunk: &Chunk) -> bool {
        Floats::is_large(chunk) || chunk.values.as_ref().is_some_and(|v| v.len() >= COPIED_HISTOGRAM_BYTES_MIN)
    }
}

/// Encodes full chunks off the front; all that is left too if `all`.
pub(crate) fn cut<S: Samples>(samples: &mut S, all: bool, out: &mut Vec<Chunk>) {
    let mut start = 0;
    while start < samples.len() {
        let len = samples.chunk_len(start);
        if !all && !samples.is_full(start, len) {
            break;
        }
        out.push(samples.encode(start, len));
        start += len;
    }
    samples.forget(start);
}
