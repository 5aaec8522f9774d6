//! Both servers, fed alike, and how one question is asked of both and the answers compared.

use std::{
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use proto::Labels;
use query::{
    ErrorKind, Querier, QueryLimits,
    promql::{AnswerValue, json::write_value},
};
use serde_json::{Value, json};
use storage::{Append, Outcome, Rows, SampleRows, Store, StoreConfig};

use super::samples::{NOW_MS, Series, write_request};

/// Series of one write.
const SERIES_PER_WRITE: usize = 100;
/// How far numbers may lie apart, as a part of the larger.
const TOLERANCE: f64 = 1e-9;
/// Until Prometheus answers.
const PATIENCE: Duration = Duration::from_secs(60);

/// Prometheus and ours.
pub struct Peers {
    ours: Querier,
    theirs: String,
    client: reqwest::Client,
    _prometheus: Running,
    _folder: tempfile::TempDir,
}

/// A process that ends with its value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// When a query is evaluated: seconds since 1970.
#[derive(Clone, Copy, Debug)]
pub enum When {
    /// Once.
    At(f64),
    /// From, to, every.
    Range(f64, f64, u32),
}

impl When {
    /// The first and the last time.
    pub fn ends(self) -> (f64, f64) {
        match self {
            When::At(at) => (at, at),
            When::Range(start, end, _) => (start, end),
        }
    }
}

/// What one of them said.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// Prometheus' type of an error; empty if it is an answer.
    pub error: String,
    /// `data`, or the error's words.
    pub data: Value,
}

impl Peers {
    /// Starts both and writes `series` to both.
    pub async fn start(series: &[Series]) -> Peers {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let (prometheus, theirs) = start_prometheus(folder.path());
        let store = Store::open(StoreConfig::at(folder.path().join("ours")), NOW_MS).await.unwrap();
        let client = reqwest::Client::new();
        let ready = async {
            while !client.get(format!("{theirs}/-/ready")).send().await.is_ok_and(|a| a.status().is_success()) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(PATIENCE, ready).await.expect("prometheus is ready");
        for part in series.chunks(SERIES_PER_WRITE) {
            write(&store, part).await;
            let request = client.post(format!("{theirs}/api/v1/write")).body(write_request(part));
            let request = request.header("content-encoding", "snappy").header("content-type", "application/x-protobuf");
            let answer = request.header("x-prometheus-remote-write-version", "0.1.0").send().await.unwrap();
            let status = answer.status();
            assert!(status.is_success(), "{status} {}", answer.text().await.unwrap());
        }
        // half of what is asked comes from a part, the rest from the head
        store.flush(NOW_MS).await.unwrap();
        let ours = Querier::new(store, QueryLimits::default());
        Peers { ours, theirs, client, _prometheus: prometheus, _folder: folder }
    }

    /// The answers of ours and of Prometheus. Queries are written for Prometheus 3; its predecessor knows one function by
    /// another name.
    pub async fn ask(&self, query: &str, when: When) -> [Said; 2] {
        let old = query.replace("double_exponential_smoothing(", "holt_winters(");
        let (a, b) = tokio::join!(self.ask_ours(query, when), self.ask_theirs(&old, when));
        [a, b]
    }

    async fn ask_ours(&self, query: &str, when: When) -> Said {
        let ms = |seconds: f64| (seconds * 1000.0).round() as i64;
        let answer = match when {
            When::At(time) => self.ours.instant("0", query, ms(time)).await,
            When::Range(start, end, step) => {
                self.ours.range("0", query, ms(start), ms(end), i64::from(step) * 1000).await
            }
        };
        match answer {
            Ok(answer) => Said { error: String::new(), data: written(&answer.value) },
            Err(error) => {
                let kind = match error.kind() {
                    ErrorKind::BadData => "bad_data",
                    ErrorKind::Execution => "execution",
                    other => panic!("{query}: {other:?}: {error}"),
                };
                Said { error: kind.into(), data: json!(error.to_string()) }
            }
        }
    }

    async fn ask_theirs(&self, query: &str, when: When) -> Said {
        let mut form = vec![("query", query.to_owned())];
        let path = match when {
            When::At(time) => {
                form.push(("time", time.to_string()));
                "query"
            }
            When::Range(start, end, step) => {
                form.extend([("start", start.to_string()), ("end", end.to_string()), ("step", step.to_string())]);
                "query_range"
            }
        };
        let request = self.client.post(format!("{}/api/v1/{path}", self.theirs)).form(&form);
        let answer = request.send().await.unwrap_or_else(|e| panic!("{query}: no answer: {e}"));
        let text = answer.text().await.unwrap();
        let mut body: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{query}: {e}: {text}"));
        match body["errorType"].as_str().map(str::to_owned) {
            Some(error) => Said { error, data: body["error"].take() },
            None => Said { error: String::new(), data: body["data"].take() },
        }
    }
}

/// As the HTTP API writes it.
fn written(value: &AnswerValue) -> Value {
    let mut text = String::new();
    write_value(&mut text, value);
    serde_json::from_str(&text).unwrap()
}

async fn write(store: &Store, part: &[Series]) {
    let labels: Vec<Labels> = part.iter().map(|s| Labels::from_pairs(&s.labels)).collect();
    let (mut series, mut timestamps_ms, mut values) = (Vec::new(), Vec::new(), Vec::new());
    for (i, s) in part.iter().enumerate() {
        for (at_ms, value) in &s.samples {
            series.push(i as u32);
            timestamps_ms.push(*at_ms);
            values.push(*value);
        }
    }
    let labels: Vec<&[u8]> = labels.iter().map(Labels::as_bytes).collect();
    let rows =
        SampleRows { labels: &labels, series: &series, timestamps_ms: &timestamps_ms, values: &values, families: &[] };
    let append = Append { tenant: "0", origin: None, rows: Rows::Samples(rows), now_ms: NOW_MS };
    match store.append(append).unwrap().await.unwrap() {
        Outcome::Stored { refused, .. } if refused.is_empty() => {}
        other => panic!("not all is stored: {other:?}"),
    }
}

fn start_prometheus(folder: &Path) -> (Running, String) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    std::fs::write(folder.join("prometheus.yml"), "{}\n").unwrap();
    let log = std::fs::File::create(folder.join("prometheus.log")).unwrap();
    let mut command = Command::new("prometheus");
    command.args([
        format!("--config.file={}", folder.join("prometheus.yml").display()),
        format!("--storage.tsdb.path={}", folder.join("tsdb").display()),
        format!("--web.listen-address=127.0.0.1:{port}"),
        "--storage.tsdb.retention.time=100y".into(),
        "--web.enable-remote-write-receiver".into(),
        "--log.level=error".into(),
    ]);
    let child = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
    (Running(child), format!("http://127.0.0.1:{port}"))
}

