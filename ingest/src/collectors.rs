//! Who is connected, and asking one of them to read something now.
//!
//! Evidence is only as fresh as the last interval unless the collector is asked: sessions and blockers, statement counters, one
//! statement's plan. The rows come as ordinary batches; the answer is complete when those are on disk.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use proto::wire;
use tokio::sync::{mpsc, oneshot};

use crate::Door;

/// Most collectors remembered, connected or not; the longest absent is forgotten first.
pub const COLLECTORS_MAX: usize = 10_000;
/// Most instances remembered per collector.
pub const INSTANCES_PER_COLLECTOR_MAX: usize = 10_000;
/// Requests that may wait for one collector's stream.
pub const REQUESTS_PER_COLLECTOR_MAX: usize = 64;

/// What is known of one collector.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct CollectorStatus {
    /// Its id.
    pub collector: String,
    /// Host it runs on, as it says.
    pub host: String,
    /// Its version, as it says.
    pub version: String,
    /// Whose data it sends.
    pub tenant: String,
    /// Life of its spool.
    pub epoch: u64,
    /// The way it sends: `grpc`, or `kafka`, on which nothing can be asked of it.
    pub door: &'static str,
    /// Whether its stream is open; never on Kafka, which does not tell.
    pub connected: bool,
    /// When its last stream was opened, or its first batch came by Kafka, milliseconds.
    pub connected_at_ms: i64,
    /// When its last batch came, milliseconds.
    pub last_batch_ms: Option<i64>,
    /// Batches on its last stream.
    pub batches: u64,
    /// Instances it has sent rows of.
    pub instances: BTreeSet<String>,
}

/// Why nothing could be read now.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadNowError {
    /// No collector has sent anything of this instance since the server started.
    #[error("no collector is known that watches {0:?}")]
    UnknownInstance(String),
    /// The collector that watches it is away.
    #[error("collector {0:?} is not connected")]
    NotConnected(String),
    /// The collector that watches it sends by Kafka, which carries no requests.
    #[error("collector {0:?} sends by kafka, on which nothing can be asked of it")]
    OneWay(String),
    /// Too many requests wait for this collector.
    #[error("collector {0:?} has {REQUESTS_PER_COLLECTOR_MAX} requests waiting")]
    Busy(String),
    /// The answer did not come in time.
    #[error("no answer within {0:?}")]
    Deadline(Duration),
    /// The collector answered that it could not.
    #[error("the collector could not read it: {0}")]
    Collector(String),
}

/// Ends the wait of one request.
type Reply = oneshot::Sender<Result<(), ReadNowError>>;

/// What travels to the task that owns a stream.
pub(crate) struct Request {
    pub message: wire::ReadNow,
    pub reply: Reply,
}

struct Entry {
    status: CollectorStatus,
    /// Which of its streams is the present one.
    stream: u64,
    requests: mpsc::Sender<Request>,
}

#[derive(Default)]
struct State {
    /// The server stops: streams are to end, new ones are not taken.
    closed: bool,
    collectors: HashMap<String, Entry>,
    /// Instance to the collector that last sent rows of it.
    watched_by: HashMap<String, String>,
}

/// The collectors that are or were connected. Cheap to clone.
#[derive(Clone, Default)]
pub struct Collectors {
    state: Arc<Mutex<State>>,
    next: Arc<AtomicU64>,
}

impl Collectors {
    /// Every collector known, by id.
    pub fn list(&self) -> Vec<CollectorStatus> {
        let mut list: Vec<_> = self.state.lock().collectors.values().map(|e| e.status.clone()).collect();
        list.sort_by(|a, b| a.collector.cmp(&b.collector));
        list
    }

    /// Asks the collector that watches `instance` to read `what` (`activity`, `statements`, `plan` with a fingerprint) at once.
    /// Returns when the rows are on disk and visible to queries, or after `deadline`.
    pub async fn read_now(
        &self,
        instance: &str,
        what: &[&str],
        fingerprint: Option<&str>,
        deadline: Duration,
    ) -> Result<(), ReadNowError> {
        let (reply, answer) = oneshot::channel();
        let message = wire::ReadNow {
            request: self.next.fetch_add(1, Ordering::Relaxed) + 1,
            instance: instance.to_owned(),
            what: what.iter().map(|w| (*w).to_owned()).collect(),
            fingerprint: fingerprint.unwrap_or("").to_owned(),
        };
        let collector = self.send(instance, Request { message, reply })?;
        match tokio::time::timeout(deadline, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(ReadNowError::NotConnected(collector)), // its stream ended
            Err(_) => Err(ReadNowError::Deadline(deadline)),
        }
    }

