//! What came through each door and what was turned away, counted by reason. Nothing is dropped without a number here.

use std::sync::atomic::{AtomicU64, Ordering};

use proto::{Class, refusal::Refusal, tables::class_name};

/// A way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Door {
    /// The collectors' stream.
    Grpc,
    /// Prometheus remote write.
    RemoteWrite,
    /// A Kafka topic.
    Kafka,
    /// The server about itself.
    Own,
}

impl Door {
    /// All of them, for metrics.
    pub const ALL: [Door; 4] = [Door::Grpc, Door::RemoteWrite, Door::Kafka, Door::Own];

    /// Its name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Door::Grpc => "grpc",
            Door::RemoteWrite => "remote_write",
            Door::Kafka => "kafka",
            Door::Own => "own",
        }
    }
}

/// Classes on the wire, `unspecified` included.
const CLASSES: usize = 11;
const DOORS: usize = Door::ALL.len();
const REFUSALS: usize = Refusal::ALL.len();

/// Counts since the start of the process.
#[derive(Default)]
pub struct Counters {
    rows: [[AtomicU64; CLASSES]; DOORS],
    batches: [AtomicU64; DOORS],
    bytes: [AtomicU64; DOORS],
    refused_rows: [[AtomicU64; REFUSALS]; DOORS],
    refused_batches: [[AtomicU64; REFUSALS]; DOORS],
    duplicates: [AtomicU64; DOORS],
    /// Batches whose sequence numbers never arrived.
    pub(crate) missing_batches: AtomicU64,
    /// Streams opened by collectors.
    pub(crate) streams: AtomicU64,
    /// Streams ended because the same collector opened a newer one.
    pub(crate) superseded: AtomicU64,
}

/// One number with its labels, ready to be written as a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Count {
    /// Metric name, `_total` last.
    pub name: &'static str,
    /// What it counts.
    pub help: &'static str,
    /// Label pairs.
    pub labels: Vec<(&'static str, &'static str)>,
    /// How many so far.
    pub value: u64,
}

fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

impl Counters {
    pub(crate) fn stored(&self, door: Door, class: Class, rows: u64) {
        add(&self.batches[door as usize], 1);
        add(&self.rows[door as usize][(class as usize).min(CLASSES - 1)], rows);
    }

    pub(crate) fn received_bytes(&self, door: Door, bytes: usize) {
        add(&self.bytes[door as usize], bytes as u64);
    }

    pub(crate) fn duplicate(&self, door: Door) {
        add(&self.duplicates[door as usize], 1);
    }

    pub(crate) fn refused_rows(&self, door: Door, reason: Refusal, rows: u64) {
        add(&self.refused_rows[door as usize][reason_index(reason)], rows);
    }

    pub(crate) fn refused_batch(&self, door: Door, reason: Refusal) {
        add(&self.refused_batches[door as usize][reason_index(reason)], 1);
    }

    pub(crate) fn one(counter: &AtomicU64, by: u64) {
        add(counter, by);
    }

    /// Everything counted, zero rows of classes and reasons left out except where a zero says "never happened".
    pub fn all(&self) -> Vec<Count> {
        let mut counts = Vec::new();
        let mut push = |name, help, labels: Vec<(&'static str, &'static str)>, value: &AtomicU64, show_zero: bool| {
            let value = value.load(Ordering::Relaxed);
            if value > 0 || show_zero {
                counts.push(Count { name, help, labels, value });
            }
        };
        for door in Door::ALL {
            let d = door as usize;
            let label = ("door", door.as_str());
            push("tidewatch_ingest_batches_total", "Batches stored.", vec![label], &self.batches[d], true);
            push(
                "tidewatch_ingest_bytes_total",
                "Bytes received, as they travelled.",
                vec![label],
                &self.bytes[d],
                true,
            );
            push("tidewatch_ingest_duplicates_total", "Batches known already.", vec![label], &self.duplicates[d], true);
            for (index, rows) in self.rows[d].iter().enumerate() {
                let class = Class::try_from(index as i32).unwrap_or(Class::Unspecified);
                let labels = vec![label, ("class", class_name(class))];
                push("tidewatch_ingest_rows_total", "Rows stored.", labels, rows, false);
            }
            for reason in Refusal::ALL {
                let labels = vec![label, ("reason", reason.as_str())];
                let rows = &self.refused_rows[d][reason_index(reason)];
                push("tidewatch_ingest_refused_rows_total", "Rows refused.", labels.clone(), rows, true);
                let batches = &self.refused_batches[d][reason_index(reason)];
                push("tidewatch_ingest_refused_batches_total", "Batches refused whole.", labels, batches, true);
            }
        }
        let missing = "Batches whose sequence numbers never arrived.";
        push("tidewatch_ingest_missing_batches_total", missing, vec![], &self.missing_batches, true);
        push("tidewatch_ingest_streams_total", "Streams opened by collectors.", vec![], &self.streams, true);
        let superseded = "Streams ended because the same collector opened a newer one.";
        push("tidewatch_ingest_superseded_streams_total", superseded, vec![], &self.superseded, true);
        counts
    }

    /// The value of one count; 0 if there is none of that name and these labels.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        self.all()
            .iter()
            .filter(|c| c.name == name && labels.iter().all(|l| c.labels.contains(l)))
            .map(|c| c.value)
            .sum()
    }
}

fn reason_index(reason: Refusal) -> usize {
    Refusal::ALL.iter().position(|r| *r == reason).unwrap_or(0)
}
