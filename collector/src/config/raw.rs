//! The configuration as it stands in the file: every field a user may write, nothing checked but its shape.
//!
//! Unknown fields are errors here; values are checked in `config`, which still knows the line of each.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::scrape::RawScrape;

/// A text with the place where it stands.
pub type Text = Spanned<String>;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawConfig {
    /// The server to send to; or `kafka`.
    pub server: Option<RawServer>,
    /// The topic to send to; or `server`.
    pub kafka: Option<Spanned<RawKafka>>,
    /// The collector's id; made and kept in the data directory if left out.
    pub id: Option<Text>,
    /// Whose data this is.
    pub tenant: Option<Text>,
    /// Labels put on everything.
    pub labels: Option<BTreeMap<String, Text>>,
    /// Where spool and positions are kept.
    pub data_dir: PathBuf,
    /// The spool's bounds.
    pub spool: Option<RawSpool>,
    /// Host metrics; `host: {enabled: false}` turns them off.
    pub host: Option<RawHost>,
    /// Files of templates, or folders of them.
    #[serde(default)]
    pub templates: Vec<Text>,
    /// Databases to watch.
    #[serde(default)]
    pub databases: Vec<Spanned<RawDatabase>>,
    /// Log files to read beside those of the databases.
    #[serde(default)]
    pub logs: Vec<RawLog>,
    /// Pages of metrics to scrape, as Prometheus' `scrape_configs`.
    #[serde(default)]
    pub scrape_configs: Vec<Spanned<RawScrape>>,
    /// Nodes of Patroni, with the same fields; `metrics_path` aside.
    #[serde(default)]
    pub patroni_configs: Vec<Spanned<RawScrape>>,
}

/// Where to send to.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawServer {
    /// `http://host:port` or `https://host:port`.
    pub address: Text,
    /// For https.
    pub tls: Option<RawServerTls>,
}

/// Certificates of the way to the server.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawServerTls {
    /// PEM file of the authority that signed the server's certificate; the system's if left out.
    pub ca_file: Option<PathBuf>,
    /// PEM file of our own certificate, for mutual TLS.
    pub cert_file: Option<PathBuf>,
    /// PEM file of its key.
    pub key_file: Option<PathBuf>,
    /// Name the server's certificate must bear, if it is not that of the address.
    pub server_name: Option<String>,
}

/// A topic to send to.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawKafka {
    /// `host:port` of some brokers.
    pub brokers: Vec<Text>,
    /// The topic.
    pub topic: Text,
    /// Encrypted, if given; `{}` with the system's authorities.
    pub tls: Option<RawKafkaTls>,
    /// Who we are.
    pub sasl: Option<RawSasl>,
    /// Largest batch, `1000000` or `4MiB`: below the topic's `max.message.bytes`.
    pub value_bytes_max: Option<Text>,
    /// `none` or `zstd`.
    pub compression: Option<Text>,
}

/// Certificates of the way to the brokers.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawKafkaTls {
    /// PEM file of the authority that signed the brokers' certificates; the system's if left out.
    pub ca_file: Option<PathBuf>,
    /// PEM file of our own certificate.
    pub cert_file: Option<Text>,
    /// PEM file of its key.
    pub key_file: Option<Text>,
}

/// Name and password.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawSasl {
    /// `plain`, `scram-sha-256`, `scram-sha-512`.
    pub mechanism: Text,
    /// The name.
    pub username: Text,
    /// File with the password in its first line.
    pub password_file: PathBuf,
}

/// The spool's bounds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawSpool {
    /// `512MiB`, `2GiB` ….
    pub bytes_max: Option<Text>,
}

/// Host metrics.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawHost {
    /// Whether to read them.
    pub enabled: Option<bool>,
    /// The host's name; the kernel's if left out.
    pub instance: Option<Text>,
    /// `10s`.
    pub interval: Option<Text>,
    /// Where `/proc` is mounted.
    pub proc_dir: Option<PathBuf>,
    /// Where `/sys` is mounted.
    pub sys_dir: Option<PathBuf>,
    /// Where the host's root file system is mounted.
    pub root_dir: Option<PathBuf>,
}

