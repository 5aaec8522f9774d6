//! The log: what makes an append durable before it is in a part.
//!
//! Appends put frames into a buffer; one writer thread writes what has gathered, syncs, and tells the waiting how far the
//! disk now reaches. Segments are preallocated, so a full disk is met before rows are taken, not after. A group begins with
//! the position synced before it: at replay, damage behind the highest proven position is the tail of a crash and is cut;
//! damage before it is a loss, and is said. A flush ends a *generation* of segments; the next one defines its series anew.
//!
//! Byte by byte: docs/formats/log.md.

use std::{
    collections::{BTreeMap, VecDeque},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

use crate::disk::{Disk, DiskFile, is_full};

pub(crate) mod bytes;
pub(crate) mod frame;
pub(crate) mod numbers;
pub(crate) mod record;
pub(crate) mod record_exemplars;
mod replay;
mod write;

use frame::{FRAME_BYTES, FrameKind, GROUP_BYTES, HEADER_BYTES, group, header};
pub(crate) use replay::{Replayed, replay};

/// Most bytes that may wait to be written: a disk that slow must slow its senders down.
pub(crate) const BUFFER_BYTES_MAX: usize = 192 << 20;

/// A place in the log: everything in lower segments, and in this one below the offset, comes before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Position {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
}

/// Why nothing more gets to the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// No room; passes.
    Full(String),
    /// A write or sync failed: what is on the disk is unknown from here on.
    Poisoned(String),
    /// The log was closed.
    Closed,
}

/// How far the disk reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) synced: Position,
    pub(crate) failure: Option<Failure>,
    pub(crate) syncs: u64,
}

/// Frames of one segment that wait to be written together.
struct Chunk {
    segment: u64,
    offset: u64,
    bytes: Vec<u8>,
    group_at: usize,
    file: Arc<Mutex<Box<dyn DiskFile>>>,
    is_new: bool,
    is_last: bool,
}

struct State {
    waiting: VecDeque<Chunk>,
    waiting_bytes: usize,
    segment: u64,
    generation: u64,
    offset: u64,
    capacity: u64,
    file: Option<Arc<Mutex<Box<dyn DiskFile>>>>,
    is_new: bool,
    sizes: BTreeMap<u64, u64>,
    closing: bool,
}

struct Shared {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    state: Mutex<State>,
    wake: Condvar,
    progress: watch::Sender<Progress>,
    /// Whether there was no room for the next segment when it was last wanted.
    lacks_room: AtomicBool,
    fsync_interval: Duration,
}

/// The open log.
pub(crate) struct Log {
    shared: Arc<Shared>,
    segment_bytes: u64,
    writer: Mutex<Option<std::thread::JoinHandle<()>>>,
}

/// A segment's file name.
pub(crate) fn segment_name(segment: u64) -> String {
    format!("{segment:016x}.log")
}

/// The segment number of a file name.
pub(crate) fn segment_number(name: &str) -> Option<u64> {
    let number = u64::from_str_radix(name.strip_suffix(".log")?, 16).ok()?;
    (segment_name(number) == name).then_some(number)
}

impl Log {
    /// Goes on behind what was replayed, in a new generation. No file is made before the first append.
    pub(crate) fn start(
        disk: Arc<dyn Disk>,
        dir: &Path,
        replayed: &Replayed,
        segment_bytes: u64,
        fsync_interval_ms: u64,
    ) -> std::io::Result<Log> {
        let state = State {
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            segment: replayed.next_segment - 1,
            generation: replayed.generation + 1,
            offset: 0,
            capacity: 0,
            file: None,
            is_new: false,
            sizes: replayed.sizes.clone(),
            closing: false,
        };
        let progress = Progress { synced: replayed.end, failure: None, syncs: 0 };
        let shared = Arc::new(Shared {
            disk,
            dir: dir.to_owned(),
            state: Mutex::new(state),
            wake: Condvar::new(),
            progress: watch::channel(progress).0,
            lacks_room: AtomicBool::new(false),
            fsync_interval: Duration::from_millis(fsync_interval_ms),
        });
        let of_thread = shared.clone();
        let writer = std::thread::Builder::new().name("log-writer".into()).spawn(move || of_thread.write_loop())?;
        Ok(Log { shared, segment_bytes, writer: Mutex::new(Some(writer)) })
    }

    /// How far the disk reaches, now and from now on.
    pub(crate) fn progress(&self) -> watch::Receiver<Progress> {
        self.shared.progress.subscribe()
    }

