//! Numbers about the server itself: read for `/metrics`, and appended to its own store so that they can be asked and alerted on.

use std::{
    fmt::Write,
    sync::{Arc, OnceLock},
};

use alerting::{Alerting, sight::Cause};
use ingest::{
    Admission, Collectors,
    kafka::{self, status::Partition},
};
use proto::{Labels, Samples, labels::METRIC_NAME, refusal::Refusal, samples::Family, samples::SamplesBuilder};
use query::{Teller, promql::number::format_open_metrics};
use storage::NotKept;

use crate::{allocator, process_stats, reload::LastReload, request_counts::RequestCounts};

/// The `job` of these series.
pub const JOB: &str = "tidewatch";

/// One number.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// Name.
    pub name: &'static str,
    /// One line.
    pub help: &'static str,
    /// `counter` or `gauge`.
    pub kind: &'static str,
    /// Labels beyond instance and job.
    pub labels: Vec<(&'static str, String)>,
    /// The number.
    pub value: f64,
}

/// Where the numbers come from. Cheap to clone.
#[derive(Clone)]
pub struct SelfMetrics {
    /// Requests of the HTTP port.
    pub requests: Arc<RequestCounts>,
    admission: Admission,
    collectors: Collectors,
    rules: Arc<OnceLock<(Alerting, Arc<LastReload>)>>,
    query_log: Arc<OnceLock<Teller>>,
    kafka: Option<Arc<kafka::Status>>,
    started_ms: i64,
}

/// Collects metrics under the names and helps given once.
#[derive(Default)]
struct List(Vec<Metric>);

impl List {
    fn gauge(&mut self, name: &'static str, help: &'static str, value: impl IntoF64) {
        self.push("gauge", name, help, Vec::new(), value);
    }

    fn counter(&mut self, name: &'static str, help: &'static str, value: impl IntoF64) {
        self.push("counter", name, help, Vec::new(), value);
    }

    fn push(
        &mut self,
        kind: &'static str,
        name: &'static str,
        help: &'static str,
        labels: Vec<(&'static str, String)>,
        value: impl IntoF64,
    ) {
        self.0.push(Metric { name, help, kind, labels, value: value.into_f64() });
    }
}

/// Numbers that metrics are made of.
trait IntoF64 {
    fn into_f64(self) -> f64;
}

impl IntoF64 for f64 {
    fn into_f64(self) -> f64 {
        self
    }
}

impl IntoF64 for u64 {
    fn into_f64(self) -> f64 {
        self as f64
    }
}

impl SelfMetrics {
    /// Numbers of this server; of the topic it reads, if it reads one.
    pub fn new(admission: Admission, collectors: Collectors, kafka: Option<Arc<kafka::Status>>) -> SelfMetrics {
        let started_ms = admission.now_ms();
        let (requests, rules, query_log) = Default::default();
        SelfMetrics { requests, admission, collectors, kafka, rules, query_log, started_ms }
    }

    /// From here on the query log is told of too.
    pub fn watch_query_log(&self, teller: Teller) {
        let _ = self.query_log.set(teller); // there is one
    }

    /// From here on rules and reloads are told of too.
    pub fn watch_rules(&self, alerting: Alerting, last_reload: Arc<LastReload>) {
        // only the first counts: a server has one alerting
        let _ = self.rules.set((alerting, last_reload));
    }

    /// Whether the last reload took effect, and when the last one that did was, milliseconds.
    pub fn last_reload(&self) -> (bool, i64) {
        self.rules.get().map_or((true, self.started_ms), |(_, last)| last.read())
    }

    /// All numbers now.
    pub fn read(&self) -> Vec<Metric> {
        let mut list = List::default();
        let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
        list.push("gauge", "tidewatch_build_info", "The version that runs.", version, 1.0);
        list.gauge("process_start_time_seconds", "When it started, Unix time.", self.started_ms as f64 / 1000.0);
        self.process(&mut list);
        self.memory(&mut list);
        self.store(&mut list);
        self.doors(&mut list);
        self.kafka(&mut list);
        self.http(&mut list);
        self.rules(&mut list);
        if let Some(teller) = self.query_log.get() {
            let help = "Questions that are missing in the query log because too many waited to be written.";
            list.counter("tidewatch_query_log_lost_total", help, teller.lost());
        }
        list.0
    }

    fn process(&self, list: &mut List) {
        let Some(process) = process_stats::read() else { return };
        list.counter("process_cpu_seconds_total", "CPU time used, user and system.", process.cpu_seconds);
        list.gauge("process_resident_memory_bytes", "Resident memory.", process.resident_bytes);
        list.gauge("process_virtual_memory_bytes", "Virtual memory.", process.virtual_bytes);
        list.gauge("process_threads", "Threads.", process.threads);
        list.gauge("process_open_fds", "Open files.", process.open_files);
    }

