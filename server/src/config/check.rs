//! From raw to checked: each value with its field, its line and what is allowed there.

use std::{
    net::SocketAddr,
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use proto::Table;
use query::{QueryLimits, promql::number::parse_duration_ms};
use serde_saphyr::{Location, Spanned};
use storage::{Keep, Limits, OnDamage, Retention, StoreConfig, exemplars::EXEMPLARS_MAX};

use super::{
    CONCURRENCY_DEFAULT, Config, ConfigError, GRPC_LISTEN_DEFAULT, HTTP_LISTEN_DEFAULT, TlsConfig,
    check_kafka::check_kafka,
    check_object_store::check_object_store,
    raw::{Number, RawConfig, RawKeep, RawLimits, RawQuery, RawRetention, RawStorage, RawTls, Text},
};

const DURATIONS: &str = "a duration such as 500ms, 10s, 5m, 2h, 30d";
const SIZES: &str = "a size such as 500KiB, 64MiB, 2GiB";
const TLS_FILE_BYTES_MAX: u64 = 1 << 20;

/// Where a file's errors are and its relative paths start.
pub(super) struct Place<'a> {
    file: &'a str,
    base: PathBuf,
}

pub(super) type Checked<T> = Result<T, ConfigError>;

impl Place<'_> {
    pub(super) fn error(&self, at: Location, message: impl Into<String>) -> ConfigError {
        ConfigError { file: self.file.into(), line: at.line(), column: at.column(), message: message.into() }
    }

    pub(super) fn refuse<T>(&self, text: &Text, field: &str, allowed: &str) -> Checked<T> {
        Err(self.error(text.referenced, format!("{field}: {:?} is not allowed; allowed: {allowed}", text.value)))
    }

    pub(super) fn duration_ms(&self, text: &Option<Text>, field: &str, default: i64) -> Checked<i64> {
        let Some(text) = text else { return Ok(default) };
        match parse_duration_ms(&text.value) {
            Ok(ms) if ms > 0 => Ok(ms),
            _ => self.refuse(text, field, DURATIONS),
        }
    }

    pub(super) fn bytes(&self, text: &Option<Text>, field: &str, default: u64) -> Checked<u64> {
        let Some(text) = text else { return Ok(default) };
        match parse_bytes(&text.value) {
            Some(bytes) if bytes > 0 => Ok(bytes),
            _ => self.refuse(text, field, SIZES),
        }
    }

    fn count(&self, number: &Option<Number>, field: &str, default: usize, max: usize) -> Checked<usize> {
        self.within(number, field, default, 1..=max)
    }

    fn within(
        &self,
        number: &Option<Number>,
        field: &str,
        default: usize,
        allowed: RangeInclusive<usize>,
    ) -> Checked<usize> {
        let Some(number) = number else { return Ok(default) };
        match usize::try_from(number.value) {
            Ok(n) if allowed.contains(&n) => Ok(n),
            _ => {
                let (min, max) = allowed.into_inner();
                let message = format!("{field}: {} is not allowed; allowed: {min} to {max}", number.value);
                Err(self.error(number.referenced, message))
            }
        }
    }

    pub(super) fn path(&self, text: &str) -> PathBuf {
        self.base.join(text)
    }

    pub(super) fn read(&self, text: &Text, field: &str) -> Checked<Vec<u8>> {
        let path = self.path(&text.value);
        let read = match std::fs::metadata(&path) {
            // a device or a pipe has no size, and perhaps no end
            Ok(found) if !found.is_file() || found.len() > TLS_FILE_BYTES_MAX => {
                return self.refuse(text, field, "a file of at most 1 MiB");
            }
            _ => std::fs::read(&path),
        };
        read.map_err(|e| self.error(text.referenced, format!("{field}: {}: {e}", path.display())))
    }
}

/// `64MiB`, `2GiB`, `1000000`.
fn parse_bytes(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let unit = match text[digits..].trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    };
    number.checked_mul(unit)
}

