//! Keeps what was admitted: one log, one head, immutable parts, one manifest — for samples and event rows alike.
//!
//! Rows enter by [`Store::append`]: into the log's buffer and the head in one step, so that they can be read at once; the
//! append resolves when the log is synced. A flush turns the head into Parquet parts in the object store, names them in
//! the manifest, and removes the log they made needless. Maintenance merges parts and lets them expire. A [`Snapshot`]
//! reads head and parts as they were at one moment and keeps its parts from being deleted.
//!
//! This room never reads a clock (time is an argument), never parses what travels (that is `ingest`'s), and never
//! evaluates a question beyond selecting series and rows.
//!
//! Reading order: `config` · `append` (what goes in) · `error` · `disk` (the seam under log and local state) · `log` (the
//! bytes that make an append durable; docs/formats/log.md) · `admission` (what is refused) · `sources` (what is a resend) ·
//! `offsets` (how far a stream was read) · `head` (recent rows) · `exemplars` (a ring in memory, and the log) · `events` (event tables; docs/formats/events.md) · `metrics` (the metrics table) · `part` (with `read_cache`, what of parts stays in memory) ·
//! `remote` (parts in an S3-compatible store, with a local cache) · `manifest` (which parts there are; docs/formats/manifest.md) · `upkeep` (flush, compaction, expiry) with its pure choices
//! `compact` and `retain` · `delete` · `snapshot` (reads) · `recover` (opening) · `store` (all of it together) · `backup`, `verify`, `inspect`
//! (what operators do) · `stats` · `matcher`.

mod admission;
pub mod append;
pub mod backup;
mod compact;
pub mod config;
pub mod delete;
mod disk;
pub mod error;
mod events;
pub mod exemplars;
pub mod fuzzing;
mod head;
pub mod inspect;
mod log;
mod manifest;
pub mod matcher;
pub mod metrics;
mod offsets;
mod part;
mod read_cache;
mod recover;
mod remote;
mod retain;
pub mod snapshot;
mod sources;
pub mod stats;
pub mod store;
mod upkeep;
pub mod verify;

pub use append::{Append, Consumed, Origin, Outcome, PendingAppend, Rows, SampleRows};
pub use backup::{BackupError, BackupReport, remove_unfinished, restore};
pub use config::{Keep, Limits, ObjectStoreConfig, OnDamage, Retention, S3Config, StoreConfig};
pub use delete::DeleteReport;
pub use error::{AppendError, MaintainError, OpenError};
pub use events::{event_schema, need::Need};
pub use exemplars::{Exemplar, ExemplarOutcome, ExemplarRow, ExemplarStats, NotKept, SeriesExemplars};
pub use inspect::{Inspection, inspect};
pub use matcher::{MatchOp, Matcher, MatcherError};
pub use metrics::{PlannedRead, ReadError, SeriesQuery, SeriesSamples, WholeChunk, WholeChunks};
pub use proto::samples::{Family, HistogramRow};
pub use read_cache::ReadCache;
pub use snapshot::{EventQuery, Snapshot};
pub use stats::{
    CacheStats, FlushReason, FlushReport, MaintainReport, ReadCacheStats, RemoteStats, StoreStats, TableStats,
};
pub use store::{Notice, Store, Subscription};
pub use verify::{Damage, VerifyReport, verify};
