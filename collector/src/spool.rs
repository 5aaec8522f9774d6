//! The bounded spool on disk: every batch is written here first and forgotten when the server has it on disk.
//!
//! One lane of segment files per class (docs/formats/spool.md). A batch is in the kernel's hands before the sender sees it, so
//! kill -9 loses nothing and the next start resumes at the exact state. Files are synced every [`SYNC_INTERVAL_MS`]: a
//! power failure can lose the unsynced end, never reuse a number (see [`SEQUENCES_SKIPPED`]), and is told as a gap. When
//! the bound is reached the oldest segment of the least important class goes, and a row in `gaps` says what went with it.

pub mod identity;
pub mod lane;
pub mod loss;
pub mod record;
pub mod segment;
pub mod split;

use std::{
    collections::{BTreeMap, VecDeque},
    fs::File,
    io,
    path::PathBuf,
    sync::Arc,
};

use proto::{
    Batch, Class, Events, Labels, Payload,
    batch::Source,
    tables::{CLASSES_BY_IMPORTANCE, class_name},
};

use self::{
    identity::Identity,
    lane::{Lane, Next},
    loss::{Loss, class_of, rows_of, time_range},
    record::Entry,
    split::{halves, split},
};

pub use self::record::Mark;

/// How often written bytes are made to survive a power failure, milliseconds.
pub const SYNC_INTERVAL_MS: u64 = 10_000;
/// After a power failure this many sequence numbers are left out: more than can have been used since the last sync.
pub const SEQUENCES_SKIPPED: u64 = 1 << 20;

/// How a spool is opened.
#[derive(Clone, Debug)]
pub struct SpoolOptions {
    /// The collector's data directory.
    pub data_dir: PathBuf,
    /// Most bytes on disk.
    pub bytes_max: u64,
    /// Largest batch that the way to the server takes, bytes; rows without marks are cut to fit.
    pub batch_bytes_max: usize,
    /// The collector's id if it is configured.
    pub id: Option<Arc<str>>,
    /// Whose data.
    pub tenant: Arc<str>,
    /// Labels of every batch.
    pub resource: Labels,
    /// The host's name, for gaps that no instance bears.
    pub host: Arc<str>,
    /// This boot of the machine; empty where unknown.
    pub boot: Arc<str>,
    /// Now.
    pub now_ms: i64,
}

/// Why the spool does not take or give.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The disk.
    #[error("spool {path}: {source}")]
    Io {
        /// Where.
        path: PathBuf,
        /// What.
        source: io::Error,
    },
    /// Rows sent with marks that do not fit one batch.
    #[error("{class}: {bytes} bytes exceed the {max} of one batch")]
    TooLarge {
        /// Their class.
        class: &'static str,
        /// Encoded.
        bytes: usize,
        /// What is allowed.
        max: usize,
    },
}

/// What went through since the program started.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Per class.
    pub by_class: BTreeMap<Class, ClassCounters>,
}

/// What went through of one class.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClassCounters {
    /// Batches written.
    pub spooled_batches: u64,
    /// Rows written.
    pub spooled_rows: u64,
    /// Batches the server has on disk.
    pub acked_batches: u64,
    /// Rows the server has on disk.
    pub acked_rows: u64,
    /// Batches refused for good.
    pub refused_batches: u64,
    /// Rows refused for good.
    pub refused_rows: u64,
    /// Rows dropped because the spool was full, damaged, or the disk did not take them.
    pub dropped_rows: u64,
    /// Batches waiting now.
    pub waiting_batches: u64,
}

/// A batch to be sent now.
#[derive(Debug)]
pub struct Outgoing {
    /// Its class.
    pub class: Class,
    /// Its number.
    pub sequence: u64,
    /// Encoded.
    pub bytes: Vec<u8>,
}

/// The spool.
#[derive(Debug)]
pub struct Spool {
    options: SpoolOptions,
    directory: PathBuf,
    identity: Identity,
    lanes: Vec<Lane>,
    unwritten: BTreeMap<Class, Loss>,
    counters: Counters,
}