    fn memory(&self, list: &mut List) {
        let Some(memory) = allocator::read() else { return };
        list.gauge("tidewatch_memory_allocated_bytes", "Memory in use.", memory.allocated_bytes);
        let help = "Memory in pages that are in use, in part or whole.";
        list.gauge("tidewatch_memory_active_bytes", help, memory.active_bytes);
        let help = "Memory the allocator holds, what it keeps for some seconds included.";
        list.gauge("tidewatch_memory_resident_bytes", help, memory.resident_bytes);
        let help = "Address space the allocator keeps without memory.";
        list.gauge("tidewatch_memory_retained_bytes", help, memory.retained_bytes);
    }

    fn store(&self, list: &mut List) {
        let s = self.admission.store().stats();
        list.gauge("tidewatch_storage_head_bytes", "Memory the head holds.", s.head_bytes);
        list.gauge("tidewatch_storage_head_series", "Series in the head.", s.head_series);
        list.gauge("tidewatch_storage_head_bytes_max", "Memory the head may hold.", s.head_bytes_max);
        list.gauge("tidewatch_storage_head_series_max", "Series the head may hold.", s.head_series_max);
        list.gauge("tidewatch_storage_log_bytes", "Log since the last flush.", s.log_bytes);
        list.gauge("tidewatch_storage_log_segments", "Log segments on disk.", s.log_segments);
        list.counter("tidewatch_storage_log_syncs_total", "Syncs of the log.", s.log_syncs);
        list.counter("tidewatch_storage_rows_total", "Rows stored.", s.rows);
        list.counter("tidewatch_storage_duplicates_total", "Appends stored before.", s.duplicates);
        list.counter("tidewatch_storage_flushes_total", "Flushes of the head.", s.flushes);
        list.counter("tidewatch_storage_flushed_bytes_total", "Bytes of parts that flushes wrote.", s.flushed_bytes);
        list.counter("tidewatch_storage_compactions_total", "Compactions.", s.compactions);
        let help = "Bytes of parts that compactions wrote.";
        list.counter("tidewatch_storage_compacted_bytes_total", help, s.compacted_bytes);
        list.counter("tidewatch_storage_snapshots_total", "Snapshots taken for backup.", s.snapshots);
        list.counter("tidewatch_storage_deletions_total", "Deletions of series.", s.deletions);
        list.counter("tidewatch_storage_expired_parts_total", "Parts removed by retention.", s.expired_parts);
        list.counter("tidewatch_storage_maintain_errors_total", "Maintenance that failed.", s.maintain_errors);
        list.gauge("tidewatch_storage_replayed_records", "Log records read at start.", s.replayed_records);
        list.counter("tidewatch_storage_skipped_bytes_total", "Damaged log skipped at start.", s.skipped_bytes);
        list.counter("tidewatch_storage_notices_lost_total", "Notices dropped for slow subscribers.", s.notices_lost);
        list.gauge("tidewatch_storage_full", "1 while the disk has no room for the log.", f64::from(u8::from(s.full)));
        let poisoned = f64::from(u8::from(s.poisoned.is_some()));
        list.gauge("tidewatch_storage_poisoned", "1 if no writes are taken until a restart.", poisoned);
        read_cache(list, &s.read_cache);
        if let Some(remote) = &s.remote {
            remote_store(list, remote);
        }
        exemplars(list, &s.exemplars);
        for reason in Refusal::ALL {
            let labels = vec![("reason", reason.as_str().to_owned())];
            let rows = s.refused.get(&reason).copied().unwrap_or(0);
            list.push("counter", "tidewatch_storage_refused_rows_total", "Rows the store refused.", labels, rows);
        }
        for (name, help, of) in [
            ("tidewatch_storage_parts", "Parts.", (|t| t.parts) as fn(&storage::TableStats) -> u64),
            ("tidewatch_storage_part_bytes", "Bytes of parts.", |t| t.bytes),
            ("tidewatch_storage_part_rows", "Rows of parts (chunks, for metrics).", |t| t.rows),
        ] {
            for (table, stats) in &s.tables {
                list.push("gauge", name, help, vec![("table", (*table).to_owned())], of(stats));
            }
        }
    }

    fn doors(&self, list: &mut List) {
        let mut counts = self.admission.counters().all();
        counts.sort_by_key(|c| c.name);
        for count in counts {
            let labels = count.labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
            list.push("counter", count.name, count.help, labels, count.value);
        }
        let connected = self.collectors.list().iter().filter(|c| c.connected).count() as u64;
        list.gauge("tidewatch_ingest_collectors_connected", "Collectors connected.", connected);
    }