/// One series of an answer: labels, and times with values.
pub type Row = (String, Vec<(f64, f64)>);

impl Said {
    /// Whether it is an answer.
    pub fn good(&self) -> bool {
        self.error.is_empty()
    }

    /// The same without metrics' names.
    pub fn without_names(&self) -> Said {
        let mut said = self.clone();
        for series in said.data["result"].as_array_mut().into_iter().flatten() {
            if let Some(labels) = series.get_mut("metric").and_then(Value::as_object_mut) {
                labels.shift_remove("__name__");
            }
        }
        said
    }

    /// The rows of an answer, sorted.
    pub fn rows_by_labels(&self) -> Vec<Row> {
        by_labels(self.rows())
    }

    /// The rows of an answer, in its order.
    pub fn rows(&self) -> Vec<Row> {
        let data = &self.data;
        let pair = |p: &Value| (p[0].as_f64().unwrap(), number(p[1].as_str().unwrap()));
        let Some(list) = data["result"].as_array() else { return Vec::new() };
        if data["resultType"] == "scalar" {
            return vec![("scalar".into(), vec![pair(&data["result"])])];
        }
        if data["resultType"] == "string" {
            return vec![(data["result"].to_string(), Vec::new())];
        }
        let row = |s: &Value| {
            let metric = serde_json::from_value::<std::collections::BTreeMap<String, String>>(s["metric"].clone());
            let one = s.get("value").map(pair);
            let many = s["values"].as_array().into_iter().flatten().map(pair);
            (format!("{:?}", metric.unwrap()), one.into_iter().chain(many).collect())
        };
        list.iter().map(row).collect()
    }
}

fn by_labels(mut rows: Vec<Row>) -> Vec<Row> {
    rows.sort_by(|x, y| x.0.cmp(&y.0));
    rows
}

fn number(text: &str) -> f64 {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is no number"))
}

/// Why two answers differ; `None` if they say the same. With `ordered`, values must come in the same order too.
pub fn difference([ours, theirs]: &[Said; 2], ordered: bool) -> Option<String> {
    let kind =
        |said: &Said| (said.error.clone(), if said.good() { said.data["resultType"].clone() } else { Value::Null });
    if kind(ours) != kind(theirs) {
        return Some(format!("{:.300} instead of {:.300}", ours.data.to_string(), theirs.data.to_string()));
    }
    if !ours.good() {
        return None;
    }
    let (mut a, mut b) = (ours.rows(), theirs.rows());
    if a.len() != b.len() {
        let of = |rows: &[Row]| rows.iter().map(|r| r.0.clone()).take(5).collect::<Vec<_>>().join(" ");
        return Some(format!("{} series instead of {}: {:.400} instead of {:.400}", a.len(), b.len(), of(&a), of(&b)));
    }
    if ordered {
        for (place, (x, y)) in a.iter().zip(&b).enumerate() {
            if !same(x.1[0].1, y.1[0].1) {
                return Some(format!("{} instead of {} in place {place}", x.1[0].1, y.1[0].1));
            }
        }
    }
    (a, b) = (by_labels(a), by_labels(b));
    for ((labels, x), (other, y)) in a.iter().zip(&b) {
        if labels != other {
            return Some(format!("{labels} instead of {other}"));
        }
        if x.len() != y.len() {
            return Some(format!("{labels}: {} points instead of {}", x.len(), y.len()));
        }
        for ((at, v), (other_at, w)) in x.iter().zip(y) {
            if at != other_at || !same(*v, *w) {
                return Some(format!("{labels}: {v} at {at} instead of {w} at {other_at}"));
            }
        }
    }
    None
}

/// Whether two numbers are the same within the tolerance.
pub fn same(a: f64, b: f64) -> bool {
    a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= TOLERANCE * a.abs().max(b.abs())
}
