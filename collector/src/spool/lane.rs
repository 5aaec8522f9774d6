//! The batches of one class: segments in order, what is durable, what is on its way, what comes next.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use proto::{Class, tables::class_name};

use super::{
    record::{Entry, Header, Mark, Record},
    segment::{self, At, Segment},
};

/// A segment is full at this size, bytes; a larger record gets a segment of its own. Small, because dropping goes by
/// segments.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 20;
/// A segment whose batches are all durable is replaced by an empty one at this size, bytes.
const SPENT_BYTES_MAX: u64 = 256 << 10;
/// Most marks a lane keeps.
const MARKS_MAX: usize = 1024;
/// Most rolled segments that wait for the next sync; a further one is synced on the spot.
const UNSYNCED_MAX: usize = 16;

const _: () = assert!(SPENT_BYTES_MAX < SEGMENT_BYTES_MAX);

/// A batch that was sent and not yet acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Its number.
    pub sequence: u64,
    /// Its rows.
    pub rows: u32,
}

/// The batches of one class.
#[derive(Debug)]
pub struct Lane {
    class: Class,
    directory: PathBuf,
    epoch: u64,
    segments: VecDeque<Segment>,
    writer: File,
    next_sequence: u64,
    durable: u64,
    removed: BTreeSet<u64>,
    marks: BTreeMap<String, String>,
    in_flight: VecDeque<Sent>,
    cursor: Cursor,
    dirty: bool,
    unsynced: Vec<File>,
}

/// Where the next batch to send is read.
#[derive(Debug)]
struct Cursor {
    number: u64,
    offset: u64,
    file: Option<File>,
}

impl Cursor {
    fn at_start_of(number: u64) -> Cursor {
        Cursor { number, offset: 0, file: None }
    }
}

/// What [`Lane::next_unsent`] found.
#[derive(Debug)]
pub enum Next {
    /// This is to be sent.
    Batch(Entry),
    /// Everything is on its way.
    Nothing,
    /// The rest of a segment is unreadable and was left out: batches of these sequences, first and last.
    Damaged(u64, u64),
}

impl Lane {
    /// A new lane without batches.
    pub fn create(directory: &Path, class: Class, epoch: u64) -> io::Result<Lane> {
        let header = Header { epoch, class, next_sequence: 1, durable: 0, marks: Vec::new() };
        let (segment, writer) = segment::create(directory, 1, &header)?;
        Ok(Lane {
            class,
            directory: directory.into(),
            epoch,
            segments: VecDeque::from([segment]),
            writer,
            next_sequence: 1,
            durable: 0,
            removed: BTreeSet::new(),
            marks: BTreeMap::new(),
            in_flight: VecDeque::new(),
            cursor: Cursor::at_start_of(1),
            dirty: true,
            unsynced: Vec::new(),
        })
    }

    /// Opens a lane where its last segment left it; a torn end is cut. `None` if nothing readable of it is left.
    pub fn open(directory: &Path, class: Class, epoch: u64) -> io::Result<Option<Lane>> {
        let mut headers = Vec::new();
        for number in segment::numbers_of(directory, class)? {
            let path = segment::path_of(directory, class, number);
            match segment::read_header(&path)? {
                Some(header) if header.class == class && header.epoch == epoch => headers.push((number, path, header)),
                _ => std::fs::remove_file(&path)?, // killed between creating it and writing its header
            }
        }
        let Some((_, last_path, last_header)) = headers.last().cloned() else { return Ok(None) };
        let mut segments = VecDeque::new();
        for (i, (number, path, header)) in headers.iter().enumerate() {
            let bytes = std::fs::metadata(path)?.len();
            let last_sequence = headers.get(i + 1).map_or(0, |(_, _, next)| next.next_sequence - 1);
            let first_sequence = header.next_sequence;
            segments.push_back(Segment { number: *number, path: path.clone(), bytes, first_sequence, last_sequence });
        }
        let writer = OpenOptions::new().read(true).append(true).open(&last_path)?;
        let mut lane = Lane {
            class,
            directory: directory.into(),
            epoch,
            cursor: Cursor::at_start_of(headers[0].0),
            segments,
            writer,
            next_sequence: last_header.next_sequence,
            durable: last_header.durable,
            removed: BTreeSet::new(),
            marks: last_header.marks.into_iter().map(|m| (m.key, m.value)).collect(),
            in_flight: VecDeque::new(),
            dirty: false,
            unsynced: Vec::new(),
        };
        lane.replay_last()?;
        lane.forget_spent()?;
        Ok(Some(lane))
    }

    fn replay_last(&mut self) -> io::Result<()> {
        let file = File::open(&self.segments[self.segments.len() - 1].path)?;
        let length = file.metadata()?.len();
        let (end, damaged) = segment::scan(&file, length, |record| match record {
            Record::Header(_) => {}
            Record::Batch(entry) => {
                self.next_sequence = entry.sequence + 1;
                self.note(entry.marks);
            }
            Record::Durable(sequence) => self.durable = self.durable.max(sequence),
            Record::Removed(sequence) => {
                self.removed.insert(sequence);
            }
        })?;
        if damaged {
            tracing::warn!(class = class_name(self.class), cut = length - end, "spool: torn end cut");
            self.writer.set_len(end)?;
        }
        if let Some(last) = self.segments.back_mut() {
            last.bytes = end;
            last.last_sequence = self.next_sequence - 1;
        }
        Ok(())
    }