impl Spool {
    /// Opens the spool as the last life left it, or a new one.
    pub fn open(options: SpoolOptions) -> Result<Spool, SpoolError> {
        let path = options.data_dir.clone();
        Spool::open_io(options).map_err(|source| SpoolError::Io { path, source })
    }

    fn open_io(options: SpoolOptions) -> io::Result<Spool> {
        let directory = options.data_dir.join("spool");
        let (fresh, old) = (options.data_dir.join("spool.new"), options.data_dir.join("spool.old"));
        std::fs::create_dir_all(&options.data_dir)?;
        if !directory.exists() && Identity::read(&fresh).is_ok_and(|i| i.is_some()) {
            std::fs::rename(&fresh, &directory)?; // killed between the two renames of `renew`
        }
        for leftover in [&fresh, &old] {
            if leftover.exists() {
                std::fs::remove_dir_all(leftover)?;
            }
        }
        let stored = if directory.exists() { Identity::read(&directory)? } else { None };
        let Some(mut identity) = stored else {
            return Spool::begin(options, directory);
        };
        let same_id = options.id.as_ref().is_none_or(|id| *id == identity.collector);
        let mut lanes = Vec::new();
        for class in CLASSES_BY_IMPORTANCE {
            lanes.extend(Lane::open(&directory, class, identity.epoch)?);
        }
        let complete = lanes.len() == CLASSES_BY_IMPORTANCE.len();
        let power_lost = !identity.clean && identity.boot != options.boot;
        let last_epoch = identity.epoch;
        identity.clean = false;
        identity.boot = options.boot.clone();
        let mut spool =
            Spool { directory, identity, lanes, unwritten: BTreeMap::new(), counters: Counters::default(), options };
        if !complete || !same_id {
            spool.renew(Some(if same_id { "spool_damaged" } else { "id_changed" }), last_epoch)?;
        } else {
            spool.identity.write(&spool.directory)?;
            if power_lost {
                for lane in &mut spool.lanes {
                    lane.skip_to(lane.next_sequence() + SEQUENCES_SKIPPED)?;
                }
                spool.note_power_loss();
            }
        }
        Ok(spool)
    }

    fn begin(options: SpoolOptions, directory: PathBuf) -> io::Result<Spool> {
        if directory.exists() {
            // no identity: what is in it can't be attributed to an epoch
            tracing::warn!(path = %directory.display(), "spool: identity is missing, beginning anew");
            std::fs::remove_dir_all(&directory)?;
        }
        std::fs::create_dir_all(&directory)?;
        let identity = Identity {
            collector: options.id.clone().unwrap_or_else(|| uuid::Uuid::new_v4().to_string().into()),
            epoch: options.now_ms.max(1) as u64,
            boot: options.boot.clone(),
            clean: false,
        };
        let lanes = create_lanes(&directory, identity.epoch)?;
        identity.write(&directory)?;
        Ok(Spool { directory, identity, lanes, unwritten: BTreeMap::new(), counters: Counters::default(), options })
    }

    /// Who sends.
    pub fn source(&self) -> Source {
        Source { collector: self.identity.collector.clone(), epoch: self.identity.epoch }
    }

    /// Most bytes the spool may take on disk.
    pub fn bytes_max(&self) -> u64 {
        self.options.bytes_max
    }

    /// Bytes on disk now.
    pub fn bytes(&self) -> u64 {
        self.lanes.iter().map(Lane::bytes).sum()
    }

    /// What went through.
    pub fn counters(&self) -> Counters {
        let mut counters = self.counters.clone();
        for lane in &self.lanes {
            counters.by_class.entry(lane.class()).or_default().waiting_batches = lane.waiting();
        }
        counters
    }

    /// The mark of a key in the lane of a class.
    pub fn mark(&self, class: Class, key: &str) -> Option<&str> {
        self.lanes.iter().find(|l| l.class() == class)?.marks().find(|(k, _)| *k == key).map(|(_, v)| v)
    }

