//! From raw to checked: each value with its field, its line and what is allowed there.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use proto::LabelsBuilder;
use serde::de::DeserializeOwned;
use serde_saphyr::{Location, Spanned};

use super::{
    Address, Config, ConfigError, DATABASES_MAX, DatabaseConfig, Destination, Engine, HostConfig, INTERVAL_MAX,
    INTERVAL_MIN, Intervals, JournalConfig, JournalMatch, LogChoice, LogConfig, LogFormat, LogRows, LogStart,
    NameFilter, Password, SPOOL_BYTES_DEFAULT, SPOOL_BYTES_MIN, ServerConfig, ServerTls, TIME_BUDGET_MIN, TlsMode,
    Unmasked,
    check_kafka::check_kafka,
    raw::{RawConfig, RawDatabase, RawFilter, RawHost, RawIntervals, RawKafka, RawLog, RawLogChoice, RawServer, Text},
    scrape::{RawScrape, ScrapeConfig, Speech, check_scrape},
};
use crate::databases::{
    template::Template,
    templates::{self, Templates},
};

/// Longest name of an instance, tenant, label or id, bytes.
const NAME_BYTES_MAX: usize = 128;

/// A file, to say where in it something is wrong.
pub(crate) struct Place<'a> {
    file: &'a str,
}

impl Place<'_> {
    pub(crate) fn new(file: &str) -> Place<'_> {
        Place { file }
    }

    /// A text as its raw shape.
    pub(crate) fn read<T: DeserializeOwned>(&self, text: &str) -> Result<T, ConfigError> {
        let options = serde_saphyr::options! { with_snippet: false };
        serde_saphyr::from_str_with_options(text, options).map_err(|e| {
            let at = e.location().unwrap_or(Location::UNKNOWN);
            self.error(at, message_of(&e.to_string()))
        })
    }

    pub(crate) fn error(&self, at: Location, message: impl Into<String>) -> ConfigError {
        ConfigError { file: self.file.into(), line: at.line(), column: at.column(), message: message.into() }
    }

    pub(crate) fn refuse<T>(&self, text: &Text, field: &str, allowed: &str) -> Result<T, ConfigError> {
        Err(self.error(text.referenced, format!("{field}: {:?} is not allowed; allowed: {allowed}", text.value)))
    }

    pub(crate) fn choice<T: Clone>(&self, text: &Text, field: &str, choices: &[(&str, T)]) -> Result<T, ConfigError> {
        match choices.iter().find(|(word, _)| *word == text.value) {
            Some((_, value)) => Ok(value.clone()),
            None => self.refuse(text, field, &choices.iter().map(|(w, _)| *w).collect::<Vec<_>>().join(", ")),
        }
    }

    pub(crate) fn name(&self, text: &Text, field: &str) -> Result<Arc<str>, ConfigError> {
        let ok = !text.value.trim().is_empty()
            && text.value.len() <= NAME_BYTES_MAX
            && !text.value.chars().any(char::is_control);
        if !ok {
            return self.refuse(text, field, "1 to 128 bytes of printable text");
        }
        Ok(text.value.as_str().into())
    }

    fn optional_name(&self, text: &Option<Text>, field: &str) -> Result<Option<Arc<str>>, ConfigError> {
        text.as_ref().map(|t| self.name(t, field)).transpose()
    }

    pub(super) fn interval(
        &self,
        text: &Option<Text>,
        field: &str,
        default: Duration,
    ) -> Result<Duration, ConfigError> {
        let Some(text) = text else { return Ok(default) };
        match parse_duration(&text.value) {
            Some(d) if (INTERVAL_MIN..=INTERVAL_MAX).contains(&d) => Ok(d),
            _ => self.refuse(text, field, "1s to 24h, written like 500ms, 10s, 5m or 1h"),
        }
    }
}

/// `500ms`, `10s`, `5m`, `1h`.
fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number: u64 = text[..digits].parse().ok()?;
    let unit_ms = match &text[digits..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.checked_mul(unit_ms)?))
}