    fn note(&mut self, marks: Vec<Mark>) {
        for mark in marks {
            if mark.value.is_empty() {
                self.marks.remove(&mark.key);
            } else if self.marks.len() < MARKS_MAX || self.marks.contains_key(&mark.key) {
                self.marks.insert(mark.key, mark.value);
            }
        }
    }

    /// Its class.
    pub fn class(&self) -> Class {
        self.class
    }

    /// The number the next batch gets.
    pub fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// Everything up to here needs no sending any more.
    pub fn durable(&self) -> u64 {
        self.durable
    }

    /// How many batches may still have to be sent or acknowledged; refused ones among them count until they are passed.
    pub fn waiting(&self) -> u64 {
        self.next_sequence - 1 - self.durable
    }

    /// How many batches are on their way.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|s| s.bytes).sum()
    }

    /// Every mark.
    pub fn marks(&self) -> impl Iterator<Item = (&str, &str)> {
        self.marks.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Replaces every mark, and makes it so on disk.
    pub fn set_marks(&mut self, marks: Vec<Mark>) -> io::Result<()> {
        self.marks.clear();
        self.note(marks);
        self.roll()
    }

    /// Raises the next sequence, so that numbers perhaps used before a power loss are not used again.
    pub fn skip_to(&mut self, sequence: u64) -> io::Result<()> {
        if self.waiting() == 0 {
            self.durable = self.durable.max(sequence - 1);
        }
        self.next_sequence = self.next_sequence.max(sequence);
        self.roll()
    }

    /// Writes a batch; its sequence must be [`Lane::next_sequence`]. On an error nothing was written.
    pub fn append(&mut self, entry: Entry) -> io::Result<()> {
        assert_eq!(entry.sequence, self.next_sequence, "batches are appended in order");
        let marks = entry.marks.clone();
        let mut bytes = Vec::with_capacity(entry.bytes.len() + 64);
        Record::Batch(entry).write(&mut bytes);
        let last = &self.segments[self.segments.len() - 1];
        if !last.is_empty() && last.bytes + bytes.len() as u64 > SEGMENT_BYTES_MAX {
            self.roll()?;
        }
        self.write(&bytes)?;
        if let Some(last) = self.segments.back_mut() {
            last.last_sequence = self.next_sequence;
        }
        self.next_sequence += 1;
        self.note(marks);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Err(e) = self.writer.write_all(bytes) {
            let length = self.segments.back().map_or(0, |s| s.bytes);
            if self.writer.set_len(length).is_err() {
                let _ = self.roll(); // what was written in part is a torn end of the segment left behind
            }
            return Err(e);
        }
        if let Some(last) = self.segments.back_mut() {
            last.bytes += bytes.len() as u64;
        }
        self.dirty = true;
        Ok(())
    }

    fn roll(&mut self) -> io::Result<()> {
        let header = Header {
            epoch: self.epoch,
            class: self.class,
            next_sequence: self.next_sequence,
            durable: self.durable,
            marks: self.marks.iter().map(|(k, v)| Mark { key: k.clone(), value: v.clone() }).collect(),
        };
        let number = self.segments.back().map_or(0, |s| s.number) + 1;
        let (segment, writer) = segment::create(&self.directory, number, &header)?;
        self.segments.push_back(segment);
        let old = std::mem::replace(&mut self.writer, writer);
        if self.dirty && self.unsynced.len() < UNSYNCED_MAX {
            self.unsynced.push(old);
        } else if self.dirty {
            old.sync_data()?;
        }
        self.dirty = true;
        Ok(())
    }

    /// The next batch to send, in order. What it returns is on its way from now on.
    pub fn next_unsent(&mut self) -> io::Result<Next> {
        loop {
            let Some(index) = self.segments.iter().position(|s| s.number >= self.cursor.number) else {
                return Ok(Next::Nothing);
            };
            let (number, length, last_sequence) = {
                let s = &self.segments[index];
                (s.number, s.bytes, s.last_sequence)
            };
            let is_last = index + 1 == self.segments.len();
            if number != self.cursor.number {
                self.cursor = Cursor::at_start_of(number);
            }
            if self.cursor.file.is_none() {
                self.cursor.file = Some(File::open(&self.segments[index].path)?);
            }
            let Some(file) = &self.cursor.file else { return Ok(Next::Nothing) };
            match segment::read_at(file, self.cursor.offset, length)? {
                At::Record(record, next) => {
                    self.cursor.offset = next;
                    if let Record::Batch(entry) = record
                        && entry.sequence > self.durable
                        && !self.removed.contains(&entry.sequence)
                    {
                        self.in_flight.push_back(Sent { sequence: entry.sequence, rows: entry.rows });
                        return Ok(Next::Batch(entry));
                    }
                }
                At::End if is_last => return Ok(Next::Nothing),
                At::End => self.cursor = Cursor::at_start_of(number + 1),
                At::Damage => {
                    let first = self.in_flight.back().map_or(self.durable, |s| s.sequence) + 1;
                    if is_last {
                        self.roll()?;
                    }
                    self.cursor = Cursor::at_start_of(number + 1);
                    let told = self.removed.len();
                    self.removed.extend(first..=last_sequence);
                    if self.removed.len() > told {
                        return Ok(Next::Damaged(first, last_sequence));
                    }
                }
            }
        }
    }

    /// Everything up to `sequence` is durable (or given up): it is forgotten. Returns how many batches and rows left flight.
    pub fn forget_up_to(&mut self, sequence: u64) -> io::Result<(u64, u64)> {
        let sequence = sequence.min(self.next_sequence - 1);
        if sequence <= self.durable {
            return Ok((0, 0));
        }
        let (mut batches, mut rows) = (0, 0);
        while let Some(sent) = self.in_flight.front().filter(|s| s.sequence <= sequence) {
            (batches, rows) = (batches + 1, rows + u64::from(sent.rows));
            self.in_flight.pop_front();
        }
        self.durable = sequence;
        self.removed = self.removed.split_off(&(sequence + 1));
        let mut bytes = Vec::new();
        Record::Durable(sequence).write(&mut bytes);
        self.write(&bytes)?;
        self.forget_spent()?;
        Ok((batches, rows))
    }

    /// Deletes segments whose batches are all durable.
    fn forget_spent(&mut self) -> io::Result<()> {
        let last = &self.segments[self.segments.len() - 1];
        if last.last_sequence <= self.durable && last.bytes > SPENT_BYTES_MAX {
            self.roll()?;
        }
        while self.segments.len() > 1 && self.segments[0].last_sequence <= self.durable {
            std::fs::remove_file(&self.segments[0].path)?;
            self.segments.pop_front();
        }
        Ok(())
    }

    /// Takes one batch out for good: it was refused. Returns its entry, if it is still here.
    pub fn remove(&mut self, sequence: u64) -> io::Result<Option<Entry>> {
        if sequence <= self.durable || sequence >= self.next_sequence || !self.removed.insert(sequence) {
            return Ok(None);
        }
        self.in_flight.retain(|s| s.sequence != sequence);
        let mut bytes = Vec::new();
        Record::Removed(sequence).write(&mut bytes);
        self.write(&bytes)?;
        let mut found = None;
        if let Some(segment) = self.segments.iter().find(|s| s.last_sequence >= sequence) {
            let file = File::open(&segment.path)?;
            segment::scan(&file, segment.bytes, |record| match record {
                Record::Batch(entry) if entry.sequence == sequence => found = Some(entry),
                _ => {}
            })?;
        }
        let mut passed = self.durable;
        while self.removed.contains(&(passed + 1)) {
            passed += 1;
        }
        self.forget_up_to(passed)?;
        Ok(found)
    }

    /// Everything not durable is to be sent again: the connection was lost, or the server had no room.
    pub fn rewind(&mut self) {
        self.in_flight.clear();
        self.cursor = Cursor::at_start_of(self.segments[0].number);
    }

    /// Drops the oldest segment that holds something not durable; returns the batches that were lost with it.
    pub fn drop_oldest(&mut self) -> io::Result<Vec<Entry>> {
        let Some(index) = self.segments.iter().position(|s| s.last_sequence > self.durable) else {
            return Ok(Vec::new());
        };
        let segment = &self.segments[index];
        let last_sequence = segment.last_sequence;
        let mut lost = Vec::new();
        let file = File::open(&segment.path)?;
        segment::scan(&file, segment.bytes, |record| match record {
            Record::Batch(entry) if entry.sequence > self.durable && !self.removed.contains(&entry.sequence) => {
                lost.push(entry);
            }
            _ => {}
        })?;
        if index + 1 == self.segments.len() {
            self.roll()?;
        }
        self.forget_up_to(last_sequence)?;
        Ok(lost)
    }

    /// Every batch not durable, oldest first, without changing anything; for moving a spool to a new epoch.
    pub fn each_waiting(&self, mut each: impl FnMut(Entry) -> io::Result<()>) -> io::Result<()> {
        for segment in &self.segments {
            let file = File::open(&segment.path)?;
            let mut result = Ok(());
            segment::scan(&file, segment.bytes, |record| {
                if let Record::Batch(entry) = record
                    && entry.sequence > self.durable
                    && !self.removed.contains(&entry.sequence)
                    && result.is_ok()
                {
                    result = each(entry);
                }
            })?;
            result?;
        }
        Ok(())
    }

    /// Handles to sync what was written since the last call.
    pub fn take_dirty(&mut self) -> io::Result<Vec<File>> {
        let mut files = std::mem::take(&mut self.unsynced);
        if std::mem::take(&mut self.dirty) {
            files.push(self.writer.try_clone()?);
        }
        Ok(files)
    }
}
