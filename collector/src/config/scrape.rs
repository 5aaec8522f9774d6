//! A job of scraping: raw as it stands in the file, named as in Prometheus' configuration, and checked.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use rustls::pki_types::DnsName;
use serde::Deserialize;
use serde_saphyr::{Location, Spanned};

use super::{
    ConfigError, Password, TlsMode,
    check::{Place, parse_bytes},
    raw::Text,
};
use crate::scrape::{
    fetch::PROTOCOLS,
    patroni::NODE_PATH,
    relabel::{ACTIONS, Action, Rule, anchored, is_label_name},
    target::Found,
};

/// Most addresses of one job.
pub const TARGETS_MAX: usize = 1_000;
/// Most samples of one page.
pub const SAMPLES_MAX: usize = 200_000;
/// Largest page, bytes.
pub const BODY_BYTES_MAX: usize = 64 << 20;
const INTERVAL_DEFAULT: Duration = Duration::from_secs(15);
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
const REFRESH_DEFAULT: Duration = Duration::from_secs(30);
const LABELS_MAX: usize = 100;
const LABEL_NAME_BYTES_MAX: usize = 256;
const LABEL_VALUE_BYTES_MAX: usize = 4_096;

/// A job.
#[derive(Clone, Debug)]
pub struct ScrapeConfig {
    /// `job` of its samples.
    pub job_name: Arc<str>,
    /// What its targets speak.
    pub speech: Speech,
    /// Time between two pages of a target.
    pub interval: Duration,
    /// Longest time for a page; at most the interval.
    pub timeout: Duration,
    /// Time between two looks for targets.
    pub refresh: Duration,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// Path of the pages.
    pub metrics_path: String,
    /// What is asked for in `Accept`, the first wanted most.
    pub protocols: Vec<&'static str>,
    /// What is taken of a histogram.
    pub histograms: HistogramParts,
    /// Parameters of the URL.
    pub params: BTreeMap<String, Vec<String>>,
    /// Of two labels with one name the page's stands.
    pub honor_labels: bool,
    /// Times written on the page stand.
    pub honor_timestamps: bool,
    /// Where the targets come from.
    pub sources: Vec<ScrapeSource>,
    /// Rules for targets.
    pub relabel: Vec<Rule>,
    /// Rules for samples.
    pub metric_relabel: Vec<Rule>,
    /// Bounds.
    pub limits: ScrapeLimits,
    /// Who we are.
    pub access: ScrapeAccess,
    /// With https.
    pub tls: ScrapeTls,
}

/// The `tls_config` of a job. Its files are read before each page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScrapeTls {
    /// What is asked of the server's certificate.
    pub mode: TlsMode,
    /// PEM of our certificate and of its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Name the server is asked for and must bear in place of its address.
    pub server_name: Option<String>,
}

/// Which parts of a page's histograms are taken, as Prometheus' fields have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HistogramParts {
    /// `scrape_native_histograms`: the native part instead of the classic one.
    pub native: bool,
    /// `always_scrape_classic_histograms`: the classic one beside it.
    pub classic_too: bool,
}

/// What a target answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speech {
    /// A page of metrics.
    Metrics,
    /// Patroni's REST API.
    Patroni,
}

/// Where targets come from.
#[derive(Clone, Debug)]
pub enum ScrapeSource {
    /// Written here.
    Static(Vec<Found>),
    /// Files in JSON or YAML; the last component may hold `*`.
    Files(Vec<PathBuf>),
    /// Each place these names have.
    Dns {
        /// Names.
        names: Vec<String>,
        /// Which records.
        records: Records,
    },
}

/// Records of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Records {
    /// Type SRV: hosts with their ports.
    Srv,
    /// Type A with this port.
    A(u16),
    /// Type AAAA with this port.
    Aaaa(u16),
}

/// Bounds of a page. What is over one fails the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScrapeLimits {
    /// Bytes of the page.
    pub body_bytes: usize,
    /// Samples after the rules.
    pub samples: usize,
    /// Labels of a sample, its name included.
    pub labels: usize,
    /// Bytes of a label's name.
    pub label_name_bytes: usize,
    /// Bytes of a label's value.
    pub label_value_bytes: usize,
    /// Addresses of the job; more are left out.
    pub targets: usize,
}

/// Who we are to a page's server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScrapeAccess {
    /// Anybody.
    Open,
    /// Name and password.
    Basic {
        /// Name.
        username: String,
        /// Password.
        password: Password,
    },
    /// `Authorization: SCHEME TOKEN`.
    Token {
        /// `Bearer` if not said.
        scheme: String,
        /// The token.
        token: Password,
    },
}

