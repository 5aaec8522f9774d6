//! Which batch some bytes claim to be, read from their first fields alone.
//!
//! A batch that can't be read must still be refused by its number, or its collector would send it forever. Source, class and
//! sequence are the first three fields of the message, so the beginning of the frame tells them even where its rest is damaged.

use std::io::Read;

use proto::{Class, batch::frame};

/// What a batch says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// The collector's id.
    pub collector: String,
    /// The life of its spool.
    pub epoch: u64,
    /// What the batch holds.
    pub class: Class,
    /// Its number.
    pub sequence: u64,
}

/// How much is decompressed to find the header; a collector's id is at most 128 bytes.
const HEADER_BYTES_MAX: u64 = 1024;

/// The header, if the beginning of the bytes is that of a batch.
pub fn read(bytes: &[u8]) -> Option<BatchHeader> {
    let decoder = zstd::stream::read::Decoder::with_buffer(frame(bytes)?).ok()?;
    let mut beginning = Vec::new();
    let _ = decoder.take(HEADER_BYTES_MAX).read_to_end(&mut beginning); // what was read before an error stays
    let mut rest = &beginning[..];
    let source = field_bytes(&mut rest, 1)?;
    let class = Class::try_from(i32::try_from(field_varint(&mut rest, 2)?).ok()?).ok()?;
    let sequence = field_varint(&mut rest, 3)?;
    let mut source = source;
    let collector = std::str::from_utf8(field_bytes(&mut source, 1)?).ok()?.to_owned();
    let epoch = if source.is_empty() { 0 } else { field_varint(&mut source, 2)? };
    (sequence > 0).then_some(BatchHeader { collector, epoch, class, sequence })
}

fn field_varint(rest: &mut &[u8], number: u64) -> Option<u64> {
    (varint(rest)? == number << 3).then(|| varint(rest))?
}

fn field_bytes<'a>(rest: &mut &'a [u8], number: u64) -> Option<&'a [u8]> {
    if varint(rest)? != number << 3 | 2 {
        return None;
    }
    let length = usize::try_from(varint(rest)?).ok()?;
    let (field, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(field)
}

/// One protobuf varint; `None` past the end or past 64 bits.
#[inline]
pub(crate) fn varint(rest: &mut &[u8]) -> Option<u64> {
    if let [byte @ 0..0x80, after @ ..] = *rest {
        *rest = after;
        return Some(u64::from(*byte));
    }
    long_varint(rest)
}

fn long_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for (at, &byte) in rest.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f).checked_shl(7 * at as u32)?;
        if byte & 0x80 == 0 {
            *rest = &rest[at + 1..];
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::{Batch, Labels, Payload, Samples, batch::Source};

    #[test]
    fn the_header_survives_damage_behind_it() {
        let batch = Batch {
            source: Source { collector: "c1".into(), epoch: 7 },
            sequence: 42,
            tenant: "0".into(),
            sent_at_ms: 1,
            resource: Labels::from_pairs([("instance", "db1")]),
            payload: Payload::Samples(Samples::default()),
        };
        let whole = batch.encode();
        let expected = Some(BatchHeader { collector: "c1".into(), epoch: 7, class: Class::Samples, sequence: 42 });
        assert_eq!(read(&whole), expected);
        let mut damaged = whole.clone();
        *damaged.last_mut().expect("bytes") ^= 0xff; // the checksum
        assert!(Batch::decode(&damaged).is_err());
        assert_eq!(read(&damaged), expected);
        for nothing in [&b""[..], b"TWB1", b"TWB2xxxx", b"TWB3xxxx", &whole[..6]] {
            assert_eq!(read(nothing), None);
        }
    }
}
