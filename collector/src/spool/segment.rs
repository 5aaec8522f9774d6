//! One file of a lane: a header record, then records in order. Only its end may be damaged, and only until it is cut.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use proto::{Class, tables::class_name};

use super::record::{FRAME_BYTES, Header, Record};

/// A segment of a lane.
#[derive(Debug)]
pub struct Segment {
    /// Ascending within the lane.
    pub number: u64,
    /// Where it is.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// Sequence its first batch has, or will have.
    pub first_sequence: u64,
    /// Sequence of its last batch, or of the one before its first if it has none.
    pub last_sequence: u64,
}

impl Segment {
    /// Whether it holds no batch.
    pub fn is_empty(&self) -> bool {
        self.last_sequence < self.first_sequence
    }
}

/// The path of a segment.
pub fn path_of(directory: &Path, class: Class, number: u64) -> PathBuf {
    directory.join(format!("{}-{number:020}.spool", class_name(class)))
}

/// The numbers of a lane's segments, ascending.
pub fn numbers_of(directory: &Path, class: Class) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name();
        let number = name
            .to_str()
            .and_then(|n| n.strip_suffix(".spool"))
            .and_then(|n| n.rsplit_once('-'))
            .filter(|(class_word, _)| *class_word == class_name(class))
            .and_then(|(_, number)| number.parse::<u64>().ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Creates a segment with its header and opens it for appending.
pub fn create(directory: &Path, number: u64, header: &Header) -> io::Result<(Segment, File)> {
    let path = path_of(directory, header.class, number);
    let mut bytes = Vec::new();
    Record::Header(header.clone()).write(&mut bytes);
    if path.exists() {
        std::fs::remove_file(&path)?;
    }
    let mut file = OpenOptions::new().create_new(true).append(true).open(&path)?;
    if let Err(e) = file.write_all(&bytes) {
        let _ = std::fs::remove_file(&path); // a segment without header is removed at the next start anyway
        return Err(e);
    }
    let segment = Segment {
        number,
        path,
        bytes: bytes.len() as u64,
        first_sequence: header.next_sequence,
        last_sequence: header.next_sequence - 1,
    };
    Ok((segment, file))
}

/// What stands at an offset.
pub enum At {
    /// A record, and where the next one begins.
    Record(Record, u64),
    /// Nothing: the end.
    End,
    /// Bytes that are no record.
    Damage,
}

/// Reads the record at an offset of a file that is `length` long.
pub fn read_at(file: &File, offset: u64, length: u64) -> io::Result<At> {
    if offset >= length {
        return Ok(At::End);
    }
    if offset + FRAME_BYTES as u64 > length {
        return Ok(At::Damage);
    }
    let mut frame = [0; FRAME_BYTES];
    file.read_exact_at(&mut frame, offset)?;
    let Some(body_length) = Record::body_length(frame) else { return Ok(At::Damage) };
    let next = offset + (FRAME_BYTES + body_length) as u64;
    if next > length {
        return Ok(At::Damage);
    }
    let mut body = vec![0; body_length];
    file.read_exact_at(&mut body, offset + FRAME_BYTES as u64)?;
    Ok(Record::read(frame, &body).map_or(At::Damage, |record| At::Record(record, next)))
}

/// The header of a segment, if it has one.
pub fn read_header(path: &Path) -> io::Result<Option<Header>> {
    let file = File::open(path)?;
    match read_at(&file, 0, file.metadata()?.len())? {
        At::Record(Record::Header(header), _) => Ok(Some(header)),
        _ => Ok(None),
    }
}

/// Calls `each` with every record from the beginning up to the end or the first damage; returns the offset reached and
/// whether damage stands there.
pub fn scan(file: &File, length: u64, mut each: impl FnMut(Record)) -> io::Result<(u64, bool)> {
    let mut offset = 0;
    loop {
        match read_at(file, offset, length)? {
            At::Record(record, next) => {
                each(record);
                offset = next;
            }
            At::End => return Ok((offset, false)),
            At::Damage => return Ok((offset, true)),
        }
    }
}
