//! The outbox: messages that have to arrive, one file each, until a peer took or refused them.
//!
//! A message is on disk before anything is sent, so it survives kill -9 and arrives at least once; its key, made of its
//! content, is the file's name and travels with it, so whoever made the same message again after a crash made the same
//! file, and the peer can tell a repetition. On each channel messages leave in the order they were made. When the disk
//! refuses, they are kept in memory and sent from there.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::deliver::{Outcome, Receipt, pause_ms};
use crate::dispatch::FlushKey;
use crate::message::Message;
use crate::told::ToldEntry;

/// Most messages waiting.
pub const MESSAGES_MAX: usize = 10_000;
/// After this long a message nobody took is given up, milliseconds.
pub const AGE_MS_MAX: i64 = 24 * 3_600_000;
const EXTENSION: &str = "json";

/// A message for one channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Parcel {
    /// Idempotency key: 16 hex digits of the content.
    pub key: String,
    /// Index of the channel in the receiver.
    pub channel: usize,
    /// The channel's name.
    pub kind: String,
    /// What to say.
    pub message: Message,
}

/// A file's content.
#[derive(Serialize, Deserialize)]
struct Stored {
    parcel: Parcel,
    flush_key: FlushKey,
    told: ToldEntry,
}

#[derive(Debug)]
struct Waiting {
    parcel: Parcel,
    path: Option<PathBuf>,
    attempts: u32,
    not_before_ms: i64,
}

/// Receiver and channel: messages of one lane leave one after the other.
type Lane = (String, usize);

#[derive(Debug, Default)]
struct Lanes {
    waiting: BTreeMap<Lane, VecDeque<Waiting>>,
    busy: BTreeSet<Lane>,
    keys: BTreeSet<String>,
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The peer has it.
    Sent,
    /// It is tried again at this time, milliseconds.
    Retry(i64),
    /// It was given up.
    Failed,
}

/// The messages that have to arrive.
#[derive(Debug)]
pub struct Outbox {
    folder: PathBuf,
    lanes: Mutex<Lanes>,
}

impl Outbox {
    /// Opens the folder and reads what is left from earlier lives; what each message told comes with it.
    pub fn open(folder: &Path) -> io::Result<(Outbox, Vec<(FlushKey, ToldEntry)>)> {
        fs::create_dir_all(folder)?;
        let (mut stored, mut told) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.extension().is_none_or(|e| e != EXTENSION) {
                // the half-written file of a crash
                fs::remove_file(&path)?;
                continue;
            }
            let bytes = fs::read(&path)?;
            match serde_json::from_slice::<Stored>(&bytes) {
                Ok(one) => stored.push((one, path)),
                Err(e) => {
                    tracing::error!(file = %path.display(), error = %e, "a message in the outbox can't be read; set aside");
                    fs::rename(&path, path.with_extension("damaged"))?;
                }
            }
        }
        stored.sort_by(|(a, p), (b, q)| (a.parcel.message.made_at_ms, p).cmp(&(b.parcel.message.made_at_ms, q)));
        let mut lanes = Lanes::default();
        for (one, path) in stored {
            told.push((one.flush_key, one.told));
            lanes.push(one.parcel, Some(path));
        }
        Ok((Outbox { folder: folder.into(), lanes: Mutex::new(lanes) }, told))
    }

    /// Takes a message. It is on disk when this returns `Ok(true)`, in memory alone with `Ok(false)`; the error says that the
    /// outbox is full.
    pub fn put(&self, parcel: Parcel, flush_key: FlushKey, told: ToldEntry) -> Result<bool, String> {
        {
            let lanes = self.lanes.lock();
            if lanes.keys.contains(&parcel.key) {
                return Ok(true);
            }
            if lanes.keys.len() >= MESSAGES_MAX {
                return Err(format!("the outbox holds {MESSAGES_MAX} messages"));
            }
        }
        let path = self.folder.join(format!("{:013}-{}.{EXTENSION}", parcel.message.made_at_ms, parcel.key));
        let stored = Stored { parcel, flush_key, told };
        let written =
            serde_json::to_vec(&stored).map_err(io::Error::other).and_then(|bytes| replace_file(&path, &bytes));
        if let Err(e) = &written {
            tracing::error!(error = %e, key = stored.parcel.key, "the outbox can't write; the message is kept in memory");
        }
        let on_disk = written.is_ok();
        self.lanes.lock().push(stored.parcel, on_disk.then_some(path));
        Ok(on_disk)
    }

    /// The messages that may leave now, at most one a lane; each must come back through [`Outbox::settle`].
    pub fn take_due(&self, now_ms: i64) -> Vec<Parcel> {
        let mut lanes = self.lanes.lock();
        let Lanes { waiting, busy, .. } = &mut *lanes;
        let mut due = Vec::new();
        for (lane, queue) in waiting.iter() {
            if let Some(first) = queue.front()
                && first.not_before_ms <= now_ms
                && busy.insert(lane.clone())
            {
                due.push(first.parcel.clone());
            }
        }
        due
    }

    /// When the next message may leave, milliseconds.
    pub fn next_due_ms(&self) -> Option<i64> {
        let lanes = self.lanes.lock();
        let free = lanes.waiting.iter().filter(|(lane, _)| !lanes.busy.contains(*lane));
        free.filter_map(|(_, queue)| queue.front()).map(|w| w.not_before_ms).min()
    }

    /// Says what came of an attempt.
    pub fn settle(&self, parcel: &Parcel, receipt: &Receipt, now_ms: i64) -> Settled {
        let mut lanes = self.lanes.lock();
        let lane = (parcel.message.receiver.clone(), parcel.channel);
        lanes.busy.remove(&lane);
        let Some(queue) = lanes.waiting.get_mut(&lane) else { return Settled::Failed };
        let Some(first) = queue.front_mut().filter(|w| w.parcel.key == parcel.key) else { return Settled::Failed };
        first.attempts += 1;
        let settled = match receipt.outcome {
            Outcome::Taken => Settled::Sent,
            Outcome::Refused => Settled::Failed,
            Outcome::Again { .. } if now_ms - parcel.message.made_at_ms > AGE_MS_MAX => Settled::Failed,
            Outcome::Again { retry_after_ms } => {
                first.not_before_ms = now_ms + pause_ms(first.attempts, &parcel.key, retry_after_ms);
                return Settled::Retry(first.not_before_ms);
            }
        };
        let done = queue.pop_front();
        if queue.is_empty() {
            lanes.waiting.remove(&lane);
        }
        lanes.keys.remove(&parcel.key);
        drop(lanes);
        if let Some(path) = done.and_then(|w| w.path)
            && let Err(e) = fs::remove_file(&path)
        {
            tracing::error!(file = %path.display(), error = %e, "a settled message can't be removed; it will be sent again");
        }
        settled
    }

    /// How many messages wait.
    pub fn len(&self) -> usize {
        self.lanes.lock().keys.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Lanes {
    fn push(&mut self, parcel: Parcel, path: Option<PathBuf>) {
        if !self.keys.insert(parcel.key.clone()) {
            return;
        }
        let lane = (parcel.message.receiver.clone(), parcel.channel);
        let waiting = Waiting { parcel, path, attempts: 0, not_before_ms: i64::MIN };
        self.waiting.entry(lane).or_default().push_back(waiting);
    }
}

/// Writes a file so that after a crash it is the old one or the new one, whole.
pub(crate) fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let part = path.with_extension("part");
    let mut file = File::create(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&part, path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