/// `5%` as 0.05.
fn parse_percent(text: &str) -> Option<f64> {
    text.strip_suffix('%')?.trim_end().parse::<f64>().ok().map(|p| p / 100.0)
}

/// `64MiB`, `2GiB`, `1000000`.
pub(super) fn parse_bytes(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let unit = match text[digits..].trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(unit)
}

pub(super) fn parse(file: &str, text: &str) -> Result<Config, ConfigError> {
    let place = Place { file };
    let raw: RawConfig = place.read(text)?;
    let templates = check_templates(&place, &raw.templates)?;
    let databases = check_databases(&place, &raw.databases, &templates)?;
    let (mut logs, mut journals) = (Vec::new(), Vec::new());
    for (i, log) in raw.logs.iter().enumerate() {
        match check_log(&place, i, log)? {
            Log::File(log) => logs.push(log),
            Log::Journal(journal) => journals.push(journal),
        }
    }
    Ok(Config {
        destination: check_destination(&place, raw.server, raw.kafka)?,
        id: place.optional_name(&raw.id, "id")?,
        tenant: check_tenant(&place, &raw.tenant)?,
        labels: check_labels(&place, raw.labels)?,
        data_dir: raw.data_dir,
        spool_bytes_max: match raw.spool.and_then(|s| s.bytes_max) {
            None => SPOOL_BYTES_DEFAULT,
            Some(text) => match parse_bytes(&text.value) {
                Some(bytes) if bytes >= SPOOL_BYTES_MIN => bytes,
                _ => return place.refuse(&text, "spool.bytes_max", "at least 16MiB, written like 512MiB or 2GiB"),
            },
        },
        host: check_host(&place, raw.host)?,
        databases,
        logs,
        journals,
        scrapes: check_scrapes(&place, raw.scrape_configs, raw.patroni_configs)?,
    })
}

/// The parser appends the place to its message; it stands in front of ours already.
fn message_of(text: &str) -> String {
    let line = text.lines().next().unwrap_or("");
    line.split(" at line ").next().unwrap_or(line).to_owned()
}

fn check_destination(
    place: &Place<'_>,
    server: Option<RawServer>,
    kafka: Option<Spanned<RawKafka>>,
) -> Result<Destination, ConfigError> {
    let one = "exactly one of server and kafka must be given";
    match (server, kafka) {
        (Some(server), None) => Ok(Destination::Grpc(check_server(place, server)?)),
        (None, Some(kafka)) => Ok(Destination::Kafka(check_kafka(place, kafka.value)?)),
        (Some(_), Some(kafka)) => Err(place.error(kafka.referenced, format!("kafka: server is given too; {one}"))),
        (None, None) => Err(place.error(Location::UNKNOWN, format!("server: is missing; {one}"))),
    }
}

fn check_server(place: &Place<'_>, raw: RawServer) -> Result<ServerConfig, ConfigError> {
    let allowed = "http://host:port, or https://host:port with TLS";
    let https = raw.address.value.starts_with("https://");
    let valid = raw.address.value.parse::<tonic::transport::Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.port_u16().is_some() && uri.path().len() <= 1
    });
    if !valid {
        return place.refuse(&raw.address, "server.address", allowed);
    }
    let tls = match raw.tls {
        None if https => Some(ServerTls::default()),
        None => None,
        Some(_) if !https => {
            return place.refuse(&raw.address, "server.address", "https://host:port, because server.tls is set");
        }
        Some(tls) => Some(ServerTls {
            ca_file: tls.ca_file,
            identity: match (tls.cert_file, tls.key_file) {
                (Some(cert), Some(key)) => Some((cert, key)),
                (None, None) => None,
                _ => {
                    let message = "server.tls: cert_file and key_file are given both or not at all";
                    return Err(place.error(raw.address.referenced, message));
                }
            },
            server_name: tls.server_name,
        }),
    };
    Ok(ServerConfig { address: raw.address.value, tls })
}