/// A database instance.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawDatabase {
    /// Its name; the server's own id with its address if left out.
    pub name: Option<Text>,
    /// `postgresql`, `mysql`, `mariadb`, or the name of the template of what speaks as one of them.
    pub engine: Text,
    /// The template to read it by; that of the engine if left out.
    pub template: Option<Text>,
    /// `host:port` or the path of a socket.
    pub address: Text,
    /// Role or account.
    pub user: Option<Text>,
    /// Its password, in clear.
    pub password: Option<Text>,
    /// A file whose first line is the password.
    pub password_file: Option<Text>,
    /// An environment variable that holds the password.
    pub password_env: Option<Text>,
    /// Database to connect to first.
    pub database: Option<Text>,
    /// Which databases of the instance to visit.
    pub databases: Option<RawFilter>,
    /// `disable`, `prefer`, `require` or `verify`.
    pub tls: Option<Text>,
    /// PEM file for `verify`.
    pub tls_ca_file: Option<PathBuf>,
    /// The distributed database it is a part of.
    pub cluster: Option<Text>,
    /// Its shard there.
    pub shard: Option<Text>,
    /// Its configured role there.
    pub role: Option<Text>,
    /// production, test ….
    pub environment: Option<Text>,
    /// How often what is read.
    pub intervals: Option<RawIntervals>,
    /// Most of the time that our queries may take there, `5%`.
    pub time_budget: Option<Text>,
    /// `auto` (what the server says), `off`, or a list of files.
    pub logs: Option<RawLogChoice>,
    /// Kinds of values that may leave the host: `literals`, `parameters`, `row_values`. None if left out.
    #[serde(default)]
    pub unmasked: Vec<Text>,
}

/// Which databases to visit.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawFilter {
    /// Names with `*`; all if left out.
    pub include: Option<Vec<Text>>,
    /// Names with `*`; wins over include.
    pub exclude: Option<Vec<Text>>,
}

/// How often what is read.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawIntervals {
    /// Counters and gauges.
    pub metrics: Option<Text>,
    /// Sessions, waits, blockers.
    pub activity: Option<Text>,
    /// Statement statistics.
    pub statements: Option<Text>,
    /// Tables, indexes, settings.
    pub objects: Option<Text>,
}

/// What to do about a database's logs.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawLogChoice {
    /// `auto`, `off` or `files`.
    pub mode: Text,
    /// With `files`: paths; the last component may hold `*`.
    #[serde(default)]
    pub files: Vec<Text>,
}

/// A log file beside those of the databases.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawLog {
    /// Path; the last component may hold `*`. Or, of systemd's journal, `unit` or `identifier`.
    pub path: Option<Text>,
    /// The unit whose lines in the journal are the log.
    pub unit: Option<Text>,
    /// The SYSLOG_IDENTIFIER whose lines in the journal are the log.
    pub identifier: Option<Text>,
    /// The journal's namespace, if it is not the system's.
    pub namespace: Option<Text>,
    /// Whose log it is.
    pub instance: Text,
    /// `postgresql`, `mysql` or `mariadb`.
    pub engine: Text,
    /// `auto`, `stderr`, `csvlog`, `jsonlog`, `error_log` or `slow_log`.
    pub format: Option<Text>,
    /// The server's `log_line_prefix`, for `stderr`.
    pub line_prefix: Option<Text>,
    /// Where to begin in files never read before: `end` or `beginning`.
    pub start: Option<Text>,
    /// `records` (rows of logs) or `executions` (rows of statement_samples); of a slow log the latter.
    pub rows: Option<Text>,
    /// Kinds of values that may leave the host, as of a database.
    #[serde(default)]
    pub unmasked: Vec<Text>,
}
