//! Remote write 1.0 as it travels: protobuf by hand, then snappy. Source: the Remote-Write 1.0 specification,
//! prometheus.io/docs/specs; field numbers as in `ingest/src/remote_write.rs`, which reads them.

use bytes::Bytes;

/// One request's body, compressed.
#[derive(Clone, Debug, PartialEq)]
pub struct Body {
    /// What is sent.
    pub bytes: Bytes,
    /// How many samples are in it.
    pub samples: u64,
}

impl Body {
    /// Compresses a `WriteRequest`.
    pub fn pack(request: &[u8], samples: usize) -> Body {
        let packed = snap::raw::Encoder::new().compress_vec(request).unwrap_or_default(); // fails beyond 4 GiB only
        Body { bytes: packed.into(), samples: samples as u64 }
    }
}

fn put_varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn put_bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_varint(out, field << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends the label fields of a `TimeSeries`; names must ascend.
pub fn put_labels(out: &mut Vec<u8>, labels: &[(&str, &str)]) {
    let mut label = Vec::new();
    for (name, value) in labels {
        label.clear();
        put_bytes(&mut label, 1, name.as_bytes());
        put_bytes(&mut label, 2, value.as_bytes());
        put_bytes(out, 1, &label);
    }
}

/// Appends one `TimeSeries` with one sample to a `WriteRequest`.
pub fn put_series(out: &mut Vec<u8>, labels: &[u8], at_ms: i64, value: f64) {
    let mut sample = Vec::with_capacity(24);
    sample.push(1 << 3 | 1);
    sample.extend_from_slice(&value.to_le_bytes());
    sample.push(2 << 3);
    put_varint(&mut sample, at_ms as u64);
    put_varint(out, 1 << 3 | 2);
    put_varint(out, (labels.len() + sample.len() + 2) as u64);
    out.extend_from_slice(labels);
    put_bytes(out, 2, &sample);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn our_door_reads_what_is_written() {
        let (mut labels, mut request) = (Vec::new(), Vec::new());
        put_labels(&mut labels, &[("__name__", "up"), ("instance", "a")]);
        put_series(&mut request, &labels, 1_800_000_000_137, 2.5);
        put_series(&mut request, &labels, 1_800_000_015_137, -0.0);
        let body = Body::pack(&request, 2);
        let unpacked = snap::raw::Decoder::new().decompress_vec(&body.bytes).unwrap();
        let mut read = ingest::remote_write::WriteRequest::default();
        read.read(&unpacked).unwrap();
        let labels = read.labels();
        let rows = read.rows(&labels);
        assert_eq!(rows.timestamps_ms, [1_800_000_000_137, 1_800_000_015_137]);
        assert_eq!(
            rows.values.iter().map(|v| v.to_bits()).collect::<Vec<_>>(),
            [2.5f64.to_bits(), (-0.0f64).to_bits()]
        );
        assert_eq!(labels[0], proto::Labels::from_pairs([("__name__", "up"), ("instance", "a")]).as_bytes());
    }
}