    /// Every mark in the lane of a class.
    pub fn marks(&self, class: Class) -> Vec<Mark> {
        let lane = self.lanes.iter().find(|l| l.class() == class);
        lane.into_iter().flat_map(Lane::marks).map(|(k, v)| Mark { key: k.into(), value: v.into() }).collect()
    }

    fn lane(&mut self, class: Class) -> &mut Lane {
        let index = self.lanes.iter().position(|l| l.class() == class);
        let index = index.unwrap_or_else(|| panic!("{} has no lane", class_name(class)));
        &mut self.lanes[index]
    }

    fn count(&mut self, class: Class) -> &mut ClassCounters {
        self.counters.by_class.entry(class).or_default()
    }

    fn io(&self, source: io::Error) -> SpoolError {
        SpoolError::Io { path: self.directory.clone(), source }
    }

    /// Writes rows as one batch, in as many as they need. On an error the rows are lost and become a gap as soon as the
    /// disk takes one.
    pub fn append(&mut self, payload: Payload, now_ms: i64) -> Result<(), SpoolError> {
        let mut result = Ok(());
        let mut pieces = VecDeque::from(split(payload));
        while let Some(payload) = pieces.pop_front() {
            if let Err(e) = self.append_one(&payload, Vec::new(), now_ms) {
                if let (SpoolError::TooLarge { .. }, Some((first, second))) = (&e, halves(&payload)) {
                    pieces.push_front(second);
                    pieces.push_front(first);
                    continue;
                }
                if self.unwritten.is_empty() {
                    tracing::error!(error = %e, "spool takes no rows; what is lost until it does becomes a gap");
                }
                let class = class_of(&payload);
                let loss = self.unwritten.entry(class).or_insert_with(|| Loss::new(class));
                loss.add_payload(&payload);
                self.count(class).dropped_rows += rows_of(&payload);
                result = Err(e);
            }
        }
        if result.is_ok() {
            self.tell_unwritten(now_ms);
        }
        result
    }

    /// Writes rows and marks in one record: after a crash both are there or neither. On an error nothing was written,
    /// and the caller still has the rows.
    pub fn append_marked(&mut self, payload: &Payload, marks: Vec<Mark>, now_ms: i64) -> Result<(), SpoolError> {
        self.append_one(payload, marks, now_ms)?;
        self.tell_unwritten(now_ms);
        Ok(())
    }

    fn append_one(&mut self, payload: &Payload, marks: Vec<Mark>, now_ms: i64) -> Result<(), SpoolError> {
        let class = class_of(payload);
        let bytes = self.encode(payload, now_ms);
        let max = if marks.is_empty() { self.options.batch_bytes_max } else { proto::batch::ENCODED_BYTES_MAX };
        if bytes.len() > max {
            let class = class_name(class);
            return Err(SpoolError::TooLarge { class, bytes: bytes.len(), max });
        }
        if class != Class::Gaps {
            self.make_room(bytes.len() as u64, now_ms)?;
        }
        self.append_encoded(payload, bytes, marks).map_err(|e| self.io(e))
    }

    fn append_encoded(&mut self, payload: &Payload, bytes: Vec<u8>, marks: Vec<Mark>) -> io::Result<()> {
        let (from_ms, to_ms) = time_range(payload).unwrap_or((0, 0));
        let rows = rows_of(payload);
        let lane = self.lane(class_of(payload));
        lane.append(Entry { sequence: lane.next_sequence(), rows: rows as u32, from_ms, to_ms, marks, bytes })?;
        let counters = self.count(class_of(payload));
        counters.spooled_batches += 1;
        counters.spooled_rows += rows;
        Ok(())
    }