/// A job as it stands in the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawScrape {
    job_name: Text,
    scrape_interval: Option<Text>,
    scrape_timeout: Option<Text>,
    scheme: Option<Text>,
    metrics_path: Option<Text>,
    scrape_protocols: Option<Spanned<Vec<Text>>>,
    #[serde(default)]
    params: BTreeMap<String, Vec<String>>,
    scrape_native_histograms: Option<bool>,
    always_scrape_classic_histograms: Option<bool>,
    honor_labels: Option<bool>,
    honor_timestamps: Option<bool>,
    #[serde(default)]
    static_configs: Vec<RawStatic>,
    #[serde(default)]
    file_sd_configs: Vec<RawFiles>,
    #[serde(default)]
    dns_sd_configs: Vec<RawDns>,
    #[serde(default)]
    relabel_configs: Vec<Spanned<RawRule>>,
    #[serde(default)]
    metric_relabel_configs: Vec<Spanned<RawRule>>,
    body_size_limit: Option<Text>,
    sample_limit: Option<Spanned<usize>>,
    label_limit: Option<usize>,
    label_name_length_limit: Option<usize>,
    label_value_length_limit: Option<usize>,
    target_limit: Option<Spanned<usize>>,
    basic_auth: Option<RawBasic>,
    authorization: Option<RawToken>,
    tls_config: Option<Spanned<RawScrapeTls>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStatic {
    targets: Vec<Text>,
    #[serde(default)]
    labels: BTreeMap<String, Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFiles {
    files: Vec<PathBuf>,
    refresh_interval: Option<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDns {
    names: Vec<String>,
    port: Option<u16>,
    #[serde(rename = "type")]
    kind: Option<Text>,
    refresh_interval: Option<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    #[serde(default)]
    source_labels: Vec<String>,
    separator: Option<String>,
    regex: Option<Text>,
    target_label: Option<String>,
    replacement: Option<String>,
    action: Option<Text>,
    modulus: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBasic {
    username: String,
    password: Option<String>,
    password_file: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawToken {
    #[serde(rename = "type")]
    kind: Option<String>,
    credentials: Option<String>,
    credentials_file: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawScrapeTls {
    ca_file: Option<PathBuf>,
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    server_name: Option<Text>,
    insecure_skip_verify: Option<bool>,
}

/// Checks a job; `list` names its place in the file.
pub(super) fn check_scrape(
    place: &Place<'_>,
    list: &str,
    speech: Speech,
    raw: Spanned<RawScrape>,
) -> Result<ScrapeConfig, ConfigError> {
    let field = |name: &str| format!("{list}.{name}");
    let (at, raw) = (raw.referenced, raw.value);
    let interval = place.interval(&raw.scrape_interval, &field("scrape_interval"), INTERVAL_DEFAULT)?;
    let timeout = place.interval(&raw.scrape_timeout, &field("scrape_timeout"), TIMEOUT_DEFAULT.min(interval))?;
    if let Some(text) = raw.scrape_timeout.as_ref().filter(|_| timeout > interval) {
        return place.refuse(text, &field("scrape_timeout"), "at most scrape_interval");
    }
    let scheme = match &raw.scheme {
        None => "http",
        Some(text) => place.choice(text, &field("scheme"), &[("http", "http"), ("https", "https")])?,
    };
    let mut refresh = REFRESH_DEFAULT;
    let mut sources = Vec::new();
    for group in &raw.static_configs {
        sources.push(ScrapeSource::Static(static_targets(place, &field("static_configs"), group)?));
    }
    for files in raw.file_sd_configs {
        refresh = place.interval(&files.refresh_interval, &field("file_sd_configs.refresh_interval"), refresh)?;
        sources.push(ScrapeSource::Files(files.files));
    }
    for dns in raw.dns_sd_configs {
        refresh = place.interval(&dns.refresh_interval, &field("dns_sd_configs.refresh_interval"), refresh)?;
        let records = records(place, at, &field("dns_sd_configs"), &dns)?;
        sources.push(ScrapeSource::Dns { names: dns.names, records });
    }
    if sources.is_empty() {
        let one = "one of static_configs, file_sd_configs, dns_sd_configs is needed";
        return Err(place.error(at, format!("{}: {one}", field("job_name"))));
    }
    let access = match (raw.basic_auth, raw.authorization) {
        (None, None) => ScrapeAccess::Open,
        (Some(basic), None) => {
            ScrapeAccess::Basic { username: basic.username, password: secret(basic.password, basic.password_file) }
        }
        (None, Some(token)) => ScrapeAccess::Token {
            scheme: token.kind.unwrap_or_else(|| "Bearer".into()),
            token: secret(token.credentials, token.credentials_file),
        },
        (Some(_), Some(_)) => {
            return Err(place.error(at, format!("{}: basic_auth is given too", field("authorization"))));
        }
    };
    let bounded = |given: Option<Spanned<usize>>, name: &str, most: usize| match given {
        None => Ok(most),
        Some(n) if (1..=most).contains(&n.value) => Ok(n.value),
        Some(n) => {
            let message = format!("{}: {} is not allowed; allowed: 1 to {most}", field(name), n.value);
            Err(place.error(n.referenced, message))
        }
    };
    let histograms = HistogramParts {
        native: raw.scrape_native_histograms.unwrap_or(false),
        classic_too: raw.always_scrape_classic_histograms.unwrap_or(false),
    };
    Ok(ScrapeConfig {
        job_name: place.name(&raw.job_name, &field("job_name"))?,
        interval,
        timeout,
        refresh,
        scheme,
        metrics_path: metrics_path(place, &field("metrics_path"), speech, raw.metrics_path)?,
        speech,
        protocols: protocols(place, &field("scrape_protocols"), raw.scrape_protocols, histograms)?,
        histograms,
        params: raw.params,
        honor_labels: raw.honor_labels.unwrap_or(false),
        honor_timestamps: raw.honor_timestamps.unwrap_or(true),
        sources,
        relabel: rules(place, &field("relabel_configs"), raw.relabel_configs)?,
        metric_relabel: rules(place, &field("metric_relabel_configs"), raw.metric_relabel_configs)?,
        limits: ScrapeLimits {
            body_bytes: match &raw.body_size_limit {
                None => BODY_BYTES_MAX,
                Some(text) => match parse_bytes(&text.value).map(|b| b as usize) {
                    Some(bytes) if (1..=BODY_BYTES_MAX).contains(&bytes) => bytes,
                    _ => return place.refuse(text, &field("body_size_limit"), "1 to 64MiB, written like 16MiB"),
                },
            },
            samples: bounded(raw.sample_limit, "sample_limit", SAMPLES_MAX)?,
            labels: raw.label_limit.unwrap_or(LABELS_MAX),
            label_name_bytes: raw.label_name_length_limit.unwrap_or(LABEL_NAME_BYTES_MAX),
            label_value_bytes: raw.label_value_length_limit.unwrap_or(LABEL_VALUE_BYTES_MAX),
            targets: bounded(raw.target_limit, "target_limit", TARGETS_MAX)?,
        },
        access,
        tls: match raw.tls_config {
            Some(tls) => check_tls(place, &field("tls_config"), tls)?,
            None if scheme == "https" => ScrapeTls { mode: TlsMode::Verify(None), identity: None, server_name: None },
            None => ScrapeTls { mode: TlsMode::Prefer, identity: None, server_name: None },
        },
    })
}

fn check_tls(place: &Place<'_>, field: &str, raw: Spanned<RawScrapeTls>) -> Result<ScrapeTls, ConfigError> {
    let (at, raw) = (raw.referenced, raw.value);
    let identity = match (raw.cert_file, raw.key_file) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        (Some(_), None) => return Err(place.error(at, format!("{field}.key_file: is missing; cert_file is given"))),
        (None, Some(_)) => return Err(place.error(at, format!("{field}.cert_file: is missing; key_file is given"))),
    };
    // a handshake asks for names alone (RFC 6066, section 3)
    if let Some(text) = raw.server_name.as_ref().filter(|text| DnsName::try_from(text.value.as_str()).is_err()) {
        return place.refuse(text, &format!("{field}.server_name"), "a name, no address");
    }
    let mode = if raw.insecure_skip_verify == Some(true) { TlsMode::Require } else { TlsMode::Verify(raw.ca_file) };
    Ok(ScrapeTls { mode, identity, server_name: raw.server_name.map(|text| text.value) })
}

/// Which records are asked for: SRV unless said.
fn records(place: &Place<'_>, at: Location, field: &str, dns: &RawDns) -> Result<Records, ConfigError> {
    let with_port: Option<fn(u16) -> Records> = match &dns.kind {
        None => None,
        Some(kind) => place.choice(
            kind,
            &format!("{field}.type"),
            &[("SRV", None), ("A", Some(Records::A as fn(u16) -> Records)), ("AAAA", Some(Records::Aaaa))],
        )?,
    };
    match (with_port, dns.port) {
        (None, _) => Ok(Records::Srv),
        (Some(records), Some(port)) => Ok(records(port)),
        (Some(_), None) => Err(place.error(at, format!("{field}.port: is missing; type A and AAAA need one"))),
    }
}

/// What is asked for; unless said OpenMetrics, then text, and protobuf last, or first if only it has what is wanted.
fn protocols(
    place: &Place<'_>,
    field: &str,
    given: Option<Spanned<Vec<Text>>>,
    histograms: HistogramParts,
) -> Result<Vec<&'static str>, ConfigError> {
    let Some(given) = given else {
        if histograms.native {
            return Ok(PROTOCOLS.map(|(_, accepted)| accepted).to_vec());
        }
        let [protobuf, rest @ ..] = PROTOCOLS.map(|(_, accepted)| accepted);
        return Ok(rest.into_iter().chain([protobuf]).collect());
    };
    if given.value.is_empty() {
        let all = PROTOCOLS.map(|(name, _)| name).join(", ");
        return Err(place.error(given.referenced, format!("{field}: is empty; allowed: one or more of {all}")));
    }
    let mut chosen = Vec::new();
    for text in &given.value {
        let accepted = place.choice(text, field, &PROTOCOLS)?;
        if chosen.contains(&accepted) {
            return place.refuse(text, field, "each protocol once");
        }
        chosen.push(accepted);
    }
    Ok(chosen)
}

/// Where the page is; Patroni's answers have their places.
fn metrics_path(place: &Place<'_>, field: &str, speech: Speech, given: Option<Text>) -> Result<String, ConfigError> {
    match (speech, given) {
        (Speech::Metrics, None) => Ok("/metrics".to_owned()),
        (Speech::Metrics, Some(text)) => Ok(text.value),
        (Speech::Patroni, None) => Ok(NODE_PATH.to_owned()),
        (Speech::Patroni, Some(text)) => place.refuse(&text, field, "none: Patroni's paths are fixed"),
    }
}

fn secret(text: Option<String>, file: Option<PathBuf>) -> Password {
    match (text, file) {
        (Some(text), _) => Password::Text(text),
        (None, Some(file)) => Password::File(file),
        (None, None) => Password::None,
    }
}

fn static_targets(place: &Place<'_>, field: &str, raw: &RawStatic) -> Result<Vec<Found>, ConfigError> {
    let mut labels = BTreeMap::new();
    for (name, value) in &raw.labels {
        if !is_label_name(name) {
            return place.refuse(value, &format!("{field}.labels.{name}"), "a name of letters, digits and '_'");
        }
        labels.insert(name.clone(), value.value.clone());
    }
    let mut found = Vec::new();
    for text in &raw.targets {
        if text.value.is_empty() || text.value.contains('/') {
            return place.refuse(text, &format!("{field}.targets"), "host:port without scheme and path");
        }
        found.push(Found { address: text.value.clone(), labels: labels.clone() });
    }
    Ok(found)
}

fn rules(place: &Place<'_>, field: &str, raw: Vec<Spanned<RawRule>>) -> Result<Vec<Rule>, ConfigError> {
    raw.into_iter().map(|rule| check_rule(place, field, rule)).collect()
}

fn check_rule(place: &Place<'_>, field: &str, raw: Spanned<RawRule>) -> Result<Rule, ConfigError> {
    let (at, raw) = (raw.referenced, raw.value);
    let action = match &raw.action {
        None => Action::Replace,
        Some(text) => place.choice(text, &format!("{field}.action"), &ACTIONS)?,
    };
    let pattern = raw.regex.as_ref().map_or("(.*)", |t| t.value.as_str());
    let regex = anchored(pattern)
        .map_err(|e| place.error(raw.regex.as_ref().map_or(at, |t| t.referenced), format!("{field}.regex: {e}")))?;
    let needs_target = matches!(
        action,
        Action::Replace
            | Action::KeepEqual
            | Action::DropEqual
            | Action::Lowercase
            | Action::Uppercase
            | Action::HashMod
    );
    if needs_target && raw.target_label.is_none() {
        return Err(place.error(at, format!("{field}.target_label: is missing; this action writes or compares it")));
    }
    let modulus = match (action, raw.modulus) {
        (Action::HashMod, None | Some(0)) => {
            return Err(place.error(at, format!("{field}.modulus: is missing or 0; hashmod needs at least 1")));
        }
        (_, modulus) => modulus.unwrap_or(1),
    };
    Ok(Rule {
        modulus,
        source_labels: raw.source_labels,
        separator: raw.separator.unwrap_or_else(|| ";".into()),
        regex,
        target_label: raw.target_label.unwrap_or_default(),
        replacement: raw.replacement.unwrap_or_else(|| "$1".into()),
        action,
    })
}
