//! Which partition this spool sends to, kept for as long as its epoch lasts.
//!
//! The server takes a sequence at or below the highest it has for a duplicate, so the batches of one (collector, epoch)
//! must be read in their order: they stay in one partition, also when the topic gets more of them. For the same reason a
//! spool that leaves a topic, for the gRPC way or for another topic, begins a new epoch: what it left there may be read later
//! than what it sends elsewhere (docs/decisions/kafka-order.md).

use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    config::Destination,
    spool::{Spool, SpoolError},
};

const FILE: &str = "kafka-route.json";

/// Where an epoch of the spool is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Which topic.
    pub topic: String,
    /// Which epoch of the spool.
    pub epoch: u64,
    /// Which partition of the topic.
    pub partition: i32,
}

/// The file it is kept in.
pub fn path(data_dir: &Path) -> PathBuf {
    data_dir.join(FILE)
}

/// Reads it; `None` if none is kept or it can't be read as what it is.
pub fn read(data_dir: &Path) -> io::Result<Option<Route>> {
    match std::fs::read(path(data_dir)) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Keeps none any more.
pub fn forget(data_dir: &Path) -> io::Result<()> {
    match std::fs::remove_file(path(data_dir)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

impl Route {
    /// The partition of a collector among those there are now: by a checksum of its id, so that sources spread.
    pub fn choose(topic: &str, epoch: u64, collector: &str, partitions: u32) -> Route {
        let partition = crc32c::crc32c(collector.as_bytes()) % partitions.max(1);
        Route { topic: topic.to_owned(), epoch, partition: partition as i32 }
    }

    /// Whether it is that of an epoch sent to a topic.
    pub fn is_of(&self, topic: &str, epoch: u64) -> bool {
        self.topic == topic && self.epoch == epoch
    }

    /// Replaces what is kept: written beside, synced, renamed, directory synced.
    pub fn write(&self, data_dir: &Path) -> io::Result<()> {
        let beside = data_dir.join(format!("{FILE}.new"));
        let mut file = File::create(&beside)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_all()?;
        std::fs::rename(&beside, path(data_dir))?;
        File::open(data_dir)?.sync_all()
    }
}

/// Begins a new epoch if the spool's present one was sent to a topic and goes elsewhere from now on.
pub fn leave_other(
    data_dir: &Path,
    destination: &Destination,
    spool: &mut Spool,
    now_ms: i64,
) -> Result<(), SpoolError> {
    let kept = read(data_dir).map_err(|source| SpoolError::Io { path: path(data_dir), source })?;
    let Some(route) = kept.filter(|route| route.epoch == spool.source().epoch) else { return Ok(()) };
    let stays = matches!(destination, Destination::Kafka(kafka) if kafka.topic == route.topic);
    if stays {
        return Ok(());
    }
    tracing::info!(topic = route.topic, "rows go another way than this topic from now on");
    spool.leave_way(now_ms)
}