fn check_tenant(place: &Place<'_>, tenant: &Option<Text>) -> Result<Arc<str>, ConfigError> {
    let Some(text) = tenant else { return Ok(proto::DEFAULT_TENANT.into()) };
    let ok = (1..=64).contains(&text.value.len())
        && text.value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if !ok {
        return place.refuse(text, "tenant", "1 to 64 letters, digits, '-' or '_'");
    }
    Ok(text.value.as_str().into())
}

fn check_labels(
    place: &Place<'_>,
    labels: Option<std::collections::BTreeMap<String, Text>>,
) -> Result<proto::Labels, ConfigError> {
    let mut builder = LabelsBuilder::default();
    for (name, value) in labels.unwrap_or_default() {
        let mut letters = name.bytes();
        let ok = letters.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
            && letters.all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && !name.starts_with("__")
            && !matches!(name.as_str(), "instance" | "job");
        if !ok {
            let allowed = "letters, digits and '_', not beginning with a digit or '__', other than instance and job";
            return Err(
                place.error(value.referenced, format!("labels: name {name:?} is not allowed; allowed: {allowed}"))
            );
        }
        builder.set(&name, &place.name(&value, &format!("labels.{name}"))?);
    }
    Ok(builder.build())
}

fn check_host(place: &Place<'_>, raw: Option<RawHost>) -> Result<Option<HostConfig>, ConfigError> {
    let default = HostConfig::default();
    let Some(raw) = raw else { return Ok(Some(default)) };
    if raw.enabled == Some(false) {
        return Ok(None);
    }
    Ok(Some(HostConfig {
        instance: place.optional_name(&raw.instance, "host.instance")?,
        interval: place.interval(&raw.interval, "host.interval", default.interval)?,
        proc_dir: raw.proc_dir.unwrap_or(default.proc_dir),
        sys_dir: raw.sys_dir.unwrap_or(default.sys_dir),
        root_dir: raw.root_dir.unwrap_or(default.root_dir),
    }))
}

/// Reads the files of templates: beside the configuration, if their path is relative.
fn check_templates(place: &Place<'_>, raw: &[Text]) -> Result<Arc<Templates>, ConfigError> {
    let mut texts = Vec::new();
    for (i, text) in raw.iter().enumerate() {
        let failed = |e: &dyn std::fmt::Display| {
            place.error(text.referenced, format!("templates[{i}]: {:?}: {e}; allowed: a file or a folder", text.value))
        };
        let path = Path::new(place.file).parent().unwrap_or(Path::new("")).join(&text.value);
        for file in templates::files_of(&path).map_err(|e| failed(&e))? {
            if texts.len() == templates::FILES_MAX {
                return Err(failed(&format!("more than {} files", templates::FILES_MAX)));
            }
            let content = std::fs::read_to_string(&file).map_err(|e| failed(&format!("{}: {e}", file.display())))?;
            texts.push((file.display().to_string(), content));
        }
    }
    if texts.is_empty() { Ok(Templates::shipped()) } else { Templates::with(texts) }
}

fn check_databases(
    place: &Place<'_>,
    raw: &[Spanned<RawDatabase>],
    templates: &Arc<Templates>,
) -> Result<Vec<DatabaseConfig>, ConfigError> {
    if let Some(over) = raw.get(DATABASES_MAX) {
        return Err(place.error(over.referenced, format!("databases: at most {DATABASES_MAX} for one collector")));
    }
    let mut names = BTreeSet::new();
    let mut addresses = BTreeSet::new();
    let mut databases = Vec::with_capacity(raw.len());
    for (i, spanned) in raw.iter().enumerate() {
        let database = check_database(place, i, &spanned.value, templates)?;
        if let (Some(name), Some(text)) = (&database.instance, &spanned.value.name)
            && !names.insert(name.clone())
        {
            return place.refuse(text, &format!("databases[{i}].name"), "a name no other database has");
        }
        if !addresses.insert(database.address.to_string()) {
            let text = &spanned.value.address;
            return place.refuse(text, &format!("databases[{i}].address"), "an address no other database has");
        }
        databases.push(database);
    }
    Ok(databases)
}

