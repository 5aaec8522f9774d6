//! Segment headers and frames: where records stand in a segment and how damage is recognised.

use super::Position;

/// First bytes of a segment.
pub(crate) const MAGIC: &[u8; 4] = b"TWLG";
/// Version of the segment format, the byte behind the magic.
pub(crate) const VERSION: u8 = 5;
/// The oldest version that is read: 1 knew no offsets, 2 no histograms, 3 no exemplars, 4 no batches.
const VERSION_MIN: u8 = 1;
/// Bytes of a segment's header.
pub(crate) const HEADER_BYTES: usize = 28;
/// Bytes of a frame before its payload: length, checksum, kind.
pub(crate) const FRAME_BYTES: usize = 9;
/// Bytes of a group frame: its payload is a position.
pub(crate) const GROUP_BYTES: usize = FRAME_BYTES + 16;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum FrameKind {
    /// Begins a group: the position that was synced before the group was written.
    Group = 1,
    /// Samples.
    Samples = 2,
    /// Event rows.
    Events = 3,
    /// An offset that brought no rows.
    Consumed = 4,
    /// Exemplars.
    Exemplars = 5,
    /// Event rows as the batch that they came in.
    Batch = 6,
}

impl FrameKind {
    fn from_byte(byte: u8) -> Option<FrameKind> {
        const KINDS: [FrameKind; 6] = [
            FrameKind::Group,
            FrameKind::Samples,
            FrameKind::Events,
            FrameKind::Consumed,
            FrameKind::Exemplars,
            FrameKind::Batch,
        ];
        KINDS.into_iter().find(|k| *k as u8 == byte)
    }
}

/// A segment's header.
pub(crate) fn header(segment: u64, generation: u64) -> [u8; HEADER_BYTES] {
    header_of(VERSION, segment, generation)
}

fn header_of(version: u8, segment: u64, generation: u64) -> [u8; HEADER_BYTES] {
    let mut out = [0; HEADER_BYTES];
    out[..4].copy_from_slice(MAGIC);
    out[4] = version;
    out[8..16].copy_from_slice(&segment.to_le_bytes());
    out[16..24].copy_from_slice(&generation.to_le_bytes());
    let crc = crc32c::crc32c(&out[..24]);
    out[24..].copy_from_slice(&crc.to_le_bytes());
    out
}

/// What a segment's first bytes say.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Header {
    /// Sound; its generation.
    Generation(u64),
    /// Of a version this program does not know.
    Version(u8),
    /// Nothing was ever written.
    Blank,
    /// Not a header.
    Damaged,
}

/// Reads the header of segment number `segment`.
pub(crate) fn read_header(bytes: &[u8], segment: u64) -> Header {
    let Some(head) = bytes.first_chunk::<HEADER_BYTES>() else {
        return if bytes.iter().all(|b| *b == 0) { Header::Blank } else { Header::Damaged };
    };
    if head.iter().all(|b| *b == 0) {
        return Header::Blank;
    }
    let sound = crc32c::crc32c(&head[..24]).to_le_bytes() == head[24..];
    if head[..4] == *MAGIC && sound && !(VERSION_MIN..=VERSION).contains(&head[4]) {
        return Header::Version(head[4]);
    }
    let mut generation = [0; 8];
    generation.copy_from_slice(&head[16..24]);
    let generation = u64::from_le_bytes(generation);
    if *head == header_of(head[4], segment, generation) { Header::Generation(generation) } else { Header::Damaged }
}

/// The checksum of a frame covers its place, so that a frame that strayed from elsewhere is not taken for this one.
fn checksum(at: Position, kind: u8, payload: &[u8]) -> u32 {
    let mut place = [0; 17];
    place[..8].copy_from_slice(&at.segment.to_le_bytes());
    place[8..16].copy_from_slice(&at.offset.to_le_bytes());
    place[16] = kind;
    crc32c::crc32c_append(crc32c::crc32c(&place), payload)
}

/// Appends a frame that will stand at `at`.
pub(crate) fn put_frame(out: &mut Vec<u8>, at: Position, kind: FrameKind, payload: &[u8]) {
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    out.extend_from_slice(&checksum(at, kind as u8, payload).to_le_bytes());
    out.push(kind as u8);
    out.extend_from_slice(payload);
}

/// A group frame that will stand at `at`.
pub(crate) fn group(at: Position, proven: Position) -> Vec<u8> {
    let mut payload = [0; 16];
    payload[..8].copy_from_slice(&proven.segment.to_le_bytes());
    payload[8..].copy_from_slice(&proven.offset.to_le_bytes());
    let mut out = Vec::with_capacity(GROUP_BYTES);
    put_frame(&mut out, at, FrameKind::Group, &payload);
    out
}

/// What a group frame's payload says.
pub(crate) fn proven(payload: &[u8]) -> Option<Position> {
    let payload: &[u8; 16] = payload.try_into().ok()?;
    let number = |at: usize| payload[at..at + 8].iter().rev().fold(0u64, |n, b| n << 8 | u64::from(*b));
    Some(Position { segment: number(0), offset: number(8) })
}

/// The sound frame that stands at an offset of a segment's bytes.
pub(crate) fn frame_at(segment: u64, bytes: &[u8], offset: usize) -> Option<(FrameKind, &[u8])> {
    let head = bytes.get(offset..)?.first_chunk::<FRAME_BYTES>()?;
    let len = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
    let crc = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
    let kind = FrameKind::from_byte(head[8])?;
    let payload = bytes.get(offset + FRAME_BYTES..)?.get(..len)?;
    (checksum(Position { segment, offset: offset as u64 }, head[8], payload) == crc).then_some((kind, payload))
}

/// The first sound frame at or behind an offset.
pub(crate) fn next_frame(segment: u64, bytes: &[u8], from: usize) -> Option<usize> {
    (from..bytes.len().saturating_sub(FRAME_BYTES - 1)).find(|at| {
        FrameKind::from_byte(bytes[at + FRAME_BYTES - 1]).is_some() && frame_at(segment, bytes, *at).is_some()
    })
}