    /// Resolves once all up to a position is synced, or with why it will not be.
    pub(crate) fn reached(&self, at: Position) -> impl Future<Output = Result<(), Failure>> + Send + 'static + use<> {
        let mut progress = self.progress();
        async move {
            match progress.wait_for(|p| p.synced >= at || p.failure.is_some()).await {
                Ok(p) if p.synced >= at => Ok(()),
                Ok(p) => Err(p.failure.clone().unwrap_or(Failure::Closed)),
                Err(_) => Err(Failure::Closed),
            }
        }
    }

    /// Takes a record into the buffer; the answer is the position at which it will be durable. On failure nothing was taken.
    pub(crate) fn append(&self, kind: FrameKind, payload: &[u8]) -> Result<Position, Failure> {
        let mut state = self.shared.state.lock();
        self.check(&state)?;
        let frame_bytes = FRAME_BYTES + payload.len();
        if state.waiting_bytes + frame_bytes > BUFFER_BYTES_MAX {
            return Err(Failure::Full(format!("{} bytes wait for the disk", state.waiting_bytes)));
        }
        // every chunk begins with a group frame; whether this frame begins one is known only below
        if state.file.is_none() || state.offset + (GROUP_BYTES + frame_bytes) as u64 > state.capacity {
            let generation = state.generation;
            self.roll_locked(&mut state, generation, (HEADER_BYTES + GROUP_BYTES + frame_bytes) as u64)?;
        }
        let state = &mut *state;
        let begins = state.waiting.back().is_none_or(|chunk| chunk.segment != state.segment);
        if begins {
            let mut bytes = Vec::new();
            if state.is_new {
                bytes.extend_from_slice(&header(state.segment, state.generation));
            }
            let group_at = bytes.len();
            bytes.resize(group_at + GROUP_BYTES, 0); // filled in when it is written
            let chunk = Chunk {
                segment: state.segment,
                offset: state.offset,
                group_at,
                file: state.file.clone().ok_or(Failure::Closed)?,
                is_new: state.is_new,
                is_last: false,
                bytes,
            };
            state.offset += chunk.bytes.len() as u64;
            state.waiting_bytes += chunk.bytes.len();
            state.is_new = false;
            state.waiting.push_back(chunk);
        }
        let at = Position { segment: state.segment, offset: state.offset };
        if let Some(chunk) = state.waiting.back_mut() {
            frame::put_frame(&mut chunk.bytes, at, kind, payload);
        }
        state.offset += frame_bytes as u64;
        state.waiting_bytes += frame_bytes;
        state.sizes.insert(state.segment, state.offset);
        let end = Position { segment: state.segment, offset: state.offset };
        self.shared.wake.notify_one();
        Ok(end)
    }

    fn check(&self, state: &State) -> Result<(), Failure> {
        match &self.shared.progress.borrow().failure {
            Some(failure) => Err(failure.clone()),
            None if state.closing => Err(Failure::Closed),
            None => Ok(()),
        }
    }

    /// Begins a new generation in a new segment; the answer is its number: everything before is in lower segments.
    pub(crate) fn roll(&self) -> Result<u64, Failure> {
        let mut state = self.shared.state.lock();
        self.check(&state)?;
        let generation = state.generation + 1;
        self.roll_locked(&mut state, generation, 0)?;
        Ok(state.segment)
    }

    fn roll_locked(&self, state: &mut State, generation: u64, room: u64) -> Result<(), Failure> {
        let segment = state.segment + 1;
        let capacity = self.segment_bytes.max(room);
        let path = self.shared.dir.join(segment_name(segment));
        let created = self.shared.disk.create(&path, capacity);
        let lacks_room = created.as_ref().is_err_and(is_full);
        if self.shared.lacks_room.swap(lacks_room, Ordering::Relaxed) != lacks_room {
            match lacks_room {
                true => {
                    tracing::error!(segment = %path.display(), bytes = capacity, "no room for the log: rows are refused until there is")
                }
                false => tracing::info!("there is room for the log again"),
            }
        }
        let file = created.map_err(|e| match is_full(&e) {
            true => Failure::Full(format!("{capacity} bytes for log segment {}: {e}", path.display())),
            false => self.shared.poison(format!("creating {}: {e}", path.display())),
        })?;
        match state.waiting.back_mut() {
            Some(chunk) if chunk.segment == state.segment => chunk.is_last = true,
            _ => {} // its room stays until it is removed; that is no loss but of room
        }
        (state.segment, state.generation, state.offset, state.capacity) = (segment, generation, 0, capacity);
        (state.file, state.is_new) = (Some(Arc::new(Mutex::new(file))), true);
        state.sizes.insert(segment, 0);
        Ok(())
    }

    /// Removes the segments below `segment`, which the manifest no longer needs.
    pub(crate) fn truncate(&self, segment: u64) -> std::io::Result<()> {
        let gone: Vec<u64> = self.shared.state.lock().sizes.range(..segment).map(|(s, _)| *s).collect();
        for segment in gone {
            match self.shared.disk.remove(&self.shared.dir.join(segment_name(segment))) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
                _ => self.shared.state.lock().sizes.remove(&segment),
            };
        }
        Ok(())
    }

    /// Whether there was no room for the next segment when it was last wanted.
    pub(crate) fn lacks_room(&self) -> bool {
        self.shared.lacks_room.load(Ordering::Relaxed)
    }

    /// Bytes of records in the log, and its segments.
    pub(crate) fn size(&self) -> (u64, u64) {
        let state = self.shared.state.lock();
        (state.sizes.values().sum(), state.sizes.len() as u64)
    }

    /// Writes what waits and ends the writer.
    pub(crate) fn close(&self) {
        self.shared.state.lock().closing = true;
        self.shared.wake.notify_one();
        let writer = self.writer.lock().take();
        if let Some(writer) = writer {
            let _ = writer.join();
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests;