/// The engine, or the template of what speaks as one; and the template named beside it.
fn check_kind(
    place: &Place<'_>,
    i: usize,
    raw: &RawDatabase,
    templates: &Templates,
) -> Result<(Engine, Option<Arc<Template>>), ConfigError> {
    let word = Engine::WORDS.iter().find(|(word, _)| *word == raw.engine.value).map(|(_, engine)| *engine);
    let (engine, of_engine) = match (word, templates.get(&raw.engine.value)) {
        (Some(engine), _) => (engine, None),
        (None, Some(template)) => (template.engine, Some(template)),
        (None, None) => {
            let mut words: Vec<String> = Engine::WORDS.iter().map(|(w, _)| (*w).to_owned()).collect();
            words.extend(templates.names().into_iter().filter(|n| !Engine::WORDS.iter().any(|(w, _)| w == n)));
            return place.refuse(&raw.engine, &format!("databases[{i}].engine"), &words.join(", "));
        }
    };
    let Some(text) = &raw.template else { return Ok((engine, of_engine)) };
    let fitting = |t: &Arc<Template>| t.engine.job() == engine.job();
    match templates.get(&text.value).filter(fitting) {
        Some(template) => Ok((engine, Some(template))),
        None => {
            let mut names = templates.names();
            names.retain(|n| templates.get(n).as_ref().is_some_and(fitting));
            place.refuse(text, &format!("databases[{i}].template"), &names.join(", "))
        }
    }
}

fn check_database(
    place: &Place<'_>,
    i: usize,
    raw: &RawDatabase,
    templates: &Arc<Templates>,
) -> Result<DatabaseConfig, ConfigError> {
    let field = |name: &str| format!("databases[{i}].{name}");
    let (engine, template) = check_kind(place, i, raw, templates)?;
    let default_user = raw.user.as_ref().map_or("tidewatch", |u| u.value.as_str());
    let mut database =
        DatabaseConfig::new(engine, check_address(place, &field("address"), engine, &raw.address)?, default_user);
    database.templates = templates.clone();
    database.template = template;
    database.instance = place.optional_name(&raw.name, &field("name"))?;
    database.password = match (&raw.password, &raw.password_file, &raw.password_env) {
        (None, None, None) => Password::None,
        (Some(text), None, None) => Password::Text(text.value.clone()),
        (None, Some(path), None) => Password::File(PathBuf::from(&path.value)),
        (None, None, Some(name)) => Password::Env(name.value.clone()),
        (a, b, c) => {
            let at = [a, b, c].into_iter().flatten().last().map_or(Location::UNKNOWN, |t| t.referenced);
            let message = format!("{}: at most one of password, password_file, password_env", field("password"));
            return Err(place.error(at, message));
        }
    };
    database.database = raw.database.as_ref().map(|t| t.value.clone());
    database.databases = check_filter(&raw.databases);
    if let Some(text) = &raw.tls {
        let choices = [
            ("disable", TlsMode::Disable),
            ("prefer", TlsMode::Prefer),
            ("require", TlsMode::Require),
            ("verify", TlsMode::Verify(raw.tls_ca_file.clone())),
        ];
        database.tls = place.choice(text, &field("tls"), &choices)?;
    }
    database.cluster = place.optional_name(&raw.cluster, &field("cluster"))?;
    database.shard = place.optional_name(&raw.shard, &field("shard"))?;
    database.role = place.optional_name(&raw.role, &field("role"))?;
    database.environment = place.optional_name(&raw.environment, &field("environment"))?;
    if let Some(text) = &raw.time_budget {
        database.time_budget = match parse_percent(&text.value) {
            Some(share) if (TIME_BUDGET_MIN..=1.0).contains(&share) => share,
            _ => return place.refuse(text, &field("time_budget"), "0.1% to 100%, written like 5%"),
        };
    }
    if let Some(raw) = &raw.intervals {
        database.intervals = check_intervals(place, &field("intervals"), raw)?;
    }
    if let Some(raw) = &raw.logs {
        database.logs = check_log_choice(place, &field("logs"), raw)?;
    }
    database.unmasked = check_unmasked(place, &field("unmasked"), &raw.unmasked)?;
    Ok(database)
}