    fn send(&self, instance: &str, request: Request) -> Result<String, ReadNowError> {
        let state = self.state.lock();
        let Some(collector) = state.watched_by.get(instance) else {
            return Err(ReadNowError::UnknownInstance(instance.to_owned()));
        };
        let not_connected = || ReadNowError::NotConnected(collector.clone());
        if state.collectors.get(collector).is_some_and(|e| e.status.door == Door::Kafka.as_str()) {
            return Err(ReadNowError::OneWay(collector.clone()));
        }
        let entry = state.collectors.get(collector).filter(|e| e.status.connected).ok_or_else(not_connected)?;
        match entry.requests.try_send(request) {
            Ok(()) => Ok(collector.clone()),
            Err(mpsc::error::TrySendError::Full(_)) => Err(ReadNowError::Busy(collector.clone())),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(not_connected()),
        }
    }

    /// A stream said hello. Its requests arrive on the receiver, which closes when a newer stream of the same collector
    /// takes its place; the number names the stream. Instances seen on earlier streams stay known.
    pub(crate) fn connect(&self, mut status: CollectorStatus) -> (u64, mpsc::Receiver<Request>) {
        let (requests, receiver) = mpsc::channel(REQUESTS_PER_COLLECTOR_MAX);
        let stream = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        let mut state = self.state.lock();
        if let Some(before) = state.collectors.remove(&status.collector) {
            status.instances = before.status.instances;
            status.last_batch_ms = before.status.last_batch_ms;
        } else {
            state.make_room();
        }
        state.collectors.insert(status.collector.clone(), Entry { status, stream, requests });
        (stream, receiver)
    }

    /// Ends every stream, once what is in flight is acknowledged, and takes no new one.
    pub fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        for entry in state.collectors.values_mut() {
            entry.requests = mpsc::channel(1).0; // the stream's receiver closes
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// The stream ended; without effect if a newer one has taken its place.
    pub(crate) fn disconnect(&self, collector: &str, stream: u64) {
        if let Some(entry) = self.state.lock().collectors.get_mut(collector)
            && entry.stream == stream
        {
            entry.status.connected = false;
        }
    }

    /// A batch came; `instances` are those it held rows of.
    pub(crate) fn batch<'a>(
        &self,
        collector: &str,
        stream: u64,
        now_ms: i64,
        instances: impl IntoIterator<Item = &'a str>,
    ) {
        let mut state = self.state.lock();
        if state.collectors.get(collector).is_some_and(|e| e.stream == stream) {
            state.batch(collector, now_ms, instances);
        }
    }

    /// A batch came by Kafka. Who has a stream open is not known by that.
    pub(crate) fn batch_by_kafka<'a>(
        &self,
        source: &proto::batch::Source,
        tenant: &str,
        now_ms: i64,
        instances: impl IntoIterator<Item = &'a str>,
    ) {
        let mut state = self.state.lock();
        let known = state.collectors.get_mut(&*source.collector);
        if known.is_none() {
            state.make_room();
            let status = CollectorStatus {
                collector: source.collector.to_string(),
                host: String::new(),
                version: String::new(),
                tenant: tenant.to_owned(),
                epoch: source.epoch,
                door: Door::Kafka.as_str(),
                connected: false,
                connected_at_ms: now_ms,
                last_batch_ms: None,
                batches: 0,
                instances: BTreeSet::new(),
            };
            let entry = Entry { status, stream: 0, requests: mpsc::channel(1).0 };
            state.collectors.insert(source.collector.to_string(), entry);
        } else if let Some(entry) = known.filter(|e| !e.status.connected) {
            (entry.status.door, entry.status.epoch) = (Door::Kafka.as_str(), source.epoch);
        }
        state.batch(&source.collector, now_ms, instances);
    }
}

