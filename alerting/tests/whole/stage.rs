//! A stage for whole-road tests: a real store in a private folder, a virtual clock, and an HTTP peer that keeps what it got.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use alerting::{Alerting, Config};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use parking_lot::Mutex;
use proto::{
    Events, EventsBuilder, Histogram, Labels, Table, Value,
    histogram::{Counts, Layout, Shape, Span},
    samples::SamplesBuilder,
};
use query::{Querier, QueryLimits};
use serde_json::Value as Json;
use storage::{Append, Rows, SampleRows, Store, StoreConfig};

/// Where the virtual clock begins.
pub const BEGIN_MS: i64 = 1_760_000_000_000;

pub struct Stage {
    pub folder: tempfile::TempDir,
    pub store: Store,
    pub querier: Querier,
    pub now: Arc<AtomicI64>,
    pub peer: Peer,
}

impl Stage {
    pub async fn new() -> Stage {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(StoreConfig::at(folder.path().join("data")), BEGIN_MS).await.unwrap();
        let querier = Querier::new(store.clone(), QueryLimits::default());
        Stage { folder, store, querier, now: Arc::new(AtomicI64::new(BEGIN_MS)), peer: Peer::start().await }
    }

    pub fn now_ms(&self) -> i64 {
        self.now.load(Ordering::SeqCst)
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    pub fn settings(&self, config: &str) -> alerting::Settings {
        let raw: Config = serde_saphyr::from_str(&config.replace("$peer", &self.peer.url)).unwrap();
        raw.check(self.folder.path()).unwrap()
    }

    pub async fn start(&self, config: &str) -> Alerting {
        let now = self.now.clone();
        let clock: alerting::Clock = Arc::new(move || now.load(Ordering::SeqCst));
        let folder = self.folder.path().join("alerting");
        let settings = self.settings(config);
        Alerting::start(settings, self.store.clone(), self.querier.clone(), "0", folder, clock).await.unwrap()
    }

    /// Appends one sample per series, at the clock's time.
    pub async fn samples(&self, samples: &[(&str, f64)]) {
        let mut builder = SamplesBuilder::default();
        samples.iter().for_each(|(series, value)| builder.push(&labels(series), self.now_ms(), *value));
        self.append(builder).await;
    }

    /// Appends a native histogram at the clock's time: `count` observations, all between 1 and 2.
    pub async fn histogram(&self, series: &str, count: u64) {
        let shape = Shape { positive: vec![Span { offset: 1, length: 1 }], ..Shape::default() };
        let (layout, counts) = (Arc::new(Layout::new(shape).unwrap()), Counts::Integers(vec![count, 0, count]));
        let histogram = Histogram::new(layout, count as f64 * 1.5, counts).unwrap();
        let mut builder = SamplesBuilder::default();
        builder.push_histogram(&labels(series), self.now_ms(), histogram);
        self.append(builder).await;
    }

    async fn append(&self, samples: SamplesBuilder) {
        let samples = samples.build();
        let bytes: Vec<&[u8]> = samples.labels.iter().map(Labels::as_bytes).collect();
        let rows = SampleRows {
            labels: &bytes,
            series: &samples.series,
            timestamps_ms: &samples.timestamps_ms,
            values: &samples.values,
            histograms: &samples.histograms,
            families: &[],
        };
        let append = Append { tenant: "0", origin: None, rows: Rows::Samples(rows), now_ms: self.now_ms() };
        self.store.append(append).unwrap().await.unwrap();
    }

    pub async fn events(&self, events: &Events) {
        let append = Append { tenant: "0", origin: None, rows: Rows::Events(events), now_ms: self.now_ms() };
        self.store.append(append).unwrap().await.unwrap();
    }

    /// One row of a table.
    pub async fn row(&self, table: Table, instance: &str, cells: &[(&'static str, Value)]) {
        let mut builder = EventsBuilder::new(table);
        builder.row(instance, self.now_ms(), cells.iter().cloned());
        self.events(&builder.build()).await;
    }

    /// Moves the clock second by second; at each the closure may append, then everything due happens.
    pub async fn play<F: AsyncFnMut(i64)>(&self, alerting: &Alerting, seconds: i64, mut each: F) {
        for second in 0..seconds {
            self.now.fetch_add(1000, Ordering::SeqCst);
            each(second).await;
            alerting.tick(self.now_ms()).await;
            while alerting.deliver(self.now_ms()).await > 0 {}
        }
    }

    /// Polls until something is there; panics after ten seconds.
    pub async fn eventually<T, F: AsyncFnMut() -> Option<T>>(&self, what: &str, mut look: F) -> T {
        for _ in 0..1000 {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("{what} did not come within ten seconds");
    }

    /// Rows of an SQL answer.
    pub async fn sql(&self, text: &str) -> Vec<alerting::rows::Row> {
        alerting::rows::rows(&self.querier.sql("0", text).await.unwrap()).unwrap()
    }

    /// The ledger as `event:reason` of one rule, in order.
    pub async fn ledger(&self, rule: &str) -> Vec<String> {
        let sql = format!(
            "SELECT event, reason FROM alert_events WHERE rule = '{rule}' AND event <> 'evidence' \
             ORDER BY ts, CASE event WHEN 'pending' THEN 0 WHEN 'firing' THEN 1 WHEN 'resolved' THEN 1 WHEN 'grouped' THEN 2 ELSE 3 END"
        );
        let word = |v: Option<&Json>| v.and_then(|v| v.as_str()).unwrap_or("").to_string();
        self.sql(&sql).await.iter().map(|r| format!("{}:{}", word(r.get("event")), word(r.get("reason")))).collect()
    }
}

/// `name{a="b"}` as labels.
pub fn labels(series: &str) -> Labels {
    let (name, rest) = series.split_once('{').unwrap_or((series, "}"));
    let pairs = rest.trim_end_matches('}').split(',').filter(|p| !p.is_empty());
    let pairs = pairs.map(|p| p.split_once('=').unwrap()).map(|(n, v)| (n, v.trim_matches('"')));
    Labels::from_pairs(pairs.chain([("__name__", name)]))
}

/// What a peer was sent.
#[derive(Clone, Debug)]
pub struct Got {
    pub key: String,
    pub body: Json,
}

type Answers = Arc<Mutex<Vec<(u16, Option<&'static str>)>>>;

/// An HTTP peer: answers as told, 200 when nothing is told.
pub struct Peer {
    pub url: String,
    pub got: Arc<Mutex<Vec<Got>>>,
    pub answers: Answers,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Peer {
    pub async fn start() -> Peer {
        let (got, answers): (Arc<Mutex<Vec<Got>>>, Answers) = Default::default();
        let state = (got.clone(), answers.clone());
        let app = axum::Router::new().route("/hook", axum::routing::post(take)).with_state(state);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Peer { url, got, answers, server }
    }

    /// `why:firing/resolved` of every body that was taken or refused, in order.
    pub fn story(&self) -> Vec<String> {
        let count = |body: &Json, status: &str| {
            body["alerts"].as_array().unwrap().iter().filter(|a| a["status"] == status).count()
        };
        let line = |g: &Got| {
            format!(
                "{}:{}/{}",
                g.body["notification_reason"].as_str().unwrap(),
                count(&g.body, "firing"),
                count(&g.body, "resolved")
            )
        };
        self.got.lock().iter().map(line).collect()
    }
}

async fn take(
    State((got, answers)): State<(Arc<Mutex<Vec<Got>>>, Answers)>,
    headers: HeaderMap,
    axum::Json(body): axum::Json<Json>,
) -> impl IntoResponse {
    let key = headers.get("idempotency-key").unwrap().to_str().unwrap().to_string();
    got.lock().push(Got { key, body });
    let mut answers = answers.lock();
    let (status, retry_after) = if answers.is_empty() { (200, None) } else { answers.remove(0) };
    let mut headers = HeaderMap::new();
    if let Some(seconds) = retry_after {
        headers.insert("retry-after", seconds.parse().unwrap());
    }
    (StatusCode::from_u16(status).unwrap(), headers, "answer")
}

/// Whether a path holds any file.
pub fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).unwrap().next().is_none()
}