pub(super) fn parse(file: &str, text: &str) -> Checked<Config> {
    let base = Path::new(file).parent().map(Path::to_owned).unwrap_or_default();
    let place = Place { file, base };
    let options = serde_saphyr::options! { with_snippet: false };
    let raw: RawConfig = serde_saphyr::from_str_with_options(text, options)
        .map_err(|e| place.error(e.location().unwrap_or(Location::UNKNOWN), message_of(&e.to_string())))?;
    let mut store = check_storage(&place, &raw.storage)?;
    if let Some(data_dir) = raw.data_dir {
        store.data_dir = place.base.join(data_dir);
    }
    let (query, concurrency_max) = check_query(&place, &raw.query)?;
    Ok(Config {
        http_listen: check_listen(&place, &raw.http.listen, "http.listen", HTTP_LISTEN_DEFAULT)?,
        admin_api: raw.http.admin_api,
        grpc_listen: check_listen(&place, &raw.grpc.listen, "grpc.listen", GRPC_LISTEN_DEFAULT)?,
        grpc_tls: raw.grpc.tls.as_ref().map(|tls| check_tls(&place, tls)).transpose()?,
        kafka: raw.kafka.map(|kafka| check_kafka(&place, kafka)).transpose()?,
        store,
        query,
        concurrency_max,
        query_log: raw.query.log_file.as_ref().map(|text| place.path(&text.value)),
        alerting: check_alerting(&place, raw.alerting)?,
        file: None,
    })
}

/// The parser appends the place to its message; it stands in front of ours already.
fn message_of(text: &str) -> String {
    let line = text.lines().next().unwrap_or("");
    line.split(" at line ").next().unwrap_or(line).to_owned()
}

fn check_alerting(place: &Place<'_>, raw: Option<Spanned<alerting::Config>>) -> Checked<alerting::Settings> {
    let (raw, at) = raw.map_or_else(|| (alerting::Config::default(), Location::UNKNOWN), |s| (s.value, s.referenced));
    raw.check(&place.base).map_err(|e| place.error(at, format!("alerting.{e}")))
}

fn check_listen(place: &Place<'_>, raw: &Option<Text>, field: &str, default: &str) -> Checked<SocketAddr> {
    match raw {
        None => default.parse().map_err(|e| place.error(Location::UNKNOWN, format!("{field}: {e}"))),
        Some(text) => match text.value.parse() {
            Ok(listen) => Ok(listen),
            Err(_) => place.refuse(text, field, "address:port, as 127.0.0.1:7400 or [::]:7400"),
        },
    }
}

fn check_tls(place: &Place<'_>, raw: &RawTls) -> Checked<TlsConfig> {
    let pem = |text: &Text, name: &str, label: &str| {
        let field = format!("grpc.tls.{name}");
        let bytes = place.read(text, &field)?;
        let is_pem = String::from_utf8_lossy(&bytes).contains(label);
        if is_pem { Ok(bytes) } else { place.refuse(text, &field, &format!("a PEM file with {label:?} in it")) }
    };
    Ok(TlsConfig {
        cert_pem: pem(&raw.cert_file, "cert_file", "BEGIN CERTIFICATE")?,
        key_pem: pem(&raw.key_file, "key_file", "PRIVATE KEY")?,
        client_ca_pem: raw
            .client_ca_file
            .as_ref()
            .map(|text| pem(text, "client_ca_file", "BEGIN CERTIFICATE"))
            .transpose()?,
    })
}

fn check_storage(place: &Place<'_>, raw: &RawStorage) -> Checked<StoreConfig> {
    let defaults = StoreConfig::default();
    let fsync_interval_ms = place.duration_ms(&raw.fsync_interval, "storage.fsync_interval", 10)?;
    if let Some(text) = &raw.fsync_interval
        && fsync_interval_ms as u64 > storage::config::FSYNC_INTERVAL_MS_MAX
    {
        let allowed = format!("at most {} ms", storage::config::FSYNC_INTERVAL_MS_MAX);
        return place.refuse(text, "storage.fsync_interval", &allowed);
    }
    let store = StoreConfig {
        object_store: check_object_store(place, raw.object_store.as_ref())?,
        limits: check_limits(place, &raw.limits)?,
        retention: check_retention(place, &raw.retention)?,
        head_bytes_max: place.bytes(&raw.head_bytes_max, "storage.head_bytes_max", defaults.head_bytes_max)?,
        flush_log_bytes: place.bytes(&raw.flush_log_bytes, "storage.flush_log_bytes", defaults.flush_log_bytes)?,
        flush_age_ms: place.duration_ms(&raw.flush_age, "storage.flush_age", defaults.flush_age_ms)?,
        fsync_interval_ms: fsync_interval_ms as u64,
        part_bytes_max: place.bytes(&raw.part_bytes_max, "storage.part_bytes_max", defaults.part_bytes_max)?,
        on_damage: match raw.on_damage.as_ref().map(|t| (t, t.value.as_str())) {
            None | Some((_, "stop")) => OnDamage::Stop,
            Some((_, "skip")) => OnDamage::Skip,
            Some((text, _)) => return place.refuse(text, "storage.on_damage", "stop, skip"),
        },
        exemplars_max: place.within(
            &raw.exemplars_max,
            "storage.exemplars_max",
            defaults.exemplars_max,
            0..=EXEMPLARS_MAX,
        )?,
        ..defaults
    };
    store.check().map_err(|e| place.error(Location::UNKNOWN, e.to_string()))?;
    Ok(store)
}