    fn encode(&mut self, payload: &Payload, now_ms: i64) -> Vec<u8> {
        let batch = Batch {
            source: self.source(),
            sequence: self.lane(class_of(payload)).next_sequence(),
            tenant: self.options.tenant.clone(),
            sent_at_ms: now_ms,
            resource: self.options.resource.clone(),
            payload: payload.clone(),
        };
        batch.encode()
    }

    fn make_room(&mut self, bytes: u64, now_ms: i64) -> Result<(), SpoolError> {
        while self.bytes() + bytes > self.options.bytes_max {
            let Some(index) = self.lanes.iter().position(|l| l.waiting() > 0) else { return Ok(()) };
            let class = self.lanes[index].class();
            let lost = self.lanes[index].drop_oldest().map_err(|e| self.io(e))?;
            let mut loss = Loss::new(class);
            for entry in &lost {
                loss.add_encoded(&entry.bytes, u64::from(entry.rows), entry.from_ms, entry.to_ms);
            }
            self.tell(&loss, now_ms, "spool_full", &format!("spool reached its {} bytes", self.options.bytes_max));
        }
        Ok(())
    }

    /// Sends a loss as rows of `gaps`, counts and logs it. The loss of gaps themselves is only counted and logged.
    fn tell(&mut self, loss: &Loss, now_ms: i64, reason: &str, detail: &str) {
        if loss.is_empty() {
            return;
        }
        let class = loss.class();
        self.count(class).dropped_rows += loss.rows();
        tracing::warn!(class = class_name(class), rows = loss.rows(), reason, detail, "rows lost");
        if class != Class::Gaps {
            let collector = self.identity.collector.clone();
            let host = self.options.host.clone();
            let gaps = loss.to_gaps(now_ms, &collector, &host, reason, detail);
            self.append_gaps(gaps, now_ms);
        }
    }

    fn append_gaps(&mut self, gaps: Events, now_ms: i64) {
        if let Err(e) = self.append_one(&Payload::Events(gaps), Vec::new(), now_ms) {
            tracing::error!(error = %e, "a gap could not be recorded");
        }
    }

    fn tell_unwritten(&mut self, now_ms: i64) {
        for (class, loss) in std::mem::take(&mut self.unwritten) {
            let (collector, host) = (self.identity.collector.clone(), self.options.host.clone());
            tracing::warn!(class = class_name(class), rows = loss.rows(), "rows lost while the disk took none");
            let gaps = loss.to_gaps(now_ms, &collector, &host, "disk_error", "the spool's disk took no writes");
            self.append_gaps(gaps, now_ms);
        }
    }

    fn note_power_loss(&mut self) {
        let now_ms = self.options.now_ms;
        let from_ms = now_ms; // when the machine went down is not known; the row says when it was noticed
        for class in CLASSES_BY_IMPORTANCE.into_iter().filter(|c| *c != Class::Gaps) {
            let mut loss = Loss::new(class);
            loss.add("", from_ms, now_ms, 0);
            self.tell(
                &loss,
                now_ms,
                "power_loss",
                "rows of the last seconds before the machine stopped may be missing",
            );
        }
    }

    /// The next batch to send of a class that has fewer than `window` on their way; most important class first.
    pub fn next_unsent(&mut self, window: usize, now_ms: i64) -> Result<Option<Outgoing>, SpoolError> {
        for index in (0..self.lanes.len()).rev() {
            while self.lanes[index].in_flight() < window {
                let class = self.lanes[index].class();
                match self.lanes[index].next_unsent().map_err(|e| self.io(e))? {
                    Next::Nothing => break,
                    Next::Batch(Entry { sequence, bytes, .. }) => {
                        return Ok(Some(Outgoing { class, sequence, bytes }));
                    }
                    Next::Damaged(first, last) => {
                        let mut loss = Loss::new(class);
                        loss.add("", now_ms, now_ms, 0);
                        let detail =
                            format!("batches {first} to {last} are unreadable on disk; their rows are unknown");
                        self.tell(&loss, now_ms, "spool_damaged", &detail);
                    }
                }
            }
        }
        Ok(None)
    }

