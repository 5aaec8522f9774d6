//! What the sender to Kafka tells of itself: the source of its metrics, and what is said once in the log.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// Numbers since the start of the program.
#[derive(Debug, Default)]
pub struct Numbers {
    state: Mutex<State>,
    delivered_batches: AtomicU64,
    delivered_bytes: AtomicU64,
    errors: AtomicU64,
    in_flight_batches: AtomicU64,
    in_flight_bytes: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    connected: Option<bool>,
    last_error: String,
}

impl Numbers {
    /// Whether the brokers take batches, as far as is known.
    pub fn is_connected(&self) -> bool {
        self.state.lock().connected == Some(true)
    }

    /// Batches the broker reported as kept.
    pub fn delivered_batches(&self) -> u64 {
        self.delivered_batches.load(Ordering::Relaxed)
    }

    /// Their bytes.
    pub fn delivered_bytes(&self) -> u64 {
        self.delivered_bytes.load(Ordering::Relaxed)
    }

    /// Errors of brokers, connections and deliveries.
    pub fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    /// Batches handed to the client and not reported yet, and their bytes.
    pub fn queue(&self) -> (u64, u64) {
        (self.in_flight_batches.load(Ordering::Relaxed), self.in_flight_bytes.load(Ordering::Relaxed))
    }

    pub(crate) fn in_flight(&self, batches: usize, bytes: usize) {
        self.in_flight_batches.store(batches as u64, Ordering::Relaxed);
        self.in_flight_bytes.store(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn delivered(&self, topic: &str, bytes: usize) {
        self.delivered_batches.fetch_add(1, Ordering::Relaxed);
        self.delivered_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        if self.state.lock().connected.replace(true) != Some(true) {
            tracing::info!(topic, "kafka: connected, batches are kept");
        }
    }

    /// Brokers are away or take nothing: said once, until one keeps a batch again.
    pub(crate) fn disconnected(&self, topic: &str, why: &str) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        if self.state.lock().connected.replace(false) != Some(false) {
            tracing::warn!(topic, error = why, "kafka: not connected; rows wait in the spool");
        } else {
            tracing::debug!(topic, error = why, "kafka: still not connected");
        }
    }

    /// A connection that failed and is tried again by the client itself.
    pub(crate) fn retried(&self, what: &str) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(error = what, "kafka: connection is tried again");
    }

    /// An error of one broker or batch: said when it is another than the last.
    pub(crate) fn error(&self, what: &str) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state.lock();
        if state.last_error == what || state.connected == Some(false) {
            tracing::debug!(error = what, "kafka");
        } else {
            tracing::warn!(error = what, "kafka");
            what.clone_into(&mut state.last_error);
        }
    }
}