    fn kafka(&self, list: &mut List) {
        let Some(n) = self.kafka.as_ref().map(|status| status.numbers()) else { return };
        let connected = f64::from(u8::from(n.connected));
        list.gauge("tidewatch_kafka_connected", "1 if brokers answered when last asked.", connected);
        list.counter("tidewatch_kafka_messages_total", "Messages read, refused ones included.", n.messages);
        list.counter("tidewatch_kafka_bytes_total", "Bytes of messages read.", n.bytes);
        list.counter("tidewatch_kafka_pauses_total", "Times a partition had to wait.", n.pauses);
        list.counter("tidewatch_kafka_lost_offsets_total", "Offsets gone before they were read.", n.lost_offsets);
        list.counter("tidewatch_kafka_dead_letters_total", "Messages put into the dead-letter topic.", n.dead_letters);
        let help = "Messages that the dead-letter topic did not take.";
        list.counter("tidewatch_kafka_dead_letter_errors_total", help, n.dead_letter_errors);
        list.counter("tidewatch_kafka_errors_total", "Errors of brokers and connections.", n.errors);
        for reason in Refusal::ALL.into_iter().filter(|reason| reason.is_final()) {
            let labels = vec![("reason", reason.as_str().to_owned())];
            let messages = n.refused.get(&reason).copied().unwrap_or(0);
            list.push("counter", "tidewatch_kafka_refused_total", "Messages refused for good.", labels, messages);
        }
        for (name, help, of) in [
            ("tidewatch_kafka_lag", "Messages not read yet.", Partition::lag as fn(&Partition) -> u64),
            ("tidewatch_kafka_next_offset", "The offset read next.", |p| p.next),
            ("tidewatch_kafka_paused", "1 while the partition waits.", |p| u64::from(p.paused)),
        ] {
            for (partition, state) in &n.partitions {
                list.push("gauge", name, help, vec![("partition", partition.to_string())], of(state));
            }
        }
    }

    fn http(&self, list: &mut List) {
        let counts = self.requests.all();
        for (route, status, count) in &counts {
            let labels = vec![("handler", route.clone()), ("code", status.to_string())];
            list.push("counter", "tidewatch_http_requests_total", "HTTP requests.", labels, count.requests);
        }
        for (route, status, count) in counts {
            let labels = vec![("handler", route), ("code", status.to_string())];
            let help = "Time spent on HTTP requests.";
            list.push("counter", "tidewatch_http_request_seconds_total", help, labels, count.seconds);
        }
    }

    fn rules(&self, list: &mut List) {
        let Some((alerting, last_reload)) = self.rules.get() else { return };
        let (successful, success_ms) = last_reload.read();
        let successful = f64::from(u8::from(successful));
        list.gauge("tidewatch_config_last_reload_successful", "1 if the last reload took effect.", successful);
        let help = "When the last reload that took effect was, Unix time.";
        list.gauge("tidewatch_config_last_reload_success_timestamp_seconds", help, success_ms as f64 / 1000.0);
        let groups = alerting.rule_numbers();
        type Number = fn(&alerting::rule_numbers::GroupNumbers) -> f64;
        let numbers: [(&'static str, &'static str, &'static str, Number); 7] = [
            ("gauge", "tidewatch_rule_group_rules", "Rules of a group.", |g| g.rules as f64),
            ("counter", "tidewatch_rule_evaluations_total", "Rules evaluated.", |g| g.evaluations as f64),
            ("counter", "tidewatch_rule_evaluation_failures_total", "Evaluations that failed.", |g| g.failures as f64),
            ("gauge", "tidewatch_rule_group_failing_rules", "Rules whose last evaluation failed.", |g| {
                g.failing as f64
            }),
            (
                "counter",
                "tidewatch_rule_group_missed_slots_total",
                "Evaluations left out because they came too late.",
                |g| g.missed_slots as f64,
            ),
            ("gauge", "tidewatch_rule_group_last_duration_seconds", "How long the last evaluation took.", |g| {
                g.seconds
            }),
            ("gauge", "tidewatch_rule_group_last_evaluation_timestamp_seconds", "When it was, Unix time.", |g| {
                g.last_evaluation_ms.unwrap_or(0) as f64 / 1000.0
            }),
        ];
        for (kind, name, help, number) in numbers {
            for (group, numbers) in &groups {
                list.push(kind, name, help, vec![("rule_group", group.clone())], number(numbers));
            }
        }
        for (i, cause) in Cause::ALL.into_iter().enumerate() {
            let rules: u64 = groups.iter().map(|(_, g)| g.blind[i]).sum();
            let labels = vec![("cause", cause.word().to_owned())];
            list.push("gauge", "tidewatch_rules_blind", "Rules that can't see what they watch.", labels, rules);
        }
    }

    /// All numbers in Prometheus' text format.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let mut last = "";
        for metric in self.read() {
            if metric.name != last {
                let _ = write!(out, "# HELP {0} {1}\n# TYPE {0} {2}\n", metric.name, metric.help, metric.kind);
                last = metric.name;
            }
            out.push_str(metric.name);
            for (i, (name, value)) in metric.labels.iter().enumerate() {
                let _ = write!(out, "{}{name}={value:?}", if i == 0 { '{' } else { ',' });
            }
            out.push_str(if metric.labels.is_empty() { " " } else { "} " });
            let _ = writeln!(out, "{}", format_open_metrics(metric.value));
        }
        out
    }

