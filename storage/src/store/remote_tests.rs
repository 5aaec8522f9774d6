//! Parts and manifest in an object store: every request may fail or lose its answer, and only one server owns the store.

use futures::stream::BoxStream;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, memory::InMemory, path::Path as ObjectPath,
};
use parking_lot::Mutex;

use super::{
    faults::{check, run, sent},
    places::places,
    *,
};
use crate::{
    MaintainError, ObjectStoreConfig, S3Config,
    disk::{Disk, Files},
    part::PartStore,
};

const CACHE_BYTES_MAX: u64 = 64 << 20;
/// How many requests in a row fail while the store is away.
const AWAY_REQUESTS: u64 = 12;

/// What happens to the chosen request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// It is refused.
    Refused,
    /// It is done, and the answer gets lost.
    AnswerLost,
    /// This and the next ones never arrive.
    Away,
}

#[derive(Default, Debug)]
struct State {
    requests: u64,
    fault: Option<(u64, Fault)>,
}

/// An object store in memory whose requests fail on command.
#[derive(Debug, Default)]
struct FaultyObjects {
    inner: InMemory,
    state: Mutex<State>,
}

fn injected() -> Error {
    Error::Generic { store: "faulty", source: "injected".into() }
}

impl FaultyObjects {
    fn with_fault(at: u64, fault: Fault) -> Arc<FaultyObjects> {
        let objects = FaultyObjects::default();
        objects.state.lock().fault = Some((at, fault));
        Arc::new(objects)
    }

    /// An error: the request does not arrive; true: it does, and its answer doesn't.
    fn next(&self) -> object_store::Result<bool> {
        let mut state = self.state.lock();
        let n = state.requests;
        state.requests += 1;
        match state.fault {
            Some((at, Fault::Refused)) if n == at => Err(injected()),
            Some((at, Fault::AnswerLost)) if n == at => Ok(true),
            Some((at, Fault::Away)) if (at..at + AWAY_REQUESTS).contains(&n) => Err(injected()),
            _ => Ok(false),
        }
    }

    async fn request<T>(&self, doing: impl Future<Output = object_store::Result<T>>) -> object_store::Result<T> {
        let answer_lost = self.next()?;
        let answer = doing.await?;
        if answer_lost { Err(injected()) } else { Ok(answer) }
    }
}

impl std::fmt::Display for FaultyObjects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("faulty")
    }
}

#[async_trait::async_trait]
impl ObjectStore for FaultyObjects {
    async fn put_opts(
        &self,
        path: &ObjectPath,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        self.request(self.inner.put_opts(path, payload, options)).await
    }

    async fn put_multipart_opts(
        &self,
        path: &ObjectPath,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.request(self.inner.put_multipart_opts(path, options)).await
    }

