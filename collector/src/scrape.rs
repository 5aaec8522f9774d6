//! Scrapes pages of metrics: Prometheus' text format, OpenMetrics and protobuf, by jobs written as in Prometheus' configuration.
//!
//! Stages: `discovery` (addresses; `dns` for services) → `relabel`, `target` (which pages, which labels) → `fetch`, `tls` (one
//! page) → `exposition`, `protobuf`, `protobuf_native` (what it says) → `take` (samples, limits, ended series). Each target has a
//! task of its own; a page that can't be got or read gives `up` 0 and ends its series. Nodes of `patroni` are jobs like others that
//! answer in JSON.

pub mod discovery;
pub mod dns;
pub mod exposition;
pub mod fetch;
pub mod patroni;
pub mod protobuf;
mod protobuf_native;
pub mod relabel;
pub mod take;
pub mod target;
pub mod tls;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use proto::{Labels, labels::METRIC_NAME, samples::SamplesBuilder};
use tokio::{
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval, interval_at},
};
use tokio_util::sync::CancellationToken;

use self::{
    discovery::Discovery,
    exposition::Page,
    fetch::Client,
    take::{Series, Taken, end_all, take},
    target::Target,
    tls::Tls,
};
use crate::{
    config::{ScrapeConfig, Speech},
    source::Context,
};

/// Scrapes a job until shutdown.
pub async fn watch(config: ScrapeConfig, context: Context) {
    let tls = Arc::new(Tls::new(config.tls.clone()));
    let config = Arc::new(config);
    let mut discovery = Discovery::default();
    let mut running: BTreeMap<Target, Running> = BTreeMap::new();
    let mut ticks = interval(config.refresh);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = context.shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let found = discovery.look(&config).await;
        let targets: BTreeSet<Target> = found.iter().filter_map(|f| target::target(&config, f)).collect();
        running.retain(|target, _| targets.contains(target));
        for target in targets {
            running.entry(target.clone()).or_insert_with(|| {
                let gone = context.shutdown.child_token();
                let scraper = Scraper::new(config.clone(), tls.clone(), target, context.clone());
                Running { gone: gone.clone(), _task: tokio::spawn(scraper.run(gone)) }
            });
        }
    }
}

/// Every target of a job, got and read once: how many samples its page has, or what is wrong with it.
pub async fn attempt(config: &ScrapeConfig) -> Vec<(String, Result<String, String>)> {
    let tls = Arc::new(Tls::new(config.tls.clone()));
    let found = Discovery::default().look(config).await;
    let targets: BTreeSet<Target> = found.iter().filter_map(|f| target::target(config, f)).collect();
    if targets.is_empty() {
        return vec![(config.job_name.to_string(), Err("no target was found".into()))];
    }
    let mut tried = Vec::with_capacity(targets.len());
    for target in targets {
        let read = page(config, &Client::new(config, tls.clone()), &target.url).await;
        tried.push((target.url, read.map(|page| format!("{} samples", page.samples.len() + page.histograms.len()))));
    }
    tried
}

/// Gets what a target says.
async fn page(config: &ScrapeConfig, client: &Client, url: &str) -> Result<Page, String> {
    match config.speech {
        Speech::Metrics => client.get(url).await?.page(),
        Speech::Patroni => patroni::get(client, url).await,
    }
}

/// A target's task; it says goodbye for its series when its owner lets it go.
struct Running {
    gone: CancellationToken,
    _task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.gone.cancel();
    }
}

struct Scraper {
    config: Arc<ScrapeConfig>,
    client: Client,
    target: Target,
    context: Context,
    page: Series,
    /// `up` and its like.
    report: Vec<Labels>,
    failing: bool,
    /// Whether its last page had broken native histograms.
    breaking: bool,
}