    /// The number of the last batch of a class; 0 if there was none.
    pub fn last_sequence(&self, class: Class) -> u64 {
        self.lanes.iter().find(|l| l.class() == class).map_or(0, |l| l.next_sequence() - 1)
    }

    /// Everything of a class up to here is durable at the server or given up.
    pub fn durable(&self, class: Class) -> u64 {
        self.lanes.iter().find(|l| l.class() == class).map_or(0, Lane::durable)
    }

    /// How many batches are on their way.
    pub fn in_flight(&self) -> usize {
        self.lanes.iter().map(Lane::in_flight).sum()
    }

    /// Whether nothing waits to be sent or acknowledged.
    pub fn is_drained(&self) -> bool {
        self.lanes.iter().all(|l| l.waiting() == 0)
    }

    /// The server has everything of a class up to a sequence on disk.
    pub fn acknowledged(&mut self, class: Class, sequence: u64) -> Result<(), SpoolError> {
        let Some(index) = self.lanes.iter().position(|l| l.class() == class) else { return Ok(()) };
        let (batches, rows) = self.lanes[index].forget_up_to(sequence).map_err(|e| self.io(e))?;
        let counters = self.count(class);
        counters.acked_batches += batches;
        counters.acked_rows += rows;
        Ok(())
    }

    /// Rows were refused for good: what was lost becomes a gap. If `rows` is less than the batch has, the others were
    /// taken and the batch will be acknowledged in its turn.
    pub fn refused(
        &mut self,
        class: Class,
        sequence: u64,
        rows: u64,
        reason: &str,
        detail: &str,
        now_ms: i64,
    ) -> Result<(), SpoolError> {
        let Some(index) = self.lanes.iter().position(|l| l.class() == class) else { return Ok(()) };
        let entry = self.lanes[index].remove(sequence).map_err(|e| self.io(e))?;
        let Some(entry) = entry else { return Ok(()) };
        let mut loss = Loss::new(class);
        let all = rows == 0 || rows >= u64::from(entry.rows);
        match all {
            true => loss.add_encoded(&entry.bytes, u64::from(entry.rows), entry.from_ms, entry.to_ms),
            false => loss.add("", entry.from_ms, entry.to_ms, rows),
        }
        let counters = self.count(class);
        counters.refused_batches += u64::from(all);
        counters.refused_rows += loss.rows();
        tracing::warn!(class = class_name(class), sequence, rows = loss.rows(), reason, detail, "server refused rows");
        if class != Class::Gaps {
            let (collector, host) = (self.identity.collector.clone(), self.options.host.clone());
            let gaps = loss.to_gaps(now_ms, &collector, &host, &format!("refused_{reason}"), detail);
            self.append_gaps(gaps, now_ms);
        }
        Ok(())
    }

    /// The server had no room for a class: it is sent again from its first batch that is not durable.
    pub fn send_again(&mut self, class: Class) {
        if let Some(lane) = self.lanes.iter_mut().find(|l| l.class() == class) {
            lane.rewind();
        }
    }

    /// A new client of the other way: everything not durable is sent again.
    pub fn send_all_again(&mut self) {
        self.lanes.iter_mut().for_each(Lane::rewind);
    }

    /// A new connection: forget what the server has, send the rest again. `false` if the server has sequences this spool
    /// never gave out: its memory is not the one the server knows, and [`Spool::renew_epoch`] must be called.
    pub fn connected(&mut self, durable: &[(Class, u64)]) -> Result<bool, SpoolError> {
        for &(class, sequence) in durable {
            let lane = self.lanes.iter().find(|l| l.class() == class);
            if lane.is_some_and(|l| sequence >= l.next_sequence()) {
                return Ok(false);
            }
        }
        for &(class, sequence) in durable {
            self.acknowledged(class, sequence)?;
        }
        self.send_all_again();
        Ok(true)
    }

