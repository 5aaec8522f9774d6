//! The error of every chunk decoder, and the call into pco that all of them share.

use pco::{ChunkConfig, standalone};

/// Most samples of a chunk that a decoder accepts; a writer makes chunks of at most [`super::chunk::CHUNK_SAMPLES_MAX`].
pub(crate) const DECODED_SAMPLES_MAX: usize = 1 << 20;

/// pco's effort, 0–12. Measured on the exporters' capture: 4 → 8 saves 2.6 % of the file and costs half again the time to
/// encode it; 12 saves nothing more.
const PCO_LEVEL: usize = 8;

/// Below this many numbers pco's headers cost more than it saves.
pub(crate) const PCO_SAMPLES_MIN: usize = 24;

/// A chunk's bytes are not what its codec writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{codec}: {reason}")]
pub(crate) struct CodecError {
    pub(crate) codec: &'static str,
    pub(crate) reason: &'static str,
}

/// Builds a [`CodecError`].
pub(crate) const fn damaged(codec: &'static str, reason: &'static str) -> CodecError {
    CodecError { codec, reason }
}

/// Appends the numbers as one standalone pco file; `false` (nothing appended) if pco refuses them.
pub(crate) fn pco_put<T: pco::data_types::Number>(numbers: &[T], out: &mut Vec<u8>) -> bool {
    let config = ChunkConfig::default().with_compression_level(PCO_LEVEL);
    match standalone::simple_compress(numbers, &config) {
        Ok(bytes) => {
            out.extend_from_slice(&bytes);
            true
        }
        Err(_) => false,
    }
}

/// Decodes exactly `count` numbers of a standalone pco file to the end of `out`.
pub(crate) fn pco_take<T: pco::data_types::Number + Default>(
    codec: &'static str,
    bytes: &[u8],
    count: usize,
    out: &mut Vec<T>,
) -> Result<(), CodecError> {
    let start = out.len();
    out.resize(start + count, T::default());
    match standalone::simple_decompress_into(bytes, &mut out[start..]) {
        Ok(progress) if progress.n_processed == count && progress.finished => Ok(()),
        Ok(_) => Err(damaged(codec, "another number of samples than the row says")),
        Err(_) => Err(damaged(codec, "not a pco stream")),
    }
}