    /// All numbers as samples of `instance` at one time.
    pub fn samples(&self, instance: &str, now_ms: i64) -> Samples {
        let mut samples = SamplesBuilder::default();
        let mut last = "";
        for metric in self.read() {
            if metric.name != last {
                let (name, kind, help) = (metric.name.into(), metric.kind.into(), metric.help.into());
                samples.family(Family { name, kind, help, unit: String::new() });
                last = metric.name;
            }
            let own = [(METRIC_NAME, metric.name), ("instance", instance), ("job", JOB)];
            let labels = metric.labels.iter().map(|(name, value)| (*name, value.as_str())).chain(own);
            samples.push(&Labels::from_pairs(labels), now_ms, metric.value);
        }
        samples.push(&Labels::from_pairs([(METRIC_NAME, "up"), ("instance", instance), ("job", JOB)]), now_ms, 1.0);
        samples.build()
    }
}

/// What of metrics parts is held in memory.
fn read_cache(list: &mut List, cache: &storage::ReadCacheStats) {
    list.gauge("tidewatch_storage_read_cache_bytes", "Footers, indexes, bodies of parts in memory.", cache.bytes);
    list.gauge("tidewatch_storage_read_cache_bytes_max", "Most that may be held.", cache.bytes_max);
    list.counter("tidewatch_storage_read_cache_hits_total", "Pieces of parts that were in memory.", cache.hits);
    list.counter("tidewatch_storage_read_cache_misses_total", "Pieces of parts that were not.", cache.misses);
    list.counter("tidewatch_storage_read_cache_evicted_total", "Pieces of parts removed for room.", cache.evicted);
}

/// The ring of exemplars.
fn exemplars(list: &mut List, of: &storage::ExemplarStats) {
    list.gauge("tidewatch_exemplars", "Exemplars in memory.", of.exemplars);
    list.gauge("tidewatch_exemplars_max", "Most that may be.", of.exemplars_max);
    list.gauge("tidewatch_exemplars_series", "Series that have any.", of.series);
    let help = "Time of the exemplar that goes next, Unix time; 0 if there is none.";
    list.gauge("tidewatch_exemplars_oldest_timestamp_seconds", help, of.oldest_ms as f64 / 1000.0);
    list.counter("tidewatch_exemplars_appended_total", "Exemplars kept.", of.kept);
    list.counter("tidewatch_exemplars_evicted_total", "Exemplars removed for newer ones.", of.evicted);
    for reason in NotKept::ALL {
        let (labels, n) = (vec![("reason", reason.as_str().to_owned())], of.not_kept.get(&reason).copied());
        list.push("counter", "tidewatch_exemplars_refused_total", "Exemplars not kept.", labels, n.unwrap_or(0));
    }
}

/// The object store that parts are in, and what of it is kept here.
fn remote_store(list: &mut List, remote: &storage::RemoteStats) {
    let cache = &remote.cache;
    list.counter("tidewatch_storage_remote_requests_total", "Requests to the object store.", remote.requests);
    list.counter("tidewatch_storage_remote_errors_total", "Requests that failed after all retries.", remote.errors);
    list.counter("tidewatch_storage_remote_read_bytes_total", "Bytes of parts fetched.", remote.read_bytes);
    list.counter("tidewatch_storage_remote_written_bytes_total", "Bytes of parts sent.", remote.written_bytes);
    list.gauge("tidewatch_storage_cache_bytes", "Parts kept on the local disk.", cache.bytes);
    list.gauge("tidewatch_storage_cache_bytes_max", "Most that may be kept.", cache.bytes_max);
    list.counter("tidewatch_storage_cache_hits_total", "Blocks that were here.", cache.hits);
    list.counter("tidewatch_storage_cache_misses_total", "Blocks that were fetched.", cache.misses);
    list.counter("tidewatch_storage_cache_evicted_total", "Blocks removed for room.", cache.evicted);
    list.counter("tidewatch_storage_cache_damaged_total", "Blocks found damaged, fetched again.", cache.damaged);
    list.counter("tidewatch_storage_cache_errors_total", "Blocks the local disk did not take.", cache.errors);
}
