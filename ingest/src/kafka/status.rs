//! What the reader of a topic says about itself: the source of its metrics.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;
use proto::refusal::Refusal;

/// Numbers since the start of the process, and the partitions as they are now.
#[derive(Default)]
pub struct Status {
    state: Mutex<State>,
    messages: AtomicU64,
    bytes: AtomicU64,
    pauses: AtomicU64,
    lost_offsets: AtomicU64,
    dead_letters: AtomicU64,
    dead_letter_errors: AtomicU64,
    errors: AtomicU64,
}

#[derive(Default)]
struct State {
    connected: Option<bool>,
    last_error: String,
    partitions: BTreeMap<u32, Partition>,
    refused: BTreeMap<Refusal, u64>,
}

/// One partition as it is now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Partition {
    /// The offset read next.
    pub next: u64,
    /// The offset behind the broker's newest, as last heard.
    pub high: u64,
    /// Whether reading waits: for room in the store, or for a dead letter to be kept.
    pub paused: bool,
}

impl Partition {
    /// Messages that are at the broker and not read yet.
    pub fn lag(&self) -> u64 {
        self.high.saturating_sub(self.next)
    }
}

/// A moment's numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Numbers {
    /// Whether brokers answered when last asked.
    pub connected: bool,
    /// By number.
    pub partitions: BTreeMap<u32, Partition>,
    /// Messages read, refused ones included.
    pub messages: u64,
    /// Bytes of their values.
    pub bytes: u64,
    /// How often a partition had to wait.
    pub pauses: u64,
    /// Offsets that were gone from the broker before they were read.
    pub lost_offsets: u64,
    /// Messages refused for good, by reason.
    pub refused: BTreeMap<Refusal, u64>,
    /// Of those, kept in the dead-letter topic.
    pub dead_letters: u64,
    /// Of those, that the dead-letter topic did not take.
    pub dead_letter_errors: u64,
    /// Errors of brokers and connections.
    pub errors: u64,
}

fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

impl Status {
    /// The present numbers.
    pub fn numbers(&self) -> Numbers {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let state = self.state.lock();
        Numbers {
            connected: state.connected == Some(true),
            partitions: state.partitions.clone(),
            messages: of(&self.messages),
            bytes: of(&self.bytes),
            pauses: of(&self.pauses),
            lost_offsets: of(&self.lost_offsets),
            refused: state.refused.clone(),
            dead_letters: of(&self.dead_letters),
            dead_letter_errors: of(&self.dead_letter_errors),
            errors: of(&self.errors),
        }
    }

    pub(crate) fn read(&self, partition: u32, offset: u64, bytes: usize) {
        add(&self.messages, 1);
        add(&self.bytes, bytes as u64);
        let mut state = self.state.lock();
        let of = state.partitions.entry(partition).or_default();
        of.high = of.high.max(offset + 1);
    }

    pub(crate) fn next(&self, partition: u32, next: u64) {
        self.state.lock().partitions.entry(partition).or_default().next = next;
    }

    /// The broker's end of a partition; of those not read nothing is kept.
    pub(crate) fn high(&self, partition: u32, high: u64) {
        if let Some(of) = self.state.lock().partitions.get_mut(&partition) {
            of.high = high;
        }
    }

    /// Notes whether a partition waits; the answer is whether that is new.
    pub(crate) fn paused(&self, partition: u32, paused: bool) -> bool {
        let before = std::mem::replace(&mut self.state.lock().partitions.entry(partition).or_default().paused, paused);
        if paused && !before {
            add(&self.pauses, 1);
        }
        before != paused
    }

    pub(crate) fn lost(&self, offsets: u64) {
        add(&self.lost_offsets, offsets);
    }

    pub(crate) fn refused(&self, reason: Refusal) {
        *self.state.lock().refused.entry(reason).or_default() += 1;
    }

    pub(crate) fn dead_letter(&self, is_kept: bool) {
        add(if is_kept { &self.dead_letters } else { &self.dead_letter_errors }, 1);
    }

    /// Brokers answered: said when they had not before.
    pub(crate) fn connected(&self, topic: &str, partitions: usize) {
        let before = self.state.lock().connected.replace(true);
        if before != Some(true) {
            tracing::info!(topic, partitions, "kafka: connected");
        }
    }

    /// Brokers did not answer: said once, until they do.
    pub(crate) fn disconnected(&self, topic: &str, why: &str) {
        add(&self.errors, 1);
        let before = self.state.lock().connected.replace(false);
        if before != Some(false) {
            tracing::warn!(topic, why, "kafka: not connected; batches wait at the collectors and the broker");
        } else {
            tracing::debug!(topic, why, "kafka: still not connected");
        }
    }

    /// A connection that failed and is tried again by the client itself.
    pub(crate) fn retried(&self, what: &str) {
        add(&self.errors, 1);
        tracing::debug!(what, "kafka: connection is tried again");
    }

    /// A broker's error that is not the end of the connection: said when it is another than the last.
    pub(crate) fn error(&self, what: &str) {
        add(&self.errors, 1);
        let mut state = self.state.lock();
        if state.last_error == what || state.connected == Some(false) {
            tracing::debug!(what, "kafka");
        } else {
            tracing::warn!(what, "kafka");
            what.clone_into(&mut state.last_error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_is_what_is_not_read() {
        let status = Status::default();
        status.high(1, 50);
        assert!(status.numbers().partitions.is_empty(), "nobody reads it");
        status.next(1, 40);
        status.high(1, 50);
        assert_eq!(status.numbers().partitions[&1].lag(), 10);
        status.read(1, 40, 7);
        status.next(1, 41);
        let numbers = status.numbers();
        assert_eq!((numbers.partitions[&1].lag(), numbers.messages, numbers.bytes), (9, 1, 7));
        status.high(1, 0); // made anew
        assert_eq!(status.numbers().partitions[&1].lag(), 0);
    }
}