    /// Begins a new epoch with what still waits.
    pub fn renew_epoch(&mut self, now_ms: i64) -> Result<(), SpoolError> {
        self.options.now_ms = now_ms;
        let last = self.identity.epoch;
        self.renew(Some("epoch_renewed"), last).map_err(|e| self.io(e))
    }

    /// Begins a new epoch because rows go another way from now on; nothing was lost.
    pub fn leave_way(&mut self, now_ms: i64) -> Result<(), SpoolError> {
        self.options.now_ms = now_ms;
        let last = self.identity.epoch;
        self.renew(None, last).map_err(|e| self.io(e))
    }

    /// Moves what can be read to new lanes under a new epoch. The new directory is complete before it takes the place of
    /// the old one, so a crash leaves one of the two.
    fn renew(&mut self, loss_reason: Option<&str>, last_epoch: u64) -> io::Result<()> {
        let (fresh, old) = (self.options.data_dir.join("spool.new"), self.options.data_dir.join("spool.old"));
        for leftover in [&fresh, &old] {
            if leftover.exists() {
                std::fs::remove_dir_all(leftover)?;
            }
        }
        std::fs::create_dir_all(&fresh)?;
        self.identity.epoch = (self.options.now_ms.max(1) as u64).max(last_epoch + 1);
        if let Some(id) = &self.options.id {
            self.identity.collector = id.clone();
        }
        let (source, epoch) = (self.source(), self.identity.epoch);
        let mut lanes = create_lanes(&fresh, epoch)?;
        for lane in &mut lanes {
            let Some(from) = self.lanes.iter().find(|l| l.class() == lane.class()) else { continue };
            from.each_waiting(|mut entry| {
                let Ok(mut batch) = Batch::decode(&entry.bytes) else { return Ok(()) };
                batch.source = source.clone();
                batch.sequence = lane.next_sequence();
                entry.sequence = batch.sequence;
                entry.bytes = batch.encode();
                entry.marks = Vec::new();
                lane.append(entry)
            })?;
            let marks = from.marks().map(|(k, v)| Mark { key: k.into(), value: v.into() }).collect();
            lane.set_marks(marks)?;
        }
        self.identity.write(&fresh)?;
        std::fs::rename(&self.directory, &old)?;
        std::fs::rename(&fresh, &self.directory)?;
        std::fs::remove_dir_all(&old)?;
        self.lanes.clear();
        for class in CLASSES_BY_IMPORTANCE {
            self.lanes.extend(Lane::open(&self.directory, class, epoch)?);
        }
        tracing::warn!(epoch, loss_reason, "spool: a new epoch begins");
        let Some(reason) = loss_reason else { return Ok(()) };
        let now_ms = self.options.now_ms;
        let mut loss = Loss::new(Class::Samples);
        loss.add("", now_ms, now_ms, 0);
        self.tell(&loss, now_ms, reason, "the spool's memory was lost; what could be read was kept");
        Ok(())
    }

    /// Handles of files written since the last call, for syncing outside the lock.
    pub fn take_dirty(&mut self) -> Result<Vec<File>, SpoolError> {
        let mut files = Vec::new();
        for index in 0..self.lanes.len() {
            files.extend(self.lanes[index].take_dirty().map_err(|e| self.io(e))?);
        }
        Ok(files)
    }

    /// Syncs everything and notes that it is so; the last thing a life of the program does with its spool.
    pub fn close(&mut self) -> Result<(), SpoolError> {
        for file in self.take_dirty()? {
            file.sync_all().map_err(|e| self.io(e))?;
        }
        self.identity.clean = true;
        self.identity.write(&self.directory).map_err(|e| self.io(e))
    }
}

fn create_lanes(directory: &std::path::Path, epoch: u64) -> io::Result<Vec<Lane>> {
    CLASSES_BY_IMPORTANCE.into_iter().map(|class| Lane::create(directory, class, epoch)).collect()
}

#[cfg(test)]
#[path = "spool/away_tests.rs"]
mod away_tests;
#[cfg(test)]
#[path = "spool/tests.rs"]
mod tests;
