//! What can go wrong, by kind of call. Each error says what, where, and what the caller can do.

use proto::refusal::Refusal;

use crate::metrics::ReadError;

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A setting can't be used.
    #[error("storage setting {field}: {message}")]
    Config {
        /// Which.
        field: &'static str,
        /// Why, and what is allowed.
        message: String,
    },
    /// Another process has it open.
    #[error("{path} is in use by another process")]
    InUse {
        /// The lock file.
        path: String,
    },
    /// Promised data is damaged; the operator may repair, restore, or set `on_damage: skip`.
    #[error(
        "{file} is damaged at offset {offset}: {what}; restore it, or start with on_damage: skip to lose what is damaged"
    )]
    Damaged {
        /// Which file.
        file: String,
        /// Where in it, bytes.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// Written by a later version.
    #[error("{file} has format version {found}; this program reads up to {known}")]
    Version {
        /// Which file.
        file: String,
        /// What it says.
        found: u32,
        /// The latest known here.
        known: u32,
    },
    /// Parts and manifest are another server's.
    #[error(
        "{place} belongs to the server on {host} since {since}; if that one is gone for good, start once with --take-over"
    )]
    Owned {
        /// The object store.
        place: String,
        /// The other server's host.
        host: String,
        /// When it took the store.
        since: String,
    },
    /// The object store doesn't keep two servers apart.
    #[error("{place} ignores conditions (If-None-Match) on writes, so two servers could both take it for theirs")]
    Unconditional {
        /// The object store.
        place: String,
    },
    /// Reading or writing failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// The object store failed.
    #[error("{what}: {source}")]
    ObjectStore {
        /// What was being done.
        what: String,
        /// Why it failed.
        #[source]
        source: object_store::Error,
    },
}

/// Why rows were not taken. Nothing of them is stored, except after [`AppendError::Full`] and [`AppendError::Poisoned`]
/// from the *waiting* part, where it is unknown: the sender sends again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Rows that break a rule no honest sender breaks.
    #[error("malformed rows: {0}")]
    Malformed(String),
    /// More rows or bytes than one append may hold.
    #[error("{what} {found} exceeds {max}")]
    TooLarge {
        /// Which bound.
        what: &'static str,
        /// What was found.
        found: usize,
        /// What is allowed.
        max: usize,
    },
    /// No room: disk or head full. Try again later.
    #[error("no room: {0}")]
    Full(String),
    /// A sync failed, or the object store is another server's by now; reopen the store.
    #[error("the store takes no writes any more: {0}")]
    Poisoned(String),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

impl AppendError {
    /// The word for acknowledgements and metrics.
    pub fn refusal(&self) -> Refusal {
        match self {
            AppendError::Malformed(_) => Refusal::Malformed,
            AppendError::TooLarge { .. } => Refusal::TooLarge,
            AppendError::Full(_) => Refusal::Full,
            AppendError::Poisoned(_) | AppendError::Closed => Refusal::Poisoned,
        }
    }
}

/// Why a flush, a compaction or an expiry did not happen. What was stored stays stored; the next attempt starts over.
#[derive(Debug, thiserror::Error)]
pub enum MaintainError {
    /// Local files.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// The object store failed.
    #[error("{what}: {source}")]
    ObjectStore {
        /// What was being done.
        what: String,
        /// Why it failed.
        #[source]
        source: object_store::Error,
    },
    /// Another server has taken the object store over; this one takes no writes any more.
    #[error("{place} was taken over by another server; this one takes no writes any more")]
    Lost {
        /// The object store.
        place: String,
    },
    /// A part could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A part could not be encoded.
    #[error("encoding a part of {table}: {what}")]
    Encode {
        /// Of which table.
        table: &'static str,
        /// Why.
        what: String,
    },
    /// A sync failed earlier; reopen the store.
    #[error("the store takes no writes since a sync failed: {0}")]
    Poisoned(String),
    /// The disk is full: the log can't roll to its next segment.
    #[error("no room: {0}")]
    Full(String),
}
