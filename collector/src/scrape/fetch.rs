//! Gets one page over HTTP, within its time and its size.

use std::{error::Error, iter, net::SocketAddr, sync::Arc, time::Duration};

use parking_lot::Mutex;
use reqwest::{
    RequestBuilder, Response, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    header::{ACCEPT, CONTENT_TYPE, HOST},
};
use tokio::time::Instant;

use super::{
    exposition::{self, Format, Page},
    protobuf,
    tls::Tls,
};
use crate::config::{HistogramParts, Password, ScrapeAccess, ScrapeConfig};

/// What we read: the names of Prometheus' `scrape_protocols`, and what is said of each in `Accept`.
pub const PROTOCOLS: [(&str, &str); 4] = [
    ("PrometheusProto", "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"),
    ("OpenMetricsText1.0.0", "application/openmetrics-text;version=1.0.0"),
    ("OpenMetricsText0.0.1", "application/openmetrics-text;version=0.0.1"),
    ("PrometheusText0.0.4", "text/plain;version=0.0.4"),
];
/// How often a request is sent that its new connection ends before.
const SENDS_MAX: usize = 10;
const USER_AGENT: &str = concat!("tidewatch-collector/", env!("CARGO_PKG_VERSION"));

/// The client of one target.
#[derive(Debug)]
pub struct Client {
    tls: Arc<Tls>,
    /// Made of certificates with this print.
    made: Mutex<Option<(u64, reqwest::Client)>>,
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
    /// Of a job with what its files hold.
    pub fn new(config: &ScrapeConfig, tls: Arc<Tls>) -> Client {
        Client {
            tls,
            made: Mutex::default(),
            access: config.access.clone(),
            accepted: accepted(&config.protocols),
            histograms: config.histograms,
            timeout: config.timeout,
            body_bytes_max: config.limits.body_bytes,
        }
    }

    /// What a server answers.
    pub async fn get(&self, url: &str) -> Result<Body, String> {
        let timeout = self.timeout.as_secs_f64().to_string();
        let mut request = self.request(url)?.header(ACCEPT, &self.accepted);
        request = request.header("X-Prometheus-Scrape-Timeout-Seconds", timeout);
        request = match &self.access {
            ScrapeAccess::Open => request,
            ScrapeAccess::Basic { username, password } => request.basic_auth(username, secret(password)?),
            ScrapeAccess::Token { scheme, token } => {
                request.header("Authorization", format!("{scheme} {}", secret(token)?.unwrap_or_default()))
            }
        };
        let mut answer = send(request, self.timeout).await.map_err(|e| said(&e))?;
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

    /// A request whose connection keeps to the certificates as they are now. With a `server_name` the URL bears it, so that the handshake
    /// asks for it, and the address only says where.
    fn request(&self, url: &str) -> Result<RequestBuilder, String> {
        let mut url = Url::parse(url).map_err(|e| format!("{url}: {e}"))?;
        let is_https = url.scheme() == "https";
        let host = url.host_str().unwrap_or_default().to_owned();
        let behind = self
            .tls
            .server_name()
            .filter(|_| is_https)
            .map(|name| Behind { name: name.to_owned(), host: host.trim_matches(['[', ']']).to_owned() });
        let named = behind.as_ref().map(|behind| behind.name.clone());
        let client = self.client(is_https, behind)?;
        let Some(name) = named else { return Ok(client.get(url)) };
        let place = url.port().map_or(host.clone(), |port| format!("{host}:{port}"));
        url.set_host(Some(&name)).map_err(|e| format!("tls_config.server_name: {name}: {e}"))?;
        Ok(client.get(url).header(HOST, place))
    }

    fn client(&self, is_https: bool, behind: Option<Behind>) -> Result<reqwest::Client, String> {
        let print = self.tls.print(is_https)?;
        let mut made = self.made.lock();
        if let Some((_, client)) = made.as_ref().filter(|(of, _)| *of == print) {
            return Ok(client.clone());
        }
        let mut builder = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .pool_max_idle_per_host(1)
            .use_preconfigured_tls(self.tls.client_config(print, is_https)?);
        if let Some(behind) = behind {
            builder = builder.dns_resolver(Arc::new(behind));
        }
        let client = builder.build().map_err(|e| e.to_string())?;
        *made = Some((print, client.clone()));
        Ok(client)
    }
}

/// Where the server is that bears a name; other names, to which it may send us on, are where they are.
struct Behind {
    name: String,
    host: String,
}

impl Resolve for Behind {
    fn resolve(&self, name: Name) -> Resolving {
        let host = if name.as_str().eq_ignore_ascii_case(&self.name) { &*self.host } else { name.as_str() }.to_owned();
        Box::pin(async move {
            // port 0: the URL's
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host, 0)).await?.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

fn secret(password: &Password) -> Result<Option<String>, String> {
    password.read().map_err(|e| e.to_string())
}

/// A server that refuses our certificate in TLS 1.3 ends the connection after the handshake, now and then just before the request is sent. The
/// error of that request says only that it wasn't sent, so it is sent again until the server's reason is heard, within `timeout` in all, the
/// answer's body included. What isn't heard is the end of a connection while it takes the request over, hyper's issue 4122: that request waits
/// for its timeout.
async fn send(request: RequestBuilder, timeout: Duration) -> reqwest::Result<Response> {
    let end = Instant::now() + timeout;
    let left = || end.saturating_duration_since(Instant::now());
    for _ in 1..SENDS_MAX {
        let Some(again) = request.try_clone() else { break };
        match again.timeout(left()).send().await {
            Err(error) if is_unsent(&error) => {}
            answered => return answered,
        }
    }
    request.timeout(left()).send().await
}

fn is_unsent(error: &reqwest::Error) -> bool {
    reasons(error).any(|reason| reason.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled))
}

/// The innermost reason: what stands around it names only the URL again.
fn said(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer within scrape_timeout".into();
    }
    reasons(error).last().map(ToString::to_string).unwrap_or_default()
}

/// An error, its reason, the reason's reason.
fn reasons<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    iter::successors(Some(error), |error| (*error).source())
}
