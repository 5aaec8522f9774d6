//! One record of a spool segment: length, checksum, kind, payload (docs/formats/spool.md).

use proto::Class;

/// First bytes of every segment's header; the digit is the version.
pub const MAGIC: &[u8; 4] = b"TWS1";
/// Length, checksum: what stands before the kind byte.
pub const FRAME_BYTES: usize = 8;
/// Largest record, bytes: an encoded batch and its marks.
pub const RECORD_BYTES_MAX: usize = proto::batch::ENCODED_BYTES_MAX + (1 << 20);

const KIND_HEADER: u8 = 1;
const KIND_BATCH: u8 = 2;
const KIND_DURABLE: u8 = 3;
const KIND_REMOVED: u8 = 4;

/// A note kept with the rows it belongs to: how far a source had read when it sent them. An empty value removes the key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mark {
    /// Whose note, e.g. a file's identity.
    pub key: String,
    /// The note.
    pub value: String,
}

/// What a segment begins with: the lane's whole state at that moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The spool's epoch.
    pub epoch: u64,
    /// The lane's class.
    pub class: Class,
    /// The sequence of the first batch to follow.
    pub next_sequence: u64,
    /// Everything up to here needs no sending any more.
    pub durable: u64,
    /// Every mark of the lane.
    pub marks: Vec<Mark>,
}

/// A batch in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number.
    pub sequence: u64,
    /// Its rows.
    pub rows: u32,
    /// Timestamp of its oldest row, milliseconds.
    pub from_ms: i64,
    /// Timestamp of its newest row, milliseconds.
    pub to_ms: i64,
    /// Marks that became true with it.
    pub marks: Vec<Mark>,
    /// The encoded batch.
    pub bytes: Vec<u8>,
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// First of every segment.
    Header(Header),
    /// A batch.
    Batch(Entry),
    /// Everything up to this sequence is durable at the server or given up.
    Durable(u64),
    /// This one was refused for good.
    Removed(u64),
}

impl Record {
    /// Appends the record's bytes.
    pub fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; FRAME_BYTES]);
        match self {
            Record::Header(header) => {
                out.push(KIND_HEADER);
                out.extend_from_slice(MAGIC);
                out.extend_from_slice(&header.epoch.to_le_bytes());
                out.push(header.class as i32 as u8);
                out.extend_from_slice(&header.next_sequence.to_le_bytes());
                out.extend_from_slice(&header.durable.to_le_bytes());
                write_marks(out, &header.marks);
            }
            Record::Batch(entry) => {
                out.push(KIND_BATCH);
                out.extend_from_slice(&entry.sequence.to_le_bytes());
                out.extend_from_slice(&entry.rows.to_le_bytes());
                out.extend_from_slice(&entry.from_ms.to_le_bytes());
                out.extend_from_slice(&entry.to_ms.to_le_bytes());
                write_marks(out, &entry.marks);
                out.extend_from_slice(&entry.bytes);
            }
            Record::Durable(sequence) => {
                out.push(KIND_DURABLE);
                out.extend_from_slice(&sequence.to_le_bytes());
            }
            Record::Removed(sequence) => {
                out.push(KIND_REMOVED);
                out.extend_from_slice(&sequence.to_le_bytes());
            }
        }
        let body = &out[start + FRAME_BYTES..];
        let (length, checksum) = (body.len() as u32, crc32c::crc32c(body));
        out[start..start + 4].copy_from_slice(&length.to_le_bytes());
        out[start + 4..start + 8].copy_from_slice(&checksum.to_le_bytes());
    }

    /// Length of the body that a frame announces; `None` if it can't be one of ours.
    pub fn body_length(frame: [u8; FRAME_BYTES]) -> Option<usize> {
        let length = u32::from_le_bytes([frame[0], frame[1], frame[2], frame[3]]) as usize;
        (1..=RECORD_BYTES_MAX).contains(&length).then_some(length)
    }

    /// Reads a body against its frame; `None` for damage of any kind.
    pub fn read(frame: [u8; FRAME_BYTES], body: &[u8]) -> Option<Record> {
        let checksum = u32::from_le_bytes([frame[4], frame[5], frame[6], frame[7]]);
        if Record::body_length(frame)? != body.len() || crc32c::crc32c(body) != checksum {
            return None;
        }
        let mut reader = Reader(body);
        match reader.u8()? {
            KIND_HEADER => {
                if reader.take(MAGIC.len())? != MAGIC {
                    return None;
                }
                Some(Record::Header(Header {
                    epoch: reader.u64()?,
                    class: Class::try_from(i32::from(reader.u8()?)).ok()?,
                    next_sequence: reader.u64()?,
                    durable: reader.u64()?,
                    marks: reader.marks()?,
                }))
            }
            KIND_BATCH => Some(Record::Batch(Entry {
                sequence: reader.u64()?,
                rows: reader.u32()?,
                from_ms: reader.u64()? as i64,
                to_ms: reader.u64()? as i64,
                marks: reader.marks()?,
                bytes: reader.0.to_vec(),
            })),
            KIND_DURABLE => Some(Record::Durable(reader.u64()?)),
            KIND_REMOVED => Some(Record::Removed(reader.u64()?)),
            _ => None,
        }
    }
}

fn write_marks(out: &mut Vec<u8>, marks: &[Mark]) {
    out.extend_from_slice(&(marks.len() as u32).to_le_bytes());
    for text in marks.iter().flat_map(|m| [&m.key, &m.value]) {
        out.extend_from_slice(&(text.len() as u32).to_le_bytes());
        out.extend_from_slice(text.as_bytes());
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn text(&mut self) -> Option<String> {
        let length = self.u32()? as usize;
        String::from_utf8(self.take(length)?.to_vec()).ok()
    }

    fn marks(&mut self) -> Option<Vec<Mark>> {
        let count = self.u32()?;
        (0..count).map(|_| Some(Mark { key: self.text()?, value: self.text()? })).collect()
    }
}