/// What is said of each scrape, in the order of its values; what is left out has a reason.
const REPORT: [(&str, Option<&str>); 7] = [
    ("up", None),
    ("scrape_duration_seconds", None),
    ("scrape_samples_scraped", None),
    ("scrape_samples_post_metric_relabeling", None),
    ("scrape_series_added", None),
    ("scrape_native_histograms_left_out", Some("not_asked_for")),
    ("scrape_native_histograms_left_out", Some("broken")),
];

impl Scraper {
    fn new(config: Arc<ScrapeConfig>, tls: Arc<Tls>, target: Target, context: Context) -> Scraper {
        let client = Client::new(&config, tls);
        let report = REPORT.map(|(name, reason)| {
            let mut labels = target.labels.clone();
            labels.insert(METRIC_NAME.into(), name.into());
            labels.extend(reason.map(|reason| ("reason".into(), reason.into())));
            Labels::from_pairs(&labels)
        });
        let page = Series::default();
        Scraper { config, client, target, context, page, report: report.into(), failing: false, breaking: false }
    }

    async fn run(mut self, gone: CancellationToken) {
        // Targets of one job are spread over its interval, each always at its own place.
        let place = xxhash_rust::xxh3::xxh3_64(self.target.url.as_bytes()) % self.config.interval.as_millis() as u64;
        let first = Instant::now() + Duration::from_millis(place.min(FIRST_WAIT_MAX.as_millis() as u64));
        let mut ticks = interval_at(first, self.config.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                () = gone.cancelled() => break,
                _ = ticks.tick() => self.scrape().await,
            }
        }
        if !self.context.shutdown.is_cancelled() {
            let (now_ms, mut out) = (self.context.clock.now_ms(), SamplesBuilder::default());
            end_all(&mut self.page, now_ms, &mut out);
            for labels in &self.report {
                out.push(labels, now_ms, f64::from_bits(proto::samples::STALE_MARKER_BITS));
            }
            self.context.outlet.send_samples(out);
        }
    }

    async fn scrape(&mut self) {
        let (now_ms, begin) = (self.context.clock.now_ms(), Instant::now());
        let mut out = SamplesBuilder::default();
        let got = page(&self.config, &self.client, &self.target.url).await;
        let result = got.and_then(|page| {
            self.tell_broken(page.left_out.why.as_deref());
            take(&self.config, &self.target.labels, page, now_ms, &mut self.page, &mut out).map_err(|e| e.to_string())
        });
        if result.is_err() {
            end_all(&mut self.page, now_ms, &mut out);
        }
        self.tell(result.as_ref().err());
        let taken = result.as_ref().copied().unwrap_or(Taken::default());
        let values = [
            f64::from(u8::from(result.is_ok())),
            begin.elapsed().as_secs_f64(),
            taken.scraped as f64,
            taken.kept as f64,
            taken.added as f64,
            taken.native_not_asked_for as f64,
            taken.native_broken as f64,
        ];
        for (labels, value) in self.report.iter().zip(values) {
            out.push(labels, now_ms, value);
        }
        self.context.outlet.send_samples(out);
    }

    /// Logs a target when it begins or ceases to fail.
    fn tell(&mut self, error: Option<&String>) {
        match error {
            Some(error) if !self.failing => tracing::warn!(url = self.target.url, error, "page can't be scraped"),
            None if self.failing => tracing::info!(url = self.target.url, "page is scraped again"),
            _ => {}
        }
        self.failing = error.is_some();
    }

    /// Logs a target when its pages begin or cease to have native histograms that can't be taken.
    fn tell_broken(&mut self, why: Option<&str>) {
        match why {
            Some(why) if !self.breaking => tracing::warn!(url = self.target.url, why, "native histogram is left out"),
            None if self.breaking => tracing::info!(url = self.target.url, "no native histogram is left out any more"),
            _ => {}
        }
        self.breaking = why.is_some();
    }
}

/// Longest wait before the first page of a target, however long the interval.
const FIRST_WAIT_MAX: Duration = Duration::from_secs(5);

#[cfg(test)]
#[path = "scrape/tests.rs"]
mod tests;