fn check_address(place: &Place<'_>, field: &str, engine: Engine, text: &Text) -> Result<Address, ConfigError> {
    let postgres = engine == Engine::Postgresql;
    if text.value.starts_with('/') {
        if !postgres {
            return Ok(Address::Socket { path: PathBuf::from(&text.value), port: 0 });
        }
        if let Some((directory, port)) = text.value.rsplit_once("/.s.PGSQL.").or(text.value.rsplit_once(':')) {
            return match port.parse() {
                Ok(port) if port > 0 => Ok(Address::Socket { path: PathBuf::from(directory), port }),
                _ => place.refuse(text, field, "host:port, /socket/directory or /socket/directory:port"),
            };
        }
        return Ok(Address::Socket { path: PathBuf::from(&text.value), port: 5432 });
    }
    let (host, port) = match text.value.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() => (host, port.parse::<u16>().ok().filter(|&p| p > 0)),
        _ => ("", None),
    };
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    match port {
        Some(port) if !host.is_empty() => Ok(Address::Tcp { host: host.into(), port }),
        _ if postgres => place.refuse(text, field, "host:port, /socket/directory or /socket/directory:port"),
        _ => place.refuse(text, field, "host:port or /path/of/mysqld.sock"),
    }
}

fn check_filter(raw: &Option<RawFilter>) -> NameFilter {
    let words = |list: &Option<Vec<Text>>| list.iter().flatten().map(|t| t.value.clone()).collect();
    raw.as_ref()
        .map_or_else(NameFilter::default, |f| NameFilter { include: words(&f.include), exclude: words(&f.exclude) })
}

fn check_intervals(place: &Place<'_>, field: &str, raw: &RawIntervals) -> Result<Intervals, ConfigError> {
    let default = Intervals::default();
    let of = |text, name: &str, default| place.interval(text, &format!("{field}.{name}"), default);
    Ok(Intervals {
        metrics: of(&raw.metrics, "metrics", default.metrics)?,
        activity: of(&raw.activity, "activity", default.activity)?,
        statements: of(&raw.statements, "statements", default.statements)?,
        objects: of(&raw.objects, "objects", default.objects)?,
    })
}

fn check_log_choice(place: &Place<'_>, field: &str, raw: &RawLogChoice) -> Result<LogChoice, ConfigError> {
    let files = raw.files.iter().map(|t| PathBuf::from(&t.value)).collect();
    let choices = [("auto", LogChoice::Auto), ("off", LogChoice::Off), ("files", LogChoice::Files(files))];
    let choice = place.choice(&raw.mode, &format!("{field}.mode"), &choices)?;
    if matches!(choice, LogChoice::Files(_)) == raw.files.is_empty() {
        return place.refuse(&raw.mode, &format!("{field}.mode"), "files with a list of files, auto or off without");
    }
    Ok(choice)
}

fn check_unmasked(place: &Place<'_>, field: &str, raw: &[Text]) -> Result<Unmasked, ConfigError> {
    let mut unmasked = Unmasked::default();
    for (i, text) in raw.iter().enumerate() {
        match text.value.as_str() {
            "literals" => unmasked.literals = true,
            "parameters" => unmasked.parameters = true,
            "row_values" => unmasked.row_values = true,
            _ => {
                let allowed = "literals, parameters, row_values (credentials never leave)";
                return place.refuse(text, &format!("{field}[{i}]"), allowed);
            }
        }
    }
    Ok(unmasked)
}

