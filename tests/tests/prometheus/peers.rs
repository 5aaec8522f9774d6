//! Both servers, fed alike, and how one question is asked of both and the answers compared.

use std::{
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use ingest::admission::Clock;
use serde_json::Value;
use tests::wait::until;

use super::{
    own::{self, Own},
    samples::{NOW_MS, Series},
};

/// Series of one write.
const SERIES_PER_WRITE: usize = 100;
/// How far numbers may lie apart, as a part of the larger.
const TOLERANCE: f64 = 1e-9;
/// Until Prometheus answers.
const PATIENCE: Duration = Duration::from_secs(60);
/// Our server's clock: a day later, so that the numbers it keeps about itself lie in no window.
const CLOCK_MS: i64 = NOW_MS + 86_400_000;

/// Prometheus and ours.
pub struct Peers {
    ours: Own,
    theirs: String,
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

/// What our server is told unless a test says otherwise.
const OWN_CONFIG: &str = "alerting: {builtin_rules: false}";

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
        let peers = Peers::start_empty("{}\n", || CLOCK_MS).await;
        let Peers { ours, theirs, .. } = &peers;
        let client = &ours.client;
        for part in series.chunks(SERIES_PER_WRITE) {
            own::write(client, &ours.url, part).await;
            own::write(client, theirs, part).await;
        }
        // what is asked comes from parts
        ours.server.store.flush(CLOCK_MS).await.unwrap();
        peers
    }

    /// Starts both; Prometheus sends what is written to it on to ours. `clock`: ours.
    pub async fn start_forwarding(clock: Clock) -> Peers {
        let config = "remote_write: [{url: OURS/api/v1/write, send_native_histograms: true, send_exemplars: true,\
                      queue_config: {batch_send_deadline: 100ms}}]\n";
        Peers::start_empty(config, clock).await
    }

    /// Starts both with room for so many exemplars.
    pub async fn start_with_exemplars(max: usize) -> Peers {
        let theirs = format!("storage: {{exemplars: {{max_exemplars: {max}}}}}\n");
        let ours = format!("{OWN_CONFIG}\nstorage: {{exemplars_max: {max}}}\n");
        Peers::start_with(&theirs, &ours, || CLOCK_MS).await
    }

    /// The gRPC port of ours.
    pub fn grpc(&self) -> u16 {
        self.ours.server.grpc.port()
    }

    /// Starts both with nothing in them. `OURS` in Prometheus' config stands for our URL.
    pub async fn start_empty(config: &str, clock: Clock) -> Peers {
        Peers::start_with(config, OWN_CONFIG, clock).await
    }

    async fn start_with(config: &str, own_config: &str, clock: Clock) -> Peers {
        let folder = tempfile::tempdir().unwrap();
        let ours = Own::start(tempfile::tempdir().unwrap(), own_config, clock).await;
        let (prometheus, theirs) = start_prometheus(folder.path(), &config.replace("OURS", &ours.url));
        let ready = until(PATIENCE, async || {
            let answer = ours.client.get(format!("{theirs}/-/ready")).send().await.ok()?;
            answer.status().is_success().then_some(())
        });
        ready.await.expect("prometheus is ready");
        Peers { ours, theirs, _prometheus: prometheus, _folder: folder }
    }

    /// Writes series to Prometheus alone.
    pub async fn write_theirs(&self, series: &[Series]) {
        own::write(&self.ours.client, &self.theirs, series).await;
    }

    /// Writes more series to ours alone.
    pub async fn write_ours(&self, series: &[Series]) {
        self.ours.write(series).await;
        self.ours.server.store.flush(CLOCK_MS).await.unwrap();
    }

    /// Writes the same bytes to both: a compressed write request of 1.0.
    pub async fn write_both(&self, request: &[u8]) {
        own::write_bytes(&self.ours.client, &self.ours.url, request).await;
        own::write_bytes(&self.ours.client, &self.theirs, request).await;
    }

    /// Writes a compressed write request of 1.0 to Prometheus alone.
    pub async fn write_theirs_bytes(&self, request: &[u8]) {
        own::write_bytes(&self.ours.client, &self.theirs, request).await;
    }

    /// Status and text that ours and Prometheus answer.
    pub async fn texts(&self, path: &str, form: &[(&str, &str)]) -> [(u16, String); 2] {
        let ask = async |url: &str| read(self.ours.client.get(format!("{url}{path}")).query(form)).await;
        [ask(&self.ours.url).await, ask(&self.theirs).await]
    }

    /// The same to a POST of the form.
    pub async fn posted_texts(&self, path: &str, form: &[(&str, &str)]) -> [(u16, String); 2] {
        let ask = async |url: &str| read(self.ours.client.post(format!("{url}{path}")).form(form)).await;
        [ask(&self.ours.url).await, ask(&self.theirs).await]
    }

    /// The value of a number our server has of itself.
    pub async fn own_number(&self, name: &str) -> f64 {
        let text =
            self.ours.client.get(format!("{}/metrics", self.ours.url)).send().await.unwrap().text().await.unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
    }

    /// Stops ours; Prometheus ends with the value.
    pub async fn stop(self) {
        self.ours.stop().await;
    }

    /// The answers of ours and of Prometheus. Queries are written for Prometheus 3; its predecessor knows one function by
    /// another name.
    pub async fn ask(&self, query: &str, when: When) -> [Said; 2] {
        let old = query.replace("double_exponential_smoothing(", "holt_winters(");
        let (a, b) = tokio::join!(self.ask_one(&self.ours.url, query, when), self.ask_one(&self.theirs, &old, when));
        [a, b]
    }

    async fn ask_one(&self, url: &str, query: &str, when: When) -> Said {
        let mut body = self.answer(url, query, when, &[]).await;
        match body["errorType"].as_str().map(str::to_owned) {
            Some(error) => Said { error, data: body["error"].take() },
            None => Said { error: String::new(), data: body["data"].take() },
        }
    }

    /// The statistics of both, each step's among them.
    pub async fn stats(&self, query: &str, when: When) -> [Value; 2] {
        let all = [("stats", "all")];
        let (a, b) =
            tokio::join!(self.answer(&self.ours.url, query, when, &all), self.answer(&self.theirs, query, when, &all));
        [a, b].map(|mut body| body["data"]["stats"].take())
    }

    async fn answer(&self, url: &str, query: &str, when: When, more: &[(&'static str, &str)]) -> Value {
        let mut form = vec![("query", query.to_owned())];
        form.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
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
        let request = self.ours.client.post(format!("{url}/api/v1/{path}")).form(&form);
        let answer = request.send().await.unwrap_or_else(|e| panic!("{query}: no answer: {e}"));
        let text = answer.text().await.unwrap();
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{query}: {e}: {text}"))
    }
}

async fn read(request: reqwest::RequestBuilder) -> (u16, String) {
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

fn start_prometheus(folder: &Path, config: &str) -> (Running, String) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    std::fs::write(folder.join("prometheus.yml"), config).unwrap();
    let log = std::fs::File::create(folder.join("prometheus.log")).unwrap();
    let mut command = Command::new("prometheus");
    command.args([
        format!("--config.file={}", folder.join("prometheus.yml").display()),
        format!("--storage.tsdb.path={}", folder.join("tsdb").display()),
        format!("--web.listen-address=127.0.0.1:{port}"),
        "--storage.tsdb.retention.time=100y".into(),
        "--web.enable-remote-write-receiver".into(),
        "--enable-feature=promql-per-step-stats,native-histograms,exemplar-storage".into(),
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
