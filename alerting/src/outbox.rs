//! The outbox: messages that have to arrive, one file each, until a peer took or refused them.
//!
//! A message is on disk before anything is sent, so it survives kill -9 and arrives at least once; its key, made of its
//! content, is the file's name and travels with it, so whoever made the same message again after a crash made the same
//! file, and the peer can tell a repetition. How often it was tried, and which recipients have it, stand in the file too.
//! When the disk refuses, messages are kept in memory and sent from there.
//!
//! Order: a channel of a receiver is a lane, one message of it under way at a time. The messages about one group leave in the
//! order they were made; while one of them waits for its next attempt, those of other groups pass. When the peer itself
//! asked for a pause (Retry-After, a provider's limit), the whole lane keeps it for up to a minute.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::deliver::{BACKOFF_MS_MAX, Outcome, Receipt, pause_ms};
use crate::dispatch::FlushKey;
use crate::message::Message;
use crate::sms::Progress;
use crate::told::ToldEntry;

/// Most messages waiting.
pub const MESSAGES_MAX: usize = 10_000;
/// After this long a message nobody took is given up, milliseconds.
pub const AGE_MS_MAX: i64 = 24 * 3_600_000;
/// How long a peer's wish for a pause holds back messages other than the one it answered, milliseconds.
pub const QUIET_MS_MAX: i64 = 60_000;
/// After so many attempts too: more than fit into that time at the longest pause.
pub const ATTEMPTS_MAX: u32 = 400;
const EXTENSION: &str = "json";

const _: () = assert!(ATTEMPTS_MAX as i64 * BACKOFF_MS_MAX > AGE_MS_MAX, "slow attempts end by age");

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
    /// Which recipients have it already, on channels where they go separate ways.
    #[serde(default)]
    pub progress: Progress,
}

impl Parcel {
    /// A message that was not tried yet.
    pub fn new(key: impl Into<String>, channel: usize, kind: &str, message: Message) -> Parcel {
        Parcel { key: key.into(), channel, kind: kind.into(), message, progress: Progress::default() }
    }
}

/// A file's content.
#[derive(Serialize, Deserialize)]
struct Stored {
    parcel: Parcel,
    flush_key: FlushKey,
    told: ToldEntry,
    /// What it tells of further groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    more: Vec<(FlushKey, ToldEntry)>,
    #[serde(default)]
    attempts: u32,
    #[serde(default)]
    not_before_ms: Option<i64>,
}

#[derive(Debug)]
struct Waiting {
    parcel: Parcel,
    path: Option<PathBuf>,
    attempts: u32,
    not_before_ms: i64,
}

/// Receiver and channel.
type LaneName = (String, usize);

#[derive(Debug, Default)]
struct Lane {
    queue: VecDeque<Waiting>,
    /// Whether one of them is under way.
    busy: bool,
    /// The peer asked for a pause until then.
    quiet_until_ms: i64,
}

#[derive(Debug, Default)]
struct Lanes {
    lanes: BTreeMap<LaneName, Lane>,
    /// Of what is in the lanes, and of what is settled and not yet forgotten.
    keys: BTreeSet<String>,
    /// Files of what is settled and not yet forgotten, by key.
    settled: BTreeMap<String, PathBuf>,
}

impl Lane {
    /// When the lane's next message may leave, and which it is: of each group the oldest, of those the one that is due
    /// first.
    fn next(&self) -> Option<(i64, &Waiting)> {
        let mut groups = BTreeSet::new();
        let mut next: Option<&Waiting> = None;
        for waiting in &self.queue {
            let is_first = groups.insert(waiting.parcel.message.group_key.as_str());
            if is_first && next.is_none_or(|n| waiting.not_before_ms < n.not_before_ms) {
                next = Some(waiting);
                if waiting.not_before_ms == i64::MIN {
                    break; // never tried: nothing is due sooner
                }
            }
        }
        next.map(|waiting| (waiting.not_before_ms.max(self.quiet_until_ms), waiting))
    }
}

