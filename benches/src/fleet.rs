//! A fleet of hosts with a database each, as their exporters would tell of it: 100 series a host, the same every time.
//!
//! What one sample is follows from the number of its series and of its scrape alone, so that every server gets the same bytes
//! and a run can be repeated. About half of the series stand still, as with real exporters. Each host is scraped at a moment of
//! its own, which is never a whole second: no sample lies on the edge of a window, where versions of Prometheus differ.

use crate::wire::{self, Body};

/// Series of one host.
pub const SERIES_PER_HOST: usize = 100;
/// Samples of one request, as Prometheus' own remote write sends them.
pub const SAMPLES_PER_REQUEST: usize = 2_000;
/// Regions, and clusters by hosts.
const REGIONS: [&str; 4] = ["eu-west", "eu-north", "us-east", "ap-south"];
const HOSTS_PER_CLUSTER: usize = 10;
/// One host in so many restarts once, half way: its counters begin anew.
const RESTARTS_ONE_IN: usize = 20;
/// Counters have counted for so long when they are first seen, seconds. (Where a series begins near zero, `rate` differs between
/// versions of Prometheus.)
const COUNTED_BEFORE_S: f64 = 1e6;
/// Upper bounds of a histogram's buckets, seconds.
const BOUNDS: [&str; 11] = ["0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "+Inf"];

/// How the values of a series go on.
#[derive(Clone, Copy)]
enum Course {
    /// Never changes.
    Still(f64),
    /// Grows by about this much a second; whole numbers or not.
    Counter { per_second: f64, whole: bool },
    /// Wanders around a middle.
    Gauge { middle: f64, spread: f64, whole: bool },
    /// Falls by about this much a second and begins anew when it is used up.
    Draining { from: f64, per_second: f64 },
    /// A bucket: it grows by what the bucket before it grew by, and more.
    Bucket { per_second: f64 },
}

/// One series of every host.
struct Template {
    name: &'static str,
    labels: Vec<(&'static str, String)>,
    course: Course,
}

/// The hosts and where their series stand.
pub struct Fleet {
    hosts: usize,
    courses: Vec<Course>,
    /// The label part of each series in a request, encoded, one after another.
    encoded: Vec<u8>,
    ends: Vec<usize>,
    values: Vec<f64>,
    scrape: u64,
}

/// When scrapes are.
#[derive(Clone, Copy, Debug)]
pub struct Rhythm {
    /// The first is in the step that begins here, milliseconds, a whole number of seconds.
    pub start_ms: i64,
    /// Time between two, milliseconds, whole seconds.
    pub step_ms: i64,
    /// How many.
    pub scrapes: usize,
}

impl Rhythm {
    /// The end of the last step.
    pub fn end_ms(&self) -> i64 {
        self.start_ms + self.step_ms * self.scrapes as i64
    }
}

impl Fleet {
    /// So many hosts, nothing told of them yet.
    pub fn new(hosts: usize) -> Fleet {
        let templates = templates();
        let (mut encoded, mut ends) = (Vec::new(), Vec::new());
        for host in 0..hosts {
            let own = [
                ("cluster", format!("c{:04}", host / HOSTS_PER_CLUSTER)),
                ("instance", format!("db-{host:05}.example:9100")),
                ("region", REGIONS[host / HOSTS_PER_CLUSTER % REGIONS.len()].to_owned()),
            ];
            for template in &templates {
                let job = if template.name.starts_with("pg_") { "postgres" } else { "node" };
                let mut labels: Vec<(&str, &str)> = vec![("__name__", template.name), ("job", job)];
                labels.extend(own.iter().chain(&template.labels).map(|(n, v)| (*n, v.as_str())));
                labels.sort_unstable();
                wire::put_labels(&mut encoded, &labels);
                ends.push(encoded.len());
            }
        }
        let courses: Vec<Course> = templates.iter().map(|t| t.course).collect();
        Fleet { hosts, courses, encoded, values: vec![0.0; ends.len()], ends, scrape: 0 }
    }

    /// Series in all.
    pub fn series(&self) -> usize {
        self.ends.len()
    }

    /// Hosts in all.
    pub fn hosts(&self) -> usize {
        self.hosts
    }

    /// Bytes of all labels, as they travel.
    pub fn label_bytes(&self) -> usize {
        self.encoded.len()
    }

    /// The next scrape of every host, as requests.
    pub fn next(&mut self, rhythm: &Rhythm) -> Vec<Body> {
        let start_ms = rhythm.start_ms + rhythm.step_ms * self.scrape as i64;
        let restart = rhythm.scrapes as u64 / 2;
        let mut requests = Vec::with_capacity(self.series() / SAMPLES_PER_REQUEST + 1);
        let mut body = Vec::new();
        let mut samples = 0;
        let mut begin = 0;
        for host in 0..self.hosts {
            let at_ms = start_ms + moment_ms(host, rhythm.step_ms);
            let restarts = self.scrape == restart && host % RESTARTS_ONE_IN == 7;
            let mut before = 0.0;
            for (n, course) in self.courses.iter().enumerate() {
                let series = host * SERIES_PER_HOST + n;
                let chance = Chance(mix(series as u64 ^ mix(self.scrape + 1)));
                let value = &mut self.values[series];
                let begins = match self.scrape {
                    0 => Some(COUNTED_BEFORE_S),
                    _ if restarts => Some(0.0),
                    _ => None,
                };
                course.go_on(value, &mut before, chance, rhythm.step_ms as f64 / 1000.0, begins);
                wire::put_series(&mut body, &self.encoded[begin..self.ends[series]], at_ms, *value);
                begin = self.ends[series];
                samples += 1;
            }
            if samples >= SAMPLES_PER_REQUEST || host + 1 == self.hosts {
                requests.push(Body::pack(&body, samples));
                body.clear();
                samples = 0;
            }
        }
        self.scrape += 1;
        requests
    }
}

impl Course {
    /// The next value. `begins`: the series does, and a counter has counted for so many seconds.
    fn go_on(self, value: &mut f64, before: &mut f64, chance: Chance, step_s: f64, begins: Option<f64>) {
        let rounded = |v: f64, whole: bool| if whole { v.round() } else { v };
        match self {
            Course::Still(v) => *value = v,
            Course::Counter { per_second, whole } => {
                let start = begins.map_or(*value, |seconds| rounded(per_second * seconds, whole));
                *value = start + rounded(per_second * step_s * (0.5 + chance.share()), whole);
            }
            Course::Gauge { middle, spread, whole } => {
                let was = if begins.is_some() { middle } else { *value };
                let pull = (middle - was) * 0.1;
                let now = rounded(was + pull + (chance.share() - 0.5) * spread, whole);
                *value = now.max(0.0);
            }
            Course::Draining { from, per_second } => {
                let left = *value - (per_second * step_s * (0.8 + 0.4 * chance.share())).round();
                let again = begins.is_some() || left <= 0.0;
                *value = if again { (from * (0.6 + 0.4 * chance.share())).round() } else { left };
            }
            Course::Bucket { per_second } => {
                let seconds = begins.unwrap_or(0.0);
                *before += (per_second * (seconds + step_s * 2.0 * chance.share())).round();
                *value = if begins.is_some() { *before } else { *value + *before };
            }
        }
    }
}

/// When within a step a host is scraped: at least a second from its ends, never at a whole second.
fn moment_ms(host: usize, step_ms: i64) -> i64 {
    let seconds = (step_ms / 1000 - 2).max(1) as u64;
    ((mix(host as u64) % seconds) as i64 + 1) * 1000 + 137
}

/// SplitMix64's finaliser (Steele, Lea, Flood 2014).
fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[derive(Clone, Copy)]
struct Chance(u64);

impl Chance {
    /// At least 0, below 1.
    fn share(self) -> f64 {
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

const GIB: f64 = 1_073_741_824.0;

/// The 100 series of a host.
fn templates() -> Vec<Template> {
    use Course::{Bucket, Counter, Draining, Gauge, Still};
    let mut all = Vec::with_capacity(SERIES_PER_HOST);
    let mut add = |name, labels: &[(&'static str, &str)], course| {
        let labels = labels.iter().map(|(n, v)| (*n, (*v).to_owned())).collect();
        all.push(Template { name, labels, course });
    };
    for cpu in ["0", "1", "2", "3"] {
        for (mode, share) in [("idle", 0.7), ("user", 0.2), ("system", 0.07), ("iowait", 0.02), ("softirq", 0.01)] {
            add("node_cpu_seconds_total", &[("cpu", cpu), ("mode", mode)], Counter { per_second: share, whole: false });
        }
        for mode in ["irq", "nice", "steal"] {
            add("node_cpu_seconds_total", &[("cpu", cpu), ("mode", mode)], Still(0.0));
        }
    }
    add("node_memory_MemTotal_bytes", &[], Still(64.0 * GIB));
    add("node_memory_MemAvailable_bytes", &[], Gauge { middle: 24.0 * GIB, spread: GIB, whole: true });
    add("node_memory_Cached_bytes", &[], Gauge { middle: 30.0 * GIB, spread: GIB / 4.0, whole: true });
    add("node_memory_Buffers_bytes", &[], Still(0.5 * GIB));
    for (mount, size, drain) in [("/", 50.0, 0.0), ("/data", 900.0, 150_000.0), ("/wal", 100.0, 40_000.0)] {
        let labels = [("device", "nvme0n1"), ("fstype", "ext4"), ("mountpoint", mount)];
        add("node_filesystem_size_bytes", &labels, Still(size * GIB));
        let course = match drain {
            0.0 => Still(size * GIB / 2.0),
            per_second => Draining { from: size * GIB * 0.6, per_second },
        };
        add("node_filesystem_avail_bytes", &labels, course);
    }
    add("node_load1", &[], Gauge { middle: 2.0, spread: 0.8, whole: false });
    add("node_boot_time_seconds", &[], Still(1_750_000_000.0));
    add("node_uname_info", &[("machine", "x86_64"), ("release", "6.1.0-40-amd64"), ("sysname", "Linux")], Still(1.0));
    add("up", &[], Still(1.0));
    for (database, weight) in [("app", 1.0), ("orders", 0.5), ("audit", 0.1), ("postgres", 0.01)] {
        let labels = [("datname", database)];
        for (name, rate) in [
            ("pg_stat_database_xact_commit", 400.0),
            ("pg_stat_database_blks_hit", 30_000.0),
            ("pg_stat_database_blks_read", 120.0),
            ("pg_stat_database_tup_fetched", 9_000.0),
        ] {
            add(name, &labels, Counter { per_second: rate * weight, whole: true });
        }
    }
    for database in ["app", "orders"] {
        for (state, middle) in [("active", 6.0), ("idle", 40.0), ("idle in transaction", 1.0)] {
            let labels = [("datname", database), ("state", state)];
            add("pg_stat_activity_count", &labels, Gauge { middle, spread: 5.0, whole: true });
        }
    }
    for (name, value) in [
        ("pg_settings_max_connections", 200.0),
        ("pg_settings_shared_buffers_bytes", 16.0 * GIB),
        ("pg_settings_work_mem_bytes", 16_777_216.0),
        ("pg_settings_maintenance_work_mem_bytes", GIB),
        ("pg_settings_max_wal_size_bytes", 8.0 * GIB),
        ("pg_settings_checkpoint_timeout_seconds", 300.0),
        ("pg_settings_random_page_cost", 1.1),
        ("pg_settings_autovacuum", 1.0),
    ] {
        add(name, &[], Still(value));
    }
    add("pg_replication_lag_seconds", &[], Gauge { middle: 0.3, spread: 0.2, whole: false });
    for bound in BOUNDS {
        add("pg_query_duration_seconds_bucket", &[("le", bound)], Bucket { per_second: 30.0 });
    }
    add("pg_query_duration_seconds_sum", &[], Counter { per_second: 9.0, whole: false });
    add("pg_query_duration_seconds_count", &[], Counter { per_second: 330.0, whole: true });
    for mode in
        ["accessshare", "rowshare", "rowexclusive", "exclusive", "accessexclusive", "share", "sharerowexclusive"]
    {
        add("pg_locks_count", &[("mode", mode)], Still(if mode == "accessshare" { 4.0 } else { 0.0 }));
    }
    add("pg_locks_count", &[("mode", "shareupdateexclusive")], Gauge { middle: 1.0, spread: 2.0, whole: true });
    add("pg_up", &[], Still(1.0));
    add("pg_database_size_bytes", &[], Counter { per_second: 60_000.0, whole: true });
    all
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn two_fleets_send_the_same_bytes() {
        let rhythm = Rhythm { start_ms: 1_800_000_000_000, step_ms: 15_000, scrapes: 3 };
        let (mut a, mut b) = (Fleet::new(45), Fleet::new(45));
        assert_eq!(a.series(), 45 * SERIES_PER_HOST);
        for _ in 0..rhythm.scrapes {
            let (a, b) = (a.next(&rhythm), b.next(&rhythm));
            assert_eq!(a.iter().map(|body| body.samples).collect::<Vec<_>>(), [2000, 2000, 500]);
            assert_eq!(a, b);
        }
    }

    #[test]
    fn no_sample_is_at_a_whole_second() {
        for step_ms in [15_000, 60_000, 1_800_000] {
            for host in 0..1000 {
                let at = moment_ms(host, step_ms);
                assert!(at % 1000 != 0 && at > 0 && at < step_ms, "{host} {step_ms}: {at}");
            }
        }
    }
}
