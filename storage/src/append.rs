//! What goes in: rows with their origin, and what became of them.

use std::{future::Future, pin::Pin};

use proto::{
    Class,
    refusal::Refusal,
    samples::{Family, HistogramRow},
};

use crate::AppendError;

/// Rows to store.
#[derive(Clone, Copy, Debug)]
pub struct Append<'a> {
    /// Whose.
    pub tenant: &'a str,
    /// Their place in their sender's sequence; without it the same rows sent twice count as two appends.
    pub origin: Option<Origin<'a>>,
    /// The rows.
    pub rows: Rows<'a>,
    /// Now, milliseconds: what "too old" and "too new" refer to.
    pub now_ms: i64,
}

/// A place in a sender's sequence. Sequences ascend per (collector, epoch, class); one at or below the highest seen is a duplicate,
/// so a sender that is refused for now sends that sequence again before it goes on to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin<'a> {
    /// Who.
    pub collector: &'a str,
    /// Which life of its spool.
    pub epoch: u64,
    /// Which of its sequences.
    pub class: Class,
    /// Where in it, from 1.
    pub sequence: u64,
}

/// A place in a partition of a stream that is read from elsewhere, such as a Kafka topic. It is stored with the rows it brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Consumed<'a> {
    /// Which stream: 1 to 512 bytes, the reader's own name for it.
    pub stream: &'a str,
    /// Which partition of it.
    pub partition: u32,
    /// The offset read; the next start begins behind it.
    pub offset: u64,
}

/// Rows of one class.
#[derive(Clone, Copy, Debug)]
pub enum Rows<'a> {
    /// Of the metrics table.
    Samples(SampleRows<'a>),
    /// Of an event table.
    Events(&'a proto::Events),
    /// Of an event table, and the encoded batch that these rows, and no others, were decoded from: the log keeps it as it came.
    Batch(&'a proto::Events, &'a [u8]),
}

impl Rows<'_> {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Rows::Samples(samples) => samples.len(),
            Rows::Events(events) | Rows::Batch(events, _) => events.rows(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The batch that they came in, if they did.
    pub(crate) fn encoded(&self) -> Option<&[u8]> {
        match self {
            Rows::Batch(_, encoded) => Some(encoded),
            Rows::Samples(_) | Rows::Events(_) => None,
        }
    }

    /// Their class.
    pub fn class(&self) -> Class {
        match self {
            Rows::Samples(_) => Class::Samples,
            Rows::Events(events) | Rows::Batch(events, _) => events.table.class(),
        }
    }
}

/// Samples as borrowed columns; `series`, `timestamps_ms` and `values` are of one length.
#[derive(Clone, Copy, Debug, Default)]
pub struct SampleRows<'a> {
    /// Canonical [`proto::Labels`] bytes of each distinct series.
    pub labels: &'a [&'a [u8]],
    /// Per sample: index into `labels`.
    pub series: &'a [u32],
    /// Per sample: milliseconds.
    pub timestamps_ms: &'a [i64],
    /// Per sample: value, every bit pattern kept.
    pub values: &'a [f64],
    /// Samples that are native histograms; their series are indexes into `labels` too.
    pub histograms: &'a [HistogramRow],
    /// What metrics are, for those whose kind is known.
    pub families: &'a [Family],
}

impl SampleRows<'_> {
    /// How many samples, floats and histograms.
    pub fn len(&self) -> usize {
        self.values.len() + self.histograms.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What became of rows, once it is on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Stored, except for those refused.
    Stored {
        /// How many were.
        rows: u64,
        /// How many were not, by reason.
        refused: Vec<(Refusal, u64)>,
    },
    /// Their sequence had been stored before; nothing was.
    Duplicate,
}

/// Rows on their way to the disk: resolves when they are synced. Dropping it does not take the rows back.
pub struct PendingAppend(pub(crate) Pin<Box<dyn Future<Output = Result<Outcome, AppendError>> + Send>>);

impl Future for PendingAppend {
    type Output = Result<Outcome, AppendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}