    async fn get_opts(&self, path: &ObjectPath, options: GetOptions) -> object_store::Result<GetResult> {
        self.request(self.inner.get_opts(path, options)).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, object_store::Result<ObjectPath>>,
    ) -> BoxStream<'static, object_store::Result<ObjectPath>> {
        match self.next() {
            Ok(false) => self.inner.delete_stream(paths),
            Ok(true) => Box::pin(self.inner.delete_stream(paths).and_then(|_| async { Err(injected()) })),
            Err(e) => Box::pin(futures::stream::once(async { Err(e) })),
        }
    }

    fn list(&self, prefix: Option<&ObjectPath>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        match self.next() {
            Ok(false) => self.inner.list(prefix),
            _ => Box::pin(futures::stream::once(async { Err(injected()) })),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&ObjectPath>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &ObjectPath, to: &ObjectPath, options: CopyOptions) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

async fn open(dir: &Path, objects: Arc<dyn ObjectStore>, take_over: bool) -> Result<Store, OpenError> {
    let disk: Arc<dyn Disk> = Arc::new(Files);
    let config = StoreConfig { take_over, ..config(dir) };
    Store::open_with(config, disk, PartStore::over(objects, dir, CACHE_BYTES_MAX), None, T0).await
}

async fn with_fault(at: u64, fault: Fault) -> u64 {
    let what = format!("{fault:?} at request {at}");
    let dir = directory();
    let objects = FaultyObjects::with_fault(at, fault);
    let mut acknowledged = vec![false; sent().len()];
    if let Ok(store) = open(dir.path(), objects.clone(), false).await {
        acknowledged = run(&store).await;
        assert!(acknowledged.iter().all(|ok| *ok), "{what}: the log is local, so all is taken");
        check_reads(&store, &acknowledged, &what).await;
        drop(store); // as if killed
    }
    let requests = objects.state.lock().requests;
    objects.state.lock().fault = None;
    if at.is_multiple_of(2) {
        std::fs::remove_dir_all(dir.path().join("cache")).unwrap();
    }
    let store = open(dir.path(), objects.clone(), false).await.unwrap_or_else(|e| panic!("{what}: {e}"));
    check(&store, &acknowledged, &format!("{what}, opened again")).await;
    for sent in sent() {
        sent.send(&store, T0 + DAY_MS).await.unwrap(); // stored now, or a duplicate
    }
    store.flush(T0).await.unwrap();
    while store.maintain(T0 + DAY_MS).await.unwrap() != crate::MaintainReport::default() {}
    check(&store, &vec![true; acknowledged.len()], &format!("{what}, sent again and flushed")).await;
    drop(store);
    let store = open(dir.path(), objects.clone(), false).await.unwrap();
    let named = store.stats().tables.values().map(|t| t.parts as usize).sum::<usize>();
    let objects = objects.inner.list(Some(&ObjectPath::from("v1"))).try_fold(0, |n, _| async move { Ok(n + 1) });
    assert_eq!(objects.await.unwrap(), named, "{what}: nothing but what the manifest names is left");
    requests
}

/// While it runs: reads fail or are right.
async fn check_reads(store: &Store, acknowledged: &[bool], what: &str) {
    // the fault may still be going on: a read of it must be an error, and the next one after it right
    for _ in 0..AWAY_REQUESTS {
        let matchers = [Matcher::new("__name__", MatchOp::Regex, ".+").unwrap()];
        let query = SeriesQuery {
            matchers: &matchers,
            min_ms: i64::MIN,
            max_ms: i64::MAX,
            series_max: 1_000_000,
            samples_max: 100_000_000,
        };
        let samples = store.snapshot("0").select(&query).await.map(drop);
        let stream = store.snapshot("0").scan(Table::Logs, &EventQuery::default()).await.unwrap();
        let logs = stream.try_collect::<Vec<_>>().await.map(drop);
        match samples.and(logs) {
            Ok(()) => return check(store, acknowledged, &format!("{what}, still running")).await,
            Err(e) => assert!(e.to_string().contains("v1/0/"), "{what}: {e} names no part"),
        }
    }
    panic!("{what}: reads never came back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_may_fail() {
    let requests = with_fault(u64::MAX - AWAY_REQUESTS, Fault::Refused).await;
    assert!(requests > 20, "{requests} requests");
    for at in 0..requests {
        for fault in [Fault::Refused, Fault::AnswerLost, Fault::Away] {
            with_fault(at, fault).await;
        }
    }
}

fn logs(sequence: u64, pid: i64) -> Sent {
    Sent { tenant: "0", collector: "c".into(), sequence, rows: SentRows::Logs(vec![(1, T0, pid)]) }
}

fn pids(rows: Vec<(String, i64, i64)>) -> Vec<i64> {
    rows.into_iter().map(|row| row.2).collect()
}

#[tokio::test]
async fn one_server_owns_a_store_until_another_takes_it_over() {
    let objects: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let (first_dir, second_dir) = (directory(), directory());
    let first = open(first_dir.path(), objects.clone(), false).await.unwrap();
    stored(&first, &logs(1, 1)).await;
    first.flush(T0).await.unwrap();
    stored(&first, &logs(2, 2)).await;

    let refused = open(second_dir.path(), objects.clone(), false).await.err().unwrap();
    assert!(matches!(&refused, OpenError::Owned { place, .. } if place == "memory"), "{refused}");
    assert!(refused.to_string().contains("--take-over"), "{refused}");

    let second = open(second_dir.path(), objects.clone(), true).await.unwrap();
    assert_eq!(pids(all_logs(&second, "0").await), [1], "what the first had not flushed is in its own log");
    stored(&second, &logs(7, 7)).await;
    second.flush(T0).await.unwrap();

    // the first learns of it when it wants to write, and takes nothing from then on; what it took is still in its log
    assert!(matches!(first.flush(T0).await, Err(MaintainError::Lost { .. })));
    let refused = logs(3, 3).send(&first, T0).await.unwrap_err();
    assert_eq!(refused.refusal(), Refusal::Poisoned);
    assert!(refused.to_string().contains("taken over by another server"), "{refused}");
    assert!(first.stats().poisoned.is_some());
    drop(first);
    assert!(open(first_dir.path(), objects.clone(), false).await.is_err(), "nor does it open again by itself");

    // taken back, nothing that either acknowledged is lost
    let first = open(first_dir.path(), objects.clone(), true).await.unwrap();
    assert_eq!(pids(all_logs(&first, "0").await), [1, 2, 7]);
    first.flush(T0).await.unwrap();
    assert!(matches!(second.maintain(T0 + DAY_MS).await, Ok(_) | Err(MaintainError::Lost { .. })));
    assert!(matches!(second.flush(T0).await, Err(MaintainError::Lost { .. })), "and the second has lost it");
    drop((first, second));
    let again = open(first_dir.path(), objects, false).await.unwrap();
    assert_eq!(pids(all_logs(&again, "0").await), [1, 2, 7]);
}

/// A store that takes every write, whatever its condition.
#[derive(Debug)]
struct Unconditional(InMemory);

impl std::fmt::Display for Unconditional {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("unconditional")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Unconditional {
    async fn put_opts(&self, path: &ObjectPath, payload: PutPayload, _: PutOptions) -> object_store::Result<PutResult> {
        self.0.put_opts(path, payload, PutOptions::default()).await
    }

    async fn put_multipart_opts(
        &self,
        path: &ObjectPath,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.0.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &ObjectPath, options: GetOptions) -> object_store::Result<GetResult> {
        self.0.get_opts(path, options).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, object_store::Result<ObjectPath>>,
    ) -> BoxStream<'static, object_store::Result<ObjectPath>> {
        self.0.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&ObjectPath>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.0.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&ObjectPath>) -> object_store::Result<ListResult> {
        self.0.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &ObjectPath, to: &ObjectPath, options: CopyOptions) -> object_store::Result<()> {
        self.0.copy_opts(from, to, options).await
    }
}

#[tokio::test]
async fn a_store_that_ignores_conditions_is_refused() {
    let dir = directory();
    let refused = open(dir.path(), Arc::new(Unconditional(InMemory::new())), false).await.err().unwrap();
    assert!(matches!(refused, OpenError::Unconditional { .. }), "{refused}");
}

#[tokio::test]
async fn a_directory_stays_with_the_kind_of_store_it_began_with() {
    let of_kind = |object_store, dir: &Path| StoreConfig { object_store, ..config(dir) };
    let s3 = S3Config { bucket: "tidewatch".into(), endpoint: "http://127.0.0.1:1".into(), ..S3Config::default() };
    let local = directory();
    drop(Store::open(config(local.path()), T0).await.unwrap());
    let refused = Store::open(of_kind(ObjectStoreConfig::S3(s3), local.path()), T0).await.err().unwrap();
    assert!(refused.to_string().contains("object_store") && refused.to_string().contains("local parts"), "{refused}");
    for place in places().into_iter().skip(1) {
        let remote = directory();
        drop(Store::open(place.config(remote.path()), T0).await.unwrap());
        let refused = Store::open(config(remote.path()), T0).await.err().unwrap();
        assert!(refused.to_string().contains("kind: s3"), "{refused}");
        assert!(!remote.path().join("manifest").exists() && !remote.path().join("parts").exists());
    }
}

#[tokio::test]
async fn a_store_that_cannot_be_reached_is_named() {
    let dir = directory();
    let s3 = S3Config {
        bucket: "tidewatch".into(),
        prefix: "of/mine".into(),
        endpoint: "http://127.0.0.1:1".into(),
        access_key_id: "the-key".into(),
        secret_access_key: "the-secret".into(),
        retry_ms: 1,
        ..S3Config::default()
    };
    let config = StoreConfig { object_store: ObjectStoreConfig::S3(s3), ..config(dir.path()) };
    let refused = Store::open(config, T0).await.err().unwrap().to_string();
    assert!(refused.contains("s3://tidewatch/of/mine at http://127.0.0.1:1"), "{refused}");
    assert!(!refused.contains("the-key") && !refused.contains("the-secret"), "{refused}");
}
