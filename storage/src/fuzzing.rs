//! Entry points for fuzzing what this room decodes: any bytes are an answer or an error, and what is an answer comes back the
//! same when it is written and read again. A panic is what is looked for. `fuzz/corpus` holds what they are fed with.

use crate::{
    log::{frame::FrameKind, record},
    manifest::{Manifest, VERSION},
    metrics::{CHUNK_SAMPLES_MAX, Chunk, ChunkBody, ChunkDecoder, ChunkValues},
};

/// A log record: the first byte is its kind, the rest its payload.
pub fn log_record(data: &[u8]) {
    let Some((kind, payload)) = data.split_first() else { return };
    let kinds = [FrameKind::Samples, FrameKind::Events, FrameKind::Consumed, FrameKind::Exemplars, FrameKind::Batch];
    let kind = kinds[usize::from(*kind) % kinds.len()];
    let _ = record::decode(kind, payload);
}

/// A chunk as a damaged part may hold it: number of samples (2 bytes), first and last timestamp (8 each), length of the
/// timestamps (2), timestamps, values; little-endian.
pub fn chunk_decode(data: &[u8]) {
    let Some((samples, rest)) = data.split_first_chunk() else { return };
    let Some((first, rest)) = rest.split_first_chunk() else { return };
    let Some((last, rest)) = rest.split_first_chunk() else { return };
    let Some((length, rest)) = rest.split_first_chunk() else { return };
    let (timestamps, values) = rest.split_at(usize::from(u16::from_le_bytes(*length)).min(rest.len()));
    let samples = usize::from(u16::from_le_bytes(*samples));
    let body = ChunkBody {
        first_ts: i64::from_le_bytes(*first),
        last_ts: i64::from_le_bytes(*last),
        samples,
        timestamps,
        values: ChunkValues::Encoded(values),
    };
    if body.is_histogram() {
        let mut decoded = Vec::new();
        if ChunkDecoder::default().decode_histograms(body, i64::MIN, i64::MAX, &mut decoded).is_ok() {
            assert_eq!(decoded.len(), samples);
            assert!(decoded.is_sorted_by(|a, b| a.0 < b.0));
            if !decoded.is_empty() {
                let again = Chunk::encode_histograms(&decoded);
                let mut back = Vec::new();
                let read = ChunkDecoder::default().decode_histograms(again.body(), i64::MIN, i64::MAX, &mut back);
                assert!(read.is_ok() && back == decoded, "{read:?}");
            }
        }
        return;
    }
    let (mut timestamps, mut decoded) = (Vec::new(), Vec::new());
    if ChunkDecoder::default().decode(body, i64::MIN, i64::MAX, &mut timestamps, &mut decoded).is_ok() {
        assert_eq!((timestamps.len(), decoded.len()), (samples, samples));
        assert!(timestamps.is_sorted_by(|a, b| a < b));
    }
}

/// Samples, 10 bytes each: a step of time (2, at least 1) and a value, any bits. They must come back bit by bit.
pub fn chunk_round_trip(data: &[u8]) {
    let (mut timestamps, mut values) = (Vec::new(), Vec::new());
    let (pieces, _) = data.as_chunks::<10>();
    let mut ts = -1_000_000_i64;
    for piece in pieces.iter().take(CHUNK_SAMPLES_MAX) {
        let [low, high, value @ ..] = *piece;
        ts += 1 + i64::from(u16::from_le_bytes([low, high]));
        timestamps.push(ts);
        values.push(f64::from_le_bytes(value));
    }
    if timestamps.is_empty() {
        return;
    }
    let chunk = Chunk::encode(&timestamps, &values);
    let (mut times_back, mut values_back) = (Vec::new(), Vec::new());
    let decoded = ChunkDecoder::default().decode(chunk.body(), i64::MIN, i64::MAX, &mut times_back, &mut values_back);
    assert!(decoded.is_ok(), "{decoded:?}");
    assert_eq!(times_back, timestamps);
    assert!(values_back.iter().map(|v| v.to_bits()).eq(values.iter().map(|v| v.to_bits())));
}

/// A manifest as it is on disk, and the same bytes as the JSON of one whose first line is right.
pub fn manifest(data: &[u8]) {
    let _ = Manifest::decode(data);
    let mut whole = format!("tidewatch-manifest {VERSION} {:08x} {}\n", crc32c::crc32c(data), data.len()).into_bytes();
    whole.extend_from_slice(data);
    if let Ok(manifest) = Manifest::decode(&whole) {
        assert_eq!(Manifest::decode(&manifest.encode()), Ok(manifest));
    }
}