/// A message that is written down and may not leave yet.
#[derive(Debug)]
pub struct Written {
    parcel: Parcel,
    path: Option<PathBuf>,
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
            match path.extension().and_then(|e| e.to_str()) {
                Some(EXTENSION) => {}
                // the half-written file of a crash
                Some("part") => {
                    fs::remove_file(&path)?;
                    continue;
                }
                _ => continue,
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
            told.extend(one.more);
            lanes.push(one.parcel, Some(path), one.attempts, one.not_before_ms.unwrap_or(i64::MIN));
        }
        Ok((Outbox { folder: folder.into(), lanes: Mutex::new(lanes) }, told))
    }

    /// Takes a message. It is on disk when this returns `Ok(true)`, in memory alone with `Ok(false)`; the error says that the
    /// outbox is full.
    pub fn put(&self, parcel: Parcel, flush_key: FlushKey, told: ToldEntry) -> Result<bool, String> {
        let Some(written) = self.write(parcel, vec![(flush_key, told)])? else { return Ok(true) };
        let on_disk = written.path.is_some();
        self.release(written);
        Ok(on_disk)
    }

    /// Writes a message down with what it tells of its groups; it leaves after [`Outbox::release`], before which the memory of
    /// what was told can be written down too. `None`: it is here already. The error says that the outbox is full.
    pub fn write(&self, parcel: Parcel, mut tells: Vec<(FlushKey, ToldEntry)>) -> Result<Option<Written>, String> {
        {
            let lanes = self.lanes.lock();
            if lanes.keys.contains(&parcel.key) {
                return Ok(None);
            }
            if lanes.keys.len() >= MESSAGES_MAX {
                return Err(format!("the outbox holds {MESSAGES_MAX} messages"));
            }
        }
        if tells.is_empty() {
            return Err("a message tells of no group".into());
        }
        let (flush_key, told) = tells.remove(0);
        let path = self.folder.join(format!("{:013}-{}.{EXTENSION}", parcel.message.made_at_ms, parcel.key));
        let stored = Stored { parcel, flush_key, told, more: tells, attempts: 0, not_before_ms: None };
        let written =
            serde_json::to_vec(&stored).map_err(io::Error::other).and_then(|bytes| replace_file(&path, &bytes));
        if let Err(e) = &written {
            tracing::error!(error = %e, key = stored.parcel.key, "the outbox can't write; the message is kept in memory");
        }
        Ok(Some(Written { parcel: stored.parcel, path: written.is_ok().then_some(path) }))
    }

    /// Lets a message leave.
    pub fn release(&self, written: Written) {
        self.lanes.lock().push(written.parcel, written.path, 0, i64::MIN);
    }

    /// The messages that may leave now, at most one a lane; each must come back through [`Outbox::settle`].
    pub fn take_due(&self, now_ms: i64) -> Vec<Parcel> {
        let mut due = Vec::new();
        for lane in self.lanes.lock().lanes.values_mut().filter(|lane| !lane.busy) {
            if let Some((at_ms, waiting)) = lane.next()
                && at_ms <= now_ms
            {
                due.push(waiting.parcel.clone());
                lane.busy = true;
            }
        }
        due
    }

    /// When the next message may leave, milliseconds.
    pub fn next_due_ms(&self) -> Option<i64> {
        let lanes = self.lanes.lock();
        lanes.lanes.values().filter(|lane| !lane.busy).filter_map(Lane::next).map(|(at_ms, _)| at_ms).min()
    }

    /// Says what came of an attempt. A message to be tried again has its progress on disk when this returns. One that is over
    /// stays on disk until [`Outbox::forget`], so that what came of it can be written down first.
    pub fn settle(&self, parcel: &Parcel, receipt: &Receipt, now_ms: i64) -> Settled {
        let name = (parcel.message.receiver.clone(), parcel.channel);
        let mut lanes = self.lanes.lock();
        let Some(lane) = lanes.lanes.get_mut(&name) else { return Settled::Failed };
        let Some(at) = lane.queue.iter().position(|w| w.parcel.key == parcel.key) else { return Settled::Failed };
        let waiting = &mut lane.queue[at];
        waiting.attempts += 1;
        let given_up = waiting.attempts >= ATTEMPTS_MAX || now_ms - parcel.message.made_at_ms > AGE_MS_MAX;
        let settled = match receipt.outcome {
            Outcome::Taken => Settled::Sent,
            Outcome::Refused => Settled::Failed,
            Outcome::Again { .. } if given_up => Settled::Failed,
            Outcome::Again { retry_after_ms } => {
                waiting.not_before_ms = now_ms + pause_ms(waiting.attempts, &parcel.key, retry_after_ms);
                if let Some(progress) = &receipt.progress {
                    waiting.parcel.progress = progress.clone();
                }
                if retry_after_ms.is_some() {
                    lane.quiet_until_ms = waiting.not_before_ms.min(now_ms + QUIET_MS_MAX);
                }
                let (path, attempts, not_before_ms) = (waiting.path.clone(), waiting.attempts, waiting.not_before_ms);
                let progress = waiting.parcel.progress.clone();
                drop(lanes);
                if let Some(path) = path
                    && let Err(e) = rewrite(&path, attempts, not_before_ms, progress)
                {
                    tracing::error!(file = %path.display(), error = %e, "the progress of a message can't be written down");
                }
                // only now, so that nothing of the lane leaves before the disk knows; the lane still holds the message
                if let Some(lane) = self.lanes.lock().lanes.get_mut(&name) {
                    lane.busy = false;
                }
                return Settled::Retry(not_before_ms);
            }
        };
        let done = lane.queue.remove(at);
        lane.busy = false;
        if lane.queue.is_empty() {
            lanes.lanes.remove(&name);
        }
        if let Some(path) = done.and_then(|w| w.path) {
            lanes.settled.insert(parcel.key.clone(), path);
        }
        settled
    }

    /// Removes a message that is sent or given up. Without it the message is sent again, under its key, in the next life.
    pub fn forget(&self, key: &str) {
        let path = self.lanes.lock().settled.remove(key);
        if let Some(path) = path
            && let Err(e) = fs::remove_file(&path)
        {
            tracing::error!(file = %path.display(), error = %e, "a settled message can't be removed; it will be sent again");
        }
        self.lanes.lock().keys.remove(key);
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
    fn push(&mut self, parcel: Parcel, path: Option<PathBuf>, attempts: u32, not_before_ms: i64) {
        if !self.keys.insert(parcel.key.clone()) {
            return;
        }
        let name = (parcel.message.receiver.clone(), parcel.channel);
        let waiting = Waiting { parcel, path, attempts, not_before_ms };
        self.lanes.entry(name).or_default().queue.push_back(waiting);
    }
}

/// Writes down how far a message has come.
fn rewrite(path: &Path, attempts: u32, not_before_ms: i64, progress: Progress) -> io::Result<()> {
    let mut stored: Stored = serde_json::from_slice(&fs::read(path)?)?;
    stored.parcel.progress = progress;
    stored.attempts = attempts;
    stored.not_before_ms = Some(not_before_ms);
    replace_file(path, &serde_json::to_vec(&stored)?)
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
