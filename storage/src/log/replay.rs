//! Reading the log at start: every sound record in order, the crash's tail cut, damage to promised records said.

use std::{collections::BTreeMap, path::Path};

use super::{
    Position,
    bytes::Malformed,
    frame::{self, FRAME_BYTES, FrameKind, HEADER_BYTES, Header, VERSION},
    record::{self, Record},
    segment_name, segment_number,
};
use crate::{OpenError, config::OnDamage, disk::Disk};

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Replayed {
    /// The number of the segment to go on with.
    pub(crate) next_segment: u64,
    /// The highest generation found.
    pub(crate) generation: u64,
    /// Where the last sound record ends.
    pub(crate) end: Position,
    /// Per segment kept: bytes up to its last sound record.
    pub(crate) sizes: BTreeMap<u64, u64>,
    /// Records given to the caller.
    pub(crate) records: u64,
    /// Bytes of damage skipped on the operator's word.
    pub(crate) skipped_bytes: u64,
    /// Bytes of a crash's tail that were cut: never promised to anyone.
    pub(crate) cut_bytes: u64,
    /// What was skipped, where: the first [`DAMAGES_MAX`].
    pub(crate) damages: Vec<LogDamage>,
}

/// Most places of damage that are remembered one by one.
const DAMAGES_MAX: usize = 1000;

/// Promised bytes that are not sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogDamage {
    pub(crate) file: String,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    pub(crate) what: String,
}

/// Gives every record from `first_segment` on to `apply`, with its generation. One segment is in memory at a time.
/// Segments below are removed. Afterwards what is left is sound and synced.
pub(crate) fn replay(
    disk: &dyn Disk,
    dir: &Path,
    first_segment: u64,
    on_damage: OnDamage,
    mut apply: impl FnMut(u64, Record) -> Result<(), String>,
) -> Result<Replayed, OpenError> {
    let io = |what: String| move |source| OpenError::Io { what, source };
    let mut segments: Vec<u64> = disk
        .list(dir)
        .map_err(io(format!("listing {}", dir.display())))?
        .iter()
        .filter_map(|name| segment_number(name))
        .collect();
    segments.sort_unstable();
    let mut replayed = Replayed { next_segment: first_segment.max(1), ..Replayed::default() };
    for segment in segments {
        let path = dir.join(segment_name(segment));
        if segment < first_segment {
            disk.remove(&path).map_err(io(format!("removing {}", path.display())))?;
            continue;
        }
        let bytes = disk.read(&path).map_err(io(format!("reading {}", path.display())))?;
        let mut walk = Walk { dir, segment, first_segment, bytes: &bytes, on_damage, replayed: &mut replayed };
        let end = walk.run(&mut apply)?;
        replayed.sizes.insert(segment, end as u64);
        if end > 0 {
            replayed.end = Position { segment, offset: end as u64 };
        }
        let written = bytes.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
        if written > end {
            replayed.cut_bytes += (written - end) as u64;
        }
        // what a killed process had written may still be in the page cache only: from here on it counts as promised
        disk.truncate(&path, end as u64).map_err(io(format!("cutting {}", path.display())))?;
        replayed.next_segment = segment + 1;
    }
    disk.sync_dir(dir).map_err(io(format!("syncing {}", dir.display())))?;
    Ok(replayed)
}

/// Steps that may be read ahead of the one that is being applied: reading and applying take about as long.
const STEPS_AHEAD: usize = 8;

/// What stands at a place of a segment.
enum Step {
    /// A frame of so many bytes, with its record or what is wrong with it.
    Record { at: usize, bytes: usize, record: Box<Result<Record, Malformed>> },
    /// A group: the log was sound up to here when it was written.
    Group(Position),
    /// No sound frame up to `next`, though these bytes were promised.
    Gap { at: usize, next: usize },
    /// Nothing promised from here on.
    End(usize),
}

/// Gives every step of a segment from its first frame on, the end last, until `give` wants no more.
fn read_steps(segment: u64, bytes: &[u8], give: impl Fn(Step) -> bool) {
    let mut at = HEADER_BYTES;
    loop {
        let (step, next) = match frame::frame_at(segment, bytes, at) {
            Some((kind, payload)) => {
                let size = FRAME_BYTES + payload.len();
                let step = match kind {
                    FrameKind::Group => frame::proven(payload).map(Step::Group),
                    _ => Some(Step::Record { at, bytes: size, record: Box::new(record::decode(kind, payload)) }),
                };
                (step, at + size)
            }
            None => match frame::next_frame(segment, bytes, at + 1) {
                Some(next) if promised_behind(segment, bytes, at as u64, next) => (Some(Step::Gap { at, next }), next),
                _ => {
                    give(Step::End(at));
                    return;
                }
            },
        };
        if step.is_some_and(|step| !give(step)) {
            return;
        }
        at = next;
    }
}

