//! Gets one page over HTTP, within its time and its size.

use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE};

use super::{
    exposition::{self, Format, Page},
    protobuf,
};
use crate::{
    config::{HistogramParts, Password, ScrapeAccess, ScrapeConfig},
    databases::tls,
};

/// What we read: the names of Prometheus' `scrape_protocols`, and what is said of each in `Accept`.
pub const PROTOCOLS: [(&str, &str); 4] = [
    ("PrometheusProto", "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"),
    ("OpenMetricsText1.0.0", "application/openmetrics-text;version=1.0.0"),
    ("OpenMetricsText0.0.1", "application/openmetrics-text;version=0.0.1"),
    ("PrometheusText0.0.4", "text/plain;version=0.0.4"),
];
const USER_AGENT: &str = concat!("tidewatch-collector/", env!("CARGO_PKG_VERSION"));

/// The client of one job.
#[derive(Clone, Debug)]
pub struct Client {
    client: reqwest::Client,
    access: ScrapeAccess,
    accepted: String,
    histograms: HistogramParts,
    timeout: Duration,
    body_bytes_max: usize,
}

/// What a server answered.
#[derive(Debug)]
pub struct Body {
    bytes: Vec<u8>,
    content_type: String,
    histograms: HistogramParts,
}

impl Body {
    /// What its server says it is.
    pub fn content_type(&self) -> &str {
        &self.content_type
    }

    /// As text.
    pub fn text(self) -> Result<String, String> {
        String::from_utf8(self.bytes).map_err(|_| "the page is not UTF-8".to_owned())
    }

    /// As a page of metrics, in the format its server names.
    pub fn page(self) -> Result<Page, String> {
        if self.content_type.trim_start().starts_with("application/vnd.google.protobuf") {
            return protobuf::read(&self.bytes, self.histograms).map_err(|e| e.to_string());
        }
        let format = Format::of(&self.content_type);
        exposition::read(&self.text()?, format).map_err(|e| e.to_string())
    }
}

/// `Accept` of these protocols, the first wanted most.
pub fn accepted(protocols: &[&'static str]) -> String {
    let weighed = protocols.iter().enumerate().map(|(i, accepted)| format!("{accepted};q=0.{}", 9 - i.min(7)));
    weighed.chain(["*/*;q=0.1".to_owned()]).collect::<Vec<_>>().join(",")
}

impl Client {
    /// Reads the job's certificates.
    pub fn new(config: &ScrapeConfig) -> Result<Client, String> {
        let tls = tls::client_config(&config.tls).map_err(|t| t.text)?;
        let client = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .timeout(config.timeout)
            .pool_max_idle_per_host(1)
            .use_preconfigured_tls(tls)
            .build()
            .map_err(|e| e.to_string())?;
        Ok(Client {
            client,
            access: config.access.clone(),
            accepted: accepted(&config.protocols),
            histograms: config.histograms,
            timeout: config.timeout,
            body_bytes_max: config.limits.body_bytes,
        })
    }

    /// What a server answers.
    pub async fn get(&self, url: &str) -> Result<Body, String> {
        let timeout = self.timeout.as_secs_f64().to_string();
        let mut request = self.client.get(url).header(ACCEPT, &self.accepted);
        request = request.header("X-Prometheus-Scrape-Timeout-Seconds", timeout);
        request = match &self.access {
            ScrapeAccess::Open => request,
            ScrapeAccess::Basic { username, password } => request.basic_auth(username, secret(password)?),
            ScrapeAccess::Token { scheme, token } => {
                request.header("Authorization", format!("{scheme} {}", secret(token)?.unwrap_or_default()))
            }
        };
        let mut answer = request.send().await.map_err(|e| said(&e))?;
        if !answer.status().is_success() {
            return Err(format!("server returned HTTP status {}", answer.status()));
        }
        let content_type = answer.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("").to_owned();
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|e| said(&e))? {
            if bytes.len() + chunk.len() > self.body_bytes_max {
                return Err(format!("body_size_limit: the page is larger than {} bytes", self.body_bytes_max));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(Body { bytes, content_type, histograms: self.histograms })
    }
}

fn secret(password: &Password) -> Result<Option<String>, String> {
    password.read().map_err(|e| e.to_string())
}

/// The innermost reason: what stands around it names only the URL again.
fn said(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer within scrape_timeout".into();
    }
    let mut reason: &dyn std::error::Error = error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    reason.to_string()
}
