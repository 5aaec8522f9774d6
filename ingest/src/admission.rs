//! The one function through which rows come in, whatever door they used.

use std::{future::Future, sync::Arc};

use proto::{Class, refusal::Refusal};
use storage::{
    Append, AppendError, Consumed, ExemplarOutcome, ExemplarRow, Origin, Outcome, PendingAppend, Rows, Store,
};

use crate::{Counters, Door};

/// The time in milliseconds; each program hands in its clock.
pub type Clock = fn() -> i64;

/// What became of rows, known once it is on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// On disk, except for the rows refused.
    Stored {
        /// How many rows.
        rows: u64,
        /// How many were not taken, by reason; sending them again can't help.
        refused: Vec<(Refusal, u64)>,
    },
    /// On disk since before.
    Duplicate,
}

/// Why nothing was taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct Refused {
    /// As a word.
    pub reason: Refusal,
    /// In words.
    pub detail: String,
}

impl Refused {
    pub(crate) fn new(reason: Refusal, detail: impl Into<String>) -> Refused {
        Refused { reason, detail: detail.into() }
    }
}

impl From<AppendError> for Refused {
    fn from(error: AppendError) -> Refused {
        Refused::new(error.refusal(), error.to_string())
    }
}

/// Admits rows to a store and counts what it did. Cheap to clone.
#[derive(Clone)]
pub struct Admission {
    store: Store,
    counters: Arc<Counters>,
    clock: Clock,
}

impl Admission {
    /// Admission to `store`, at the times `clock` tells.
    pub fn new(store: Store, clock: Clock) -> Admission {
        Admission { store, counters: Arc::new(Counters::default()), clock }
    }

    /// What was admitted and refused so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Where rows go.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Now, milliseconds.
    pub fn now_ms(&self) -> i64 {
        (self.clock)()
    }

    /// Hands rows to the store. They are in the log's buffer and visible when this returns; they are on disk, and may be
    /// acknowledged, when the future it returns resolves. Order of calls is order in the log.
    pub fn admit(
        &self,
        door: Door,
        tenant: &str,
        origin: Option<Origin<'_>>,
        rows: Rows<'_>,
    ) -> Result<impl Future<Output = Result<Admitted, Refused>> + Send + 'static + use<>, Refused> {
        self.admit_read_at(door, tenant, origin, rows, None)
    }

    /// [`Admission::admit`] of rows that were read at a place of a stream: the place is stored with them, also if they are a
    /// duplicate. If they are refused whole it is not.
    pub fn admit_read_at(
        &self,
        door: Door,
        tenant: &str,
        origin: Option<Origin<'_>>,
        rows: Rows<'_>,
        place: Option<Consumed<'_>>,
    ) -> Result<impl Future<Output = Result<Admitted, Refused>> + Send + 'static + use<>, Refused> {
        let (class, count) = (rows.class(), rows.len() as u64);
        if class == Class::AlertEvents && door != Door::Own {
            return Err(self.refuse(
                door,
                count,
                Refused::new(Refusal::Forbidden, "the server alone writes alert_events"),
            ));
        }
        let append = Append { tenant, origin, rows, now_ms: self.now_ms() };
        let pending = match place {
            None => self.store.append(append),
            Some(place) => self.store.append_consumed(append, place),
        };
        let pending = pending.map_err(|error| self.refuse(door, count, error.into()))?;
        let admission = self.clone();
        Ok(async move {
            match pending.await {
                Ok(Outcome::Stored { rows, refused }) => {
                    admission.counters.stored(door, class, rows);
                    for (reason, rows) in &refused {
                        admission.counters.refused_rows(door, *reason, *rows);
                    }
                    Ok(Admitted::Stored { rows, refused })
                }
                Ok(Outcome::Duplicate) => {
                    admission.counters.duplicate(door);
                    Ok(Admitted::Duplicate)
                }
                Err(error) => Err(admission.refuse(door, count, error.into())),
            }
        })
    }

    /// Hands exemplars to the store, which keeps those of series it knows: hand over samples first. They may be acknowledged
    /// when what is pending, if anything, resolves.
    pub(crate) fn admit_exemplars(
        &self,
        tenant: &str,
        labels: &[&[u8]],
        exemplars: &[ExemplarRow<'_>],
    ) -> Result<(ExemplarOutcome, Option<PendingAppend>), AppendError> {
        self.store.append_exemplars(tenant, labels, exemplars, self.now_ms())
    }

    /// Counts a refusal of `rows` rows (0: not known how many) and gives it back.
    pub(crate) fn refuse(&self, door: Door, rows: u64, refused: Refused) -> Refused {
        self.counters.refused_batch(door, refused.reason);
        self.counters.refused_rows(door, refused.reason, rows);
        refused
    }
}
