//! The config file as written: every field a user may set, nothing checked but its shape. An unknown field is an error here;
//! values keep their line for the checks in `config`.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Deserialize;
use serde_saphyr::Spanned;

/// A text that knows its line.
pub type Text = Spanned<String>;
/// A whole number that knows its line.
pub type Number = Spanned<u64>;

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    /// Where everything is kept.
    pub data_dir: Option<PathBuf>,
    /// The HTTP port.
    pub http: RawHttp,
    /// The collectors' port.
    pub grpc: RawGrpc,
    /// A topic to read.
    pub kafka: Option<RawKafka>,
    /// The store.
    pub storage: RawStorage,
    /// What one question may cost.
    pub query: RawQuery,
    /// Rules and whom to tell.
    pub alerting: Option<Spanned<alerting::Config>>,
}

/// The HTTP port. It is not encrypted: a proxy in front is.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawHttp {
    /// `address:port`.
    pub listen: Option<Text>,
    /// Whether snapshots and deletions are taken.
    pub admin_api: bool,
}

/// The collectors' port.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawGrpc {
    /// `address:port`.
    pub listen: Option<Text>,
    /// Encrypted, if given.
    pub tls: Option<RawTls>,
}

/// A topic to read.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawKafka {
    /// `host:port` of some brokers.
    pub brokers: Vec<Text>,
    /// The topic with the batches.
    pub topic: Text,
    /// `all`, or a list of numbers.
    pub partitions: Option<Spanned<RawPartitions>>,
    /// Where messages go that can never be stored; `none` for nowhere.
    pub dead_letter_topic: Option<Text>,
    /// Encrypted, if given; `{}` with the system's authorities.
    pub tls: Option<RawKafkaTls>,
    /// Who we are.
    pub sasl: Option<RawSasl>,
}

/// Which partitions.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum RawPartitions {
    /// These.
    Numbers(Vec<u64>),
    /// `all`.
    Word(String),
}

/// Certificates of the way to the brokers.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawKafkaTls {
    /// PEM file of the authority that signed the brokers' certificates; the system's if left out.
    pub ca_file: Option<Text>,
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
    pub password_file: Text,
}

/// Certificates of a port.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawTls {
    /// PEM file with the certificate and those between it and its authority.
    pub cert_file: Text,
    /// PEM file of its key.
    pub key_file: Text,
    /// PEM file of the authority whose certificates clients must show.
    pub client_ca_file: Option<Text>,
}

/// The store.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawStorage {
    /// Where parts live.
    pub object_store: Option<RawObjectStore>,
    /// What is admitted.
    pub limits: RawLimits,
    /// What is kept.
    pub retention: RawRetention,
    /// Most memory for recent rows.
    pub head_bytes_max: Option<Text>,
    /// Flush when the log is this large.
    pub flush_log_bytes: Option<Text>,
    /// Flush when the oldest row is this old.
    pub flush_age: Option<Text>,
    /// Pause between two syncs of the log.
    pub fsync_interval: Option<Text>,
    /// Largest part.
    pub part_bytes_max: Option<Text>,
    /// `stop` or `skip`.
    pub on_damage: Option<Text>,
    /// Exemplars kept in memory and in the log, of all series together; 0: none.
    pub exemplars_max: Option<Number>,
}

/// Where parts live.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawObjectStore {
    /// `local` or `s3`.
    pub kind: Text,
    /// Bucket.
    pub bucket: Option<Text>,
    /// Everything is below it.
    pub prefix: Option<Text>,
    /// Region.
    pub region: Option<Text>,
    /// URL of an S3-compatible store.
    pub endpoint: Option<Text>,
    /// Key id.
    pub access_key_id: Option<Text>,
    /// File with the secret.
    pub secret_access_key_file: Option<Text>,
    /// Most bytes of parts kept on the local disk.
    pub cache_bytes_max: Option<Text>,
    /// How long a request may take.
    pub timeout: Option<Text>,
    /// How long a request that fails is tried again.
    pub retry_for: Option<Text>,
}

/// What is admitted.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawLimits {
    /// Active series in all.
    pub series_max: Option<Number>,
    /// Active series of one source.
    pub series_per_source_max: Option<Number>,
    /// Labels of a series.
    pub labels_per_series_max: Option<Number>,
    /// Bytes of a label's name.
    pub label_name_bytes_max: Option<Number>,
    /// Bytes of a label's value.
    pub label_value_bytes_max: Option<Number>,
    /// Oldest row taken.
    pub age_max: Option<Text>,
    /// Newest row taken.
    pub future_max: Option<Text>,
}

/// What is kept.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawRetention {
    /// Metrics.
    pub metrics: Option<RawKeep>,
    /// Every event table not named below.
    pub events: Option<RawKeep>,
    /// Event tables by name.
    pub tables: BTreeMap<String, Spanned<RawKeep>>,
}

/// How long and how much of a table.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawKeep {
    /// `90d`, or `forever`.
    pub age: Option<Text>,
    /// `50GiB`.
    pub bytes: Option<Text>,
}

/// What one question may cost.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawQuery {
    /// How long it may run.
    pub timeout: Option<Text>,
    /// How far an instant selector looks back.
    pub lookback: Option<Text>,
    /// Series it may touch.
    pub series_max: Option<Number>,
    /// Samples it may hold.
    pub samples_max: Option<Number>,
    /// Rows of an SQL answer.
    pub sql_rows_max: Option<Number>,
    /// Memory of an SQL query.
    pub sql_memory_bytes_max: Option<Text>,
    /// Questions answered at once.
    pub concurrency_max: Option<Number>,
    /// Experimental PromQL.
    pub experimental: Option<bool>,
    /// Where every question is written down.
    pub log_file: Option<Text>,
}