fn check_limits(place: &Place<'_>, raw: &RawLimits) -> Checked<Limits> {
    let d = Limits::default();
    let count =
        |number, field: &str, default, max| place.count(number, &format!("storage.limits.{field}"), default, max);
    Ok(Limits {
        series_max: count(&raw.series_max, "series_max", d.series_max, 1_000_000_000)?,
        series_per_source_max: count(
            &raw.series_per_source_max,
            "series_per_source_max",
            d.series_per_source_max,
            1_000_000_000,
        )?,
        labels_per_series_max: count(
            &raw.labels_per_series_max,
            "labels_per_series_max",
            d.labels_per_series_max,
            proto::batch::LABELS_MAX,
        )?,
        label_name_bytes_max: count(&raw.label_name_bytes_max, "label_name_bytes_max", d.label_name_bytes_max, 65_536)?,
        label_value_bytes_max: count(
            &raw.label_value_bytes_max,
            "label_value_bytes_max",
            d.label_value_bytes_max,
            1 << 20,
        )?,
        age_ms_max: place.duration_ms(&raw.age_max, "storage.limits.age_max", d.age_ms_max)?,
        future_ms_max: place.duration_ms(&raw.future_max, "storage.limits.future_max", d.future_ms_max)?,
    })
}

fn check_retention(place: &Place<'_>, raw: &RawRetention) -> Checked<Retention> {
    let mut retention = Retention::default();
    if let Some(keep) = &raw.metrics {
        retention.metrics = check_keep(place, keep, "metrics", retention.metrics)?;
    }
    if let Some(keep) = &raw.events {
        retention.events = check_keep(place, keep, "events", retention.events)?;
    }
    for (name, keep) in &raw.tables {
        let Some(table) = Table::from_name(name) else {
            let names = Table::ALL.map(Table::name).join(", ");
            let message = format!("storage.retention.tables: {name:?} is not allowed; allowed: {names}");
            return Err(place.error(keep.referenced, message));
        };
        let checked = check_keep(place, &keep.value, &format!("tables.{}", table.name()), retention.of(Some(table)))?;
        retention.tables.insert(table, checked);
    }
    Ok(retention)
}

fn check_keep(place: &Place<'_>, raw: &RawKeep, field: &str, default: Keep) -> Checked<Keep> {
    let age_ms = match &raw.age {
        None => default.age_ms,
        Some(text) if text.value == "forever" => None,
        Some(_) => Some(place.duration_ms(&raw.age, &format!("storage.retention.{field}.age"), 0)?),
    };
    let bytes = match &raw.bytes {
        None => default.bytes,
        Some(_) => Some(place.bytes(&raw.bytes, &format!("storage.retention.{field}.bytes"), 0)?),
    };
    Ok(Keep { age_ms, bytes })
}

fn check_query(place: &Place<'_>, raw: &RawQuery) -> Checked<(QueryLimits, usize)> {
    let d = QueryLimits::default();
    let limits = QueryLimits {
        timeout_ms: place.duration_ms(&raw.timeout, "query.timeout", d.timeout_ms as i64)? as u64,
        lookback_ms: place.duration_ms(&raw.lookback, "query.lookback", d.lookback_ms)?,
        series_max: place.count(&raw.series_max, "query.series_max", d.series_max, 1_000_000_000)?,
        samples_max: place.count(&raw.samples_max, "query.samples_max", d.samples_max, 100_000_000_000)?,
        sql_rows_max: place.count(&raw.sql_rows_max, "query.sql_rows_max", d.sql_rows_max, 100_000_000)?,
        sql_memory_bytes_max: place.bytes(
            &raw.sql_memory_bytes_max,
            "query.sql_memory_bytes_max",
            d.sql_memory_bytes_max as u64,
        )? as usize,
        experimental: raw.experimental.unwrap_or(d.experimental),
        ..d
    };
    let concurrency_max = place.count(&raw.concurrency_max, "query.concurrency_max", CONCURRENCY_DEFAULT, 10_000)?;
    Ok((limits, concurrency_max))
}