/// Whether some group from `next` on in this segment says that bytes behind `offset` were synced.
fn promised_behind(segment: u64, bytes: &[u8], offset: u64, next: usize) -> bool {
    let mut from = next;
    while let Some(at) = frame::next_frame(segment, bytes, from) {
        let Some((kind, payload)) = frame::frame_at(segment, bytes, at) else { return false };
        if kind == FrameKind::Group && frame::proven(payload).is_some_and(|p| p > Position { segment, offset }) {
            return true;
        }
        from = at + FRAME_BYTES + payload.len();
    }
    false
}

struct Walk<'a> {
    dir: &'a Path,
    segment: u64,
    first_segment: u64,
    bytes: &'a [u8],
    on_damage: OnDamage,
    replayed: &'a mut Replayed,
}

impl Walk<'_> {
    /// The offset behind the last sound frame of the segment. Records are checked and decoded on a thread of their own
    /// while those before them are applied.
    fn run(&mut self, apply: &mut impl FnMut(u64, Record) -> Result<(), String>) -> Result<usize, OpenError> {
        let (segment, bytes) = (self.segment, self.bytes);
        let generation = match frame::read_header(bytes, segment) {
            Header::Generation(found) => found,
            Header::Version(found) => {
                let file = self.dir.join(segment_name(segment)).display().to_string();
                return Err(OpenError::Version { file, found: found.into(), known: VERSION.into() });
            }
            Header::Blank | Header::Damaged => match frame::next_frame(segment, bytes, HEADER_BYTES) {
                Some(next) if promised_behind(segment, bytes, 0, next) => {
                    // which generation its records are of is lost with the header, so all of them are
                    self.damage(segment, 0, bytes.len() as u64, "the segment's header")?;
                    return Ok(bytes.len());
                }
                _ => return Ok(0),
            },
        };
        self.replayed.generation = self.replayed.generation.max(generation);
        std::thread::scope(|scope| {
            let (give, steps) = std::sync::mpsc::sync_channel(STEPS_AHEAD);
            std::thread::Builder::new()
                .name("log-reader".into())
                .spawn_scoped(scope, move || read_steps(segment, bytes, |step| give.send(step).is_ok()))
                .map_err(|source| OpenError::Io { what: "starting a thread that reads the log".into(), source })?;
            let mut end = HEADER_BYTES;
            for step in steps {
                match step {
                    Step::Record { at, bytes, record } => {
                        match (*record).map_err(|e| e.to_string()).and_then(|r| apply(generation, r)) {
                            Ok(()) => self.replayed.records += 1,
                            Err(what) => self.damage(segment, at as u64, bytes as u64, &what)?,
                        }
                    }
                    Step::Group(proven) => self.check_promise(proven)?,
                    Step::Gap { at, next } => {
                        self.damage(segment, at as u64, (next - at) as u64, "no sound record")?;
                    }
                    Step::End(at) => end = at,
                }
            }
            Ok(end)
        })
    }

    /// A group says that the log was sound up to `proven`: was it, as far as we have read it?
    fn check_promise(&mut self, proven: Position) -> Result<(), OpenError> {
        if proven.segment >= self.segment || proven.segment < self.first_segment {
            return Ok(());
        }
        let found = self.replayed.sizes.get(&proven.segment).copied().unwrap_or(0);
        if found >= proven.offset {
            return Ok(());
        }
        let lost = proven.offset - found;
        self.replayed.sizes.insert(proven.segment, proven.offset); // said once
        self.damage(proven.segment, found, lost, "records that were promised are not there")
    }

    fn damage(&mut self, segment: u64, offset: u64, bytes: u64, what: &str) -> Result<(), OpenError> {
        let file = self.dir.join(segment_name(segment)).display().to_string();
        match self.on_damage {
            OnDamage::Stop => Err(OpenError::Damaged { file, offset, what: what.into() }),
            OnDamage::Skip => {
                tracing::warn!(file, offset, bytes, what, "damaged log skipped");
                self.replayed.skipped_bytes += bytes;
                if self.replayed.damages.len() < DAMAGES_MAX {
                    self.replayed.damages.push(LogDamage { file, offset, bytes, what: what.into() });
                }
                Ok(())
            }
        }
    }
}