fn check_scrapes(
    place: &Place<'_>,
    pages: Vec<Spanned<RawScrape>>,
    patroni: Vec<Spanned<RawScrape>>,
) -> Result<Vec<ScrapeConfig>, ConfigError> {
    let mut jobs = BTreeSet::new();
    let mut scrapes = Vec::with_capacity(pages.len() + patroni.len());
    let pages = pages.into_iter().enumerate().map(|(i, raw)| (format!("scrape_configs[{i}]"), Speech::Metrics, raw));
    let patroni =
        patroni.into_iter().enumerate().map(|(i, raw)| (format!("patroni_configs[{i}]"), Speech::Patroni, raw));
    for (list, speech, raw) in pages.chain(patroni) {
        let at = raw.referenced;
        let scrape = check_scrape(place, &list, speech, raw)?;
        if !jobs.insert(scrape.job_name.clone()) {
            let message =
                format!("{list}.job_name: {:?} is not allowed; allowed: a name no other job has", scrape.job_name);
            return Err(place.error(at, message));
        }
        scrapes.push(scrape);
    }
    Ok(scrapes)
}

/// Where a log is.
enum Log {
    File(LogConfig),
    Journal(JournalConfig),
}

fn check_log(place: &Place<'_>, i: usize, raw: &RawLog) -> Result<Log, ConfigError> {
    let field = |name: &str| format!("logs[{i}].{name}");
    let matches = match (&raw.path, &raw.unit, &raw.identifier) {
        (Some(_), None, None) => None,
        (None, Some(unit), None) => Some(JournalMatch::Unit(place.name(unit, &field("unit"))?.to_string())),
        (None, None, Some(word)) => Some(JournalMatch::Identifier(place.name(word, &field("identifier"))?.to_string())),
        _ => {
            let message = format!("{}: exactly one of path, unit, identifier must be given", field("path"));
            return Err(place.error(raw.instance.referenced, message));
        }
    };
    let namespace = place.optional_name(&raw.namespace, &field("namespace"))?.map(|n| n.to_string());
    let path = match (&matches, &raw.path) {
        (None, Some(path)) => PathBuf::from(&path.value),
        (Some(JournalMatch::Unit(name) | JournalMatch::Identifier(name)), _) => {
            PathBuf::from(format!("journal:{}{name}", namespace.as_ref().map(|n| format!("{n}/")).unwrap_or_default()))
        }
        (None, None) => PathBuf::new(), // refused above
    };
    let engine = place.choice(&raw.engine, &field("engine"), &Engine::WORDS)?;
    let prefix = raw.line_prefix.as_ref().map(|t| t.value.clone());
    let format = match &raw.format {
        None if prefix.is_some() => LogFormat::Stderr(prefix),
        None => LogFormat::Auto,
        Some(text) if engine == Engine::Postgresql => {
            let choices = [
                ("auto", LogFormat::Auto),
                ("stderr", LogFormat::Stderr(prefix)),
                ("csvlog", LogFormat::Csvlog),
                ("jsonlog", LogFormat::Jsonlog),
            ];
            place.choice(text, &field("format"), &choices)?
        }
        Some(text) => {
            let choices =
                [("auto", LogFormat::Auto), ("error_log", LogFormat::ErrorLog), ("slow_log", LogFormat::SlowLog)];
            place.choice(text, &field("format"), &choices)?
        }
    };
    let rows = match &raw.rows {
        None if format == LogFormat::SlowLog => LogRows::Executions,
        None => LogRows::Records,
        Some(text) => {
            let choices = [("records", LogRows::Records), ("executions", LogRows::Executions)];
            place.choice(text, &field("rows"), &choices)?
        }
    };
    let starts = [("end", LogStart::End), ("beginning", LogStart::Beginning)];
    let log = LogConfig {
        path,
        instance: place.name(&raw.instance, &field("instance"))?,
        engine,
        format,
        rows,
        unmasked: check_unmasked(place, &field("unmasked"), &raw.unmasked)?,
        start: match &raw.start {
            None => LogStart::End,
            Some(text) => place.choice(text, &field("start"), &starts)?,
        },
    };
    Ok(match matches {
        None => Log::File(log),
        Some(matches) => Log::Journal(JournalConfig { matches, namespace, log }),
    })
}