impl State {
    /// Forgets the collector absent for longest, if there are too many.
    fn make_room(&mut self) {
        if self.collectors.len() < COLLECTORS_MAX {
            return;
        }
        let longest_absent = self
            .collectors
            .values()
            .min_by_key(|e| (e.status.connected, e.status.last_batch_ms.unwrap_or(e.status.connected_at_ms)))
            .map(|e| e.status.collector.clone());
        if let Some(collector) = longest_absent {
            self.collectors.remove(&collector);
            self.watched_by.retain(|_, by| *by != collector);
        }
    }

    fn batch<'a>(&mut self, collector: &str, now_ms: i64, instances: impl IntoIterator<Item = &'a str>) {
        let Some(entry) = self.collectors.get_mut(collector) else { return };
        entry.status.last_batch_ms = Some(now_ms);
        entry.status.batches += 1;
        for instance in instances {
            let known = &mut entry.status.instances;
            if !known.contains(instance) {
                if known.len() >= INSTANCES_PER_COLLECTOR_MAX {
                    continue;
                }
                known.insert(instance.to_owned());
            }
            if self.watched_by.get(instance).is_none_or(|by| by != collector) {
                self.watched_by.insert(instance.to_owned(), collector.to_owned());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn status(collector: &str) -> CollectorStatus {
        CollectorStatus {
            collector: collector.into(),
            host: "h".into(),
            version: "1".into(),
            tenant: "0".into(),
            epoch: 1,
            door: Door::Grpc.as_str(),
            connected: true,
            connected_at_ms: 5,
            last_batch_ms: None,
            batches: 0,
            instances: BTreeSet::new(),
        }
    }

    #[tokio::test]
    async fn a_request_finds_the_collector_that_watches_the_instance() {
        let collectors = Collectors::default();
        let patience = Duration::from_millis(200);
        let ask = |instance: &'static str| {
            let collectors = collectors.clone();
            async move { collectors.read_now(instance, &["activity"], None, patience).await }
        };
        assert_eq!(ask("db1").await, Err(ReadNowError::UnknownInstance("db1".into())));
        let (stream, mut requests) = collectors.connect(status("c1"));
        collectors.batch("c1", stream, 7, ["db1", "db2"]);
        let asked = tokio::spawn(ask("db2"));
        let request = requests.recv().await.unwrap();
        assert_eq!(
            (request.message.instance.as_str(), &request.message.what[..]),
            ("db2", &["activity".to_owned()][..])
        );
        request.reply.send(Ok(())).unwrap();
        assert_eq!(asked.await.unwrap(), Ok(()));
        assert_eq!(ask("db1").await, Err(ReadNowError::Deadline(patience)));
        collectors.disconnect("c1", stream);
        assert_eq!(ask("db1").await, Err(ReadNowError::NotConnected("c1".into())));
        let list = collectors.list();
        assert_eq!((list[0].connected, list[0].last_batch_ms, list[0].instances.len()), (false, Some(7), 2));
    }

    #[tokio::test]
    async fn nothing_can_be_asked_of_who_sends_by_kafka_until_it_connects() {
        let collectors = Collectors::default();
        let source = proto::batch::Source { collector: "c1".into(), epoch: 3 };
        collectors.batch_by_kafka(&source, "0", 7, ["db1"]);
        let asked = collectors.read_now("db1", &["activity"], None, Duration::from_millis(1)).await;
        assert_eq!(asked, Err(ReadNowError::OneWay("c1".into())));
        let list = collectors.list();
        assert_eq!((list[0].door, list[0].connected, list[0].epoch, list[0].batches), ("kafka", false, 3, 1));
        let (_stream, _requests) = collectors.connect(status("c1"));
        collectors.batch_by_kafka(&source, "0", 8, ["db1"]);
        let asked = collectors.read_now("db1", &["activity"], None, Duration::from_millis(1)).await;
        assert_eq!(asked, Err(ReadNowError::Deadline(Duration::from_millis(1))), "its stream is open");
    }

    #[tokio::test]
    async fn a_newer_stream_takes_the_place_of_an_older() {
        let collectors = Collectors::default();
        let (old, mut old_requests) = collectors.connect(status("c1"));
        let (new, _new_requests) = collectors.connect(status("c1"));
        assert!(old_requests.recv().await.is_none());
        collectors.disconnect("c1", old);
        assert!(collectors.list()[0].connected);
        collectors.disconnect("c1", new);
        assert!(!collectors.list()[0].connected);
    }
}
